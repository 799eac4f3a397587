"""clDice, how much of each road's middle line lies on the other mask.

Tprec is the share of the prediction's skeleton on label road, Tsens the share of the label's
skeleton on predicted road, clDice their harmonic mean (Shit et al., CVPR 2021, arXiv:2003.07311).
The number depends on the skeletonizer, so that is a parameter with a name. The one here is the
parallel thinning of Guo and Hall (CACM 32(3), 1989), looked up by the code of the 8 neighbours:
about 70 ms per megapixel where a tenth is road, more the wider roads are. Counts add.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

SKELETONIZER = "Guo-Hall thinning"
"""Name of `thin`, to be told with every clDice made with it."""

HALO_PX = 64
"""With this many pixels around a block its skeleton is that of the whole, for roads up to 60 px wide."""


@dataclass(frozen=True)
class ClDiceCounts:
    """Skeleton pixels of both masks, and how many of each lie on the other mask."""

    prediction: int = 0
    prediction_on_label: int = 0
    label: int = 0
    label_on_prediction: int = 0

    def __add__(self, other: "ClDiceCounts") -> "ClDiceCounts":
        return ClDiceCounts(
            self.prediction + other.prediction,
            self.prediction_on_label + other.prediction_on_label,
            self.label + other.label,
            self.label_on_prediction + other.label_on_prediction,
        )


def thin(mask: Bytes) -> Bytes:
    """Return the skeleton of a mask, as connected as the mask and one pixel wide.

    At some crossings a square of two by two pixels remains.

    Parameters
    ----------
    mask
        (height, width) uint8, 0 or 1; nothing is road beyond it.

    Returns
    -------
    (height, width) uint8, 0 or 1.
    """
    width = mask.shape[1] + 2
    image = np.pad(mask, 1).ravel()
    left = np.flatnonzero(image)
    neighbours = (-width, 1 - width, 1, width + 1, width, width - 1, -1, -width - 1)
    unchanged, turn = 0, 0
    while unchanged < 2:
        code = np.zeros(len(left), dtype=np.uint8)
        for bit, step in enumerate(neighbours):
            code |= image[left + step] << np.uint8(bit)
        kept = _KEEP[turn][code]
        image[left[~kept]] = 0
        unchanged = unchanged + 1 if kept.all() else 0
        left, turn = left[kept], 1 - turn
    return image.reshape(-1, width)[1:-1, 1:-1]


def count_skeletons(
    prediction: Bytes,
    label: Bytes,
    *,
    known: Bytes | None = None,
    core: tuple[slice, slice] = (slice(None), slice(None)),
    skeletonize: Callable[[Bytes], Bytes] = thin,
) -> ClDiceCounts:
    """Count the skeleton pixels of one block.

    Parameters
    ----------
    prediction, label
        (height, width) uint8, 0 or 1.
    known
        (height, width) uint8: where both are known, everywhere if not given; the rest counts as
        no road.
    core
        Rows and columns to count; what lies around them shapes the skeletons only.
    skeletonize
        From a mask to its skeleton, both (height, width) uint8, 0 or 1.
    """
    if known is not None:
        prediction, label = prediction & known, label & known
    lines = skeletonize(prediction)[core], skeletonize(label)[core]
    return ClDiceCounts(
        prediction=int(np.count_nonzero(lines[0])),
        prediction_on_label=int(np.count_nonzero(lines[0] & label[core])),
        label=int(np.count_nonzero(lines[1])),
        label_on_prediction=int(np.count_nonzero(lines[1] & prediction[core])),
    )


def cldice(counts: ClDiceCounts) -> float:
    """Return clDice: 0 if only one of the masks has a skeleton, NaN if neither has one."""
    if counts.prediction == 0 and counts.label == 0:
        return math.nan
    if counts.prediction_on_label == 0 or counts.label_on_prediction == 0:
        return 0.0
    precision = counts.prediction_on_label / counts.prediction
    sensitivity = counts.label_on_prediction / counts.label
    return 2 * precision * sensitivity / (precision + sensitivity)


def _keep_table(turn: int) -> NDArray[np.bool_]:
    """Return (256,) whether a road pixel with such neighbours survives a half-iteration.

    The neighbours, clockwise from the one above, are the bits 0 to 7 of the code.
    """
    bit = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(bool)
    north, northeast, east, southeast, south, southwest, west, northwest = bit.T
    crossings = (
        (~north & (northeast | east)).astype(int)
        + (~east & (southeast | south))
        + (~south & (southwest | west))
        + (~west & (northwest | north))
    )
    pairs = np.minimum(
        (northwest | north).astype(int) + (northeast | east) + (southeast | south) + (southwest | west),
        (north | northeast).astype(int) + (east | southeast) + (south | southwest) + (west | northwest),
    )
    sides = ((south | southwest | ~northwest) & west, (north | northeast | ~southeast) & east)
    guarded = sides[turn]
    kept: NDArray[np.bool_] = (crossings != 1) | (pairs < 2) | (pairs > 3) | guarded
    return kept


_KEEP = (_keep_table(0), _keep_table(1))
