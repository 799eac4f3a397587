"""Mutated inputs: every command ends as documented, whatever the file holds; the same commands succeed on good files.

``campaign.py`` says what is right, and repeats the case of a seed.
"""

import shutil
from pathlib import Path

import pytest
from campaign import KINDS, case_of, run_case, run_control
from inputs import COMMANDS
from preloaded import Preloaded

FEWEST = 6
"""Cases of a kind in the default run, if it has not more commands: each of them reads a mutated file once."""

ONCE_WRONG = (941, 2125, 2836, 2951, 3124, 3278, 3505, 3994, 4036, 4239, 6187, 6392, 6531, 6882, 8801)
"""Seeds of cases that ended wrong when they were first tried, one of each sort."""

MANY = 10_000 // len(KINDS) + 1


def assert_right(seeds: range, inputs: Path, tmp_path: Path, preloaded: Preloaded) -> None:
    """Run the cases of seeds; keep the files of those that end wrong."""
    wrong = []
    for case in map(case_of, seeds):
        problems = run_case(case, inputs, tmp_path / "case", preloaded)
        if problems:
            kept = shutil.copytree(tmp_path / "case", tmp_path / str(case.seed), symlinks=True)
            wrong.append("\n  ".join([str(case), *problems, f"its files are in {kept}"]))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_good_inputs_succeed(kind: str, inputs: Path, tmp_path: Path, preloaded: Preloaded) -> None:
    command = COMMANDS[kind][0]
    assert not run_control(command, inputs, tmp_path / "case", preloaded), command


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_inputs(kind: str, inputs: Path, tmp_path: Path, preloaded: Preloaded) -> None:
    first, cases = KINDS.index(kind), max(FEWEST, len(COMMANDS[kind]))
    assert_right(range(first, first + cases * len(KINDS), len(KINDS)), inputs, tmp_path, preloaded)


@pytest.mark.parametrize("seed", ONCE_WRONG)
def test_what_was_wrong_once(seed: int, inputs: Path, tmp_path: Path, preloaded: Preloaded) -> None:
    assert_right(range(seed, seed + 1), inputs, tmp_path, preloaded)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_all_good_inputs_succeed(kind: str, inputs: Path, tmp_path: Path, preloaded: Preloaded) -> None:
    for command in COMMANDS[kind]:
        assert not run_control(command, inputs, tmp_path / "case", preloaded), command


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_mutated_inputs(kind: str, inputs: Path, tmp_path: Path, preloaded: Preloaded) -> None:
    first = KINDS.index(kind)
    assert_right(range(first, first + MANY * len(KINDS), len(KINDS)), inputs, tmp_path, preloaded)
