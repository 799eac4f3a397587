"""The two sides of a comparison with a map: lines with their attributes, in one CRS, over the same ground."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from roadseg.errors import SceneError, counted
from roadseg.evaluation.clip import clip, line_strings
from roadseg.evaluation.extracted import extract_roads
from roadseg.evaluation.map_reach import box_around, reach_of, surroundings
from roadseg.evaluation.pairs import crs_cure, is_vector_file
from roadseg.progress import Listener
from roadseg.raster.area import reproject_polygons
from roadseg.raster.crs import reproject, same_crs, with_x_near, world_width
from roadseg.raster.metric_crs import Lines, choose_metric_crs, to_metres
from roadseg.roads.files import road_tags
from roadseg.roads.files.layers import VectorTable, Within
from roadseg.roads.files.read import check_finite, read_polygons, read_road_layer, vertices_of
from roadseg.settings import CompareSettings, VectorizeSettings
from roadseg.settings.option import changed_flags

Floats = NDArray[np.float64]
Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class MapLines:
    """Roads as lines with attributes.

    Parameters
    ----------
    path
        The file they come from.
    lines
        (vertices, 2) float64 x, y each.
    columns
        (lines,) values of each attribute: int64, float64 with NaN for "no value", bool, or text with None.
    crs
        ``EPSG:n`` or well-known text; None if the file names none.
    notes
        What was left out, and why.
    attribution
        Whom to credit, if the file says so.
    ground
        Where the raster that they come from is valid, a shapely geometry; None if everywhere, or from no raster.
    """

    path: Path
    lines: Sequence[Floats]
    columns: Columns
    crs: str | None
    notes: tuple[str, ...] = ()
    attribution: str = ""
    ground: Any = None

    def selected(self, which: NDArray[np.intp]) -> "MapLines":
        """Return some of the lines, by their numbers."""
        columns = {name: values[which] for name, values in self.columns.items()}
        return replace(self, lines=[self.lines[i] for i in which.tolist()], columns=columns)


def read_predicted_lines(path: Path, settings: CompareSettings, listener: Listener) -> MapLines:
    """Return predicted roads from a vector file, or extract them from a raster as ``roadseg vectorize`` does.

    Raises
    ------
    SceneError
        If the file cannot be read or holds no lines.
    """
    unused = "threshold" if is_vector_file(path) else "roads_layer"
    for flag in changed_flags(settings, unused):
        listener.warn(f"{flag} changed nothing: {path} is a {'vector file' if is_vector_file(path) else 'raster'}")
    if is_vector_file(path):
        return _read_lines(path, settings.roads_layer)
    roads = extract_roads(path, VectorizeSettings(threshold=settings.threshold), listener)
    table = {name: values for name, values in roads.network.table().items() if name != "geometry"}
    if roads.has_nodata:
        listener.report(f"the map is not compared where {path} has nodata")
    ground = roads.ground if roads.has_nodata else None
    return MapLines(path, roads.lines, table, roads.network.crs, attribution=roads.attribution, ground=ground)


def read_map_lines(path: Path, settings: CompareSettings, predicted: MapLines) -> MapLines:
    """Return the roads of a map that can be seen from above, of the classes asked for.

    Of a map of a whole country only what lies near the predicted roads, or in the area of interest, is read; all of it
    if nothing lies there, to say why.

    Raises
    ------
    SceneError
        If the file cannot be read, holds no lines, or has no classes though some were asked for.
    """
    classes, layer = settings.class_names, settings.map_layer
    within = reach_of(predicted.lines, predicted.crs, settings.aoi, settings.buffer_m)
    with suppress(SceneError):
        near = _read_lines(path, layer, classes=classes, visible=True, within=within)
        if near.lines:
            return near
    return _read_lines(path, layer, classes=classes, visible=True)


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Parameters
    ----------
    compared
        Its lines on the ground that is compared, cut off at the border.
    near
        What the other side's lines may match: the same roads as they were, and those just beyond the border.
    """

    compared: MapLines
    near: MapLines


