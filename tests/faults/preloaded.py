"""Runs commands in forks of one process that has imported everything: a command takes milliseconds instead of seconds.

The process is started anew, has one thread, and never runs a command itself. It reads requests as lines of JSON from
stdin and answers each on stdout when the fork has ended.
"""

import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

_ADDRESS_SPACE = 6 << 30
"""More than a command may take, less than what would harm the machine."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended: exit status (minus the signal that killed it), what it printed, processor time, memory."""

    status: int
    stdout: str
    stderr: str
    seconds: float
    extra_mb: float
    hung: bool


class Preloaded:
    """The process; use it as a context manager. ``scratch`` is a folder for what commands print."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(self, arguments: Sequence[object], folder: Path, *, timeout_s: float = 60) -> Outcome:
        """Run a command in a folder."""
        return self._ask({"arguments": [str(a) for a in arguments], "folder": str(folder), "timeout_s": timeout_s})

    def make_inputs(self, folder: Path) -> Outcome:
        """Write the inputs of the campaign to a folder; the process then imports all that this has needed."""
        modules = str(self._scratch / "modules")
        return self._ask({"inputs": str(folder), "folder": str(folder), "timeout_s": 300, "modules": modules})

    def _ask(self, request: dict[str, Any]) -> Outcome:
        out, err = self._scratch / "stdout", self._scratch / "stderr"
        self._process.stdin.write(json.dumps({**request, "stdout": str(out), "stderr": str(err)}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        self.last = Outcome(stdout=_text(out), stderr=_text(err), **answer)
        return self.last


def _text(path: Path) -> str:
    return path.read_text("utf-8", "backslashreplace")


def serve() -> None:
    """Answer requests until stdin ends; in a fork, run the command and leave."""
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        began = time.monotonic()
        base_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        child = os.fork()
        if not child:
            _be_the_command(request)
        hung = False
        while not (ended := os.wait4(child, os.WNOHANG))[0]:
            if time.monotonic() - began > request["timeout_s"]:
                hung = True
                os.killpg(child, signal.SIGKILL)
                ended = os.wait4(child, 0)
                break
            time.sleep(0.002)
        if "modules" in request:
            _import(Path(request["modules"]).read_text().split())
        _, status, usage = ended
        seconds = usage.ru_utime + usage.ru_stime
        answer = {
            "status": os.waitstatus_to_exitcode(status),
            "seconds": seconds,
            "extra_mb": (usage.ru_maxrss - base_kb) / 1024,
            "hung": hung,
        }
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _be_the_command(request: dict[str, Any]) -> None:
    """Run the command of a request in this process, which ends with it."""
    status = 1
    try:
        os.setsid()
        os.chdir(request["folder"])
        for number, (name, flags) in enumerate(
            [
                ("/dev/null", os.O_RDONLY),
                (request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
                (request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            ]
        ):
            os.dup2(os.open(name, flags), number)
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
        gc.enable()
        status = _status_of(_work(request))
        if "modules" in request:
            Path(request["modules"]).write_text("\n".join(sys.modules))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _work(request: dict[str, Any]) -> Callable[[], None]:
    if "inputs" in request:
        from inputs import make_inputs

        return lambda: make_inputs(Path(request["inputs"]))
    from roadseg.cli import main

    sys.argv = ["roadseg", *request["arguments"]]
    return main


def _status_of(work: Callable[[], None]) -> int:
    try:
        work()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001  (as the interpreter would)
        traceback.print_exc()
        return 1
    return 0


def _import(names: Sequence[str]) -> None:
    """Import modules, and keep the garbage collector off them: what a fork does not touch it need not copy."""
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    if len([name for name in threads if name != "jemalloc_bg_thd"]) > 1:  # pyarrow's, which survives a fork
        raise RuntimeError("a module has started a thread, which a fork would lack")
    gc.collect()
    gc.freeze()
    gc.disable()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    _import(["roadseg.cli", "roadseg.train", "roadseg.predict", "roadseg.compare", "rasterio", "pyogrio"])
    serve()
