"""How the library reports what it does: it never prints, it calls the functions of a ``Listener``."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

Advance = Callable[[float], None]
"""Called with the amount of work finished since the last call."""

DeferInterrupts = Callable[[], AbstractContextManager[Callable[[], bool]]]
"""Returns a context manager that defers interrupts until exit and yields a callable: is one pending?"""


def duration(seconds: float) -> str:
    """Return a time in minutes, or hours and minutes if it is long."""
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def interrupts_at_once() -> Iterator[Callable[[], bool]]:
    """Context manager that defers nothing, for programs that handle signals themselves."""
    yield lambda: False


def _ignore(*_: object) -> None:
    """Drop a report."""


@dataclass(frozen=True)
class Listener:
    """Callbacks for messages, progress and interrupts; by default messages are dropped.

    Parameters
    ----------
    report
        Called with each message about what was chosen and what happens.
    warn
        Called with each message that should not be missed.
    start
        Called with the total amount of work and the amount already done (in megapixels, steps, …), and with their
        unit if it is not the one usual for the command.
    advance
        Called with the amount of work finished since the last call.
    defer_interrupts
        Makes the context manager for work that must not be interrupted halfway.
    """

    report: Callable[[str], None] = _ignore
    warn: Callable[[str], None] = _ignore
    start: Callable[..., None] = _ignore
    advance: Advance = _ignore
    defer_interrupts: DeferInterrupts = interrupts_at_once
