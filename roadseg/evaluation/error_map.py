"""Maps and pictures of where a prediction is right, wrong, or missing.

Within the slack a prediction is right, as in the relaxed measures. The three colours are told
apart by people with any kind of colour vision and differ in brightness (Okabe and Ito, 2008).
"""

import base64
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from roadseg.metrics.pixels import VOID, Bytes, dilate
from roadseg.settings import Neighbourhood

NOT_ROAD, RIGHT, FALSE, MISSED, MET = range(5)
"""Classes: no road in either; predicted and right; predicted, no road near; road, none predicted
near; road beside what was predicted, within the slack."""

COLOURS: Final = {
    NOT_ROAD: (255, 255, 255),
    RIGHT: (0, 114, 178),
    FALSE: (213, 94, 0),
    MISSED: (240, 228, 66),
    MET: (86, 180, 233),
}
"""Red, green and blue of each class."""

_FAINTEST = 0.15


def classify(probability: Bytes, label: Bytes, *, level: int, slack_px: float, neighbourhood: Neighbourhood) -> Bytes:
    """Return the class of each pixel, 255 where label or prediction is not known.

    Parameters
    ----------
    probability, label
        (height, width) uint8, as for `count_pixels`.
    level
        Lowest value that is road.
    slack_px, neighbourhood
        As for `count_pixels`; right that far from the array's border.
    """
    known = (label != VOID) & (probability != VOID)
    road, said = known & (label == 1), known & (probability >= level)
    near = dilate(road.view(np.uint8), slack_px, neighbourhood) > 0
    reached = dilate(said.view(np.uint8), slack_px, neighbourhood) > 0
    classes = np.full(label.shape, NOT_ROAD, dtype=np.uint8)
    classes[road & ~reached] = MISSED
    classes[road & reached] = MET
    classes[said & near] = RIGHT
    classes[said & ~near] = FALSE
    classes[~known] = VOID
    return classes


def shares(classes: Bytes, factor: int) -> NDArray[np.float32]:
    """Return (4, rows, cols) float32: how much of each square of pixels is right, false, missed, met.

    Parameters
    ----------
    classes
        (height, width) uint8.
    factor
        Side of a square; squares at the lower and right border may be cut.
    """
    height, width = classes.shape
    padded = np.pad(classes, ((0, -height % factor), (0, -width % factor)), constant_values=NOT_ROAD)
    squares = padded.reshape(padded.shape[0] // factor, factor, -1, factor)
    layers = [(squares == kind).mean(axis=(1, 3), dtype=np.float32) for kind in (RIGHT, FALSE, MISSED, MET)]
    return np.stack(layers)


def paint(parts: NDArray[np.float32], backdrop: Bytes | None) -> Bytes:
    """Lay the classes over a picture, or over white.

    Parameters
    ----------
    parts
        (4, rows, cols), from `shares`.
    backdrop
        (3, rows, cols) uint8 red, green, blue; turned grey and pale so that colours stand out.

    Returns
    -------
    (rows, cols, 3) uint8 red, green, blue.
    """
    colours = np.array([COLOURS[kind] for kind in (RIGHT, FALSE, MISSED, MET)], dtype=np.float32)
    white = np.full((3, *parts.shape[1:]), 255, np.uint8)
    base = (white if backdrop is None else backdrop).mean(axis=0, dtype=np.float32)
    grey = np.repeat((0.75 * base + 45)[..., None], 3, axis=2)
    strongest = parts.argmax(axis=0)
    share = parts.max(axis=0)
    opacity = np.where(share >= _FAINTEST, 0.45 + 0.5 * share, 0.0)[..., None]
    return np.asarray(np.rint(grey * (1 - opacity) + colours[strongest] * opacity), dtype=np.uint8)


def png_base64(rgb: Bytes) -> str:
    """Return (rows, cols, 3) uint8 as the text of an inline PNG."""
    _, png = cv2.imencode(".png", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return base64.b64encode(png.tobytes()).decode("ascii")
