"""What the commands share: progress, messages, exit statuses, standard streams and tables."""

import json
import re
import shutil
import sys
import tempfile
import textwrap
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer

import roadseg
from roadseg.cli.interruption import INTERRUPTIONS, Terminated
from roadseg.cli.streams import callbacks_without_tracebacks, named_stdout, printable, system_sentence
from roadseg.errors import RoadsegError, UsageError, as_typed, without_secrets
from roadseg.progress import Listener, duration

MESSAGES = "Messages"
"""Heading of the options below."""

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only print errors.", rich_help_panel=MESSAGES)]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        help="Print more; -vv shows tracebacks.",
        rich_help_panel=MESSAGES,
    ),
]
Progress = Annotated[
    bool | None,
    typer.Option(
        "--progress/--no-progress",
        help="Progress bar on stderr; by default only in a terminal.",
        rich_help_panel=MESSAGES,
    ),
]


@contextmanager
def exit_statuses(verbose: int, *, resumes: bool = True) -> Iterator[None]:
    """Context manager that turns errors, Ctrl-C and SIGTERM into one sentence on stderr and an exit status.

    Parameters
    ----------
    verbose
        How often ``-v`` was given; from 2 on errors come with a traceback.
    resumes
        Whether the same command continues an interrupted run.
    """
    quiet_callbacks = callbacks_without_tracebacks(INTERRUPTIONS.lost)
    with quiet_callbacks, INTERRUPTIONS.handled(), _errors(verbose), _interrupts(resumes=resumes):
        yield


@contextmanager
def usage_errors() -> Iterator[None]:
    """Context manager that turns a ``UsageError`` into its sentence and exit status 2."""
    try:
        yield
    except UsageError as error:
        usage(str(error))


_BUG = 70
"""Exit status of errors that roadseg should have turned into a sentence (EX_SOFTWARE of sysexits.h)."""


@contextmanager
def _errors(verbose: int) -> Iterator[None]:
    try:
        with usage_errors():
            yield
    except BrokenPipeError:
        sys.stderr.close()
        raise typer.Exit(1) from None
    except (RoadsegError, MemoryError, OSError) as error:
        if verbose >= 2:
            traceback.print_exc()
        fail(str(error) if isinstance(error, RoadsegError) else system_sentence(error))
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as error:  # noqa: BLE001  (the last net)
        if verbose >= 2:
            traceback.print_exc()
        sentence = " ".join(str(error).split()) or "no message"
        cure = "please report it with the traceback above" if verbose >= 2 else "please report it with what -vv prints"
        _say(f"this is a bug in roadseg: {type(error).__name__}: {sentence}; {cure}")
        raise typer.Exit(_BUG) from None


@contextmanager
def _interrupts(*, resumes: bool) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        kind = type(error) if isinstance(error, KeyboardInterrupt) else INTERRUPTIONS.raised
        if kind is None:
            raise
        what, status = ("terminated", 143) if issubclass(kind, Terminated) else ("interrupted", 130)
        rest = "resumes from what is finished" if resumes else "starts over; nothing half-finished is left"
        print(f"\nroadseg: {what}; the same command {rest}", file=sys.stderr)
        raise typer.Exit(status) from None


_REPORT_EVERY_S = 180.0


@contextmanager
def terminal_listener(*, quiet: bool, progress: bool | None, unit: str) -> Iterator[Listener]:
    """Context manager that yields a listener which prints messages and a progress bar on stderr.

    Parameters
    ----------
    quiet
        Print neither.
    progress
        Whether to show the bar; None shows it in a terminal.
    unit
        Unit of the work that the bar counts.
    """
    shown = not quiet and (progress if progress is not None else sys.stderr.isatty())
    bars: list[Any] = []

    def close() -> None:
        while bars:
            bars.pop().close()

    def start(total: float, done: float, unit: str = unit) -> None:
        close()
        pace.start(total, done, unit)
        if shown:
            bars.append(_bar(total, done, unit))

    def advance(amount: float) -> None:
        if bars:
            bars[-1].update(amount)
        pace.advance(amount)

    def report(message: str) -> None:
        if not quiet:
            write = bars[-1].write if bars else print  # above the bar
            write(printable(f"roadseg: {message}"), file=sys.stderr)

    def warn(message: str) -> None:
        report(f"warning: {message}")

    pace = _Pace((lambda _: None) if shown else report)
    try:
        yield Listener(report, warn, start, advance, INTERRUPTIONS.deferred)
    finally:
        close()


def _bar(total: float, done: float, unit: str) -> Any:
    from tqdm import tqdm

    digits = ".1f" if unit == "Mpx" else ".0f"
    form = f"{{l_bar}}{{bar}}| {{n:{digits}}}/{{total:{digits}}} {unit} [{{elapsed}}<{{remaining}}, {{rate_fmt}}]"
    return tqdm(total=total, initial=done, unit=unit, bar_format=form, file=sys.stderr)


