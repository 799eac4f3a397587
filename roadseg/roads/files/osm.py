"""Lines for OpenStreetMap editors: GeoJSON in longitude and latitude, with tags as properties.

JOSM takes the properties of a feature for tags and makes one node of equal coordinates; iD and Rapid show the file as
custom data to draw from. Widths measured in imagery are ``est_width`` from 2 m on; surfaces and classes are not guessed
(``highway=road``), and bridged gaps, which nobody has seen, get a ``fixme``; the source belongs on the changeset. Ways
that meet share their node to the last digit (7 decimals, about 1 cm), and a way has no more nodes than OpenStreetMap
takes.
"""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import OutputError

ENDINGS = (".geojson", ".json")

_DECIMALS = 7

_GAP = "gap between two roads, bridged by software: check that a road runs here"

_NARROWEST_M = 2.0
"""No road for cars is narrower; of one that seems to be, little reached the threshold."""

_MOST_NODES = 2000
"""Nodes of a way that OpenStreetMap's API accepts."""


def check_osm_name(name: str) -> None:
    """Raise OutputError if a file for editors has another ending than GeoJSON's."""
    if not name.lower().endswith(ENDINGS):
        raise OutputError(f"{name} is written as GeoJSON for map editors; let it end in .geojson")


def osm_geojson(
    lines: Sequence[NDArray[np.float64]], width_m: Sequence[float], attribution: str, inferred: Sequence[bool] = ()
) -> bytes:
    """Return roads as GeoJSON for map editors.

    Parameters
    ----------
    lines
        (vertices, 2) float64 longitude, latitude in WGS 84 each.
    width_m
        Their widths; NaN where one is unknown.
    attribution
        Whom to credit, for the head of the file; may be empty.
    inferred
        Which of them are bridged gaps, which nobody has seen; empty is none.
    """
    rows = [
        json.dumps(_feature(way, float(width), gap=gap))
        for line, width, gap in zip(lines, width_m, inferred or [False] * len(lines), strict=True)
        for way in _ways(line)
    ]
    credit = f'"attribution": {json.dumps(attribution, ensure_ascii=False)},\n' if attribution else ""
    joined = ",\n".join(rows)
    return f'{{"type": "FeatureCollection",\n{credit}"features": [\n{joined}\n]}}\n'.encode()


def _ways(line: NDArray[np.float64]) -> list[list[list[float]]]:
    """Return a line as nodes of one or more ways; none if it is shorter than the grid of coordinates."""
    ways = []
    for part in _cut_at_antimeridian(line):
        rounded = np.round(part, _DECIMALS)
        moves = np.ones(len(rounded), dtype=np.bool_)
        moves[1:] = (np.diff(rounded, axis=0) != 0).any(axis=1)
        nodes = rounded[moves].tolist()
        step = _MOST_NODES - 1  # a way begins with the node that ends the one before it
        ways += [nodes[start : start + _MOST_NODES] for start in range(0, len(nodes) - 1, step)]
    return ways


def _cut_at_antimeridian(line: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the parts of a line between longitudes -180 and 180, as editors know no others.

    Once longitudes go on beyond 180 without a jump, each whole turn around the Earth is cut from the next:

        179.9  -179.9        ──▶  179.9  180.1            ──▶  179.9  180 │ -180  -179.9
    """
    unrolled = np.column_stack([np.unwrap(line[:, 0], period=360), line[:, 1]])
    turn = np.floor((unrolled[:, 0] + 180) / 360)
    if not turn.any():
        return [line]
    last = np.flatnonzero(np.diff(turn))  # before each cut
    before, after = unrolled[last], unrolled[last + 1]
    longitude = 360 * np.maximum(turn[last], turn[last + 1]) - 180
    share = (longitude - before[:, 0]) / (after[:, 0] - before[:, 0])
    cuts = np.column_stack([longitude, before[:, 1] + share * (after[:, 1] - before[:, 1])])
    whole = np.insert(unrolled, last + 1, cuts, axis=0)
    bounds = [0, *(last + 1 + np.arange(len(last))), len(whole) - 1]
    turns = turn[[0, *(last + 1)]]
    return [
        whole[start : stop + 1] - [360 * around, 0]
        for start, stop, around in zip(bounds[:-1], bounds[1:], turns, strict=True)
    ]


def _feature(nodes: list[list[float]], width_m: float, *, gap: bool) -> dict[str, object]:
    tags = {"highway": "road"}
    if gap:
        tags["fixme"] = _GAP
    elif width_m >= _NARROWEST_M:
        tags["est_width"] = f"{width_m:.1f}"
    return {"type": "Feature", "properties": tags, "geometry": {"type": "LineString", "coordinates": nodes}}
