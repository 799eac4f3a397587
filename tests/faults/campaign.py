"""The campaign: run commands on mutated inputs, and say of each whether it ended as documented.

    python tests/faults/campaign.py --cases 3000 --keep /tmp/faults      from the root of the repository

prints what was wrong, with seeds; ``--first SEED --cases 1`` repeats a case. The files of each wrong case are kept.
"""

import argparse
import hashlib
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

from inputs import COMMANDS, Command
from mutators import mutate
from preloaded import Outcome, Preloaded

KINDS = tuple(COMMANDS)
MOST_SECONDS, MOST_MB = 20.0, 700.0
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_FILE_STATE = tuple[int, str]


@dataclass(frozen=True)
class Case:
    """A mutated input and a command that reads it: everything follows from the seed."""

    seed: int
    kind: str
    command: Command
    file: str

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.kind}: {self.file} in roadseg {' '.join(self.command.arguments)}"


def case_of(seed: int) -> Case:
    """Return the case of a seed; the kinds take turns, and so do the commands of a kind."""
    kind, turn = KINDS[seed % len(KINDS)], seed // len(KINDS)
    command = COMMANDS[kind][turn % len(COMMANDS[kind])]
    return Case(seed, kind, command, Random(f"case {seed}").choice(command.files))


def run_case(case: Case, inputs: Path, place: Path, preloaded: Preloaded) -> list[str]:
    """Run a case in a copy of the inputs at ``place``; return what was wrong, nothing if all was right."""
    folder = _fresh(inputs, place)
    done = mutate(folder / case.file, case.kind, Random(f"mutation {case.seed}"))
    return [f"{problem}  [{done}]" for problem in run_command(case.command, folder, preloaded)]


def run_control(command: Command, inputs: Path, place: Path, preloaded: Preloaded) -> list[str]:
    """Run a command on the good inputs: it must succeed."""
    return run_command(command, _fresh(inputs, place), preloaded, statuses={0})


def run_command(command: Command, folder: Path, preloaded: Preloaded, statuses: "set[int] | None" = None) -> list[str]:
    """Run a command in a folder and return what was wrong."""
    before, around = states_in(folder), {path.name for path in folder.parent.iterdir()}
    outcome = preloaded.run(command.arguments, folder)
    after = states_in(folder)
    many = "--scenes" in command.arguments
    problems = [*wrong_words(outcome, statuses or {0, 1}, many=many), *_wrong_cost(outcome)]
    if outcome.status == 70:
        problems.append(f"raised at {_place(preloaded.run([*command.arguments, '-vv'], folder).stderr)}")
    made, changed = after.keys() - before.keys(), [name for name in before if before[name] != after.get(name)]
    if outcome.status == 0 and not _stopped_by_the_clock(command, made):
        problems += [f"exit 0 without {name}" for name in sorted(set(command.outputs) - after.keys())]
    problems += [f"left behind: {name}" for name in sorted(made) if not _may_make(command, name, outcome.status)]
    problems += [f"changed: {name}" for name in changed if not _may_make(command, name, outcome.status)]
    return problems + [f"made outside: {path.name}" for path in folder.parent.iterdir() if path.name not in around]


def _stopped_by_the_clock(command: Command, made: set[str]) -> bool:
    """Whether training that may take so many minutes has saved its step for the next run instead of the model."""
    return "--minutes" in command.arguments and any("checkpoint-" in name for name in made)


def _may_make(command: Command, name: str, status: int) -> bool:
    """Whether a command that ended with this status may leave this file: outputs, and what belongs to them."""
    if "--scenes" in command.arguments:  # the outputs of the scenes that were good
        return not name.endswith((".new", ".lock", ".partial/"))
    if status and "--check" not in command.arguments:
        return False
    folders = [name for name in command.outputs if name.endswith("/")]
    beside = () if status else (*(f"{Path(name).stem}.run/" for name in command.outputs), "o.masks/", *folders)
    return name in command.outputs or name.startswith(beside)


