"""The process around a command: its standard streams, what libraries print there, text that is safe in a terminal."""

import errno
import io
import logging
import os
import re
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from roadseg.errors import DISK_FULL, without_secrets

_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories of what steers a terminal, hides, or ends a line: controls, formats, surrogates, separators."""

_WORD = 250
_ENDLESS = re.compile(rf"\S{{{_WORD + 100},}}")
"""Words that are cut to ``_WORD`` characters."""


def printable(text: str) -> str:
    """Return a text with control characters escaped, endless words cut, and no secrets in addresses.

    File names and metadata must neither steer the terminal nor fill it, and logs are read by others.
    """
    text = _ENDLESS.sub(lambda word: word[0][:_WORD] + "…", without_secrets(text))
    if text.isprintable():
        return text
    unsafe = (unicodedata.category(character) in _UNSAFE for character in text)
    return "".join(
        character.encode("unicode_escape").decode() if escape else character
        for character, escape in zip(text, unsafe, strict=True)
    )


def system_sentence(error: MemoryError | OSError) -> str:
    """Return what the system said as a sentence with a cure."""
    if isinstance(error, MemoryError):
        return (
            "there is not enough memory; close other programs, or choose a smaller --block, --batch or --crop, if the "
            "command has one"
        )
    what = f"{error.filename} cannot be used" if error.filename else "reading or writing failed"
    cures = {errno.ENAMETOOLONG: "give it a shorter name"}
    cures |= dict.fromkeys(DISK_FULL, "make room")
    cure = cures.get(error.errno or 0, "check it, -vv shows where")
    return f"{what} ({error.strerror or error}); {cure}"


class _Stdout(io.TextIOWrapper):
    """Standard output whose errors name it."""

    def write(self, text: str) -> int:
        """Write a text."""
        with named_stdout():
            return super().write(text)

    def flush(self) -> None:
        """Write what is in the buffer."""
        with named_stdout():
            super().flush()


@contextmanager
def named_stdout() -> Iterator[None]:
    """Context manager in which errors of the system name stdout.

    Raises
    ------
    BrokenPipeError
        If its reader has ended, which Windows calls an invalid argument.
    """
    try:
        yield
    except OSError as error:
        if os.name == "nt" and error.errno == errno.EINVAL:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE), "stdout") from None
        error.filename = "stdout"
        raise


def open_streams() -> None:
    """Open the null device for closed standard streams, whose numbers files would get; stdout then takes nothing."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        if number == 1:
            os.close(number)
            os.open(os.devnull, os.O_RDONLY)
    os.close(number)
    if sys.stdin is None:
        sys.stdin = open(0)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w")  # noqa: SIM115
    out: Any = sys.stdout if sys.stdout is not None else open(1, "w")  # noqa: SIM115
    options = {"line_buffering": out.line_buffering, "write_through": out.write_through}
    encoding = out.encoding
    sys.stdout = _Stdout(out.detach(), encoding, "backslashreplace", **options)
    sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def silence_libraries() -> None:
    """Keep the warnings of GDAL and Python off stderr, which is for sentences; CPL_LOG and -W bring them back."""
    os.environ.setdefault("CPL_LOG", os.devnull)
    for name in ("rasterio", "pyogrio", "fiona"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


@contextmanager
def callbacks_without_tracebacks(interrupted: Callable[[type[BaseException]], object]) -> Iterator[None]:
    """Context manager in which errors that end in callbacks of GDAL leave no traceback on stderr.

    Those are messages that cannot be decoded, and interrupts, for which ``interrupted`` is called.
    """
    before = sys.excepthook, sys.unraisablehook  # Cython calls both

    def print_others(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, UnicodeDecodeError | KeyboardInterrupt):
            before[0](kind, error, trace)

    def report_others(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            interrupted(unraisable.exc_type)
        elif not issubclass(unraisable.exc_type, UnicodeDecodeError):
            before[1](unraisable)

    sys.excepthook, sys.unraisablehook = print_others, report_others
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook = before


def flush_stdout() -> OSError | None:
    """Write what is left in stdout's buffer; return the error if that fails."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes again when it ends
        return error
    return None
