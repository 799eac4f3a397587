"""Pairs of points that are close to each other, found by the cells of a grid.

Cells are as wide as the distance, so that a point's partners lie in its own cell or in the eight around it. Points are
sorted by cell, row by row: half of those cells, which is enough for pairs, are then two ranges of points.

    .  .  .
    .  0  1      range 0: the rest of the point's own cell and the one to its right
    2  2  2      range 1: the three below
"""

import numpy as np

from roadseg.ragged import ranges
from roadseg.roads.pixel_graph import Floats, Ints
from roadseg.roads.repair.edges import chunks


def near_pairs(points: Floats, distance: float) -> Ints:
    """Return the pairs of points at most a distance apart.

    Parameters
    ----------
    points
        (points, 2) coordinates.
    distance
        Above 0, in their unit.

    Returns
    -------
    (pairs, 2) int64 in ascending order: indices of points, the smaller one first.
    """
    if len(points) < 2:
        return np.zeros((0, 2), np.int64)
    cell = np.floor((points - points.min(axis=0)) / distance).astype(np.int64)
    across = int(cell[:, 1].max()) + 3  # one column more on each side, so that no row runs into the next one
    number = cell[:, 0] * across + cell[:, 1]
    order = np.argsort(number, kind="stable")
    number = number[order]
    here = np.arange(len(order))
    right = np.searchsorted(number, number + 1, side="right")
    first_below = np.searchsorted(number, number + across - 1, side="left")
    last_below = np.searchsorted(number, number + across + 1, side="right")
    points = points[order]
    found = [_within(points, here + 1, right, distance), _within(points, first_below, last_below, distance)]
    pairs = np.sort(order[np.concatenate(found)], axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _within(points: Floats, first: Ints, stop: Ints, distance: float) -> Ints:
    """Return the pairs of each point and those of its range that are close enough."""
    counts, found = stop - first, [np.zeros((0, 2), np.int64)]
    for part in chunks(np.cumsum(counts)):
        one = np.repeat(np.arange(part.start, part.stop), counts[part])
        two = ranges(first[part], counts[part])
        near = ((points[one] - points[two]) ** 2).sum(axis=1) <= distance**2
        found.append(np.column_stack([one[near], two[near]]))
    return np.concatenate(found)
