"""Ctrl-C and SIGTERM, which ``kill``, ``timeout``, SLURM and Docker send: both stop a command in the same way.

Either raises in the main thread, so that everything is cleaned up on the way out; while interrupts are deferred,
it is raised at the end of that context. Signals within two seconds count as one (``timeout`` sends two, torchrun
forwards what every process already received); a later one is raised at once.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SAME_REQUEST_S = 2.0
_PENDING = b"\nroadseg: stopping after this step; press Ctrl-C again to stop at once\n"


class Terminated(KeyboardInterrupt):
    """SIGTERM was received."""


class Interruptions:
    """Signals that ask this process to stop: the handlers, and whether a deferred one is pending."""

    def __init__(self) -> None:
        self._deferrals = 0
        self._pending: type[KeyboardInterrupt] | None = None
        self._received_s: float | None = None

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Context manager that handles signals; those the process was started to ignore stay ignored."""
        usual: dict[signal.Signals, Any] = {
            signal.SIGINT: signal.default_int_handler,
            signal.SIGTERM: signal.SIG_DFL,
        }
        main = threading.current_thread() is threading.main_thread()
        before = {n: signal.getsignal(n) for n in usual if main}
        replaced = {n: usual[n] for n, handler in before.items() if handler == usual[n] or _is_of_start(handler)}
        for number in replaced:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            if self._received_s is None:
                for number, handler in replaced.items():
                    signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[Callable[[], bool]]:
        """Context manager that defers interrupts until exit; yields a callable that says whether one is pending."""
        self._deferrals += 1
        try:
            yield lambda: self._pending is not None
        finally:
            self._deferrals -= 1
        if self._pending and not self._deferrals:
            raise self._pending

    def _handle(self, number: int, _: FrameType | None) -> None:
        before, self._received_s = self._received_s, time.monotonic()
        if before is not None and self._received_s - before < _SAME_REQUEST_S:
            self._received_s = before
            return
        kind = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if before is not None or not self._deferrals:
            raise kind
        self._pending = kind
        os.write(2, _PENDING)


def _is_of_start(handler: object) -> bool:
    """Return whether a handler is the one of ``roadseg.__main__``, which may have been imported under another name."""
    return getattr(handler, "__name__", "") == "stop_at_once"


INTERRUPTIONS = Interruptions()
"""The signals of this process."""
