"""Several processes at work on one output: who they are, and which block each of them works on.

    roads.tif.partial/
        worker_3f2a91c0.lock       a process at work on roads.tif         removed when it ends
        block_0_6144_4096.lock     what it works on (``Share.claim``)     removed when that is finished

They join and leave while they hold the lock of the output, for a moment. Whoever wants to publish holds it all the
time, and first makes sure that nobody is at work (``check_unshared``). All locks lapse with their process.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from roadseg.errors import OutputError, counted
from roadseg.files.lock import OutputLock, holder

PATIENCE_S = 30.0
"""How long a process waits for the lock of the output, which others hold while they join or leave."""

_WORKER = "worker_"


class Share:
    """What one of several processes does for an output.

    Parameters
    ----------
    lock
        The locks that this process holds.
    folder
        Where the processes meet.
    """

    def __init__(self, lock: OutputLock, folder: Path) -> None:
        self._lock, self._folder = lock, folder

    def check(self) -> None:
        """Raise OutputError if this process has lost one of its locks."""
        self._lock.check()

    def claim(self, name: str) -> bool:
        """Return whether this process may work on a block: nobody else does.

        Raises
        ------
        OutputError
            If no lock can be made.
        """
        path = self._path(name)
        try:
            return not self._lock.claim(path)
        except OSError as error:
            raise OutputError(f"cannot write to {self._folder} ({error.strerror}); repeat the command") from error

    def release(self, name: str) -> None:
        """Let go of a block."""
        self._lock.drop(self._path(name))

    def _path(self, name: str) -> Path:
        return self._folder / f"block_{name}.lock"


@contextmanager
def joined(folder: Path) -> Iterator[Share]:
    """Context manager that joins the processes which meet in a folder; call it with the output locked.

    Raises
    ------
    OutputError
        If no lock can be made.
    """
    lock = OutputLock()
    try:
        try:
            lock.claim(folder / f"{_WORKER}{secrets.token_hex(4)}.lock")
        except OSError as error:
            raise OutputError(f"cannot write to {folder} ({error.strerror}); repeat the command") from error
        lock.keep_alive()
        yield Share(lock, folder)
    finally:
        lock.release()


def check_unshared(target: Path, folder: Path) -> None:
    """Raise OutputError if processes are at work on an output, which meet in a folder."""
    workers = [by for path in sorted(folder.glob(f"{_WORKER}*.lock")) if (by := holder(path))]
    if workers:
        verb = "is" if len(workers) == 1 else "are"
        raise OutputError(
            f"{counted(len(workers), 'part')} {verb} at work on {target}, first {workers[0]}; wait until all are done"
        )
