"""Writing layers as vector files, in the format that a file's extension stands for.

Rows keep their order (a FlatGeobuf is sorted by its spatial index) and dates are fixed, so the same network gives the
same bytes. GeoJSON follows RFC 7946: longitude and latitude in WGS 84, 7 decimals, rings counter-clockwise. Files are
written in place; callers write to a staging folder to make them appear whole or not at all.
"""

import os
import shutil
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import shapely

from roadseg.errors import OutputError
from roadseg.files.targets import check_extension
from roadseg.raster.encoding import ATTRIBUTION
from roadseg.roads.files.layers import VectorLayer, is_misread
from roadseg.settings import VectorFormat

SUFFIXES: dict[str, VectorFormat] = {
    ".gpkg": "GeoPackage",
    ".fgb": "FlatGeobuf",
    ".geojson": "GeoJSON",
    ".json": "GeoJSON",
    ".geojsonl": "GeoJSONSeq",
    ".geojsons": "GeoJSONSeq",
    ".parquet": "GeoParquet",
    ".geoparquet": "GeoParquet",
}
"""Format of each file extension; ``.shp`` is left out on purpose, see ``format_of``."""

SUFFIX_OF: dict[VectorFormat, str] = {
    "GeoPackage": ".gpkg",
    "FlatGeobuf": ".fgb",
    "GeoJSON": ".geojson",
    "GeoJSONSeq": ".geojsonl",
    "GeoParquet": ".parquet",
    "Shapefile": ".shp",
}
"""Usual file extension of each format."""

IN_DEGREES = ("GeoJSON", "GeoJSONSeq")
"""Formats whose coordinates are longitude and latitude in WGS 84."""

FIXED_DATE = "1970-01-01T00:00:00.000Z"
"""Written as the date of change, so that equal contents are equal bytes."""

_DRIVERS: dict[VectorFormat, tuple[str, dict[str, str]]] = {
    "GeoPackage": ("GPKG", {"GEOMETRY_NAME": "geom"}),
    "FlatGeobuf": ("FlatGeobuf", {"SPATIAL_INDEX": "YES"}),
    "GeoJSON": ("GeoJSON", {"RFC7946": "YES", "COORDINATE_PRECISION": "7", "SIGNIFICANT_FIGURES": "15"}),
    "GeoJSONSeq": ("GeoJSONSeq", {"RS": "NO", "COORDINATE_PRECISION": "7", "SIGNIFICANT_FIGURES": "15"}),
    "Shapefile": ("ESRI Shapefile", {"ENCODING": "UTF-8"}),
}
_DATASET: dict[VectorFormat, dict[str, str]] = {"GeoPackage": {"VERSION": "1.2"}}
"""Options of new files: GDAL before 3.7 warns of GeoPackages of a later version, and nothing here needs one."""

_NAMED = {"FlatGeobuf", "Shapefile"}
"""Formats of which GDAL writes a folder of files where a name has not their extension."""

_SHORT = {"probability_mean": "prob_mean", "probability_min": "prob_min", "component": "component"}

_PAGE = 1 << 16
"""Bytes; with fewer free, nothing more is written into a GeoPackage."""


def format_of(path: Path, asked: VectorFormat | None = None) -> VectorFormat:
    """Return the format asked for, or else that of a file's extension.

    Raises
    ------
    OutputError
        If the extension is that of another format or, without a format, not known, or that of shapefiles, which cut
        field names to 10 letters.
    """
    suffix = path.suffix.lower()
    if is_misread(path):
        raise OutputError(f"{path} has ! or ; in its path, which pyogrio takes for those of archives; choose another")
    if asked:
        check_extension(path, [SUFFIX_OF[asked], *(ending for ending, form in SUFFIXES.items() if form == asked)])
        if asked in _NAMED and suffix != SUFFIX_OF[asked]:
            raise OutputError(f"{path} does not end in {SUFFIX_OF[asked]}, as every {asked} does; rename it")
        return asked
    if suffix == ".shp":
        raise OutputError(
            f"{path} would be a shapefile, which cuts field names to 10 letters and has no booleans; "
            "write .gpkg, or have vectorize write it with --format Shapefile if it has to be"
        )
    if suffix not in SUFFIXES:
        listed = ", ".join(f"{ending} ({name})" for ending, name in SUFFIXES.items())
        raise OutputError(
            f"{path} has the extension of no vector format; choose one of {listed}, or vectorize with --format"
        )
    return SUFFIXES[suffix]


def write_layer(
    path: Path, layer: VectorLayer, form: VectorFormat, *, projjson: Mapping[str, Any] | None = None
) -> None:
    """Write a layer as a new file, or into an existing GeoPackage, where it replaces a layer of its name.

    Parameters
    ----------
    path
        Path of the file, in a folder of its own: some formats write several files.
    layer
        Layer to write; in EPSG:4326 for the formats in ``IN_DEGREES``.
    form
        Format of the file.
    projjson
        CRS of the layer as PROJJSON; only GeoParquet needs it.

    Raises
    ------
    OutputError
        If it cannot be written, or a package that the format needs is missing.
    """
    if form == "GeoParquet":
        from roadseg.roads.files.geoparquet import write_geoparquet

        with writing(path):
            write_geoparquet(path, layer, projjson)
        return
    import pyogrio

    driver, options = _DRIVERS[form]
    names = [_SHORT.get(name, name) if form == "Shapefile" else name for name in layer.columns]
    date = os.environ.get("OGR_CURRENT_DATE", FIXED_DATE)
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": date, "OGR_SQLITE_SYNCHRONOUS": "OFF"})
    with writing(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'crs' was not provided")
        pyogrio.raw.write(
            path,
            shapely.to_wkb(layer.shapes),
            field_data=list(layer.columns.values()),
            fields=names,
            geometry_type=layer.kind,
            crs=layer.crs,
            driver=driver,
            layer=layer.name,
            layer_options=options,
            dataset_options=_DATASET.get(form) if not path.exists() else None,
            layer_metadata={ATTRIBUTION: layer.attribution} if form == "GeoPackage" and layer.attribution else None,
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Context manager that turns errors in writing a file, with whatever library, into an ``OutputError``."""
    from pyogrio.errors import CRSError, DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

    of_gdal = (CRSError, DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError)
    try:
        yield
    except (*of_gdal, sqlite3.Error, OSError) as error:
        reason = "No space left on device" if _is_full(path.parent) else str(error)
        raise OutputError(f"cannot write {path.name} ({reason}); make room or choose another place") from error


def _is_full(folder: Path) -> bool:
    """Return whether a disk is full, which GDAL's errors seldom say."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free < _PAGE
    return False


def files_of(path: Path) -> Sequence[Path]:
    """Return all files that a written one consists of, the main file last; it lies in a folder of its own."""
    others = sorted(other for other in path.parent.iterdir() if other != path)
    return [*(others if path.suffix.lower() == ".shp" else []), path]
