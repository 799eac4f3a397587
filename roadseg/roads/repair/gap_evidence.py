"""Possible bridges over gaps, and what speaks for and against them.

A gap is judged by its length between the rims of the roads, by how far the roads must turn, and by
the probability between the rims. How much each weighs was fitted on real gaps, see ``_PAIR`` and ``_T``.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from roadseg.roads.pixel_graph import Bools, Floats, Ints, PixelGraph
from roadseg.roads.repair.edges import Pixel, chunks
from roadseg.roads.repair.ends import EdgeEnds
from roadseg.roads.repair.pixel_lines import line_pixels

LevelsAt = Callable[[NDArray[np.int32]], NDArray[np.uint8]]
"""From (n, 2) row, col to (n,) probability × 254 there; 255 where it is not known."""

_PAIR = np.array([-1.45, 0.040, 1.81, 1.60])
_T = np.array([-1.04, 0.073, 1.10, 2.21])
"""Logistic regression on 1,255 gaps of the dev tiles of Massachusetts roads, of which 40 % are road in the
masks: base, per metre of gap, per radian of misfit, per square root of support (up to 0.5)."""

ACCEPTED = 0.7
"""Log odds up to which a bridge is built: better to close one gap too many than to leave a network in pieces."""

_USUAL_SUPPORT = 0.05
"""Stands for support where levels say nothing."""

_ENOUGH = 0.5
_UNKNOWN = 255


@dataclass(frozen=True)
class DeadEnds:
    """Dead ends that may be bridged: their node, its pixel, and what the last metres of their edge tell."""

    node: Ints
    edge: Ints
    place: Ints
    end: EdgeEnds


@dataclass(frozen=True)
class GapCandidates:
    """Possible bridges.

    Parameters
    ----------
    end, other
        (n,) which dead ends, by their number among ``DeadEnds``; ``other`` is -1 where it leads to an edge or junction.
    vertex, node
        (n,) the vertex or node it leads to, -1 if it is the other kind.
    gap
        (n,) metres between the rims of the roads.
    misfit
        (n,) radians that the roads turn, root of the sum of squares; for a T the end's own turn, twice.
    support
        (n,) mean level in the gap over the level from which a pixel is road; NaN if levels are not known.
    """

    end: Ints
    other: Ints
    vertex: Ints
    node: Ints
    gap: Floats
    misfit: Floats
    support: Floats

    def __getitem__(self, which: Ints | Bools | slice) -> "GapCandidates":
        return GapCandidates(*(getattr(self, field.name)[which] for field in fields(self)))


def odds_against(found: GapCandidates) -> Floats:
    """Return (n,) the logarithm of the odds that no road is hidden there, see ``_PAIR`` and ``_T``."""
    support = np.sqrt(np.clip(np.nan_to_num(found.support, nan=_USUAL_SUPPORT), 0, _ENOUGH))
    base, per_metre, per_radian, per_support = np.where(found.other[:, None] >= 0, _PAIR, _T).T
    odds: Floats = base + per_metre * np.maximum(found.gap, 0) + per_radian * found.misfit - per_support * support
    return odds


def plausible(found: GapCandidates) -> GapCandidates:
    """Return those that would be accepted over a probability that leaves no doubt."""
    return found[odds_against(replace(found, support=np.full(len(found.end), _ENOUGH))) <= ACCEPTED]


def with_support(
    graph: PixelGraph,
    ends: DeadEnds,
    found: GapCandidates,
    *,
    level: float | None,
    pixel: Pixel,
    sample: LevelsAt | None,
) -> GapCandidates:
    """Note the mean level between the rims, over the level of a road; bridges over unknown pixels are dropped."""
    if sample is None or not len(found.end):
        return found
    size = np.abs(target_pixels(graph, found) - ends.place[found.end]).max(axis=1)
    parts = (found[part] for part in chunks(np.cumsum(size + 1)))
    return concatenate(*(_sampled(graph, ends, part, level, pixel, sample) for part in parts))


def concatenate(*found: GapCandidates) -> GapCandidates:
    """Return several lots of bridges as one."""
    return GapCandidates(
        *(np.concatenate([getattr(lot, field.name) for lot in found]) for field in fields(GapCandidates))
    )


def _sampled(
    graph: PixelGraph, ends: DeadEnds, found: GapCandidates, level: float | None, pixel: Pixel, sample: LevelsAt
) -> GapCandidates:
    """Do as ``with_support`` for bridges few enough to draw them at once."""
    target = target_pixels(graph, found)
    drawn = line_pixels(ends.place[found.end], target, thick=False)
    levels = sample(drawn.places.astype(np.int32)).astype(np.float64)
    steps = np.diff(drawn.starts)
    known = np.bincount(drawn.line, weights=levels == _UNKNOWN, minlength=len(steps)) == 0
    distance = np.maximum(np.hypot(*((target - ends.place[found.end]) * pixel).T), 1e-9)
    rim = ends.end.width[found.end] / 2 / distance
    middle, half = (
        rim + found.gap / distance / 2,
        np.maximum(found.gap - 3 * max(pixel), 1.5 * max(pixel)) / distance / 2,
    )
    share = drawn.step / np.maximum(steps - 1, 1)[drawn.line]
    inside = np.abs(share - np.clip(middle, 0, 1)[drawn.line]) <= half[drawn.line]
    total = np.bincount(drawn.line, weights=levels * inside, minlength=len(steps))
    support = total / np.maximum(np.bincount(drawn.line, weights=inside, minlength=len(steps)), 1) / (level or 1)
    return (found if level is None else replace(found, support=support))[known]


def target_pixels(graph: PixelGraph, found: GapCandidates) -> Ints:
    """Return (n, 2) the pixel each bridge leads to."""
    target = np.rint(graph.nodes[found.node]).astype(np.int64)
    split = found.vertex >= 0
    target[split] = graph.places[found.vertex[split]]
    return target
