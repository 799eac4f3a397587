"""How the library talks while it works: it never prints, it tells a listener, and counts as people do."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

Shield = Callable[[], AbstractContextManager[Callable[[], bool]]]
"""Gives a context in which an interruption waits until the end, where it is raised, and what tells whether one does."""


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, which gets an s unless the number is 1."""
    return f"{count} {noun}" + ("s" if count != 1 else "")


def duration(seconds: float) -> str:
    """Return a time in minutes, or hours and minutes if it is long."""
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def unshielded() -> Iterator[Callable[[], bool]]:
    """Give a context in which interruptions are raised at once."""
    yield lambda: False


def _ignore(*_: object) -> None:
    """Hear nothing."""


@dataclass(frozen=True)
class Listener:
    """Who wants to hear what happens.

    Parameters
    ----------
    say
        Gets sentences about what was chosen and what happens.
    warn
        Gets sentences that should not be missed.
    start
        Gets the amount of work to come and how much of it is done already (megapixels, steps, …).
    advance
        Gets the amount done since the last call.
    shield
        Entered where an interruption has to wait.
    """

    say: Callable[[str], None] = _ignore
    warn: Callable[[str], None] = _ignore
    start: Callable[[float, float], None] = _ignore
    advance: Callable[[float], None] = _ignore
    shield: Shield = unshielded
