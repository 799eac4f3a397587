"""Labels drawn from maps are not exact: roads lie metres off, and nobody knows how wide they are.

How far off: where the model, as it is before it learns, is surest of roads, there the labels should lie. The mean
probability under the labels is measured at every shift up to a limit, for each plot, and for all plots together, which
decide where a plot shows little. How wide: pixels along the edge of a drawn road are void, so that the image decides.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from roadseg.raster.labelled_scene import VOID

REACH_M = 12.0
"""Longest shift that is looked for, in metres, in either direction."""

OUTSIDE_M = 3.0
"""Width of the void band outside drawn roads, in metres."""

_TOGETHER = 1500.0
"""Weight of all plots together in each, in pixels of road."""

_GAIN = 1.08
_FAR = 0.004

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]


def probability_at_shifts(probability: NDArray[np.float32], label: Bytes, *, reach_px: int) -> Floats | None:
    """Return the mean probability under the road labels at every shift.

    Parameters
    ----------
    probability
        (height, width) of road, by a model that has not seen the labels.
    label
        (height, width) uint8: 1 road, 0 not road, 255 void.
    reach_px
        Longest shift.

    Returns
    -------
    (2 * reach_px + 1, 2 * reach_px + 1), rows first, no shift in the middle; None without road or in a small plot.
    """
    road = (label == 1).astype(np.float32)
    if not road.any() or min(label.shape) <= 2 * reach_px:
        return None
    size = [cv2.getOptimalDFTSize(n + reach_px) for n in label.shape]
    spectrum = np.fft.rfft2(probability, size) * np.conj(np.fft.rfft2(road, size))
    sums = np.roll(np.fft.irfft2(spectrum, size), (reach_px, reach_px), (0, 1))
    side = 2 * reach_px + 1
    return np.asarray(sums[:side, :side] / road.sum(), dtype=np.float64)


def find_shifts(fits: Sequence[Floats | None], road_px: Sequence[int]) -> list[tuple[int, int]]:
    """Return the shift of each plot's labels that brings them to the roads, in rows and columns.

    Parameters
    ----------
    fits
        What ``probability_at_shifts`` returns for each plot.
    road_px
        Number of road pixels in each plot.

    Returns
    -------
    Rows down and columns to the right; (0, 0) where no shift is clearly better than none.
    """
    known = [(fit, pixels) for fit, pixels in zip(fits, road_px, strict=True) if fit is not None]
    if not known:
        return [(0, 0)] * len(fits)
    total = sum(pixels for _, pixels in known)
    together: Floats = np.sum([fit * (pixels / total) for fit, pixels in known], axis=0)
    found = []
    for fit, pixels in zip(fits, road_px, strict=True):
        local = together if fit is None else (fit * pixels + together * _TOGETHER) / (pixels + _TOGETHER)
        found.append(_best(local))
    return found


def _best(fit: Floats) -> tuple[int, int]:
    """Return the best shift; long ones must gain more."""
    reach = len(fit) // 2
    away = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
    row, col = np.unravel_index(int((fit * (1 - _FAR * away)).argmax()), fit.shape)
    if fit[row, col] < _GAIN * fit[reach, reach]:
        return 0, 0
    return int(row) - reach, int(col) - reach


def with_uncertain_edges(label: Bytes, gsd_m: float) -> Bytes:
    """Return labels (height, width) with void along the edges of roads: a pixel inside, ``OUTSIDE_M`` outside.

    What is too narrow to lose its edges stays as it is.
    """
    road = (label == 1).astype(np.uint8)
    square = np.ones((3, 3), np.uint8)
    core = cv2.erode(road, square)
    core = np.maximum(core, road * (cv2.dilate(core, square, iterations=2) == 0))
    outside = max(1, round(OUTSIDE_M / gsd_m))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * outside + 1, 2 * outside + 1))
    edge = (cv2.dilate(road, disc) == 1) & (core == 0)
    return np.where(edge, np.uint8(VOID), label)
