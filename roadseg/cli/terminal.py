"""What the commands share towards the terminal: progress, messages, exit statuses, tables."""

import json
import shlex
import shutil
import sys
import tempfile
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from tqdm import tqdm

from roadseg.cli.interruption import INTERRUPTIONS, Terminated
from roadseg.errors import RoadsegError
from roadseg.progress import Listener, duration

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv shows tracebacks.")]
Progress = Annotated[
    bool | None,
    typer.Option("--progress/--no-progress", help="Progress bar on stderr; by default only in a terminal."),
]

_SAY_EVERY_S = 180.0


@contextmanager
def reporting(verbose: int, *, resumes: bool = True) -> Iterator[None]:
    """Turn errors, Ctrl-C and SIGTERM into one sentence on stderr and the right exit status."""
    with INTERRUPTIONS.heeded(), _translating(verbose, resumes=resumes):
        yield


@contextmanager
def _translating(verbose: int, *, resumes: bool) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as end:
        what, status = ("terminated", 143) if isinstance(end, Terminated) else ("interrupted", 130)
        rest = "goes on from here" if resumes else "begins anew, nothing half-done is left"
        print(f"\nroadseg: {what}; the same command {rest}", file=sys.stderr)
        raise typer.Exit(status) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise typer.Exit(1) from None
    except RoadsegError as error:
        if verbose >= 2:
            traceback.print_exc()
        fail(str(error))
    except (MemoryError, OSError) as error:
        if verbose >= 2:
            traceback.print_exc()
        fail(f"{str(error) or type(error).__name__}; -vv tells where")


@contextmanager
def listening(*, quiet: bool, progress: bool | None, unit: str) -> Iterator[Listener]:
    """Show what happens on stderr: sentences, and a bar in units of work."""
    shown = not quiet and (progress if progress is not None else sys.stderr.isatty())
    bars: list[Any] = []

    def close() -> None:
        while bars:
            bars.pop().close()

    def start(total: float, done: float) -> None:
        close()
        pace.start(total, done)
        digits = ".1f" if unit == "Mpx" else ".0f"
        form = f"{{l_bar}}{{bar}}| {{n:{digits}}}/{{total:{digits}}} {unit} [{{elapsed}}<{{remaining}}, {{rate_fmt}}]"
        bars.append(tqdm(total=total, initial=done, unit=unit, bar_format=form, disable=not shown, file=sys.stderr))

    def advance(amount: float) -> None:
        if bars:
            bars[-1].update(amount)
        pace.advance(amount)

    def say(text: str) -> None:
        if not quiet:
            tqdm.write(f"roadseg: {text}", file=sys.stderr)

    def warn(text: str) -> None:
        if not quiet:
            tqdm.write(f"roadseg: warning: {text}", file=sys.stderr)

    pace = _Pace((lambda _: None) if shown else say, unit)
    try:
        yield Listener(say, warn, start, advance, INTERRUPTIONS.shield)
    finally:
        close()


class _Pace:
    """Says every few minutes how far the work is, where no bar shows it."""

    def __init__(self, say: Callable[[str], None], unit: str) -> None:
        self._say, self._unit = say, unit
        self.start(0, 0)

    def start(self, total: float, done: float) -> None:
        self._total, self._first, self._done = total, done, done
        self._began = self._said = time.monotonic()

    def advance(self, amount: float) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._said < _SAY_EVERY_S or self._done >= self._total:
            return
        self._said = now
        rate = (self._done - self._first) / (now - self._began)
        left = duration((self._total - self._done) / rate) if rate > 0 else "unknown time"
        digits = 1 if self._unit == "Mpx" else 0
        so_far = f"{self._done:.{digits}f} of {self._total:.{digits}f} {self._unit}"
        self._say(f"{so_far}, {rate:.3g} {self._unit}/s, {left} left")


@contextmanager
def stdout_file(output: str, name: str = "stdout.tif") -> Iterator[Path]:
    """Give the path to write to: the output itself, or a temporary file if it is to go to stdout."""
    if output != "-":
        yield Path(output)
        return
    with tempfile.TemporaryDirectory(prefix="roadseg-") as folder:
        yield Path(folder) / name


def check_stdout(output: str, what: str = "a GeoTIFF", *, as_json: bool) -> None:
    """Refuse stdout where it cannot be used."""
    if output == "-" and as_json:
        usage("--json and -o - both want stdout; choose one")
    if output == "-" and sys.stdout.isatty():
        usage(f"-o - writes {what} to stdout; send it into a file or a pipe")


def print_json(summary: Any) -> None:
    """Print a dataclass as a line of JSON."""
    print(json.dumps(asdict(summary), ensure_ascii=False), flush=True)


def copy_to_stdout(path: Path) -> None:
    """Send a file to stdout."""
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def fail_for(failed: Sequence[tuple[str, RoadsegError]], count: int, noun: str, *, quiet: bool) -> None:
    """Leave with status 1 if some of several files failed, and name them; a listener was told why unless quiet."""
    if not failed:
        return
    for _, error in failed if quiet else ():
        print(f"roadseg: error: {error}", file=sys.stderr)
    fail(f"{len(failed)} of {count} {noun} failed: {', '.join(name for name, _ in failed)}")


def fail(sentence: str) -> NoReturn:
    """Say what went wrong and leave with status 1."""
    print(f"roadseg: error: {sentence}", file=sys.stderr)
    raise typer.Exit(1)


def usage(sentence: str) -> NoReturn:
    """Say how the command is used and leave with status 2."""
    print(f"roadseg: {sentence}", file=sys.stderr)
    raise typer.Exit(2)


def command_line() -> str:
    """Return the command as it was given."""
    return shlex.join(["roadseg", *sys.argv[1:]])


def lines_of_stdin() -> list[str]:
    """Return the lines of stdin that hold something."""
    return [line.strip() for line in sys.stdin if line.strip()]


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
            text,
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
    table = [head, *[tuple(f"{v:,}" if isinstance(v, int) else v for v in row) for row in rows]]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    for row in table:
        cells = [f"{cell:<{w}}" for cell, w in zip(row[:-1], widths, strict=False)]
        print("  ".join([*cells, f"{row[-1]:>{widths[-1]}}"]))
