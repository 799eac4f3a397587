"""Several processes at work on one output: who they are, and which block each of them works on.

    roads.tif.partial/
        worker_3f2a91c0.lock       a process at work on roads.tif         removed when it ends
        block_0_6144_4096.lock     what it works on (``Share.claim``)     removed when that is finished

They join and leave while they hold the lock of the output, for a moment. Whoever wants to publish holds it all the
time, and first makes sure that nobody is at work (``check_unshared``). All locks lapse with their process.
"""

import itertools
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from roadseg.errors import OutputError, counted
from roadseg.files.lock import OutputLock, holder

PATIENCE_S = 30.0
"""How long a process waits for the lock of the output, which others hold while they join or leave."""

_WORKER = "worker_"

Item = TypeVar("Item")


@dataclass(frozen=True)
class PartCounts:
    """Numbers of blocks: of the whole, finished before a part began, and missing when it ended."""

    blocks: int
    before: int
    missing: int

    def sentence(self, index: int, count: int) -> str:
        """Return what a part, counted from 0, says when it is done."""
        rest = f"{counted(self.missing, 'block')} missing" if self.missing else "all blocks finished"
        return f"part {index + 1}/{count} is done, {rest}; the command without --part writes the outputs"


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


def own_and_helped(items: Sequence[Item], share: tuple[int, int] | None) -> tuple[Sequence[Item], Sequence[Item]]:
    """Return the inputs that a part processes, and those of others that it helps with; a single one is its own."""
    return own_and_others(items, *share) if share and len(items) > 1 else (items, [])


def own_and_others(items: Sequence[Item], index: int, count: int) -> tuple[list[Item], list[Item]]:
    """Return the items of a part, and those of the others in the order in which it helps them.

    Each begins with the items of its own part and then does what others have not begun, from the end of their parts on,
    where they come last:

        part 1/3   1 2 3 4   then  8 7 6 5  12 11 10 9
        part 2/3   5 6 7 8   then  12 11 10 9  4 3 2 1
    """
    bounds = [round(len(items) * part / count) for part in range(count + 1)]
    shares = [list(items[start:stop]) for start, stop in itertools.pairwise(bounds)]
    others = [item for share in (*shares[index + 1 :], *shares[:index]) for item in reversed(share)]
    return shares[index], others
