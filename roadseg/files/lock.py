"""Locks on outputs: only one run at a time works on a file, or on a block that several runs share (``parts``).

    roads.tif         the output
    roads.tif.lock    host, process and start of the run that works on it; removed when the run ends

The lock of a killed run does not last. On the same host its process is gone, or another process has its number;
seen from another host, over a network file system, it has not been touched for a minute.
"""

import json
import os
import socket
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from roadseg.errors import OutputError, OutputInUseError
from roadseg.files import win32
from roadseg.files.outputs import behind_links, create, patiently

if sys.platform != "win32":
    import fcntl

_TOUCHED_EVERY_S = 10.0
_STALE_AFTER_S = 60.0
_EMPTY_FOR_S = 5.0
"""Where a file cannot be created whole, a lock that stays empty was left by a run killed before it was written."""

_LOOKS = 3
"""A lock that cannot be read may have been removed, or made anew, since it was seen: look again."""

_NEWCOMER = "another run, which has just begun"


@dataclass(frozen=True)
class LockOwner:
    """The run that holds a lock.

    Parameters
    ----------
    host, namespace
        Name of the machine, and the container on it within which process numbers count.
    process, started
        Number of the process, and the kernel's time of its start, which tells it from an earlier one of that number.
    since
        When the lock was taken, in ISO 8601.
    """

    host: str
    namespace: str
    process: int
    started: str
    since: str

    def __str__(self) -> str:
        when = datetime.fromisoformat(self.since).astimezone()
        return f"process {self.process} on {self.host} since {when:%Y-%m-%d %H:%M:%S}"


class OutputLock:
    """The locks that a run holds on its outputs."""

    def __init__(self) -> None:
        self._owner = _this_process()
        self._held: list[Path] = []
        self._ended = threading.Event()

    def take(self, target: Path, patience_s: float = 0.0) -> None:
        """Lock an output, over the lock of a killed run too.

        Parameters
        ----------
        target
            The output.
        patience_s
            How long to wait for another run that works on it.

        Raises
        ------
        OutputInUseError
            If another run still works on it.
        OutputError
            If no lock can be made.
        """
        deadline = time.monotonic() + patience_s
        try:
            while by := self.claim(_lock_path(target)):
                if time.monotonic() >= deadline:
                    raise OutputInUseError(
                        f"{target} is being written by {by}; wait until it is done, or choose another output"
                    )
                time.sleep(0.05)
        except OSError as error:
            raise OutputError(f"cannot write beside {target} ({error.strerror}); choose another place") from error

    def claim(self, path: Path) -> str:
        """Make a lock file, over that of a killed run too.

        Returns
        -------
        Empty if the lock is this run's, else who holds it.

        Raises
        ------
        OutputError
            If the file was not left by roadseg.
        OSError
            If it cannot be written.
        """
        with _one_at_a_time(path.parent):
            by = holder(path)
            if by:
                return by
            patiently(lambda: path.unlink(missing_ok=True))
            try:
                create(path, json.dumps(asdict(self._owner)).encode())
            except FileExistsError:  # on a file system where two hosts do not see each other's flock
                return _NEWCOMER
        self._held.append(path)
        return ""

    def drop(self, path: Path) -> None:
        """Remove a lock file if it still belongs to this run."""
        self._held.remove(path)
        if _read(path) == self._owner:
            patiently(lambda: path.unlink(missing_ok=True))

    def keep_alive(self) -> None:
        """Start to touch the locks from time to time, until ``release``."""
        threading.Thread(target=self._keep, name="roadseg-lock", daemon=True).start()

    def check(self) -> None:
        """Check that the locks still belong to this run.

        Raises
        ------
        OutputError
            If one was removed, or taken over by a run on another host while this process slept for a minute.
        """
        lost = next((path for path in list(self._held) if _read(path) != self._owner), None)
        if lost:
            raise OutputError(
                f"this run has lost its lock {lost}, because the file was removed or this process was suspended; "
                "repeat the command"
            )

    def release(self) -> None:
        """Remove the locks that still belong to this run."""
        self._ended.set()
        for path in list(self._held):
            self.drop(path)

    def _keep(self) -> None:
        while not self._ended.wait(_TOUCHED_EVERY_S):
            for path in list(self._held):
                with suppress(OSError):
                    os.utime(path)


