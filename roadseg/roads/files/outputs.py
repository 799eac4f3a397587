"""Vector outputs of roads: checks before any work, the layers of each file, their CRS, and writing them.

Files are written to a staging folder; whoever asked for them publishes them when everything is finished.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import shapely

from roadseg.errors import OutputError, SceneError
from roadseg.files.lock import locked
from roadseg.files.outputs import SCRATCH, publish_together, staging_folder, write_output
from roadseg.files.targets import PNG, check_distinct, check_extension, check_target
from roadseg.raster.crs import DEGREES, crs_wkt, is_horizontal, projjson, reproject, same_crs
from roadseg.raster.files import local_files
from roadseg.roads.files.geopackage import check_layers, write_geopackage
from roadseg.roads.files.layers import VectorLayer, area_layer, junction_layer, road_layer
from roadseg.roads.files.osm import check_osm_name, osm_geojson
from roadseg.roads.files.write import IN_DEGREES, files_of, format_of, write_layer
from roadseg.roads.network import RoadAreas, RoadNetwork, Roads
from roadseg.settings import VectorizeSettings, VectorOutputs

ROADS, JUNCTIONS = "roads", "junctions"
"""Names of the layers."""


@dataclass(frozen=True)
class PlannedLayer:
    """Name of a layer to write, and whether it holds junctions."""

    name: str
    junctions: bool = False


def planned_layers(outputs: VectorOutputs, target: Path, *, areas: bool) -> list[PlannedLayer]:
    """Return the layers that go into a file; only a GeoPackage holds several."""
    roads = outputs.layer or ROADS
    junctions = PlannedLayer(JUNCTIONS if roads == ROADS else f"{roads}_{JUNCTIONS}", junctions=True)
    if target == outputs.junctions:
        return [junctions]
    alone = areas or outputs.junctions or format_of(target, outputs.format) != "GeoPackage"
    return [PlannedLayer(roads)] if alone else [PlannedLayer(roads), junctions]


def check_vector_targets(outputs: VectorOutputs, settings: VectorizeSettings, inputs: Sequence[Path]) -> None:
    """Check before any work that the files may be written.

    Parameters
    ----------
    outputs, settings
        Files to write, and the settings they come from.
    inputs
        Files that must not be overwritten.

    Raises
    ------
    OutputError
        If one may not be written, or two are the same.
    """
    check_distinct(outputs.paths())
    if outputs.osm:
        check_osm_name(str(outputs.osm))
    if outputs.preview:
        check_preview(outputs.preview)
    plain = {outputs.preview, outputs.osm}
    for target in outputs.paths():
        packed = target not in plain and format_of(target, outputs.format) == "GeoPackage"
        check_target(target, overwrite=settings.overwrite or packed, inputs=inputs)
        if target.is_symlink() and target not in plain and format_of(target, outputs.format) == "Shapefile":
            raise OutputError(f"{target} is a link, and a shapefile is several files; name the place it leads to")
        if packed:
            names = [content.name for content in planned_layers(outputs, target, areas=settings.geometry == "polygons")]
            check_layers(target, names, chosen=outputs.layer is not None, overwrite=settings.overwrite)


def check_preview(target: Path) -> None:
    """Raise OutputError if the extension of a preview is not that of a PNG."""
    check_extension(target, PNG)


def check_target_crs(outputs: VectorOutputs, settings: VectorizeSettings, crs: str | None) -> None:
    """Check before any work that roads can be reprojected to the CRS of the files.

    Parameters
    ----------
    outputs, settings
        Files to write, and the settings with their CRS.
    crs
        CRS of the roads.

    Raises
    ------
    SceneError
        If the roads have no CRS, or the one asked for is not known or not one of maps.
    OutputError
        If a format holds longitude and latitude only.
    """
    asked = crs_wkt(settings.crs) if settings.crs else None
    if asked and not is_horizontal(asked):
        raise SceneError(
            f"{settings.crs} is neither projected nor in longitude and latitude, which maps need; choose another CRS"
        )
    forms = {format_of(path, outputs.format) for path in (outputs.vector, outputs.junctions) if path}
    form_in_degrees = min(forms & set(IN_DEGREES), default=None)
    lacking = cure = ""
    if crs is None:
        lacking, cure = "without a CRS", "assign one"
    elif not is_horizontal(crs):
        lacking, cure = "in a local CRS", "assign that of a map"
    if lacking and outputs.osm:
        raise SceneError(f"{lacking} {outputs.osm} cannot have longitude and latitude; {cure} with gdal_edit.py")
    if form_in_degrees and asked and not same_crs(asked, DEGREES):
        raise OutputError(f"{form_in_degrees} holds longitude and latitude only; leave --crs out, or write .gpkg")
    if lacking and (asked or form_in_degrees):
        target = f"{DEGREES} for {form_in_degrees}" if form_in_degrees else settings.crs
        raise SceneError(f"{lacking} roads cannot be reprojected to {target}; {cure} with gdal_edit.py, or write .gpkg")


def reproject_roads(roads: Roads, crs: str) -> Roads:
    """Reproject the coordinates of roads; lengths, widths and areas stay those on the ground.

    Raises
    ------
    SceneError
        If the CRS is not known, or the roads have none.
    """
    if roads.crs is None:
        raise SceneError(
            f"without a CRS roads cannot be reprojected to {crs}; assign one to the raster, with gdal_edit.py"
        )
    if same_crs(roads.crs, crs):
        return roads
    own, target = roads.crs, crs_wkt(crs)
    if isinstance(roads, RoadNetwork):
        nodes, vertices = reproject(roads.nodes, own, crs), reproject(roads.vertices, own, crs)
        return replace(roads, crs=target, nodes=nodes, vertices=vertices)
    moved = shapely.transform(roads.polygons, lambda xy: reproject(xy, own, crs))
    return replace(roads, crs=target, polygons=shapely.orient_polygons(moved))


def stage_vectors(
    roads: Roads, outputs: VectorOutputs, crs: str | None, folder: Path, *, attribution: str = ""
) -> list[tuple[Path, Path]]:
    """Write the vector files to a staging folder.

    Parameters
    ----------
    roads
        Roads to write.
    outputs
        Paths, format and layer of the files.
    crs
        CRS of the files; None keeps that of the roads, unless the format has its own.
    folder
        Staging folder.
    attribution
        Whom to credit, stored in GeoPackages and files for map editors.

    Returns
    -------
    The files, each with the path to publish it at.

    Raises
    ------
    SceneError
        If the roads cannot be reprojected.
    OutputError
        If a file cannot be written.
    """
    staged = []
    for number, target in enumerate(filter(None, (outputs.vector, outputs.junctions))):
        form = format_of(target, outputs.format)
        wanted = crs or (DEGREES if form in IN_DEGREES else None)
        in_crs = reproject_roads(roads, wanted) if wanted else roads
        planned = planned_layers(outputs, target, areas=isinstance(roads, RoadAreas))
        layers = [replace(_layer(in_crs, layer), attribution=attribution) for layer in planned]
        path = _own_folder(folder, number) / target.name
        if form == "GeoPackage":
            write_geopackage(path, layers, original=target)
        else:
            write_layer(path, layers[0], form, projjson=projjson(in_crs.crs) if in_crs.crs else None)
        staged += [(file, target.with_name(file.name)) for file in files_of(path)]
    if outputs.osm and isinstance(roads, RoadNetwork):
        path = folder / "osm.geojson"
        layer = replace(road_layer(roads, ROADS), attribution=attribution)
        write_output(outputs.osm, osm_of_layer(layer), staged=path)
        staged.append((path, outputs.osm))
    return staged


def _own_folder(folder: Path, number: int) -> Path:
    """Return an empty folder for one output: others may have its name, and some formats write several files."""
    own = folder / f"{SCRATCH}{number}"
    shutil.rmtree(own, ignore_errors=True)  # left by a run that was killed
    own.mkdir()
    return own


def osm_of_layer(layer: VectorLayer) -> bytes:
    """Return a layer of roads for map editors, without the outlines of areas too wide for a road.

    Raises
    ------
    SceneError
        If the layer has no CRS.
    """
    if layer.crs is None:
        raise SceneError("without a CRS lines cannot have longitude and latitude for --osm; assign one first")
    own: str = layer.crs
    width_m = np.asarray(layer.columns.get("width_m", np.full(len(layer), np.nan)), dtype=np.float64)
    none = np.zeros(len(layer))
    areal, inferred = (np.asarray(layer.columns.get(name, none), dtype=np.bool_) for name in ("areal", "inferred"))
    kept = ~areal
    shapes = shapely.transform(layer.shapes[kept], lambda xy: reproject(xy, own, DEGREES))
    lines = [shapely.get_coordinates(line) for line in shapes]
    return osm_geojson(lines, width_m[kept].tolist(), layer.attribution, inferred[kept].tolist())


def _layer(roads: Roads, content: PlannedLayer) -> VectorLayer:
    if isinstance(roads, RoadAreas):
        return area_layer(roads, content.name)
    return junction_layer(roads, content.name) if content.junctions else road_layer(roads, content.name)


def check_layers_target(
    output: Path, names: Sequence[str], others: Sequence[Path], inputs: Sequence[Path], *, overwrite: bool
) -> None:
    """Check before any work whether a GeoPackage of several layers, and other files, may be written.

    Raises
    ------
    OutputError
        If one may not, or the output is no GeoPackage.
    """
    if output.suffix.lower() != ".gpkg":
        raise OutputError(f"{output} does not end in .gpkg; its {len(names)} layers go into one GeoPackage")
    format_of(output)
    targets = [output, *others]
    check_distinct(targets)
    inputs = local_files(map(str, inputs))
    for target in targets:
        check_target(target, overwrite=overwrite, inputs=inputs)
    check_layers(output, names, chosen=False, overwrite=overwrite)


def publish_layers(
    output: Path,
    layers: Sequence[VectorLayer],
    others: Mapping[Path, bytes],
    inputs: Sequence[Path],
    *,
    overwrite: bool,
) -> None:
    """Write layers as a GeoPackage, and other files; all of them appear whole.

    Parameters
    ----------
    output, layers
        The GeoPackage.
    others
        Other files, and what they hold.
    inputs
        Files that must not be overwritten.
    overwrite
        Whether files and layers may be replaced.

    Raises
    ------
    OutputError
        If one cannot be written, another run works on it, or it has appeared since it was checked.
    """
    with locked([output, *others]), staging_folder(output) as folder:
        check_layers_target(output, [layer.name for layer in layers], [*others], inputs, overwrite=overwrite)
        write_geopackage(folder / output.name, layers, original=output)
        finished = []
        for number, (target, data) in enumerate(others.items()):
            staged = folder / f"{number}{target.suffix}"
            write_output(target, data, staged=staged)
            finished.append((staged, target))
        publish_together([*finished, (folder / output.name, output)])
