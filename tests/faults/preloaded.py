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


_MOST_SECONDS = 60
"""Processor time after which a command is taken to hang: on a busy machine the clock says little."""


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

    def run(self, arguments: Sequence[object], folder: Path, **limits: float) -> Outcome:
        """Run a command in a folder.

        Parameters
        ----------
        arguments, folder
            The command, and where it runs.
        limits
            ``timeout_s`` on the clock; ``kill_after_s`` kills it then; ``file_bytes`` is what the disk takes of a file.
        """
        return self.run_together([arguments], folder, **limits)[0]

    def run_together(
        self, commands: Sequence[Sequence[object]], folder: Path, *, apart_s: float = 0, **limits: float
    ) -> list[Outcome]:
        """Run commands at the same time, each started some time after the one before."""
        runs = [
            {"arguments": [str(a) for a in arguments], "delay_s": number * apart_s, **limits}
            for number, arguments in enumerate(commands)
        ]
        return self._ask(runs, folder)

    def make_inputs(self, folder: Path) -> Outcome:
        """Write the inputs of the campaign to a folder; the process then imports all that this has needed."""
        modules = str(self._scratch / "modules")
        return self._ask([{"inputs": str(folder), "timeout_s": 300, "modules": modules}], folder)[0]

    def _ask(self, runs: list[dict[str, Any]], folder: Path) -> list[Outcome]:
        for number, run in enumerate(runs):
            texts = {name: str(self._scratch / f"{name}-{number}") for name in ("stdout", "stderr")}
            for text in texts.values():
                Path(text).unlink(missing_ok=True)
            run |= {"folder": str(folder), "timeout_s": run.get("timeout_s", 600), **texts}
        self._process.stdin.write(json.dumps(runs) + "\n")
        self._process.stdin.flush()
        answers = json.loads(self._process.stdout.readline())
        return [
            Outcome(stdout=_text(Path(run["stdout"])), stderr=_text(Path(run["stderr"])), **answer)
            for run, answer in zip(runs, answers, strict=True)
        ]


def _text(path: Path) -> str:
    """Return what a command printed; one that was killed before it began has no file."""
    if not path.exists():
        return ""
    return path.read_text("utf-8", "backslashreplace")


def serve() -> None:
    """Answer requests until stdin ends; in a fork, run the command and leave."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in sys.stdin:
        answers.write(json.dumps(_run_all(json.loads(line))) + "\n")
        answers.flush()


def _run_all(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fork for each run when it is due; return how each ended."""
    began, base_kb = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    waiting, going = dict(enumerate(runs)), dict[int, int]()
    hung, done = set[int](), dict[int, dict[str, Any]]()
    while waiting or going:
        now = time.monotonic() - began
        for number in [n for n, run in waiting.items() if run.get("delay_s", 0) <= now]:
            run = waiting.pop(number)
            child = os.fork()
            if not child:
                _be_the_command(run)
            going[number] = child
        for number, child in list(going.items()):
            run, age = runs[number], now - runs[number].get("delay_s", 0)
            if age > min(run["timeout_s"], run.get("kill_after_s", run["timeout_s"])):
                hung |= {number} if age > run["timeout_s"] else set()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            ended, status, usage = os.wait4(child, os.WNOHANG)
            if ended:
                del going[number]
                done[number] = {
                    "status": os.waitstatus_to_exitcode(status),
                    "seconds": usage.ru_utime + usage.ru_stime,
                    "extra_mb": (usage.ru_maxrss - base_kb) / 1024,
                    "hung": number in hung or status & 0x7F == signal.SIGXCPU,
                }
                if "modules" in run:
                    _import(Path(run["modules"]).read_text("utf-8").split())
                    _warm_up(Path(run["inputs"]))
        time.sleep(0.002)
    return [done[number] for number in range(len(runs))]


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
        resource.setrlimit(resource.RLIMIT_CPU, (_MOST_SECONDS, _MOST_SECONDS))
        if "file_bytes" in request:
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_bytes"], request["file_bytes"]))
        gc.enable()
        status = _status_of(_work(request))
        if "modules" in request:
            Path(request["modules"]).write_text("\n".join(sys.modules), "utf-8")
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
        if name.startswith("onnxruntime"):  # starts a thread
            continue
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    threads = [(task / "comm").read_text("utf-8").strip() for task in Path("/proc/self/task").iterdir()]
    if len([name for name in threads if name != "jemalloc_bg_thd"]) > 1:  # pyarrow's, which survives a fork
        raise RuntimeError("a module has started a thread, which a fork would lack")
    gc.collect()
    gc.freeze()
    gc.disable()


def _warm_up(inputs: Path) -> None:
    """Have GDAL and PROJ register and open what the first use needs, once instead of in each fork."""
    import pyogrio
    import rasterio
    from rasterio.warp import transform

    with rasterio.open(inputs / "scene.tif") as scene:
        transform(scene.crs, "EPSG:4326", [scene.bounds.left], [scene.bounds.top])
    pyogrio.list_layers(inputs / "roads.gpkg")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    _import(["roadseg.cli", "roadseg.train", "roadseg.predict", "roadseg.compare", "rasterio", "pyogrio"])
    serve()
