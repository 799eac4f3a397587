"""Ctrl-C and SIGTERM, which ``kill``, ``timeout``, SLURM and Docker send: both stop a command in the same way.

Either raises in the main thread, so that everything is cleaned up on the way out; while interrupts are deferred,
it is raised at the end of that context. Signals within two seconds count as one (``timeout`` sends two, torchrun
forwards what every process already received); a later one is raised at once. Python's handlers wait for C code to
return, which waits for a server, maybe; so a thread watches the signals, and ends a process that does not react.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_SAME_REQUEST_S = 2.0
_PATIENCE_S, _AGAIN_S = 1.5, 0.1
_MANY = 4096
_PENDING = b"\nroadseg: stopping after this step; press Ctrl-C again to stop at once\n"
_WAITING = b"\nroadseg: stopping once what runs now has ended; press Ctrl-C again to stop at once\n"
_ENDED = b"\nroadseg: stopped at once; the same command begins again or resumes\n"


class Terminated(KeyboardInterrupt):
    """SIGTERM was received."""


class Interruptions:
    """Signals that ask this process to stop: the handlers, and whether a deferred one is pending.

    Parameters
    ----------
    forces
        Whether a process is ended that does not react when it is asked a second time.
    """

    def __init__(self, *, forces: bool = False) -> None:
        self._forces = forces
        self._deferrals = 0
        self._pending: type[KeyboardInterrupt] | None = None
        self._received_s: float | None = None
        self._raised: type[KeyboardInterrupt] | None = None

    @property
    def raised(self) -> type[KeyboardInterrupt] | None:
        """The interrupt that was raised, if one was; a library may have made another error of it."""
        return self._raised

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
        stop_watching = self._watch() if self._forces and replaced else None
        try:
            yield
        finally:
            self._raised = None
            if self._received_s is None:
                if stop_watching:
                    stop_watching()
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

    def lost(self, kind: type[BaseException]) -> None:
        """Raise an interrupt again in a moment: it was raised in a callback of C code, which cannot pass it on."""
        self._received_s = None
        number = signal.SIGTERM if issubclass(kind, Terminated) else signal.SIGINT
        again = threading.Timer(_AGAIN_S, _signal_this_process, (number,))
        again.daemon = True
        again.start()

    def _watch(self) -> Callable[[], None]:
        """Watch the signals in a thread, which sees them at once; return what ends that."""
        seen, self._written = socket.socketpair()
        self._written.setblocking(False)
        before = signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)

        def stop() -> None:
            signal.set_wakeup_fd(before)
            self._written.close()  # which ends the thread

        threading.Thread(target=self._end_if_asked_twice, args=(seen,), name="roadseg-signals", daemon=True).start()
        return stop

    def _end_if_asked_twice(self, signals: socket.socket) -> None:
        """End the process if it neither ends by itself after a first signal nor after a second one."""
        with signals:
            first = signals.recv(1)
            if not first:
                return
            time.sleep(_SAME_REQUEST_S)
            signals.setblocking(False)
            with suppress(BlockingIOError):
                signals.recv(_MANY)
            if not self._pending:
                os.write(2, _WAITING)
            signals.setblocking(True)
            signals.recv(1)
            time.sleep(_PATIENCE_S)  # the handler of the second one may do
            os.write(2, _ENDED)
            os._exit(143 if first[0] == signal.SIGTERM else 130)

    def _handle(self, number: int, _: FrameType | None) -> None:
        before, self._received_s = self._received_s, time.monotonic()
        if before is not None and self._received_s - before < _SAME_REQUEST_S:
            self._received_s = before
            return
        kind = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if before is not None or not self._deferrals:
            self._raised = kind
            raise kind
        self._pending = kind
        os.write(2, _PENDING)


def _signal_this_process(number: signal.Signals) -> None:
    if os.name == "nt":  # where ``os.kill`` ends a process
        signal.raise_signal(number)
    else:
        os.kill(os.getpid(), number)


def _is_of_start(handler: object) -> bool:
    """Return whether a handler is the one of ``roadseg.__main__``, which may have been imported under another name."""
    return getattr(handler, "__name__", "") == "stop_at_once"


INTERRUPTIONS = Interruptions(forces=sys.platform != "win32")
"""The signals of this process."""
