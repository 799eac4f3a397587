"""Do labels lie on the roads of the image? An estimate, good enough to warrant a second look.

A road has edges along its rim and few inside. The image's edges, relative to their surroundings, are correlated with
the labels' rim (minus their inside) at every shift up to a limit. If the best shift stands out clearly and is not zero,
the labels are probably off by it. Trees, shadows and few roads lead to no result rather than a wrong one. A shift that
many tiles share is found by adding up how well each shift fits all of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from roadseg.raster.labelled_scene import VOID

CLEAR = 4.5
"""Standard deviations by which the best shift must stand out from all shifts."""

_SURROUNDINGS_PX = 41
_STEEPEST = 3.0
_FLAT = 0.01


Fit = NDArray[np.float64]
"""How well labels fit at each shift, rows first, no shift in the middle; mean 0, standard deviation 1."""


class Shift(NamedTuple):
    """How far the image's roads lie below and to the right of their labels, in pixels, and how clearly."""

    rows: int
    cols: int
    clear: float


def best_shift(fits: Sequence[Fit]) -> Shift:
    """Find the shift at which the labels of one tile or of several fit their images best."""
    fit = _standardized(np.sum(fits, axis=0))
    row, col = np.unravel_index(int(fit.argmax()), fit.shape)
    reach_px = len(fit) // 2
    return Shift(int(row) - reach_px, int(col) - reach_px, float(fit.max()))


def fit_at_shifts(image: NDArray[np.uint8], label: NDArray[np.uint8], *, reach_px: int = 32) -> Fit | None:
    """Measure how well labels fit an image at every shift.

    Parameters
    ----------
    image
        (bands, height, width) uint8.
    label
        (height, width) uint8: 1 road, 0 not road, 255 void.
    reach_px
        Largest shift, either way.

    Returns
    -------
    (2 * reach_px + 1, 2 * reach_px + 1); None if there is no road or the image has no edges.
    """
    road = (label == 1).astype(np.uint8)
    square = np.ones((3, 3), np.uint8)
    rim, inside = cv2.morphologyEx(road, cv2.MORPH_GRADIENT, square), cv2.erode(road, square)
    known = label != VOID
    if not rim.any() or min(label.shape) <= 2 * reach_px:
        return None
    edges = _edges(image)
    edges = np.where(known, edges - edges[known].mean(), 0)
    if not edges.max() > _FLAT:
        return None
    wanted = rim / rim.sum() - inside / max(1, int(inside.sum()))
    size = [cv2.getOptimalDFTSize(n + reach_px) for n in label.shape]
    spectrum = np.fft.rfft2(edges, size) * np.conj(np.fft.rfft2(wanted, size))
    fit = np.roll(np.fft.irfft2(spectrum, size), (reach_px, reach_px), (0, 1))[: 2 * reach_px + 1, : 2 * reach_px + 1]
    return _standardized(fit)


def _standardized(fit: Fit) -> Fit:
    return np.asarray((fit - fit.mean()) / fit.std())


def _edges(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the gradient of the brightness relative to its surroundings, (height, width)."""
    grey = cv2.GaussianBlur(image.mean(axis=0, dtype=np.float32), (0, 0), 1.0)
    steep = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    around = cv2.blur(steep, (_SURROUNDINGS_PX, _SURROUNDINGS_PX))
    relative: NDArray[np.float32] = np.minimum(steep / (around + 1), _STEEPEST)
    return relative
