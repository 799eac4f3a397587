"""Pictures of a training run: curves of loss, learning rate and dev scores, and the best and worst tiles.

Drawn with OpenCV, which is installed anyway; its fonts are ASCII only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Colour = tuple[int, int, int]


class TileSample(NamedTuple):
    """A dev tile to look at: its name, relaxed F1, and (rows, cols, 3) uint8 pictures without and with roads."""

    name: str
    score: float
    image: Bytes
    roads: Bytes


_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK: Colour = (40, 40, 40)
_FAINT: Colour = (225, 225, 225)
_BLUE: Colour = (0, 114, 178)
_ORANGE: Colour = (213, 94, 0)
_GREEN: Colour = (0, 158, 115)
_WIDTH, _HEIGHT = 1000, 300
_SMALL = 300
_MOST_DOTS = 30
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 30, 46, 40
_KEY = (("right", _BLUE), ("false", _ORANGE), ("missed", (240, 228, 66)), ("met within 3 px", (86, 180, 233)))


@dataclass(frozen=True)
class Series:
    """A curve to plot: its name, colour, and points (step, value)."""

    name: str
    colour: Colour
    points: tuple[tuple[float, float], ...]


def draw_curves(history: Sequence[Mapping[str, float]]) -> Bytes:
    """Plot loss, dev scores and learning rate over the steps.

    Parameters
    ----------
    history
        Rows with ``step`` and any of the plotted figures.

    Returns
    -------
    (height, 1000, 3) uint8.
    """
    panels = [
        ("loss", [_curve(history, "loss", "loss", _BLUE)]),
        (
            "dev tiles",
            [
                _curve(history, "break_even", "relaxed break-even", _BLUE),
                _curve(history, "relaxed_f1", "relaxed F1", _ORANGE),
                _curve(history, "best_iou", "best IoU", _GREEN),
            ],
        ),
        ("learning rate", [_curve(history, "learning_rate", "learning rate", _BLUE)]),
    ]
    steps = [row["step"] for row in history]
    drawn = [_panel(title, curves, (0.0, max(steps))) for title, curves in panels if any(c.points for c in curves)]
    return np.concatenate(drawn)


def draw_samples(samples: Sequence[TileSample]) -> Bytes:
    """Lay tiles out in rows, the image on the left and its errors on the right.

    Parameters
    ----------
    samples
        The worst first.

    Returns
    -------
    (height, width, 3) uint8.
    """
    width = max(left.shape[1] + right.shape[1] for *_, left, right in samples) + 10
    width = max(width, 560)
    rows = [_key(width)]
    for name, score, left, right in samples:
        row = np.full((max(len(left), len(right)) + 34, width, 3), 255, np.uint8)
        _text(row, f"{name}: relaxed F1 {score:.3f}", (4, 24))
        row[34 : 34 + len(left), : left.shape[1]] = left
        row[34 : 34 + len(right), left.shape[1] + 10 : left.shape[1] + 10 + right.shape[1]] = right
        rows.append(row)
    return np.concatenate(rows)


def draw_before_and_after(rows: Sequence[tuple[TileSample, TileSample]]) -> Bytes:
    """Lay areas out in rows: the image, the roads found before, and those found after.

    Parameters
    ----------
    rows
        The same area with the roads of one model and with those of another.

    Returns
    -------
    (height, width, 3) uint8.
    """
    rows = [(_enlarged(before), _enlarged(after)) for before, after in rows]
    gap, most = 10, max(before.image.shape[1] for before, _ in rows)
    width = max(3 * most + 2 * gap, 760)
    drawn = [_key(width)]
    for (name, before, image, roads), (_, after, _, roads_after) in rows:
        row = np.full((len(image) + 34, width, 3), 255, np.uint8)
        for place, (text, picture) in enumerate(
            ((name, image), (f"before: {before:.3f}", roads), (f"after: {after:.3f}", roads_after))
        ):
            left = place * (most + gap)
            row[34 : 34 + len(picture), left : left + picture.shape[1]] = picture
            _text(row, text[-most // 9 :] if place == 0 else text, (left + 4, 24))
        drawn.append(row)
    return np.concatenate(drawn)


def _enlarged(sample: TileSample) -> TileSample:
    """Return a picture of a small area with larger pixels."""
    factor = max(1, _SMALL // max(sample.image.shape[:2]))
    image, roads = (picture.repeat(factor, 0).repeat(factor, 1) for picture in (sample.image, sample.roads))
    return sample._replace(image=image, roads=roads)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers that cover a range: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [index * step for index in range(first, last + 1)]


def _curve(history: Sequence[Mapping[str, float]], key: str, name: str, colour: Colour) -> Series:
    points = ((row["step"], row[key]) for row in history if key in row and math.isfinite(row[key]))
    return Series(name, colour, tuple(points))


def _panel(title: str, curves: Sequence[Series], steps: tuple[float, float]) -> Bytes:
    canvas = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    values = [value for curve in curves for _, value in curve.points]
    margin = 0.05 * (max(values) - min(values)) or 0.05 * abs(max(values)) or 1.0
    low, high = min(values) - margin, max(values) + margin

    def place(step: float, value: float) -> tuple[int, int]:
        along = (step - steps[0]) / max(1e-9, steps[1] - steps[0])
        up = (value - low) / (high - low)
        col = _LEFT + along * (_WIDTH - _LEFT - _RIGHT)
        return round(col), round(_HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM))

    for value in ticks(low, high):
        row = place(steps[0], value)[1]
        cv2.line(canvas, (_LEFT, row), (_WIDTH - _RIGHT, row), _FAINT, 1)
        _text(canvas, f"{value:.6g}", (8, row + 5))
    for step in ticks(*steps, most=10):
        col = place(step, low)[0]
        cv2.line(canvas, (col, _HEIGHT - _BOTTOM), (col, _HEIGHT - _BOTTOM + 5), _INK, 1)
        _text(canvas, f"{step:g}", (col - 5 * len(f"{step:g}"), _HEIGHT - 14))
    cv2.line(canvas, (_LEFT, _HEIGHT - _BOTTOM), (_WIDTH - _RIGHT, _HEIGHT - _BOTTOM), _INK, 1)
    _text(canvas, title, (8, 24), bold=True)
    col = _LEFT + 140
    for curve in curves:
        line = np.array([place(*point) for point in curve.points], np.int32).reshape(-1, 1, 2)
        cv2.polylines(canvas, [line], isClosed=False, color=curve.colour, thickness=2, lineType=cv2.LINE_AA)
        if len(line) <= _MOST_DOTS:
            for x, y in line[:, 0].tolist():
                cv2.circle(canvas, (x, y), 4, curve.colour, -1, cv2.LINE_AA)
        if curve.points:
            text = f"{curve.name} {curve.points[-1][1]:.4g}"
            cv2.line(canvas, (col, 19), (col + 24, 19), curve.colour, 3, cv2.LINE_AA)
            _text(canvas, text, (col + 32, 24))
            col += 62 + 10 * len(text)
    return canvas


def _key(width: int) -> Bytes:
    strip = np.full((34, width, 3), 255, np.uint8)
    col = 4
    for name, colour in _KEY:
        cv2.rectangle(strip, (col, 9), (col + 16, 25), colour, -1)
        _text(strip, name, (col + 24, 23))
        col += 54 + 10 * len(name)
    return strip


def _text(canvas: Bytes, text: str, at: tuple[int, int], *, bold: bool = False) -> None:
    ascii_text = text.encode("ascii", "replace").decode()
    cv2.putText(canvas, ascii_text, at, _FONT, 0.55, _INK, 2 if bold else 1, cv2.LINE_AA)
