"""Roads from vector files: lines or areas, how wide each is, and which are out of sight.

Any file GDAL opens, and GeoParquet where pyarrow is installed. Tunnels, covered ways and levels below the ground are
left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from roadseg.errors import SceneError, counted
from roadseg.roads.files import road_tags
from roadseg.roads.files.layers import Box
from roadseg.roads.files.read import check_finite, read_road_layer
from roadseg.training.data.widths import Widths

_KINDS = (
    shapely.GeometryType.LINESTRING,
    shapely.GeometryType.MULTILINESTRING,
    shapely.GeometryType.POLYGON,
    shapely.GeometryType.MULTIPOLYGON,
)
_POLYGONS = _KINDS[2:]
Within = Callable[[str | None], Box]


@dataclass(frozen=True)
class RoadLabels:
    """Roads of a vector file.

    Parameters
    ----------
    geometries
        (n,) lines and polygons in ``crs``.
    widths_m
        (n,) float64 whole width of the lines in metres.
    crs
        ``EPSG:n`` or WKT; None if the file names none.
    notes
        What was left out, and why.
    bounds
        (xmin, ymin, xmax, ymax) of the whole layer, if it is known.
    """

    geometries: NDArray[np.object_]
    widths_m: NDArray[np.float64]
    crs: str | None
    notes: tuple[str, ...]
    bounds: Box | None = None


def read_roads(path: Path, widths: Widths, *, layer: str | None = None, within: Within | None = None) -> RoadLabels:
    """Read the roads of a vector file.

    Parameters
    ----------
    path
        GeoPackage, GeoJSON, FlatGeobuf, shapefile, OSM extract, GeoParquet …
    widths
        How wide they are.
    layer
        Which layer; without it the only one that holds lines or polygons.
    within
        Gives for the file's CRS the rectangle that is wanted; there may be nothing in it.

    Raises
    ------
    SceneError
        If it cannot be read, holds no roads, or several layers do.
    TrainingError
        If nothing says how wide they are.
    """
    wanted = [*road_tags.COLUMNS, *([widths.attribute] if widths.attribute else [])]
    table = read_road_layer(path, layer, areas=True, cure="choose with --label-layer", columns=wanted, within=within)
    if widths.attribute and widths.attribute not in table.columns:
        raise SceneError(f"{path} has no attribute {widths.attribute}; name another with --width-attribute")
    if not len(table.geometries) and table.bounds:
        return RoadLabels(table.geometries, np.zeros(0), table.crs, (), table.bounds)
    kinds = shapely.get_type_id(table.geometries)
    drawn = np.isin(kinds, _KINDS) & ~shapely.is_empty(table.geometries)
    hidden = road_tags.is_hidden(table)
    notes = [f"{counted(int(hidden.sum()), 'road')} in tunnels or below ground left out"] if hidden.any() else []
    keep = drawn & ~hidden
    if not keep.any():
        raise SceneError(f"{path} holds no roads, neither lines nor areas in sight; give a file that does")
    areas = np.isin(kinds, _POLYGONS)
    width = np.zeros(len(keep))
    lines = keep & ~areas
    if lines.any():
        values = _picked(table.columns[widths.attribute], lines) if widths.attribute else None
        width[lines] = widths.of(int(lines.sum()), _picked(road_tags.road_classes(table), lines), values, notes)
    keep &= areas | (width > 0)
    if not keep.any():
        raise SceneError(f"{path} holds no roads: {'; '.join(notes)}; give another file or --width-table")
    check_finite(table.geometries[keep], path, "road")
    said = tuple(f"{path.name}: {note}" for note in notes)
    return RoadLabels(table.geometries[keep], width[keep], table.crs, said, table.bounds)


def _picked(values: Sequence[Any] | None, rows: NDArray[np.bool_]) -> list[Any] | None:
    """Return the values of some rows; None if there are none at all."""
    if values is None:
        return None
    return [value for value, wanted in zip(values, rows.tolist(), strict=True) if wanted]
