"""The command line and fresh interpreters, run as processes of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


def roadseg(*arguments: object, stdin: str | None = None, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run the command line in a process of its own, on one thread, and return what it said."""
    return subprocess.run(
        [sys.executable, "-m", "roadseg", *map(str, arguments)],
        check=False,
        input=stdin,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"},
        **{"text": True, "timeout": 120, **options},
    )


def start_roadseg(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start the command line in a process of its own that heeds signals as from a terminal; do not wait for it."""

    def usual_signals() -> None:
        for number, handler in {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}.items():
            signal.signal(number, handler)

    return subprocess.Popen(
        [sys.executable, "-m", "roadseg", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=None if sys.platform == "win32" else usual_signals,  # noqa: PLW1509 (background jobs ignore Ctrl-C)
    )


def run_python(code: str) -> str:
    """Run code in a fresh interpreter and return what it printed."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120).stdout


def group_lives(group: int) -> bool:
    """Return whether any process of a process group still runs."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


class Said:
    """What a command said, and its exit status."""

    def __init__(self, status: int, stdout: str, stderr: str) -> None:
        self.status, self.stdout, self.stderr = status, stdout, stderr

    @property
    def error(self) -> str:
        """Its one error: a sentence, on a line of its own."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("roadseg: error: ")]
        assert len(lines) == 1, self.stderr
        assert "Traceback" not in self.stderr
        return lines[0].removeprefix("roadseg: error: ")
