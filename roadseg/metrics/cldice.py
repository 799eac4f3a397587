"""clDice (centerline Dice): how much of each mask's skeleton lies on the other mask.

Topology precision is the share of the prediction's skeleton on label road, topology sensitivity the share of
the label's skeleton on predicted road, clDice their harmonic mean (Shit et al., CVPR 2021, arXiv:2003.07311).
The number depends on the skeletonizer, so that is a parameter with a name. The default is the parallel
thinning of Guo and Hall (CACM 32(3), 1989), see ``roadseg.thinning``. Counts add.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadseg.thinning import thin

Bytes = NDArray[np.uint8]

SKELETONIZER = "Guo-Hall thinning"
"""Name of the default skeletonizer, to be stated with every clDice."""

HALO_PX = 64
"""A halo this wide makes the skeleton of a block that of the whole mask, for roads up to 60 px wide."""


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
    valid: Bytes | None = None,
    core: tuple[slice, slice] = (slice(None), slice(None)),
    skeletonize: Callable[[Bytes], Bytes] = thin,
) -> ClDiceCounts:
    """Count the skeleton pixels of one block.

    Parameters
    ----------
    prediction, label
        (height, width) uint8, 0 or 1.
    valid
        (height, width) uint8: 1 where both are valid, 0 where a pixel counts as not road; None for all valid.
    core
        Rows and columns to count; the halo around them only shapes the skeletons.
    skeletonize
        Function from a mask to its skeleton, both (height, width) uint8, 0 or 1.
    """
    if valid is not None:
        prediction, label = prediction & valid, label & valid
    predicted_line, label_line = skeletonize(prediction)[core], skeletonize(label)[core]
    return ClDiceCounts(
        prediction=int(np.count_nonzero(predicted_line)),
        prediction_on_label=int(np.count_nonzero(predicted_line & label[core])),
        label=int(np.count_nonzero(label_line)),
        label_on_prediction=int(np.count_nonzero(label_line & prediction[core])),
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
