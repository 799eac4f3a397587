"""Sections of lines: what of them another map has, and what it lacks.

``split_by_match`` makes them; here they are thinned out and cut from the lines' own vertices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadseg.roads.mask.components import label_pairs

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NEGLIGIBLE_M = 0.01
"""Sections shorter than this are rounding."""

_SAME_PLACE_M = 0.001


@dataclass(frozen=True)
class Sections:
    """Parts of lines, in the order of the lines and along each of them; together they cover every line.

    Parameters
    ----------
    line
        (sections,) int64 number of the line.
    start_m, stop_m
        (sections,) float64 distances along it.
    matched
        (sections,) bool: whether the other map has a line there.
    partner
        (sections,) int64 number of the other map's line that follows most of a matched section; -1 for unmatched ones.
    """

    line: Ints
    start_m: Floats
    stop_m: Floats
    matched: Bools
    partner: Ints

    @property
    def length_m(self) -> Floats:
        """(sections,) float64."""
        return self.stop_m - self.start_m

    def selected(self, which: Bools) -> "Sections":
        """Return some of the sections."""
        return Sections(
            self.line[which], self.start_m[which], self.stop_m[which], self.matched[which], self.partner[which]
        )


def drop_short(sections: Sections, lines: Sequence[Floats], *, min_length_m: float) -> Sections:
    """Return the sections without unmatched ones that are short altogether with the unmatched sections they touch.

    So a road that is missing keeps the short edge between two of its junctions, while the last metres before a
    junction that is drawn elsewhere do not count.
    """
    open_ones = np.flatnonzero(~sections.matched)
    ends = _touching_ends(sections, open_ones, lines)
    count, component = _components(ends, len(open_ones))
    total = np.bincount(component, sections.length_m[open_ones], count)
    keep = np.ones(len(sections.line), dtype=np.bool_)
    keep[open_ones[total[component] < min_length_m]] = False
    return sections.selected(keep)


def cut_lines(lines: Sequence[Floats], own: Sequence[Floats], sections: Sections) -> list[Floats]:
    """Return the vertices of sections in a CRS of their own.

    Parameters
    ----------
    lines
        In metres, as the sections were measured.
    own
        The same lines, vertex by vertex, in the CRS that is wanted.
    sections
        Of ``lines``.

    Returns
    -------
    (vertices, 2) float64 for each section: the vertices between its ends as they are, and its ends interpolated.
    """
    return [
        _cut(_distances(lines[line]), own[line], start, stop)
        for line, start, stop in zip(sections.line.tolist(), sections.start_m, sections.stop_m, strict=True)
    ]


def _touching_ends(sections: Sections, which: Ints, lines: Sequence[Floats]) -> Ints:
    """Return (ends, 2): a section, and the number of the place it ends at; only for ends that are their line's."""
    at_start = sections.start_m[which] <= NEGLIGIBLE_M
    length = np.array([_distances(lines[line])[-1] for line in sections.line[which].tolist()])
    at_stop = sections.stop_m[which] >= length - NEGLIGIBLE_M
    ends = [(i, lines[sections.line[which[i]]][0]) for i in np.flatnonzero(at_start).tolist()]
    ends += [(i, lines[sections.line[which[i]]][-1]) for i in np.flatnonzero(at_stop).tolist()]
    if not ends:
        return np.zeros((0, 2), np.int64)
    places = np.rint(np.array([place for _, place in ends]) / _SAME_PLACE_M).astype(np.int64)
    _, number = np.unique(places, axis=0, return_inverse=True)
    return np.column_stack([np.array([section for section, _ in ends]), number.ravel()])


def _components(ends: Ints, count: int) -> tuple[int, Ints]:
    """Return how many groups of sections share ends, and each section's group."""
    # Sections and places are numbered on; each place belongs together with the sections that end there.
    groups, label = label_pairs(count + int(ends[:, 1].max(initial=-1)) + 1, ends + np.array([0, count]))
    return groups, label[:count]


def _cut(distance: Floats, vertices: Floats, start: float, stop: float) -> Floats:
    inner = (distance > start + NEGLIGIBLE_M / 2) & (distance < stop - NEGLIGIBLE_M / 2)
    ends = np.column_stack([np.interp([start, stop], distance, vertices[:, axis]) for axis in (0, 1)])
    if start <= 0:
        ends[0] = vertices[0]
    if stop >= distance[-1]:
        ends[1] = vertices[-1]
    return np.concatenate([ends[:1], vertices[inner], ends[1:]])


def _distances(line: Floats) -> Floats:
    """Return how far along a line its vertices lie."""
    return np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
