"""Fixtures of the campaign: the process that commands are forked from, and good inputs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from preloaded import Preloaded


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preloaded]:
    with Preloaded(tmp_path_factory.mktemp("scratch")) as process:
        yield process


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory, preloaded: Preloaded) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    made = preloaded.make_inputs(folder)
    assert made.status == 0, made.stderr
    return folder
