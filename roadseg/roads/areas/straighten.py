"""Pixel outlines become straight lines without any pixel centre changing sides.

Every pixel edge of an outline has a road pixel on one side only. The line between the two centres is a gate. A closed
line that goes through the gates in order, straight from one to the next, meets no other such line and leaves every
centre on its side. So outlines stay simple and disjoint without a check, and rasterizing them gives the mask back.
Vertices lie in the middle of gates, or of the steps of a staircase. All are dropped that are not needed to pass each
gate within a tolerance of its middle (Douglas and Peucker 1973), in all rings at once.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from roadseg.ragged import offsets, ranges
from roadseg.roads.areas.corners import Int32s
from roadseg.roads.pixel_graph import Bools, Floats, Ints

WITHIN_GATE_PX = 0.49
"""Largest tolerance; gates end at half a pixel."""

_CORNERS_AT_ONCE = 1_000_000
_FIRST_CHORD = 32
"""Number of points between the first guesses at vertices of a ring."""

_TINY = 1e-12


@dataclass(frozen=True)
class _Points:
    """Points along closed outlines, the first of each ring repeated at its end.

    Parameters
    ----------
    row, col
        (points,) float64 in corner coordinates: the centre of pixel (0, 0) is at (0.5, 0.5).
    along
        (points,) bool: whether the pixel edge lies along a row, so that the gate lies along a column.
    gate
        (points,) bool: whether it is the middle of a gate, which lines must pass.
    vertex
        (points,) bool: whether it may be a vertex.
    starts
        (rings + 1,) int64.
    """

    row: Floats
    col: Floats
    along: Bools
    gate: Bools
    vertex: Bools
    starts: Ints


def straighten(corners: Int32s, starts: Ints, *, tolerance_px: float) -> tuple[Floats, Ints]:
    """Replace pixel outlines by few straight lines through the same gates.

    Parameters
    ----------
    corners
        (corners, 2) row, col of lattice points, of areas joined at corners.
    starts
        (rings + 1,): ring ``i`` owns the corners from ``starts[i]`` up to ``starts[i + 1]``.
    tolerance_px
        How far from the middle of a gate a line may pass it; at most ``WITHIN_GATE_PX`` is used.

    Returns
    -------
    (vertices, 2) float64 row, col of lattice points (pixel centres at halves), and (rings + 1,) where rings start.
    """
    tolerance = min(tolerance_px, WITHIN_GATE_PX)
    row, col, sizes = [np.zeros(0)], [np.zeros(0)], [np.zeros(1, dtype=np.int64)]
    for first, last in _chunks(starts):
        part = corners[starts[first] : starts[last]].astype(np.int64)
        points = _points(part, starts[first : last + 1] - starts[first], tolerance)
        kept = _needed(points, tolerance)
        row.append(points.row[kept])
        col.append(points.col[kept])
        sizes.append(np.add.reduceat(kept, points.starts[:-1], dtype=np.int64))
    return np.stack([np.concatenate(row), np.concatenate(col)], axis=1), np.cumsum(np.concatenate(sizes))


def _chunks(starts: Ints) -> list[tuple[int, int]]:
    """Cut the rings into ranges of about a million corners."""
    marks = np.unique(np.searchsorted(starts, np.arange(0, starts[-1], _CORNERS_AT_ONCE)))
    edges = [*marks.tolist(), len(starts) - 1]
    return [(a, b) for a, b in pairwise(edges) if b > a]


def _points(places: Ints, starts: Ints, tolerance: float) -> _Points:
    """Return the points of some rings: one, two or three on each edge between corners.

    An edge of one pixel has one gate, a longer one its first and last, which stand for those between. The long
    edges of a staircase get their middle as a vertex instead: lines through these are straight where the outline is.
    """
    following, before = _neighbours(starts)
    step = places[following] - places
    length = np.abs(step).sum(axis=1)
    turn = step[before, 0] * step[:, 1] - step[before, 1] * step[:, 0]
    staircase = (turn > 0) != (turn[following] > 0)
    middle = staircase & (length > 1) & (length[before] == 1) & (length[following] == 1)
    middle &= 0.5 - 0.5 / length <= tolerance
    middle[starts[:-1]] = False
    count = np.where(middle, 3, np.minimum(length, 2))
    edge, place, closing = _spread(count, starts)
    at = np.where(place == 0, 0.5, length[edge] - 0.5)
    in_middle = middle[edge] & (place == 1)
    at[in_middle] = length[edge[in_middle]] / 2
    unit = step / length[:, None]
    spot = places[edge] + at[:, None] * unit[edge]
    vertex = in_middle | ~middle[edge]
    return _Points(spot[:, 0], spot[:, 1], step[edge, 0] == 0, ~in_middle, vertex, closing)


def _neighbours(starts: Ints) -> tuple[Ints, Ints]:
    """Return the indices of the next and the previous corner on each ring."""
    following = np.arange(1, starts[-1] + 1)
    following[starts[1:] - 1] = starts[:-1]
    before = np.arange(-1, starts[-1] - 1)
    before[starts[:-1]] = starts[1:] - 1
    return following, before


def _spread(count: Ints, starts: Ints) -> tuple[Ints, Ints, Ints]:
    """Give every edge its number of points, and every ring its first point again at its end.

    Returns
    -------
    The edge of each point, its place on the edge from 0, and where rings start.
    """
    edges = np.insert(np.arange(len(count)), starts[1:], starts[:-1])
    times = np.insert(count, starts[1:], 1)
    rings = np.arange(len(starts))
    return np.repeat(edges, times), ranges(0, times), offsets(times)[starts + rings]


def _needed(points: _Points, tolerance: float) -> Bools:
    """Return (points,) which remain as vertices.

    Douglas-Peucker for all rings at once: every chord that misses a gate is split at the vertex next to the gate it
    misses by the most, until none does. The first chords join points some dozens apart, or a long ring would take as
    many rounds as it has turns.
    """
    place = np.arange(len(points.row))
    # The nearest possible vertex after and before each point, which is often itself.
    after = np.minimum.accumulate(np.where(points.vertex, place, len(place))[::-1])[::-1]
    prior = np.maximum.accumulate(np.where(points.vertex, place, -1))
    kept = np.zeros(len(place), dtype=np.bool_)
    start, stop = points.starts[:-1], points.starts[1:] - 1
    kept[start] = kept[stop] = kept[_farthest(points, start, stop)] = True
    marks = np.flatnonzero(kept | (points.vertex & ((place - np.repeat(start, stop - start + 1)) % _FIRST_CHORD == 0)))
    start, stop = _between(marks, points.starts)
    worst, off = _worst(points, start, stop)
    kept[np.minimum(after[worst], stop)[off > tolerance]] = True
    start, stop = _between(np.flatnonzero(kept), points.starts)
    while len(start):
        worst, off = _worst(points, start, stop)
        late, early = after[worst], prior[worst]
        split = np.where((late < stop) & ((late - worst <= worst - early) | (early <= start)), late, early)
        more = (off > tolerance) & (split > start) & (split < stop)
        start, split, stop = start[more], split[more], stop[more]
        kept[split] = True
        start, stop = np.concatenate([start, split]), np.concatenate([split, stop])
    kept[points.starts[1:] - 1] = False
    return kept


def _between(marks: Ints, starts: Ints) -> tuple[Ints, Ints]:
    """Return the chords between marks that follow each other on a ring."""
    ring = np.searchsorted(starts, marks, side="right")
    same = ring[1:] == ring[:-1]
    return marks[:-1][same], marks[1:][same]


def _farthest(points: _Points, start: Ints, stop: Ints) -> Ints:
    """Return (rings,) the possible vertex farthest from the start of each ring."""
    ring = np.repeat(np.arange(len(start)), stop - start + 1)
    distance = np.hypot(points.row - points.row[start][ring], points.col - points.col[start][ring]) * points.vertex
    return _first_largest(distance, points.starts[:-1], ring)


def _first_largest(values: Floats, starts: Ints, segment: Ints) -> Ints:
    """Return (segments,) where the first of the largest values of each segment is."""
    top = np.flatnonzero(values == np.maximum.reduceat(values, starts)[segment])
    return top[np.diff(segment[top], prepend=-1) > 0]


def _worst(points: _Points, start: Ints, stop: Ints) -> tuple[Ints, Floats]:
    """Return (chords,) the gate that each misses by the most, and by how much; its start and 0 if there is none."""
    inside = stop - start - 1
    worst, off = start.copy(), np.zeros(len(start))
    some = np.flatnonzero(inside > 0)
    if len(some) == 0:
        return worst, off
    inside = inside[some]
    begin = np.cumsum(inside) - inside
    chord = np.repeat(np.arange(len(some)), inside)
    index = ranges(start[some] + 1, inside)
    a, b = start[some], stop[some]
    rows, cols = points.row[b] - points.row[a], points.col[b] - points.col[a]
    area = (points.row[index] - points.row[a][chord]) * cols[chord] - (points.col[index] - points.col[a][chord]) * rows[
        chord
    ]
    # How far from its middle a chord passes a gate, measured along the gate, is |cross product| / |cols| of the chord
    # for gates along a column, and / |rows| for those along a row.
    across = np.where(points.along[index], np.abs(cols)[chord], np.abs(rows)[chord])
    miss = np.abs(area) / np.maximum(across, _TINY) * points.gate[index]
    at = _first_largest(miss, begin, chord)
    worst[some], off[some] = index[at], miss[at]
    return worst, off
