"""Where the lines of one map follow those of another, and where they leave them, exact to the centimetre.

A point of a line is matched if a line of the other map lies within a distance of it and runs in a similar direction
there, so that a crossing street is no match::

    other   ───────────────────╮
    line    ──────────────────────────────
            matched            │  unmatched, from where the buffer ends

What of a straight segment lies in the buffer of another segment is one interval, found in closed form (the buffer is
convex). Intervals are united line by line; what is left over is unmatched. Directions are taken over 10 m, so that the
zigzag of single vertices does not count. Cost: about 20 s per million segments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from roadseg.evaluation.map_sections import NEGLIGIBLE_M, Sections
from roadseg.metrics.capsules import cross, within_capsule
from roadseg.ragged import ranges

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_BATCH = 50_000
_TANGENT_M = 5.0
"""How far to either side of a segment's middle the line is followed to find its direction."""


@dataclass(frozen=True)
class _LineSegments:
    """The straight segments of lines laid end to end: ``position`` counts metres from the start of the first line.

    Parameters
    ----------
    line
        (segments,) int64.
    start, vector
        (segments, 2) float64 first point, and the way to the second one.
    length, position
        (segments,) float64 metres: its own length, and where it starts.
    tangent
        (segments, 2) float64 unit vector along the line around the segment's middle.
    line_start
        (lines + 1,) float64 position where each line starts.
    """

    line: Ints
    start: Floats
    vector: Floats
    length: Floats
    position: Floats
    tangent: Floats
    line_start: Floats


def split_by_match(
    lines: Sequence[Floats], others: Sequence[Floats], *, buffer_m: float = 10.0, angle_deg: float = 30.0
) -> Sections:
    """Split lines where they enter or leave the surroundings of other lines.

    Parameters
    ----------
    lines, others
        (vertices, 2) float64 each, in metres on the ground.
    buffer_m
        How far apart two lines may run to be the same road.
    angle_deg
        How much their directions may differ.

    Returns
    -------
    Sections that cover ``lines``; zero-length lines have none.
    """
    mine, theirs = _segments(lines), _segments(others)
    start, stop, other = _near_intervals(mine, theirs, buffer_m, angle_deg)
    return _sections(mine, start, stop, other)


def _segments(lines: Sequence[Floats]) -> _LineSegments:
    counts = np.array([len(line) for line in lines], np.int64)
    points = np.concatenate([np.zeros((0, 2)), *lines])
    of_line = np.repeat(np.arange(len(counts)), counts)
    steps = np.diff(points, axis=0)
    length = np.hypot(*steps.T) if len(steps) else np.zeros(0)
    length[np.flatnonzero(np.diff(of_line))] = 0  # from one line's end to the next one's start
    position = np.concatenate([np.zeros(min(1, len(points))), np.cumsum(length)])  # of every point
    firsts = np.cumsum(counts) - counts
    total = position[-1] if len(position) else 0.0
    line_start = np.append(
        position[np.minimum(firsts, max(0, len(position) - 1))] if len(position) else 0 * counts, total
    )
    real = np.flatnonzero(length > 0)
    tangent = _tangents(points, position, of_line, line_start, position[real] + length[real] / 2, of_line[real])
    return _LineSegments(of_line[real], points[real], steps[real], length[real], position[real], tangent, line_start)


def _tangents(
    points: Floats, position: Floats, of_line: Ints, line_start: Floats, middle: Floats, line: Ints
) -> Floats:
    """Return unit vectors from 5 m before to 5 m after places on lines, not beyond their ends."""
    if not len(line):
        return np.zeros((0, 2))
    # np.interp wants rising positions. Lines are moved apart by a metre each, so that each has places of its own.
    spread = position + of_line
    ends = [np.clip(middle + way, line_start[line], line_start[line + 1]) + line for way in (-_TANGENT_M, _TANGENT_M)]
    before, after = (np.column_stack([np.interp(end, spread, points[:, axis]) for axis in (0, 1)]) for end in ends)
    way = after - before
    size = np.hypot(*way.T)
    return way / np.where(size > 0, size, 1)[:, None]


