"""From what was traced to what is a road network: spurs go, gaps close, double junctions become one."""

from dataclasses import dataclass

from roadseg.roads.pixel_graph import PixelGraph
from roadseg.roads.repair.contract import contract
from roadseg.roads.repair.edges import Pixel, in_canonical_order
from roadseg.roads.repair.gap_evidence import LevelsAt
from roadseg.roads.repair.gaps import close_gaps
from roadseg.roads.repair.junctions import merge_junctions
from roadseg.roads.repair.spurs import drop_small_components, prune_spurs


@dataclass(frozen=True)
class RepairLimits:
    """What is repaired; metres on the ground, pixels if a pixel is said to be (1, 1). 0 switches a repair off.

    Parameters
    ----------
    min_length
        A piece of network shorter than this altogether is dropped; one half as long before gaps are bridged.
    spur
        Dead ends shorter than this are pruned, and those the road's width explains; None: only the latter.
    max_gap
        Longest gap that is closed.
    merge_junctions
        Whether junctions inside each other's width become one.
    level
        Probability × 254 from which a pixel is road; None if levels say nothing between roads, as those of a mask.
    """

    min_length: float = 40.0
    spur: float | None = None
    max_gap: float = 40.0
    merge_junctions: bool = True
    level: float | None = 127.0


def repair(
    graph: PixelGraph, limits: RepairLimits, *, pixel: Pixel = (1.0, 1.0), sample: LevelsAt | None = None
) -> PixelGraph:
    """Make a network of roads of a traced graph.

    Parameters
    ----------
    graph
        As traced, in any order.
    limits
        What to repair, and how far.
    pixel
        Ground size of a pixel down its column and along its row.
    sample
        Tells the probability between roads, see ``close_gaps``; without it only directions count.

    Returns
    -------
    A graph without nodes of degree two, except where seen and inferred or areal edges meet, and one per ring.
    """
    graph = contract(in_canonical_order(graph))
    if limits.spur != 0:
        graph = prune_spurs(graph, margin=limits.spur or 0.0, pixel=pixel)
    if limits.max_gap > 0:
        graph = drop_small_components(graph, length=limits.min_length / 2, pixel=pixel)
        graph = close_gaps(graph, longest=limits.max_gap, level=limits.level, pixel=pixel, sample=sample)
    if limits.merge_junctions:
        graph = merge_junctions(contract(graph), pixel=pixel)
    if limits.min_length > 0:
        graph = drop_small_components(graph, length=limits.min_length, pixel=pixel)
    return in_canonical_order(contract(graph))
