"""Lines that end on another one get a vertex in common with it, which connects them.

In maps a side street often ends on the through road without a vertex there, which is exact only up to rounding::

    ──────•───────────────────•──────        ──────•─────────•─────────•──────
                    │                   ▶                    │
                    │                                        │

Only ends that no other line shares are joined. So lines that cross stay apart, also above a junction: a bridge.
Cost: one query of a tree of lines for each end.
"""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from roadseg.ragged import first_of_runs, offsets

Floats = NDArray[np.float64]

SAME_M = 1e-3
"""Vertices this close are the same."""

ON_LINE_M = 0.05
"""An end this near to a line lies on it; rounding to degrees with seven decimals, or another CRS, moves it as far."""


def with_vertices_at_ends(lines: Sequence[Floats]) -> list[Floats]:
    """Return lines with a vertex wherever another one ends on them, away from their own ends.

    Parameters
    ----------
    lines
        (vertices, 2) x, y in metres each.

    Returns
    -------
    The lines that have two vertices or more.
    """
    made = [line for line in lines if len(line) > 1]
    if not made:
        return made
    starts = offsets(np.array([len(line) for line in made]))
    xy, of_vertex = np.concatenate(made), np.repeat(np.arange(len(made)), np.diff(starts))
    shapes, vertices = (make(xy, indices=of_vertex) for make in (shapely.linestrings, shapely.multipoints))
    ends, own = xy[np.concatenate([starts[:-1], starts[1:] - 1])], np.tile(np.arange(len(made)), 2)
    places = shapely.points(ends)
    end, line = shapely.STRtree(shapes).query(places, predicate="dwithin", distance=ON_LINE_M)
    end, line = end[line != own[end]], line[line != own[end]]
    is_shared = np.zeros(len(ends), bool)
    is_shared[end[shapely.dwithin(vertices[line], places[end], SAME_M)]] = True
    end, line = end[~is_shared[end]], line[~is_shared[end]]
    along = shapely.line_locate_point(shapes[line], places[end])
    inside = (along > ON_LINE_M) & (along < shapely.length(shapes[line]) - ON_LINE_M)
    end, line, along = end[inside], line[inside], along[inside]
    order = np.lexsort((along, line))
    for here in np.split(order, first_of_runs(line[order])[1:]) if len(order) else ():
        whole = made[line[here[0]]]
        walked = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(whole, axis=0).T))])
        made[line[here[0]]] = np.insert(whole, np.searchsorted(walked, along[here]), ends[end[here]], axis=0)
    return made