def _near_intervals(
    mine: _LineSegments, theirs: _LineSegments, buffer_m: float, angle_deg: float
) -> tuple[Floats, Floats, Ints]:
    """Return where segments lie near similar ones: from and to which position, and near which line."""
    found: list[tuple[Floats, Floats, Ints]] = [(np.zeros(0), np.zeros(0), np.zeros(0, np.int64))]
    if not len(mine.line) or not len(theirs.line):
        return found[0]
    tree = shapely.STRtree(_geometries(theirs, slice(None)))
    largest_sine = np.sin(np.radians(angle_deg))
    for first in range(0, len(mine.line), _BATCH):
        part = slice(first, first + _BATCH)
        here, there = tree.query(_geometries(mine, part), predicate="dwithin", distance=buffer_m)
        here += first
        sine = np.abs(cross(mine.tangent[here], theirs.tangent[there]))
        similar = sine <= largest_sine + 1e-12
        here, there = here[similar], there[similar]
        low, high = within_capsule(
            mine.start[here], mine.vector[here], theirs.start[there], theirs.vector[there], buffer_m
        )
        some = high > low
        here, there, low, high = here[some], there[some], low[some], high[some]
        at, length = mine.position[here], mine.length[here]
        found.append((at + low * length, at + high * length, theirs.line[there]))
    start, stop, other = (np.concatenate(column) for column in zip(*found, strict=True))
    return start, stop, other


def _geometries(segments: _LineSegments, part: slice) -> NDArray[np.object_]:
    start, vector = segments.start[part], segments.vector[part]
    lines: NDArray[np.object_] = shapely.linestrings(np.stack([start, start + vector], axis=1))
    return lines


def _sections(mine: _LineSegments, start: Floats, stop: Floats, other: Ints) -> Sections:
    """Unite overlapping intervals, and take what lies between them for unmatched."""
    order = np.argsort(start, kind="stable")
    start, stop, other = start[order], stop[order], other[order]
    # Intervals never reach over the end of a line, for each lies on one segment. But where one line ends and the next
    # begins they touch, so lines are moved apart by a metre each while intervals are united.
    line = np.searchsorted(mine.line_start, (start + stop) / 2, side="right") - 1
    reach = np.maximum.accumulate(stop + line) if len(stop) else stop
    begins = np.ones(len(start), dtype=np.bool_)
    begins[1:] = start[1:] + line[1:] > reach[:-1] + NEGLIGIBLE_M
    group = np.cumsum(begins) - 1
    firsts = np.flatnonzero(begins)
    lasts = np.append(firsts[1:], len(start)) - 1
    covered = np.column_stack([start[firsts], reach[lasts] - line[lasts]]) if len(start) else np.zeros((0, 2))
    partner = _longest_partner(group, stop - start, other, len(firsts))
    return _with_gaps(mine.line_start, line[firsts], covered, partner)


def _longest_partner(group: Ints, length: Floats, other: Ints, count: int) -> Ints:
    """Return for each group the other line with the largest sum of lengths in it."""
    pairs, inverse = np.unique(np.column_stack([group, other]), axis=0, return_inverse=True)
    total = np.bincount(inverse.ravel(), length, len(pairs))
    order = np.lexsort((-total, pairs[:, 0]))  # by group, the longest first
    best = np.full(count, -1)
    groups, at = np.unique(pairs[order, 0], return_index=True)
    best[groups] = pairs[order[at], 1]
    return best


def _with_gaps(line_start: Floats, line: Ints, covered: Floats, partner: Ints) -> Sections:
    """Return matched sections and the unmatched ones between them, in order."""
    count = len(line_start) - 1
    lengths = np.diff(line_start)
    per_line = np.bincount(line, minlength=count)
    # Bounds of all sections of a line: 0, start and stop of each interval in turn, length.
    bounds_of_line = 2 * per_line + 2
    at = np.cumsum(bounds_of_line) - bounds_of_line
    bounds, partners = np.zeros(bounds_of_line.sum()), np.full(bounds_of_line.sum(), -1)
    bounds[at + bounds_of_line - 1] = lengths
    slots = ranges(at + 1, 2 * per_line)[::2]
    bounds[slots], bounds[slots + 1] = (covered - line_start[line][:, None]).T
    partners[slots] = partner
    of_line = np.repeat(np.arange(count), bounds_of_line)
    same = of_line[1:] == of_line[:-1]
    start, stop = bounds[:-1], bounds[1:]
    real = same & (stop - start > NEGLIGIBLE_M)
    partners = partners[:-1][real]
    return Sections(of_line[:-1][real], start[real], stop[real], partners >= 0, partners)