def wrong_words(outcome: Outcome, statuses: set[int], *, many: bool = False) -> list[str]:
    """Return what is wrong with the exit status and what was printed; of many scenes, each may have its sentence."""
    lines = [line for line in outcome.stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    if outcome.hung:
        return ["hangs"]
    if outcome.status not in statuses:
        return [f"exit {outcome.status}: {last}"]
    problems = []
    if outcome.status == 0 and lines:
        problems.append(f"exit 0 says: {lines[0]}")
    if outcome.status == 1:
        if (len(lines) != 1 and not many) or not all(line.startswith("roadseg: error: ") for line in lines or [""]):
            problems.append(f"{len(lines)} lines: {lines[0] if lines else ''} … {last}")
        elif last.endswith("-vv shows where") or max(map(len, lines)) > 1000:
            problems.append(f"no sentence: {last[:300]}")
        if _CONTROL.search(outcome.stderr):
            problems.append(f"control characters: {last!r}")
    if "Traceback" in outcome.stderr or "Exception ignored" in outcome.stderr:
        problems.append(f"traceback: {last}")
    return problems


def _place(stderr: str) -> str:
    """Return the last place in the package that a traceback goes through."""
    places = re.findall(r'File ".*/(roadseg/.*)", line (\d+), in (\w+)', stderr)
    return ":".join(places[-1]) if places else "no place in the package"


def _wrong_cost(outcome: Outcome) -> list[str]:
    slow = [f"took {outcome.seconds:.0f} s"] if outcome.seconds > MOST_SECONDS else []
    return slow + ([f"took {outcome.extra_mb:.0f} MB"] if outcome.extra_mb > MOST_MB else [])


def states_in(folder: Path) -> dict[str, _FILE_STATE]:
    """Return what lies in a folder: time of change and content of each file by name, folders with a slash."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() and not path.is_symlink():
            found[name + "/"] = (0, "")
        else:
            content = path.read_bytes() if path.is_file() else b""
            resumed = ".run/" in name  # training that goes on may write there what was there before
            found[name] = (0 if resumed else path.lstat().st_mtime_ns, hashlib.blake2b(content).hexdigest())
    return found


def _fresh(inputs: Path, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(inputs, place, symlinks=True)
    return place


def kind_of(problem: str) -> str:
    """Return a problem without names, numbers and what was mutated, to count problems of one kind."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "…", problem.split("  [")[0])[:150]


def _show_progress(ran: int, wrong: int) -> None:
    if ran % 500 == 0:
        print(f"{ran} cases, {wrong} of them wrong", file=sys.stderr, flush=True)


def main() -> int:
    """Run a campaign; the exit status is 1 if anything was wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--seeds", type=int, nargs="*")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "roadseg-faults")
    chosen = parser.parse_args()
    chosen.keep.mkdir(exist_ok=True)
    kinds, began, wrong = Counter[str](), time.monotonic(), 0
    with tempfile.TemporaryDirectory() as scratch, Preloaded(Path(scratch)) as preloaded:
        inputs, place = Path(scratch) / "inputs", Path(scratch) / "case"
        inputs.mkdir()
        made = preloaded.make_inputs(inputs)
        if made.status:
            sys.exit(made.stderr)
        if not chosen.first and not chosen.seeds:
            for commands in COMMANDS.values():
                for command in commands:
                    for problem in run_control(command, inputs, place, preloaded):
                        print(f"control: {' '.join(command.arguments)}: {problem}", flush=True)
        ran = 0
        for seed in chosen.seeds or range(chosen.first, chosen.first + chosen.cases):
            case = case_of(seed)
            if chosen.kind and case.kind != chosen.kind:
                continue
            ran += 1
            problems = run_case(case, inputs, place, preloaded)
            if problems:
                wrong += 1
                shutil.copytree(place, chosen.keep / str(seed), dirs_exist_ok=True, symlinks=True)
                print(f"{case}", *problems, sep="\n    ", flush=True)
                kinds.update(map(kind_of, problems))
            _show_progress(ran, wrong)
    print(f"\n{wrong} of {ran} cases were wrong, {time.monotonic() - began:.0f} s; files in {chosen.keep}")
    for kind, count in kinds.most_common():
        print(f"{count:6} {kind}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
