"""The option ``--part``, by which several processes share the work for an output."""

from roadseg.settings.option import Option


def _is_part(text: str) -> bool:
    number, slash, count = text.partition("/")
    return bool(slash) and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)


MACHINES = "More than one machine"
"""Heading of options that share the work."""

PART = Option(
    "--part",
    "Do part I of N and write no output; afterwards, the command without --part does.",
    MACHINES,
    "I/N",
    rule=("I/N with whole numbers from 1/1, such as 2/5", _is_part),
)

NO_STDOUT = "--part writes no output; name the file that the parts are for instead of -o -"
"""Why a part cannot write to stdout."""


def share_of(part: str | None) -> tuple[int, int] | None:
    """Return the index of a part, from 0, and the number of parts; None for all of the work."""
    number, _, count = (part or "").partition("/")
    return (int(number) - 1, int(count)) if number else None
