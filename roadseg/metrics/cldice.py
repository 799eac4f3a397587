"""clDice, how much of each road's middle line lies on the other mask.

Tprec is the share of the prediction's skeleton on label road, Tsens the share of the label's
skeleton on predicted road, clDice their harmonic mean (Shit et al., CVPR 2021, arXiv:2003.07311).
The number depends on the skeletonizer, so that is a parameter with a name. The one here is the
parallel thinning of Guo and Hall (CACM 32(3), 1989), see ``roadseg.thinning``. Counts add.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadseg.thinning import thin

Bytes = NDArray[np.uint8]

SKELETONIZER = "Guo-Hall thinning"
"""Name of ``roadseg.thinning.thin``, to be told with every clDice made with it."""

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
