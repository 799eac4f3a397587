"""Ctrl-C and SIGTERM, which ``kill``, ``timeout``, SLURM and Docker send: both stop a command in the same way.

Each raises in the main thread, wherever that is, so that everything is cleaned up on the way out; inside a shield it
waits until the end. Signals that follow within two seconds are the same wish (``timeout`` sends two, torchrun passes on
what came to all); a later one does not wait for anything.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_ONE_WISH_S = 2.0
_WAITING = b"\nroadseg: stopping when this step is done; once more stops at once\n"


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


class Interruptions:
    """What is known about signals that ask this process to stop."""

    def __init__(self) -> None:
        self._shields = 0
        self._waiting: type[KeyboardInterrupt] | None = None
        self._heard_s: float | None = None

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Give a context in which signals raise; a signal that the process was started to ignore stays ignored."""
        usual: dict[signal.Signals, Any] = {
            signal.SIGINT: signal.default_int_handler,
            signal.SIGTERM: signal.SIG_DFL,
        }
        main = threading.current_thread() is threading.main_thread()
        replaced = {n: usual[n] for n in usual if main and signal.getsignal(n) == usual[n]}
        for number in replaced:
            signal.signal(number, self._hear)
        try:
            yield
        finally:
            if self._heard_s is None:
                for number, handler in replaced.items():
                    signal.signal(number, handler)

    @contextmanager
    def shield(self) -> Iterator[Callable[[], bool]]:
        """Give a context in which a signal waits until the end, and what tells whether one does."""
        self._shields += 1
        try:
            yield lambda: self._waiting is not None
        finally:
            self._shields -= 1
        if self._waiting and not self._shields:
            raise self._waiting

    def _hear(self, number: int, _: FrameType | None) -> None:
        before, self._heard_s = self._heard_s, time.monotonic()
        if before is not None and self._heard_s - before < _ONE_WISH_S:
            self._heard_s = before
            return
        kind = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if before is not None or not self._shields:
            raise kind
        self._waiting = kind
        os.write(2, _WAITING)


INTERRUPTIONS = Interruptions()
"""Those of this process."""
