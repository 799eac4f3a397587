"""Closing gaps in roads: from dead end to dead end, and from a dead end to the road it points at.

Trees and shadows hide roads. A gap may be closed between two dead ends, or along the direction of a dead end to the
first edge it meets (a T). Candidates are judged by their length between the rims of the roads, by how far the roads
must turn, and by the probability in between; none crosses another edge, or pixels that are not valid. Each dead end
gets one connection at most, the best ones are made first, and the next round sees what they changed.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from roadseg.roads.pixel_graph import Bools, Ints, PixelGraph
from roadseg.roads.repair.contract import split_edges
from roadseg.roads.repair.edges import PixelSize, chunks, degrees
from roadseg.roads.repair.gap_candidates import find_candidates, find_obstacles, measure_dead_ends
from roadseg.roads.repair.gap_evidence import (
    ACCEPTED,
    DeadEnds,
    GapCandidates,
    GapLevels,
    LevelsAt,
    odds_against,
    target_pixels,
    with_support,
)
from roadseg.roads.repair.pixel_lines import line_pixels
from roadseg.roads.repair.pixel_set import add_nodes

_ROUNDS = 8


def close_gaps(
    graph: PixelGraph,
    max_gap: float,
    *,
    road_level: float | None,
    pixel_size: PixelSize = (1.0, 1.0),
    levels_at: LevelsAt | None = None,
) -> PixelGraph:
    """Close the gaps of a network.

    Parameters
    ----------
    graph
        Network without spurs, which would all reach for the next road.
    max_gap
        Longest gap in metres.
    road_level
        Probability × 254 from which a pixel is road; None if levels mean nothing, as those of a mask.
    pixel_size
        Size of a pixel.
    levels_at
        Returns the levels between roads; without it only directions and lengths count.

    Returns
    -------
    The graph with each closed gap as an inferred edge without area; an edge that one leads to is split there.
    """
    open_ends = np.flatnonzero((degrees(graph) == 1) & ~graph.at_border)
    obstacles = None
    for _ in range(_ROUNDS):
        if not len(open_ends):
            break
        ends = measure_dead_ends(graph, open_ends, pixel_size)
        obstacles = obstacles or find_obstacles(graph, ends, max_gap=max_gap, pixel_size=pixel_size)
        candidates = find_candidates(graph, ends, obstacles, max_gap=max_gap, pixel_size=pixel_size)
        candidates, levels = with_support(
            graph, ends, candidates, road_level=road_level, pixel_size=pixel_size, levels_at=levels_at
        )
        candidates = candidates[odds_against(candidates) <= ACCEPTED]
        chosen = _chosen(graph, ends, candidates)
        if not len(chosen.end):
            break
        connected = np.concatenate([chosen.end, chosen.other[chosen.other >= 0]])
        waiting = np.setdiff1d(np.concatenate([candidates.end, candidates.other[candidates.other >= 0]]), connected)
        open_ends = ends.node[waiting]
        graph, new_pixels = _connected(graph, ends, chosen, levels)
        obstacles.add(new_pixels)
        add_nodes(obstacles, graph)
    return graph


def _chosen(graph: PixelGraph, ends: DeadEnds, candidates: GapCandidates) -> GapCandidates:
    """Return the candidates that are the best one for each of their ends and do not cross a better one."""
    target = target_pixels(graph, candidates)
    order = np.lexsort((target[:, 1], target[:, 0], candidates.end, odds_against(candidates)))
    candidates, target = candidates[order], target[order]
    rank = np.arange(len(order))
    # One slot more than there are ends: an ``other`` of -1 writes into the last one, which nobody reads.
    best = np.full(len(ends.node) + 1, len(order))
    np.minimum.at(best, candidates.end, rank)
    np.minimum.at(best, candidates.other, rank)
    mutual = (best[candidates.end] == rank) & ((candidates.other < 0) | (best[candidates.other] == rank))
    candidates, target = candidates[mutual], target[mutual]
    return candidates[~_crossed(ends.pixel[candidates.end], target)]


def _crossed(start: Ints, stop: Ints) -> Bools:
    """Return (n,) which lines between pixels cross an earlier one."""
    low, high = np.minimum(start[:, 0], stop[:, 0]), np.maximum(start[:, 0], stop[:, 0])
    order = np.argsort(low, kind="stable")
    crossed = np.zeros(len(low), dtype=bool)
    # Rows are cut into bands; each draws the lines that touch it, so that only its own pixels are in memory.
    for part in chunks(np.cumsum(np.abs(stop - start).sum(axis=1)[order] + 1)):
        top = low[order[part.start]] if part.start else low.min()
        bottom = low[order[part.stop]] if part.stop < len(order) else high.max() + 1
        lines = np.flatnonzero((low < bottom) & (high >= top))
        drawn = line_pixels(start[lines], stop[lines], four_connected=True)
        row, col = drawn.pixels.T
        inner = (drawn.step > 0) & (drawn.step < np.diff(drawn.starts)[drawn.line] - 1) & (row >= top) & (row < bottom)
        _, first, same = np.unique((row[inner] << 32) + col[inner], return_index=True, return_inverse=True)
        line = drawn.line[inner]
        crossed[lines[line[line[first][same] < line]]] = True
    return crossed


def _connected(
    graph: PixelGraph, ends: DeadEnds, chosen: GapCandidates, levels: GapLevels | None
) -> tuple[PixelGraph, NDArray[np.int32]]:
    """Return the graph with an edge over each gap, and the pixels of these edges."""
    drawn = line_pixels(ends.pixel[chosen.end], target_pixels(graph, chosen), four_connected=False)
    inner = (drawn.step > 0) & (drawn.step < np.diff(drawn.starts)[drawn.line] - 1)
    pixels = drawn.pixels[inner].astype(np.int32)
    counts = np.bincount(drawn.line[inner], minlength=len(chosen.end))
    split, which = np.unique(chosen.vertex[chosen.vertex >= 0], return_inverse=True)
    target = chosen.node.copy()
    target[chosen.vertex >= 0] = len(graph.nodes) + which
    level = levels.between(chosen.line) if levels else np.zeros(len(pixels), dtype=np.uint8)
    graph = split_edges(graph, split, appended=(pixels, np.zeros(len(pixels), dtype=np.uint16), level))
    connected = replace(
        graph,
        ends=np.concatenate([graph.ends, np.stack([ends.node[chosen.end], target], axis=1)]),
        starts=np.concatenate([graph.starts, graph.starts[-1] + np.cumsum(counts)]),
        inferred=np.concatenate([graph.inferred, np.ones(len(counts), dtype=bool)]),
        areal=np.concatenate([graph.areal, np.zeros(len(counts), dtype=bool)]),
    )
    return connected, pixels
