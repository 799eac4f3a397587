"""Gaps in roads are bridged: from dead end to dead end, and from a dead end to the road it points at.

Trees and shadows hide roads. A bridge is proposed between two dead ends, or along the direction of a
dead end to the first edge it meets (a T gap). It is judged by its length between the roads' rims, by
how far both roads must turn, and by the probability under it; it never crosses another edge nor
anything unknown. Each dead end takes part in one bridge at most, the best ones are built first, and
what a bridge changes is seen by the next round.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from roadseg.roads.pixel_graph import Bools, Ints, PixelGraph
from roadseg.roads.repair.contract import split_edges
from roadseg.roads.repair.edges import Pixel, chunks, degrees
from roadseg.roads.repair.gap_candidates import find_candidates, find_obstacles, measure_dead_ends
from roadseg.roads.repair.gap_evidence import (
    ACCEPTED,
    DeadEnds,
    GapCandidates,
    LevelsAt,
    odds_against,
    target_pixels,
    with_support,
)
from roadseg.roads.repair.pixel_lines import add_nodes, line_pixels

_ROUNDS = 8


def close_gaps(
    graph: PixelGraph, *, longest: float, level: float | None, pixel: Pixel = (1.0, 1.0), sample: LevelsAt | None = None
) -> PixelGraph:
    """Bridge the gaps of a network.

    Parameters
    ----------
    graph
        Pruned before: every spur would reach for the next road.
    longest
        Longest gap in metres.
    level
        Probability × 254 from which a pixel is road; None if levels say nothing, as those of a mask.
    pixel
        Size of a pixel.
    sample
        Tells the levels between roads; without it only directions count.

    Returns
    -------
    The graph with the bridges as inferred edges without area. Edges that one leads to are split there.
    """
    open_ends = np.flatnonzero((degrees(graph) == 1) & ~graph.at_border)
    taken = None
    for _ in range(_ROUNDS):
        if not len(open_ends):
            break
        ends = measure_dead_ends(graph, open_ends, pixel)
        taken = taken or find_obstacles(graph, ends, longest=longest, pixel=pixel)
        found = find_candidates(graph, ends, taken, longest=longest, pixel=pixel)
        found = with_support(graph, ends, found, level=level, pixel=pixel, sample=sample)
        found = found[odds_against(found) <= ACCEPTED]
        chosen = _chosen(graph, ends, found)
        if not len(chosen.end):
            break
        done = np.concatenate([chosen.end, chosen.other[chosen.other >= 0]])
        waiting = np.setdiff1d(np.concatenate([found.end, found.other[found.other >= 0]]), done)
        open_ends = ends.node[waiting]
        graph, new = _built(graph, ends, chosen, sample)
        taken.add(new)
        add_nodes(taken, graph)
    return graph


def _chosen(graph: PixelGraph, ends: DeadEnds, found: GapCandidates) -> GapCandidates:
    """Return the bridges that are the best one for each of their ends and do not cross a better one."""
    target = target_pixels(graph, found)
    cost = odds_against(found)
    order = np.lexsort((target[:, 1], target[:, 0], found.end, cost))
    found, target = found[order], target[order]
    rank = np.arange(len(order))
    best = np.full(len(ends.node) + 1, len(order))
    np.minimum.at(best, found.end, rank)
    np.minimum.at(best, found.other, rank)
    mutual = (best[found.end] == rank) & ((found.other < 0) | (best[found.other] == rank))
    found, target = found[mutual], target[mutual]
    return found[~_crossed(ends.place[found.end], target)]


def _crossed(start: Ints, stop: Ints) -> Bools:
    """Return (n,) which lines between pixels cross one that comes before them; one band of rows after the other."""
    low, high = np.minimum(start[:, 0], stop[:, 0]), np.maximum(start[:, 0], stop[:, 0])
    order = np.argsort(low, kind="stable")
    crossed = np.zeros(len(low), dtype=bool)
    for part in chunks(np.cumsum(np.abs(stop - start).sum(axis=1)[order] + 1)):
        top = low[order[part.start]] if part.start else low.min()
        bottom = low[order[part.stop]] if part.stop < len(order) else high.max() + 1
        lines = np.flatnonzero((low < bottom) & (high >= top))
        drawn = line_pixels(start[lines], stop[lines], thick=True)
        row, col = drawn.places.T
        inner = (drawn.step > 0) & (drawn.step < np.diff(drawn.starts)[drawn.line] - 1) & (row >= top) & (row < bottom)
        _, first, same = np.unique((row[inner] << 32) + col[inner], return_index=True, return_inverse=True)
        line = drawn.line[inner]
        crossed[lines[line[line[first][same] < line]]] = True
    return crossed


def _built(
    graph: PixelGraph, ends: DeadEnds, chosen: GapCandidates, sample: LevelsAt | None
) -> tuple[PixelGraph, NDArray[np.int32]]:
    """Return the graph with the bridges as edges, and their pixels."""
    drawn = line_pixels(ends.place[chosen.end], target_pixels(graph, chosen), thick=False)
    inner = (drawn.step > 0) & (drawn.step < np.diff(drawn.starts)[drawn.line] - 1)
    places = drawn.places[inner].astype(np.int32)
    counts = np.bincount(drawn.line[inner], minlength=len(chosen.end))
    split, which = np.unique(chosen.vertex[chosen.vertex >= 0], return_inverse=True)
    target = chosen.node.copy()
    target[chosen.vertex >= 0] = len(graph.nodes) + which
    level = sample(places) if sample is not None else np.zeros(len(places), dtype=np.uint8)
    new = places, np.zeros(len(places), dtype=np.uint16), level
    graph = split_edges(graph, split, behind=new)
    built = replace(
        graph,
        ends=np.concatenate([graph.ends, np.stack([ends.node[chosen.end], target], axis=1)]),
        starts=np.concatenate([graph.starts, graph.starts[-1] + np.cumsum(counts)]),
        inferred=np.concatenate([graph.inferred, np.ones(len(counts), dtype=bool)]),
        areal=np.concatenate([graph.areal, np.zeros(len(counts), dtype=bool)]),
    )
    return built, places
