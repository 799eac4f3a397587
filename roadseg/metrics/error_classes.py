"""Classes of right, wrong and missing pixels, and pictures of them.

A pixel counts as right within the slack, as in the relaxed measures. The colours can be told apart with any
kind of colour vision and differ in brightness too (Okabe and Ito, 2008).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from roadseg.metrics.pixels import VOID, Bytes, dilate
from roadseg.settings import Neighbourhood

NOT_ROAD, TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE, COVERED = range(5)
"""Classes: no road in either; predicted, road within the slack; predicted, no road within the slack; road, none
predicted within the slack; road, not predicted itself but within the slack of what is."""

COLOURS: Final = {
    NOT_ROAD: (255, 255, 255),
    TRUE_POSITIVE: (0, 114, 178),
    FALSE_POSITIVE: (213, 94, 0),
    FALSE_NEGATIVE: (240, 228, 66),
    COVERED: (86, 180, 233),
}
"""Red, green and blue of each class."""

NAMES: Final = {
    NOT_ROAD: "not road",
    TRUE_POSITIVE: "right: predicted, with road near",
    FALSE_POSITIVE: "false: predicted, without road near",
    FALSE_NEGATIVE: "missed: road, none predicted near",
    COVERED: "covered: road not predicted itself, but near",
}
"""What each class is, for people."""

SHOWN = (TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE, COVERED)
"""Classes that pictures show, in the order of their shares."""

_FAINTEST = 0.15


def classify(probability: Bytes, label: Bytes, *, level: int, slack_px: float, neighbourhood: Neighbourhood) -> Bytes:
    """Return the class of each pixel, 255 where the label or the prediction is nodata.

    Parameters
    ----------
    probability, label
        (height, width) uint8, as for ``count_pixels``.
    level
        Lowest value that is road.
    slack_px, neighbourhood
        As for ``count_pixels``; classes are exact that far from the array's border.
    """
    valid = (label != VOID) & (probability != VOID)
    road, predicted = valid & (label == 1), valid & (probability >= level)
    near_road = dilate(road.view(np.uint8), slack_px, neighbourhood) > 0
    near_predicted = dilate(predicted.view(np.uint8), slack_px, neighbourhood) > 0
    classes = np.full(label.shape, NOT_ROAD, dtype=np.uint8)
    classes[road & ~near_predicted] = FALSE_NEGATIVE
    classes[road & near_predicted] = COVERED
    classes[predicted & near_road] = TRUE_POSITIVE
    classes[predicted & ~near_road] = FALSE_POSITIVE
    classes[~valid] = VOID
    return classes


def share_of_classes(classes: Bytes, factor: int) -> NDArray[np.float32]:
    """Return the share of each class, but for not road, in every square of pixels.

    Parameters
    ----------
    classes
        (height, width) uint8.
    factor
        Side of a square; squares at the lower and right border may be cut.

    Returns
    -------
    (4, rows, cols) float32: true positive, false positive, false negative, covered.
    """
    height, width = classes.shape
    padded = np.pad(classes, ((0, -height % factor), (0, -width % factor)), constant_values=NOT_ROAD)
    squares = padded.reshape(padded.shape[0] // factor, factor, -1, factor)
    return np.stack([(squares == kind).mean(axis=(1, 3), dtype=np.float32) for kind in SHOWN])


def paint(class_shares: NDArray[np.float32], backdrop: Bytes | None) -> Bytes:
    """Colour each pixel by its most frequent class, over imagery or white.

    Parameters
    ----------
    class_shares
        (4, rows, cols), from ``share_of_classes``.
    backdrop
        (3, rows, cols) uint8 red, green, blue; shown grey and pale so that the colours stand out.

    Returns
    -------
    (rows, cols, 3) uint8 red, green, blue.
    """
    colours = np.array([COLOURS[kind] for kind in SHOWN], dtype=np.float32)
    white = np.full((3, *class_shares.shape[1:]), 255, np.uint8)
    base = (white if backdrop is None else backdrop).mean(axis=0, dtype=np.float32)
    grey = np.repeat((0.75 * base + 45)[..., None], 3, axis=2)
    most_frequent, share = class_shares.argmax(axis=0), class_shares.max(axis=0)
    opacity = np.where(share >= _FAINTEST, 0.45 + 0.5 * share, 0.0)[..., None]
    return np.asarray(np.rint(grey * (1 - opacity) + colours[most_frequent] * opacity), dtype=np.uint8)
