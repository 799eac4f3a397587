"""Fixtures and settings of all tests."""

import operator
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Said
from hypothesis import HealthCheck, settings
from worlds import picture, write_raster

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before any test imports torch
settings.register_profile("roadseg", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("roadseg")

if sys.platform == "win32":  # which has neither fork nor signals that a process may handle
    collect_ignore = ["faults", "test_cli_interruption.py", "test_cli_interruption_signals.py"]


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a picture of ``height`` × ``width`` px and returns its path."""

    def make(height: int = 250, width: int = 330, name: str = "scene.tif", **options: Any) -> Path:
        values = picture(height, width, bands=options.pop("bands", 3), seed=options.pop("seed", 0))
        return write_raster(tmp_path / name, values.astype(np.uint8), **options)

    return make


@pytest.fixture
def open_files_stay() -> Iterator[None]:
    """Open files can neither be removed nor replaced, as on Windows; nothing may try to."""
    if sys.platform != "linux":
        yield
        return
    from sharing import as_on_windows

    with as_on_windows() as refused:
        yield
    assert not refused


@pytest.fixture
def cuda() -> Iterator[None]:
    """CUDA: the devices of this machine, else an emulated one."""
    import torch

    if torch.cuda.is_available():
        yield
        return
    from emulated_torch import emulated

    with emulated():
        yield


@pytest.fixture
def given_away(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of functions that other processes were given; they have started before the first task.

    Otherwise this process would be done with the little that tests give it before the others have started.
    """
    from roadseg.files import workers

    names: list[str] = []
    call = workers.WorkerProcess.call

    def entered(pool: workers.WorkerPool) -> workers.WorkerPool:
        list(pool.map(operator.is_, [0]))
        for ready in pool._ready:
            ready.result()
        return pool

    def noted(worker: workers.WorkerProcess, function: Callable[..., Any], *arguments: Any) -> Any:
        names.append(function.__name__)
        return call(worker, function, *arguments)

    monkeypatch.setattr(workers.WorkerPool, "__enter__", entered)
    monkeypatch.setattr(workers.WorkerProcess, "call", noted)
    return names


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model file: a ResUNet of width 2 whose answers vary with the picture and spread over 0–1."""
    import torch

    from roadseg.model.card import ModelCard
    from roadseg.model.resunet import ResUNet
    from roadseg.training.save import save_model

    torch.manual_seed(3)
    network = ResUNet(width=2)
    with torch.no_grad():
        logits = network.eval()(torch.randn(1, 3, 64, 64))
        network.head.weight *= 2 / logits.std()
        network.head.bias -= logits.mean() * 2 / logits.std()
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, network, ModelCard(name="tiny", window_px=64, threshold=0.4))
    return path


@pytest.fixture
def say(tmp_path, monkeypatch):
    """Return a function that runs a command in this process, from an empty folder."""
    import typer.testing

    from roadseg.cli import app

    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    runner = typer.testing.CliRunner()

    def command(*arguments, stdin=None):
        done = runner.invoke(app, [str(a) for a in arguments], input=stdin)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Said(done.exit_code, done.stdout, done.stderr)

    return command
