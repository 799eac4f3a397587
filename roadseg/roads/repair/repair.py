"""From traced centerlines to a road network: spurs are pruned, gaps closed, double junctions merged."""

from dataclasses import dataclass

from roadseg.roads.pixel_graph import PixelGraph
from roadseg.roads.repair.contract import contract
from roadseg.roads.repair.edges import PixelSize, in_canonical_order
from roadseg.roads.repair.gap_evidence import LevelsAt
from roadseg.roads.repair.gaps import close_gaps
from roadseg.roads.repair.junctions import merge_junctions
from roadseg.roads.repair.spurs import drop_small_components, prune_spurs


@dataclass(frozen=True)
class RepairLimits:
    """Which repairs are made, and how far; metres on the ground, or pixels for a pixel size of (1, 1).

    A limit of 0 switches a repair off.

    Parameters
    ----------
    min_length
        Connected components with a shorter total length are dropped; before gaps are closed, those half as long.
    spur
        Shorter dead ends are pruned, and so are those that the road's width explains; None prunes only the latter.
    max_gap
        Longest gap that is closed.
    merge_junctions
        Whether junctions within each other's road width are merged.
    road_level
        Probability × 254 from which a pixel is road; None if levels between roads mean nothing, as those of a mask.
    """

    min_length: float = 60.0
    spur: float | None = None
    max_gap: float = 30.0
    merge_junctions: bool = True
    road_level: float | None = 127.0


def repair(
    graph: PixelGraph, limits: RepairLimits, *, pixel_size: PixelSize = (1.0, 1.0), levels_at: LevelsAt | None = None
) -> PixelGraph:
    """Make a road network of a traced graph.

    Parameters
    ----------
    graph
        Traced centerlines, in any order.
    limits
        Which repairs are made, and how far.
    pixel_size
        Size of a pixel down its column and along its row.
    levels_at
        Returns the probability between roads, see ``close_gaps``; without it only directions and lengths count.

    Returns
    -------
    A graph without nodes of degree two, except where seen and inferred or areal edges meet, and one on each ring.
    """
    # Graphs are handed over: a function may free the one it gets as soon as it has another, so none is held here.
    held = [graph]
    del graph
    held.append(in_canonical_order(held.pop()))
    held.append(contract(held.pop()))
    if limits.spur != 0:
        held.append(prune_spurs(held.pop(), margin=limits.spur or 0.0, pixel_size=pixel_size))
    if limits.max_gap > 0:
        held.append(drop_small_components(held.pop(), length=limits.min_length / 2, pixel_size=pixel_size))
        level, gap = limits.road_level, limits.max_gap
        held.append(close_gaps(held.pop(), gap, road_level=level, pixel_size=pixel_size, levels_at=levels_at))
    if limits.merge_junctions:
        held.append(contract(held.pop()))
        held.append(merge_junctions(held.pop(), pixel_size=pixel_size))
    if limits.min_length > 0:
        held.append(drop_small_components(held.pop(), length=limits.min_length, pixel_size=pixel_size))
    held.append(contract(held.pop()))
    return in_canonical_order(held.pop())
