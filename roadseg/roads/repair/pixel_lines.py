"""Straight lines of pixels, many at a time.

A 4-connected line goes from pixel to pixel through common sides. No 8-connected edge can slip through it, which makes
it right for tests of crossing; an 8-connected line is what an edge looks like.
"""

from dataclasses import dataclass

import numpy as np

from roadseg.ragged import offsets, ranges
from roadseg.roads.pixel_graph import Ints


@dataclass(frozen=True)
class PixelLines:
    """Lines of pixels, end to end.

    Parameters
    ----------
    pixels
        (pixels, 2) int64 row, col.
    line
        (pixels,) index of the line each belongs to.
    step
        (pixels,) its place on that line, from 0.
    starts
        (lines + 1,) line ``i`` owns the pixels from ``starts[i]`` up to ``starts[i + 1]``.
    """

    pixels: Ints
    line: Ints
    step: Ints
    starts: Ints


def line_pixels(start: Ints, stop: Ints, *, four_connected: bool) -> PixelLines:
    """Draw straight lines between pixels, both ends included.

    Parameters
    ----------
    start, stop
        (lines, 2) row, col.
    four_connected
        Whether pixels that follow each other share a side; otherwise they may touch at a corner.
    """
    size = np.abs(stop - start)
    steps = size.sum(axis=1) if four_connected else size.max(axis=1, initial=0)
    line = np.repeat(np.arange(len(steps)), steps + 1)
    step = ranges(np.zeros_like(steps), steps + 1)
    # Step k of n has gone k * size / n along each axis, rounded: (2 k size + n) // 2 n. A 4-connected line takes one
    # step along one axis at a time, so what it has not gone across it has gone down.
    whole = np.maximum(steps, 1)[line]
    across = (2 * step * size[line, 1] + whole) // (2 * whole)
    down = step - across if four_connected else (2 * step * size[line, 0] + whole) // (2 * whole)
    pixels = start[line] + np.sign(stop - start)[line] * np.stack([down, across], axis=1)
    return PixelLines(pixels, line, step, offsets(steps + 1))
