"""Values of options that are more than a word or a number."""

import math
from collections.abc import Callable
from typing import Any

import typer

from roadseg.cli.terminal import usage


def finite(number: float | None) -> float | None:
    """Refuse a number that is not finite."""
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is no finite number")
    return number


def integers(text: str, option: str) -> tuple[int, ...]:
    """Read integers separated by commas."""
    return tuple(_numbers(text, int, option, None))


def pair(text: str) -> tuple[float, float]:
    """Read two numbers, the lower first."""
    low, high = _numbers(text, float, "--range", 2)
    if not low < high:
        usage(f"--range wants the lower number first, not {text!r}")
    return low, high


def slack_of(text: str) -> tuple[float, bool]:
    """Read a slack, and whether it is in metres."""
    in_metres = text.strip().endswith("m")
    (distance,) = _numbers(text.strip().removesuffix("m"), float, "--slack", 1)
    if not 0 <= distance <= 1000:
        usage(f"--slack wants a distance from 0 to 1000, such as 3 or 2.5m, not {text!r}")
    return distance, in_metres


def box(text: str) -> tuple[float, float, float, float]:
    """Read a rectangle xmin,ymin,xmax,ymax."""
    xmin, ymin, xmax, ymax = _numbers(text, float, "--bbox", 4)
    if not (xmin < xmax and ymin < ymax):
        usage(f"--bbox wants xmin,ymin,xmax,ymax with xmin < xmax and ymin < ymax, not {text!r}")
    return xmin, ymin, xmax, ymax


def _numbers(text: str, kind: Callable[[str], Any], option: str, count: int | None) -> list[Any]:
    try:
        values = [kind(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or (count and len(values) != count) or not all(map(math.isfinite, values)):
        amount = f"{count} numbers" if count else "numbers"
        usage(f"{option} wants {amount} separated by commas, not {text!r}")
    return values
