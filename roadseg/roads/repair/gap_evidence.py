"""Gaps that might be closed, and the evidence for and against each.

A gap is judged by its length between the rims of the roads, by how far the roads must turn, and by the probability
between the rims. A logistic regression on real gaps gives the weights, see ``_PAIR`` and ``_T``.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from roadseg.ragged import offsets, ranges
from roadseg.roads.pixel_graph import Bools, Floats, Ints, PixelGraph
from roadseg.roads.repair.edges import PixelSize, chunks
from roadseg.roads.repair.ends import EdgeEnds
from roadseg.roads.repair.pixel_lines import line_pixels

LevelsAt = Callable[[NDArray[np.int32]], NDArray[np.uint8]]
"""From (n, 2) row, col to (n,) probability × 254 there; 255 for nodata."""

_PAIR = np.array([-1.45, 0.040, 1.81, 1.60])
_T = np.array([-1.04, 0.073, 1.10, 2.21])
"""Weights of a logistic regression on 1,255 gaps in the dev tiles of the Massachusetts roads, of which 40 % are road
in the masks: constant, per metre of gap, per radian of turn, per square root of support (up to 0.5)."""

ACCEPTED = 0.7
"""Log odds against a road up to which a gap is closed: one gap too many is better than a network in pieces."""

_USUAL_SUPPORT = 0.05
"""Taken for the support where levels mean nothing."""

_FULL_SUPPORT = 0.5
_NODATA = 255


@dataclass(frozen=True)
class DeadEnds:
    """Dead ends of a network.

    Parameters
    ----------
    node, edge
        (n,) the node of degree one, and its only edge.
    pixel
        (n, 2) int64 row, col of the node.
    end
        What the last metres of the edge show.
    """

    node: Ints
    edge: Ints
    pixel: Ints
    end: EdgeEnds


@dataclass(frozen=True)
class GapCandidates:
    """Gaps that might be closed, from a dead end to another one (a pair) or to an edge or junction (a T).

    Parameters
    ----------
    end, other
        (n,) indices into ``DeadEnds``; ``other`` is -1 for a T.
    vertex, node
        (n,) the vertex, or the node, that the gap leads to; the other one is -1.
    gap
        (n,) metres between the rims of the roads.
    turn
        (n,) radians that the roads turn: root of the sum of squares of both ends; for a T the one end counts twice.
    support
        (n,) mean level in the gap, as a share of the level from which a pixel is road; NaN if levels mean nothing.
    line
        (n,) index of the gap's line in ``GapLevels``; -1 before levels are read.
    """

    end: Ints
    other: Ints
    vertex: Ints
    node: Ints
    gap: Floats
    turn: Floats
    support: Floats
    line: Ints

    def __getitem__(self, which: Ints | Bools | slice) -> "GapCandidates":
        return GapCandidates(*(getattr(self, field.name)[which] for field in fields(self)))


@dataclass(frozen=True)
class GapLevels:
    """Levels along straight lines from dead ends to what gaps lead to, both included.

    Parameters
    ----------
    level
        (pixels,) uint8, line after line.
    starts
        (lines + 1,) line ``i`` owns the levels from ``starts[i]`` up to ``starts[i + 1]``.
    """

    level: NDArray[np.uint8]
    starts: Ints

    def between(self, lines: Ints) -> NDArray[np.uint8]:
        """Return the levels along some lines, end to end, without those of their first and last pixels."""
        inner = np.maximum(np.diff(self.starts)[lines] - 2, 0)
        return self.level[ranges(self.starts[lines] + 1, inner)]


def odds_against(candidates: GapCandidates) -> Floats:
    """Return (n,) the log odds that there is no hidden road, see ``_PAIR`` and ``_T``."""
    support = np.sqrt(np.clip(np.nan_to_num(candidates.support, nan=_USUAL_SUPPORT), 0, _FULL_SUPPORT))
    constant, per_metre, per_radian, per_support = np.where(candidates.other[:, None] >= 0, _PAIR, _T).T
    odds: Floats = (
        constant + per_metre * np.maximum(candidates.gap, 0) + per_radian * candidates.turn - per_support * support
    )
    return odds


def plausible(candidates: GapCandidates) -> GapCandidates:
    """Return the candidates that would be accepted with full support."""
    supported = replace(candidates, support=np.full(len(candidates.end), _FULL_SUPPORT))
    return candidates[odds_against(supported) <= ACCEPTED]


def with_support(
    graph: PixelGraph,
    ends: DeadEnds,
    candidates: GapCandidates,
    *,
    road_level: float | None,
    pixel_size: PixelSize,
    levels_at: LevelsAt | None,
) -> tuple[GapCandidates, GapLevels | None]:
    """Measure the support of candidates, and drop those over nodata pixels.

    Parameters
    ----------
    graph, ends, candidates
        A network, its dead ends, and the gaps between them.
    road_level
        Level from which a pixel is road; None leaves the support as it is.
    pixel_size
        Size of a pixel.
    levels_at
        Returns the levels of pixels; it is called once. Without it candidates come back unchanged.

    Returns
    -------
    The candidates, and the levels along their lines if they were read.
    """
    if levels_at is None or not len(candidates.end):
        return candidates, None
    start, target = ends.pixel[candidates.end], target_pixels(graph, candidates)
    starts = offsets(np.abs(target - start).max(axis=1) + 1)
    parts = list(chunks(starts[1:]))
    drawn = (line_pixels(start[part], target[part], four_connected=False) for part in parts)
    levels = GapLevels(levels_at(np.concatenate([lines.pixels.astype(np.int32) for lines in drawn])), starts)
    candidates = replace(candidates, line=np.arange(len(starts) - 1))
    distance = np.maximum(np.hypot(*((target - start) * pixel_size).T), 1e-9)
    measured = (_measured(ends, candidates[part], distance[part], levels, road_level, pixel_size) for part in parts)
    return concatenate(*measured), levels


def concatenate(*candidates: GapCandidates) -> GapCandidates:
    """Return candidates joined end to end."""
    columns = (np.concatenate([getattr(part, field.name) for part in candidates]) for field in fields(GapCandidates))
    return GapCandidates(*columns)


def target_pixels(graph: PixelGraph, candidates: GapCandidates) -> Ints:
    """Return (n, 2) int64 row, col that each gap leads to."""
    target = np.rint(graph.nodes[candidates.node]).astype(np.int64)
    on_edge = candidates.vertex >= 0
    target[on_edge] = graph.places[candidates.vertex[on_edge]]
    return target


def _measured(
    ends: DeadEnds,
    candidates: GapCandidates,
    distance: Floats,
    levels: GapLevels,
    road_level: float | None,
    pixel_size: PixelSize,
) -> GapCandidates:
    """Measure as ``with_support`` does, all candidates at once; they are (n,) metres long."""
    first, stop = levels.starts[candidates.line], levels.starts[candidates.line + 1]
    counts, level = stop - first, levels.level[first[0] : stop[-1]].astype(np.float64)
    line, step = np.repeat(np.arange(len(counts)), counts), ranges(0, counts)
    valid = np.bincount(line, weights=level == _NODATA, minlength=len(counts)) == 0
    # As shares of the way from the dead end (0) to its target (1):
    #
    #     end ├─ half a width ─┤ rim ├────────── gap ──────────┤ rim ├─ half a width ─┤ target
    #                                     ├─── counted ───┤
    #                                           middle
    #
    # Levels count from 1.5 pixels inside one rim to 1.5 inside the other, and over 1.5 pixels at least.
    rim = ends.end.width[candidates.end] / 2 / distance
    middle = rim + candidates.gap / distance / 2
    reach = np.maximum(candidates.gap - 3 * max(pixel_size), 1.5 * max(pixel_size)) / distance / 2
    share = step / np.maximum(counts - 1, 1)[line]
    inside = np.abs(share - np.clip(middle, 0, 1)[line]) <= reach[line]
    total = np.bincount(line, weights=level * inside, minlength=len(counts))
    count = np.maximum(np.bincount(line, weights=inside, minlength=len(counts)), 1)
    support = total / count / (road_level or 1)
    return (candidates if road_level is None else replace(candidates, support=support))[valid]
