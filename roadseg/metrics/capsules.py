"""Which part of a straight segment lies within a distance of another segment, in closed form.

The surroundings of a segment are a capsule: two discs and the rectangle between them::

        ╭───────────────╮
       (  •───────────•  )
        ╰───────────────╯

A capsule is convex, so what lies inside it of another segment is one interval.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def within_capsule(p: Floats, d: Floats, q: Floats, e: Floats, radius: float) -> tuple[Floats, Floats]:
    """Return from which to which t the segments p + t d, 0 ≤ t ≤ 1, lie within a radius of the segments q + s e.

    The interval reaches from the least to the largest t inside either disc or the rectangle; it is empty where
    high < low.

    Parameters
    ----------
    p, d
        (n, 2) first points, and the vectors to the last ones.
    q, e
        (n, 2) the same of the other segments.
    radius
        Half the width of the capsules.

    Returns
    -------
    (n,) low and high.
    """
    intervals = [
        _within_disc(p - q, d, radius),
        _within_disc(p - q - e, d, radius),
        _within_rectangle(p - q, d, e, radius),
    ]
    # An empty interval (low > high) must not widen the others.
    lows = [np.where(low <= high, low, np.inf) for low, high in intervals]
    highs = [np.where(low <= high, high, -np.inf) for low, high in intervals]
    return np.clip(np.minimum.reduce(lows), 0, np.inf), np.clip(np.maximum.reduce(highs), -np.inf, 1)


def _within_disc(offset: Floats, d: Floats, radius: float) -> tuple[Floats, Floats]:
    """Solve |offset + t d| ≤ radius for t."""
    a, b, c = _dot(d, d), _dot(offset, d), _dot(offset, offset) - radius**2
    root = np.sqrt(np.maximum(b**2 - a * c, 0))
    inside = b**2 - a * c >= 0
    return np.where(inside, (-b - root) / a, np.inf), np.where(inside, (-b + root) / a, -np.inf)


def _within_rectangle(offset: Floats, d: Floats, e: Floats, radius: float) -> tuple[Floats, Floats]:
    """Solve for t: offset + t d lies beside e, and at most a radius away from it."""
    size = np.hypot(*e.T)
    along = _between(_dot(offset, e), _dot(d, e), np.zeros(len(size)), size**2)
    across = _between(cross(e, offset), cross(e, d), -radius * size, radius * size)
    return np.maximum(along[0], across[0]), np.minimum(along[1], across[1])


def _between(at: Floats, speed: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Solve low ≤ at + t speed ≤ high for t."""
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = (low - at) / speed, (high - at) / speed
    still = speed == 0
    always = still & (low <= at) & (at <= high)
    first = np.where(still, np.where(always, -np.inf, np.inf), np.minimum(one, two))
    last = np.where(still, np.where(always, np.inf, -np.inf), np.maximum(one, two))
    return first, last


def cross(a: Floats, b: Floats) -> Floats:
    """Return the cross products of (n, 2) vectors."""
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def _dot(a: Floats, b: Floats) -> Floats:
    return np.asarray((a * b).sum(axis=-1))
