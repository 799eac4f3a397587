"""Another process at the end of a pipe, which answers calls in their order.

    calls     ──▶ a thread sends ─────▶ pipe ──▶ a thread listens ──▶ one call after the other
    futures   ◀── a thread receives ◀── pipe ◀────────────────────────── answers

So nobody waits for it who does not ask for an answer. It ends with the process that started it.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from typing import Any, TypeVar

from roadseg.errors import RoadsegError

Result = TypeVar("Result")

_PATIENCE_S = 2.0
"""How long a process may take to end after it has closed its pipe."""


class WorkerProcess:
    """Another process, which begins to start at once.

    Parameters
    ----------
    module
        What it imports before the first call.
    """

    def __init__(self, module: str = "") -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, far_end = spawn.Pipe()
        self._process = spawn.Process(target=_work, args=(far_end, module), name="roadseg-worker", daemon=True)
        self._unanswered: deque[Future[Any]] = deque()
        self._ended: Exception | None = None
        self._lock = threading.Lock()
        self._receiver = threading.Thread(target=self._receive, name="roadseg-answers", daemon=True)
        # In a thread of its own, no KeyboardInterrupt can leave a process half started, and nobody waits for it.
        self._sender = ThreadPoolExecutor(1, "roadseg-calls", initializer=_block_signals)
        self._started = self._sender.submit(self._start, far_end)

    def call(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Have a function called there; it must be defined in a module."""
        answer: Future[Result] = Future()
        with self._lock:
            ended = self._ended
            if ended is None:
                self._unanswered.append(answer)
                self._sender.submit(self._send, answer, (function, arguments))
        if ended is not None:
            answer.set_exception(ended)
        return answer

    def unanswered(self) -> int:
        """Return the number of calls that were not answered yet."""
        return len(self._unanswered)

    def is_alive(self) -> bool:
        """Return whether it has not ended, as far as is known."""
        return self._ended is None

    def close(self) -> None:
        """End the process at once, whatever it does."""
        with suppress(Exception):
            self._started.result()
            self._process.kill()
            self._receiver.join()
            self._process.join()
            self._process.close()
        if os.name == "nt":  # where the far end may still be open; elsewhere what is being sent has failed by now
            self._pipe.close()
        self._sender.shutdown(cancel_futures=True)
        self._pipe.close()

    def _start(self, far_end: "Connection[Any, Any]") -> None:
        try:
            self._process.start()
            self._receiver.start()
        except Exception as error:
            self._end(error)
            raise
        finally:
            far_end.close()

    def _send(self, answer: Future[Any], call: tuple[Callable[..., Any], tuple[Any, ...]]) -> None:
        try:
            self._pipe.send(call)
        except OSError:
            pass  # it has ended, and so will the thread that receives its answers
        except Exception as error:  # noqa: BLE001  (it cannot be pickled)
            self._unanswered.remove(answer)
            answer.set_exception(error)

    def _receive(self) -> None:
        while True:
            try:
                # Of a process that is killed while it starts, Windows keeps the far end of the pipe open.
                if self._pipe not in wait([self._pipe, self._process.sentinel]):
                    raise EOFError
                is_result, value = self._pipe.recv()
            except (EOFError, OSError):
                self._end(self._why_it_ended())
                return
            except Exception as error:  # noqa: BLE001  (it cannot be unpickled)
                is_result, value = False, error
            answer = self._unanswered.popleft()
            if is_result:
                answer.set_result(value)
            else:
                answer.set_exception(value)

    def _why_it_ended(self) -> RoadsegError:
        wait([self._process.sentinel], _PATIENCE_S)
        if self._process.exitcode == 1:  # Python could not import the script that started this process
            return RoadsegError(
                "a worker process could not start, see its error above; a script that asks for several workers must "
                'be a file, and do its work below if __name__ == "__main__":'
            )
        return RoadsegError("a worker process was killed, maybe for lack of memory; use fewer --workers")

    def _end(self, error: Exception) -> None:
        with self._lock:
            self._ended = error
        while self._unanswered:
            self._unanswered.popleft().set_exception(error)


def _block_signals() -> None:
    """Let processes that this thread starts be born deaf to Ctrl-C and SIGTERM, which terminals send to all.

    A worker that dies before it has read its data leaves the writing end of its pipe waiting for ever.
    """
    if hasattr(signal, "pthread_sigmask"):
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # starting it later would unblock the signals
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})


def _work(pipe: "Connection[Any, Any]", module: str) -> None:
    """Answer calls until the main process kills this one, or ends; Ctrl-C and SIGTERM are left to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    calls: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, calls), name="roadseg-calls", daemon=True).start()
    if module:
        import_module(module)
    while True:
        answer = _answer(calls.get())
        try:
            pipe.send(answer)
        except OSError:
            return
        except Exception as error:  # noqa: BLE001  (it cannot be pickled)
            pipe.send((False, error))


def _listen(pipe: "Connection[Any, Any]", calls: "SimpleQueue[bytes]") -> None:
    """Receive calls, so that nobody waits with sending them; end this process when the main process has ended."""
    with suppress(EOFError, OSError):
        while True:
            calls.put(pipe.recv_bytes())
    os._exit(1)


def _answer(call: bytes) -> tuple[bool, Any]:
    """Return whether a call succeeds, and its result or what it raises; unpickling it imports what it needs."""
    try:
        function, arguments = ForkingPickler.loads(call)
        return True, function(*arguments)
    except Exception as error:  # noqa: BLE001  (raised by the main process)
        return False, error