class _Pace:
    """Reports the progress of long work every three minutes; used where no bar is shown."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self.start(0, 0, "")

    def start(self, total: float, done: float, unit: str) -> None:
        self._total, self._first, self._done, self._unit = total, done, done, unit
        self._began = self._reported = time.monotonic()

    def advance(self, amount: float) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._reported < _REPORT_EVERY_S or self._done >= self._total:
            return
        self._reported = now
        rate = (self._done - self._first) / (now - self._began)
        left = duration((self._total - self._done) / rate) if rate > 0 else "unknown time"
        digits = 1 if self._unit == "Mpx" else 0
        so_far = f"{self._done:.{digits}f} of {self._total:.{digits}f} {self._unit}"
        self._report(f"{so_far}, {rate:.3g} {self._unit}/s, {left} left")


@contextmanager
def stdout_file(output: str, name: str = "stdout.tif") -> Iterator[Path]:
    """Context manager that yields the path to write to: the output, or a temporary file if it goes to stdout."""
    if output != "-":
        yield Path(output)
        return
    with tempfile.TemporaryDirectory(prefix="roadseg-") as folder:
        yield Path(folder) / name


def check_stdout(output: str, what: str = "a GeoTIFF", *, as_json: bool) -> None:
    """Refuse to write results to a terminal, or to mix them with JSON."""
    if output == "-" and as_json:
        usage("--json and -o - both write to stdout; choose one")
    if output == "-" and sys.stdout.isatty():
        usage(f"-o - writes {what} to stdout; redirect it to a file or a pipe")


JSON_VERSION = 1
"""Version of what ``--json`` prints; it grows when a key changes its meaning or goes. See ``.github/JSON.md``."""

AsJson = Annotated[
    bool, typer.Option("--json", help="Print one line of JSON per result on stdout.", rich_help_panel=MESSAGES)
]


def print_json(verb: str, values: Mapping[str, object]) -> None:
    """Print the result of a command as a line of JSON in UTF-8, after the version of its keys."""
    line = {"version": JSON_VERSION, "command": verb, "roadseg": roadseg.__version__, **values}
    print(json.dumps(line, ensure_ascii=not _is_utf8(sys.stdout)), flush=True)  # ASCII is UTF-8, too


def _is_utf8(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def copy_to_stdout(path: Path) -> None:
    """Copy a file to stdout."""
    with path.open("rb") as file, named_stdout():
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def fail(sentence: str) -> NoReturn:
    """Print an error and exit with status 1."""
    _say(f"error: {sentence}")
    raise typer.Exit(1)


def usage(sentence: str) -> NoReturn:
    """Print what is wrong with the command and exit with status 2."""
    _say(sentence)
    raise typer.Exit(2)


def _say(sentence: str) -> None:
    print(printable(f"roadseg: {sentence}"), file=sys.stderr)


_NO_PART_OF_RESULTS = re.compile(r"-[qv]+|--(quiet|verbose|progress|no-progress|json|overwrite)")
"""Options on messages, and on files that were there before."""


def command_line(without: Collection[str] = ()) -> str:
    """Return the command as typed, without these options and their values, those that change no result, and secrets."""
    words, skipped = ["roadseg"], False
    for word in sys.argv[1:]:
        if not skipped and word.partition("=")[0] not in without and not _NO_PART_OF_RESULTS.fullmatch(word):
            words.append(word)
        skipped = not skipped and word in without
    return without_secrets(as_typed(words))


def print_pairs(pairs: list[tuple[str, str]], *, indent: int = 0) -> None:
    """Print labels and texts in two columns, the texts wrapped."""
    width = max((len(label) for label, _ in pairs), default=0)
    for label, text in pairs:
        print(wrapped(f"{'':{indent}}{label:<{width}}  ", text))


def wrapped(start: str, text: str) -> str:
    """Return a text as lines that fit the terminal, 100 columns at most, all but the first indented; no word is cut."""
    columns = min(100, shutil.get_terminal_size((100, 24)).columns)
    return (
        textwrap.fill(
            printable(" ".join(text.split())),
            max(columns, len(start) + 30),
            initial_indent=start,
            subsequent_indent=" " * len(start),
            break_long_words=False,
            break_on_hyphens=False,
        )
        or start.rstrip()
    )


def print_table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Print a table whose last column holds numbers."""
    table = [head, *[tuple(f"{v:,}" if isinstance(v, int) else printable(v) for v in row) for row in rows]]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    for row in table:
        cells = [f"{cell:<{w}}" for cell, w in zip(row[:-1], widths, strict=False)]
        print("  ".join([*cells, f"{row[-1]:>{widths[-1]}}"]))