def bring_together(predicted: MapLines, mapped: MapLines, settings: CompareSettings) -> tuple[Side, Side]:
    """Return both sides in the CRS of the prediction, over the ground that is compared.

    That is the area of interest if there is one, else the rectangle around the predicted roads and what may match
    them: what a map has beyond was not looked for, nor where a raster of them has nodata.

    Raises
    ------
    SceneError
        If only one side has a CRS, or the map lies elsewhere.
    """
    if (predicted.crs is None) != (mapped.crs is None):
        lacking = predicted.path if predicted.crs is None else mapped.path
        raise SceneError(f"{lacking} has no CRS and the other file has one; {crs_cure(lacking)}")
    mapped = _beside(predicted, _reprojected(mapped, predicted.crs))
    if settings.aoi:
        shape = _area(settings.aoi, predicted, mapped)
        ours = Side(_clipped(predicted, shape), _near(predicted, shape, settings.buffer_m))
    else:
        shape, ours = surroundings(predicted.lines, predicted.crs, settings.buffer_m), Side(predicted, predicted)
    if predicted.ground is not None:
        shape = predicted.ground if shape is None else shapely.intersection(shape, predicted.ground)
    if shape is None:
        return ours, Side(mapped, mapped)
    if shape.is_empty:
        mapped = mapped.selected(np.zeros(0, np.intp))
        return ours, Side(mapped, mapped)
    return ours, Side(_clipped(mapped, shape), _near(mapped, shape, settings.buffer_m))


def _area(path: Path, predicted: MapLines, mapped: MapLines) -> Any:
    """Return the area of interest in the CRS of both sides.

    Raises
    ------
    SceneError
        If it cannot be read or reprojected, has a CRS and the roads have none, or there is no road in the rectangle
        around it.
    """
    polygons, crs = read_polygons(path)
    if crs and predicted.crs is None:
        raise SceneError(f"{predicted.path} has no CRS to place {path} in; {crs_cure(predicted.path)}")
    lines = [line for line in (*predicted.lines, *mapped.lines) if len(line)]
    if not lines:
        return shapely.union_all(polygons)
    xy = np.concatenate(lines)
    bounds = (*xy.min(axis=0).tolist(), *xy.max(axis=0).tolist())
    if crs and predicted.crs and not same_crs(crs, predicted.crs):
        polygons = reproject_polygons(polygons, crs, predicted.crs, bounds, str(predicted.path))
    shape = shapely.make_valid(shapely.union_all(polygons))
    if not shapely.intersects(shape, shapely.box(*bounds)):
        raise SceneError(
            f"{path} lies outside the roads compared; choose other polygons, or if the file states a wrong CRS mend it "
            "with ogr2ogr -a_srs"
        )
    return shape


def in_metres(ours: Side, theirs: Side) -> tuple[list[tuple[Lines, Lines]], str]:
    """Return the lines of both sides in metres on the ground, and the name of the projection they are measured in.

    Returns
    -------
    The lines compared and those near them, for either side; and the name.
    """
    first = ours.compared
    metric = choose_metric_crs(list(first.lines or theirs.compared.lines), first.crs)
    lines = [
        (to_metres(list(side.compared.lines), first.crs, metric), to_metres(list(side.near.lines), first.crs, metric))
        for side in (ours, theirs)
    ]
    return lines, metric.description


