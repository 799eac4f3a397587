"""Files as Windows shares them: one that a process holds open can neither be removed nor replaced."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_REFUSED: list[list[str]] = []
_HOOKED: list[bool] = []
_MAPPED = {"", ".safetensors"}
"""Endings of what may be mapped into memory, or a folder with such files; to list the maps takes milliseconds."""


@contextmanager
def as_on_windows() -> Iterator[list[str]]:
    """Context manager in which removing or renaming an open file fails, as on Windows; yields what was refused.

    Only Linux says which files its processes hold open.
    """
    if not _HOOKED:
        sys.addaudithook(_refuse)  # it cannot be taken away again
        _HOOKED.append(True)
    _REFUSED.append([])
    try:
        yield _REFUSED[-1]
    finally:
        _REFUSED.pop()


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if not _REFUSED or event not in {"os.remove", "os.rename", "shutil.rmtree"}:
        return
    folder = Path.cwd()
    if event == "os.remove" and arguments[-1] != -1:
        folder = Path(f"/proc/self/fd/{arguments[-1]}").readlink()
    for path in arguments[: 2 if event == "os.rename" else 1]:
        place = (folder / path).resolve()
        held = next(filter(Path.is_file, _open_at(place)), None)
        if held:
            _REFUSED[-1].append(f"{event} {place}: {held} is open")
            raise PermissionError(13, "The process cannot access the file because it is being used", str(place))


def _open_at(place: Path) -> Iterator[Path]:
    """Yield the files at a path, or in a folder, that this process and its children have open or in their memory."""
    for process in _family():
        for link in _entries(process / "fd"):
            with suppress(OSError):
                opened = link.readlink()
                if opened == place or place in opened.parents:
                    yield opened
        if place.suffix not in _MAPPED:
            continue
        with suppress(OSError):
            maps = (process / "maps").read_text(encoding="utf-8", errors="replace")
            if str(place) in maps:
                yield from map(Path, re.findall(rf" ({re.escape(str(place))}(?:/.*)?)$", maps, re.MULTILINE))


def _family() -> list[Path]:
    """Return the folders in ``/proc`` of this process and of its children."""
    found = [Path("/proc/self")]
    for process in found:
        for task in _entries(process / "task"):
            with suppress(OSError):
                children = (task / "children").read_text(encoding="utf-8")
                found += [Path("/proc", number) for number in children.split()]
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