@contextmanager
def locked(targets: Iterable[Path], patience_s: float = 0.0) -> Iterator[OutputLock]:
    """Context manager that locks outputs, so that no other run works on them.

    Parameters
    ----------
    targets
        The outputs.
    patience_s
        How long to wait for another run that works on one of them.

    Raises
    ------
    OutputError
        If another run does, or no lock can be made.
    """
    with ExitStack() as stack:
        lock = OutputLock()
        stack.callback(lock.release)
        named = list(targets)
        for target in named:
            lock.take(target, patience_s)
        if named:
            lock.keep_alive()
        yield lock


def holder(path: Path) -> str:
    """Return who holds a lock file; empty if there is none, or only that of a run that is gone.

    Raises
    ------
    OutputError
        If the file was not left by roadseg.
    """
    for _ in range(_LOOKS):
        try:
            found = path.lstat()
            owner = _read(path)
            if owner or (stat.S_ISREG(found.st_mode) and not found.st_size):
                return "" if _is_stale(path, owner) else str(owner or _NEWCOMER)
        except (FileNotFoundError, NotADirectoryError):  # there is none, or it was removed in between
            return ""
    raise OutputError(f"{path} is in the way and was not left by roadseg; move it")


def _lock_path(target: Path) -> Path:
    """Return the path of the lock; links to a file share the lock of that file."""
    place = behind_links(target)
    return place.with_name(place.name + ".lock")


def _is_stale(path: Path, owner: LockOwner | None) -> bool:
    alive = _is_alive(owner) if owner else None
    if alive is not None:
        return not alive
    with tempfile.TemporaryFile(dir=path.parent) as file:
        now = os.fstat(file.fileno()).st_mtime  # by the clock of the file system
    return now - path.stat().st_mtime > (_STALE_AFTER_S if owner else _EMPTY_FOR_S)


def _is_alive(owner: LockOwner) -> bool | None:
    """Return whether a process runs; None if that cannot be seen from here."""
    here = _this_process()
    if (owner.host, owner.namespace) != (here.host, here.namespace):
        return None
    if sys.platform == "win32":
        started = win32.start_of_process(owner.process)
        return None if started is None else started == owner.started
    try:
        os.kill(owner.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return None
    return _start_of(owner.process) == owner.started


def _this_process() -> LockOwner:
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    process = os.getpid()
    return LockOwner(socket.gethostname(), namespace, process, _start_of(process), datetime.now(UTC).isoformat())


def _start_of(process: int) -> str:
    """Return when a process was started, as the kernel tells it; empty where it does not, or has ended."""
    if sys.platform == "win32":
        return win32.start_of_process(process) or ""
    try:
        line = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
    except OSError:
        return ""
    fields = line.rpartition(")")[2].split()  # from the third field on, the state; the second may hold anything
    return "" if fields[0] in "ZX" else fields[19]


def _read(path: Path) -> LockOwner | None:
    """Return who holds a lock; None if there is none or it cannot be read."""
    try:
        owner = LockOwner(**json.loads(path.read_text("utf-8")))
        datetime.fromisoformat(owner.since).astimezone()
    except (OSError, ValueError, TypeError, OverflowError):
        return None
    return owner if isinstance(owner.process, int) and owner.process > 0 else None


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Context manager that keeps two processes of this host from replacing a stale lock at the same moment."""
    if sys.platform == "win32":
        with win32.one_process("roadseg.lock"):
            yield
        return
    if not os.access(folder, os.R_OK):
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        for _ in range(100):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:  # a file system without such locks
                break
        yield
    finally:
        os.close(descriptor)