def column_values(values: Sequence[Any]) -> NDArray[Any]:
    """Return the values of an attribute as an array: bool, int64, float64 (NaN for no value), or text (None).

    Lists, as OSMnx has them, become text as in OpenStreetMap: ``residential;service``. Without any value it is text.
    """
    values = [";".join(map(str, value)) if isinstance(value, list | np.ndarray) else value for value in values]
    known = [value for value in values if not _is_missing(value)]

    def all_are(*types: type) -> bool:
        return all(isinstance(value, types) for value in known)

    complete = bool(known) and len(known) == len(values)
    if complete and all_are(bool, np.bool_):
        return np.array(values, dtype=np.bool_)
    if complete and all_are(int, np.integer):
        return np.array(values, dtype=np.int64)
    if any(value is not None for value in values) and all_are(int, float, np.number):
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return np.array([None if value is None else str(value) for value in values], dtype=object)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def _read_lines(
    path: Path,
    layer: str | None,
    *,
    classes: Sequence[str] = (),
    visible: bool = False,
    within: Within | None = None,
) -> MapLines:
    cure = "choose with --roads-layer or --map-layer"
    table = read_road_layer(path, layer, cure=cure, columns=None, within=within)
    kinds = shapely.get_type_id(table.geometries)
    keep = np.isin(kinds, (shapely.GeometryType.LINESTRING, shapely.GeometryType.MULTILINESTRING))
    keep &= ~shapely.is_empty(table.geometries)
    if not keep.any() and len(keep):
        raise SceneError(f"{path} holds no lines; give a file of road lines")
    notes = []
    if visible:
        hidden = road_tags.is_hidden(table) & keep
        keep &= ~hidden
        if hidden.any():
            notes.append(f"{path.name}: {counted(int(hidden.sum()), 'road')} in tunnels or below ground left out")
    if classes:
        keep &= _of_classes(path, table, classes)
    parts, row = shapely.get_parts(table.geometries[keep], return_index=True)
    rows = np.flatnonzero(keep)[row].tolist()
    columns = {name: column_values([values[i] for i in rows]) for name, values in table.columns.items()}
    check_finite(parts, path, "line")
    return MapLines(path, vertices_of(parts), columns, table.crs, tuple(notes), table.attribution)


def _of_classes(path: Path, table: VectorTable, wanted: Sequence[str]) -> NDArray[np.bool_]:
    classes = road_tags.road_classes(table)
    if classes is None:
        raise SceneError(f"{path} has no column of road classes ({', '.join(road_tags.CLASSES)}); leave --classes out")
    found = np.isin(np.array([str(value) for value in classes]), list(wanted))
    if not found.any():
        there = ", ".join(sorted({str(value) for value in classes})[:12])
        raise SceneError(f"{path} has no road of the classes {', '.join(wanted)}; it has {there}")
    return found


def _reprojected(side: MapLines, crs: str | None) -> MapLines:
    if crs is None or side.crs is None or not side.lines or same_crs(side.crs, crs):
        return side
    return replace(side, lines=_split_like(side.lines, reproject(np.concatenate(side.lines), side.crs, crs)), crs=crs)


def _beside(predicted: MapLines, mapped: MapLines) -> MapLines:
    """Return a map with x counted as in the prediction where both cross the antimeridian: on, or again from -180°."""
    if predicted.crs is None or not predicted.lines or not mapped.lines:
        return mapped
    x = np.concatenate(predicted.lines)[:, 0]
    middle = float(x.min() + x.max()) / 2 if np.ptp(x) < world_width(predicted.crs) / 2 else 0.0
    xy = with_x_near(np.concatenate(mapped.lines), predicted.crs, middle)
    return replace(mapped, lines=_split_like(mapped.lines, xy))


def _split_like(lines: Sequence[Floats], xy: Floats) -> list[Floats]:
    """Return the vertices of lines laid end to end, (vertices, 2), as lines again."""
    return np.split(xy, np.cumsum([len(line) for line in lines])[:-1])


def _near(side: MapLines, shape: shapely.Geometry, reach_m: float) -> MapLines:
    """Return the lines that come near a shape, or near the rectangle around it, as they are."""
    if not side.lines:
        return side
    box = box_around(shapely.bounds(shape).tolist(), side.crs, reach_m)
    return side.selected(np.flatnonzero(shapely.intersects(box, line_strings(side.lines))))


def _clipped(side: MapLines, shape: shapely.Geometry) -> MapLines:
    """Return the parts of lines inside a shape; those that lie inside altogether stay as they are."""
    lines, row = clip(side.lines, shape)
    return replace(side.selected(row), lines=lines)
