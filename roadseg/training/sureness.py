"""How sure a model is of its roads on the tiles it is calibrated with, by which ``predict`` judges scenes."""

import numpy as np
from numpy.typing import NDArray

from roadseg.metrics.pixels import FULL, at_least, level_of
from roadseg.model.card import MAYBE_ROAD, Sureness

_SHARE = 0.2
"""The share of what may be road that is called sure: so all models are judged by the same part of their roads, however
far from 0 and 1 their answers are."""


def sureness(counts: NDArray[np.int64]) -> Sureness | None:
    """Return from which probability a fifth of what may be road lies, as near as levels tell; None without any.

    Parameters
    ----------
    counts
        (256,) numbers of pixels by level, probability × 254; the last one is nodata.
    """
    lowest = level_of(MAYBE_ROAD)
    reaching = at_least(counts[: FULL + 1])[lowest:]
    if not reaching[0]:
        return None
    shares = reaching / reaching[0]
    nearest = int(np.argmin(np.abs(shares - _SHARE)))
    return Sureness((lowest + nearest) / FULL, float(shares[nearest]))
