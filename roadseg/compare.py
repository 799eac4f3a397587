"""Compare: which predicted roads a map lacks, and which roads of a map were not seen.

``compare`` is the public function, with the options of ``roadseg compare`` as keywords, and the whole chain: read both
sides, bring them together, split lines where they leave the other side's surroundings, and write what is missing, not
seen and matched as three layers.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import shapely
from numpy.typing import NDArray

from roadseg.errors import counted
from roadseg.evaluation.map_difference import split_by_match
from roadseg.evaluation.map_lines import MapLines, bring_together, in_metres, read_map_lines, read_predicted_lines
from roadseg.evaluation.map_picture import draw_difference
from roadseg.evaluation.map_sections import Sections, cut_lines, drop_short
from roadseg.progress import Listener
from roadseg.roads.files.layers import VectorLayer
from roadseg.roads.files.osm import check_osm_name
from roadseg.roads.files.outputs import check_layers_target, check_preview, osm_of_layer, publish_layers
from roadseg.settings import CompareOptions, CompareSettings
from roadseg.settings.option import AnyPath, check_keywords, from_options

__all__ = ["CompareResult", "compare"]

MISSING, NOT_SEEN, MATCHED = "missing_from_map", "not_seen", "matched"
"""Layers of the output."""

_OF_GEOPACKAGE = {"fid", "geom"}
"""Columns that layers of a GeoPackage have of their own; names differ in more than upper and lower case there."""

_COLOURS = {MISSING: (213, 0, 110), NOT_SEEN: (240, 140, 0), MATCHED: (110, 110, 110)}


@dataclass(frozen=True)
class CompareResult:
    """What a comparison found.

    Parameters
    ----------
    output, preview, osm
        The GeoPackage, and the picture and the file for map editors if they were asked for.
    missing_from_map_km, missing_from_map
        Length and number of sections of predicted roads that the map lacks.
    not_seen_km, not_seen
        Length and number of sections of the map's roads that were not predicted.
    matched_km
        Length of predicted roads that are on the map.
    predicted_km, map_km
        Length of all roads compared, on either side; sections too short to report are part of these alone.
    measured_in
        Projection in which lengths were measured.
    """

    output: Path
    preview: Path | None
    osm: Path | None
    missing_from_map_km: float
    missing_from_map: int
    not_seen_km: float
    not_seen: int
    matched_km: float
    predicted_km: float
    map_km: float
    measured_in: str

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        paths = {name: getattr(self, name) for name in ("output", "preview", "osm")}
        return {**asdict(self), **{name: str(path) if path else None for name, path in paths.items()}}

    def sentence(self) -> str:
        """Return a summary in one line."""
        return (
            f"{self.missing_from_map_km:,.1f} km of predicted roads are missing from the map "
            f"({counted(self.missing_from_map, 'section')}), {self.not_seen_km:,.1f} km of the map were not seen "
            f"({counted(self.not_seen, 'section')}), {self.matched_km:,.1f} km match"
        )


def compare(
    roads: AnyPath,
    reference: AnyPath,
    output: AnyPath,
    *,
    listener: Listener | None = None,
    **options: Unpack[CompareOptions],
) -> CompareResult:
    """Compare predicted roads with a map.

    Parameters
    ----------
    roads
        Predicted roads: a vector file of lines, or a raster, whose roads are extracted first.
    reference
        The map: a vector file of lines in any CRS.
    output
        GeoPackage to write, with the layers ``missing_from_map``, ``not_seen`` and ``matched`` in the CRS of the roads.
    listener
        Callbacks for messages and progress.
    options
        As on the command line, with the same defaults.

    Raises
    ------
    UsageError
        If an option has a value it cannot have.
    RoadsegError
        If a side cannot be read, the two cannot be brought together, or an output cannot be written.
    """
    check_keywords("compare", options, CompareOptions)
    settings, listener = from_options(CompareSettings, options), listener or Listener()
    roads, reference, output = Path(roads), Path(reference), Path(output)
    others = [path for path in (settings.preview, settings.osm) if path]
    check_layers_target(output, list(_COLOURS), others, [roads, reference], overwrite=settings.overwrite)
    if settings.preview:
        check_preview(settings.preview)
    if settings.osm:
        check_osm_name(str(settings.osm))
    predicted = read_predicted_lines(roads, settings, listener)
    ours, theirs = bring_together(predicted, read_map_lines(reference, settings, predicted), settings)
    predicted, mapped = ours.compared, theirs.compared
    for note in mapped.notes:
        listener.report(note)
    if not theirs.near.lines:
        listener.warn(f"{reference} has no road on the ground of {roads}; every predicted road counts as missing")
    ((here, near_here), (there, near_there)), measured_in = in_metres(ours, theirs)
    listener.report(f"comparing {counted(len(here), 'predicted road')} with {len(there):,} of the map")
    similar = {"buffer_m": settings.buffer_m, "angle_deg": settings.angle_deg}
    found = drop_short(split_by_match(here, near_there, **similar), here, min_length_m=settings.min_length_m)
    unseen = drop_short(split_by_match(there, near_here, **similar), there, min_length_m=settings.min_length_m)
    missing, matched = found.selected(~found.matched), found.selected(found.matched)
    not_seen = unseen.selected(~unseen.matched)
    layers = [
        _layer(MISSING, predicted, cut_lines(here, predicted.lines, missing), missing),
        _layer(NOT_SEEN, mapped, cut_lines(there, mapped.lines, not_seen), not_seen),
        _layer(MATCHED, predicted, cut_lines(here, predicted.lines, matched), matched, theirs.near),
    ]
    publish_layers(output, layers, _others(layers, settings), [roads, reference], overwrite=settings.overwrite)
    return CompareResult(
        output,
        settings.preview,
        settings.osm,
        *_total(missing),
        *_total(not_seen),
        _total(matched)[0],
        sum(map(_length_km, here)),
        sum(map(_length_km, there)),
        measured_in,
    )


def _others(layers: Sequence[VectorLayer], settings: CompareSettings) -> dict[Path, bytes]:
    """Return the contents of the picture and of the file for map editors, as far as they are asked for."""
    contents: dict[Path, bytes] = {}
    if settings.preview:
        groups = [(layer.shapes, _COLOURS[layer.name]) for layer in reversed(layers)]
        contents[settings.preview] = draw_difference(groups)
    if settings.osm:
        contents[settings.osm] = osm_of_layer(layers[0])
    return contents


def _layer(
    name: str, side: MapLines, shapes: list[NDArray[np.float64]], sections: Sections, partner: MapLines | None = None
) -> VectorLayer:
    """Return sections as a layer, with the attributes of their lines and, as ``map_…``, of those they match.

    Names that the layer has already get ``_2`` behind them; lengths of an earlier comparison are left out.
    """
    columns: dict[str, NDArray[Any]] = {"section_m": np.round(sections.length_m, 3)}
    found = [(key, values[sections.line]) for key, values in side.columns.items() if key != "section_m"]
    if partner:
        found += [(f"map_{key}", values[sections.partner]) for key, values in partner.columns.items()]
    taken = {"section_m", *_OF_GEOPACKAGE}
    for key, values in found:
        title = key
        while title.lower() in taken:
            title += "_2"
        taken.add(title.lower())
        columns[title] = values
    lines: NDArray[np.object_] = np.empty(len(shapes), dtype=object)
    lines[:] = [shapely.LineString(shape) for shape in shapes]
    red, green, blue = _COLOURS[name]
    colour = f"{red},{green},{blue},255"
    return VectorLayer(name, "LineString", side.crs, lines, columns, colour, side.attribution)


def _total(sections: Sections) -> tuple[float, int]:
    return float(sections.length_m.sum()) / 1e3, len(sections.line)


def _length_km(line: NDArray[np.float64]) -> float:
    return float(np.hypot(*np.diff(line, axis=0).T).sum()) / 1e3
