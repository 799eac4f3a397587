"""The errors roadseg raises on purpose, one small tree, and the wording of messages.

Each message is one sentence that names what is at fault and how to fix it. The command line prints it and exits with
status 1, or 2 for a ``UsageError``. A wrong argument of an internal function is a plain ``ValueError``.
"""

import errno
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the system's errors for want of room."""

_LONGEST = 300
"""Most characters of a library's words, which may repeat names of any length."""

_URL = re.compile(r"([a-z][a-z0-9+]+):/+", re.IGNORECASE)
"""The beginning of an address, also where a ``Path`` of it has left one slash."""

_USER = re.compile(r"([a-z][a-z0-9+]+://)[^/@\s'\"]+@", re.IGNORECASE)
_SECRET = re.compile(
    r"([?&][^=&?\s]*(?:sig|token|key|credential|passw|secret|auth)[^=&?\s]*=)[^&#\s'\"]+?(?=[,:;)]?(?:[&#\s'\"]|$))",
    re.IGNORECASE,
)
"""Users in addresses, and values of what a query calls a signature, a token, a key and the like."""


_PLAIN = re.compile(r"[\w.:/\\+=@-]+")
"""Words that no shell takes for anything else."""


class RoadsegError(Exception):
    """Base of every error a user can meet."""


class UsageError(RoadsegError, ValueError):
    """An option has a value it cannot have, or does not go with another."""


class SceneError(RoadsegError):
    """An input raster or vector file cannot be used as asked."""


class OutputError(RoadsegError):
    """An output cannot be written where it was asked for."""


class OutputInUseError(OutputError):
    """Another run works on an output."""


class ModelError(RoadsegError):
    """A model is missing, damaged, or does not fit."""


class DeviceError(RoadsegError):
    """The device asked for is absent or too small for the work."""


class TrainingError(RoadsegError):
    """Training data or a training run cannot be used as asked."""


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1."""
    return f"{count:,} {noun}" + ("s" if count != 1 else "")


def one_line(error: BaseException) -> str:
    """Return the message of a library for one of ours: one line of at most 300 characters, without a full stop."""
    return " ".join(str(error).split())[:_LONGEST].rstrip(".")


def as_typed(words: Sequence[str], *, on_windows: bool = os.name == "nt") -> str:
    """Return words of a command as they are typed; Windows' shells know double quotes alone."""
    if not on_windows:
        return shlex.join(words)
    return " ".join(word if _PLAIN.fullmatch(word) else '"' + word.replace('"', r"\"") + '"' for word in words)


def no_such_file(path: Path) -> SceneError:
    """Return the error of something that is read from files only, and is none."""
    name = _URL.sub(r"\1://", path.as_posix())
    if _URL.match(name):
        return SceneError(f"{name} is not a file on this machine; download it first")
    if name.startswith("/vsi"):
        return SceneError(f"{name} is not a file on this machine; unpack or download it first")
    if "|layername=" in name:
        return SceneError(f"{path} is QGIS's name of a layer; give the file alone, which ends before the |")
    return SceneError(f"{path} does not exist; check the path")


def not_utf8(name: str, cure: str) -> str:
    """Return what is wrong with a path that GDAL cannot use as it is not UTF-8, or that Python takes for no UTF-8.

    Parameters
    ----------
    name
        The path.
    cure
        How to fix it if it really is another encoding.
    """
    if sys.getfilesystemencoding() != "utf-8":
        return f"{name!a} cannot be read as {sys.getfilesystemencoding()}, the encoding here; set PYTHONUTF8=1"
    return f"{name!a} is not UTF-8, as GDAL needs it; {cure}"


def without_secrets(text: str) -> str:
    """Return a text without user names, passwords, keys and signatures in its addresses, for files and logs."""
    return _SECRET.sub(r"\1***", _USER.sub(r"\1***@", text))


def shortened(names: Sequence[str], most: int = 8) -> str:
    """Return names as a list for a message, the first ``most`` of them and the number of others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
