"""GeoPackages: adding layers to existing ones without touching the others, and styles for QGIS.

The work is done on a copy, which replaces the original at the end: a run that is killed leaves the original
unchanged. GDAL commits a layer in several transactions, so working in place could not promise that. The copy is
made by SQLite's online backup, which always sees a consistent state. A package that another program has open is
refused, because its journal would not fit the new file.

Sources: OGC GeoPackage 1.3, 12-128r17 (requirement 2: application id), the SQLite file format (header, offset 68),
QGIS's table ``layer_styles``.
"""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import numpy as np

from roadseg.errors import OutputError
from roadseg.files.outputs import ADDED, SCRATCH, behind_links
from roadseg.roads.files.layers import VectorLayer
from roadseg.roads.files.style import qml
from roadseg.roads.files.write import FIXED_DATE, write_layer, writing

_LONGEST = 512 - len("-journal") - ADDED - len(f"/{SCRATCH}0")
"""Most bytes of a path that SQLite opens, less what it and the folders in which a file is staged add."""

_UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises where a file is damaged, or its texts are not UTF-8."""

_RESERVED = ("gpkg_", "rtree_", "sqlite_", "layer_styles")
_RASTER_CONTENTS = {"tiles", "2d-gridded-coverage"}
_STYLES = "layer_styles"
_COLUMNS = {
    "f_table_catalog": "",
    "f_table_schema": "",
    "f_table_name": "",
    "f_geometry_column": "geom",
    "styleName": "roadseg",
    "styleQML": "",
    "styleSLD": "",
    "useAsDefault": True,
    "description": "as roadseg draws it",
    "owner": "",
    "ui": "",
    "update_time": FIXED_DATE,
}
"""Columns of QGIS's table of styles, with the values of our rows."""


def check_layers(path: Path, names: Sequence[str], *, chosen: bool, overwrite: bool) -> None:
    """Check before any work that layers may be written to a package, whether it exists or not.

    Parameters
    ----------
    path
        Path of the package.
    names
        Names of the layers.
    chosen
        Whether the user named them, which allows adding them to an existing package.
    overwrite
        Whether they may replace layers of the same names.

    Raises
    ------
    OutputError
        If the file is no GeoPackage, has a layer of that name, or is open in another program.
    """
    bad = next((name for name in names if name.lower().startswith(_RESERVED)), None)
    if bad:
        raise OutputError(f"{bad} cannot name a layer, GeoPackages use it themselves; choose another --layer")
    name, folder = os.fsencode(path.name), os.fsencode(path.parent.resolve())
    if len(folder) + 2 * len(b"/" + name) > _LONGEST:
        raise OutputError(f"{path} is too long a path for SQLite; choose a shorter name or another folder")
    if not path.exists():
        return
    real = behind_links(path)
    if any(real.with_name(real.name + ending).exists() for ending in ("-wal", "-journal")):
        raise OutputError(f"{path} is open in another program; close it there and repeat the command")
    existing = layer_names(path)
    if not chosen and not overwrite:
        raise OutputError(
            f"{path} exists; choose another name, or add --overwrite to replace its layers {' and '.join(names)} "
            "(vectorize --layer NAME adds a layer of that name)"
        )
    twice = next((name for name in names if name.lower() in {other.lower() for other in existing}), None)
    if twice and not overwrite:
        raise OutputError(f"{path} already has a layer {twice}; choose another --layer or add --overwrite")


def layer_names(path: Path) -> list[str]:
    """Return the names of the layers of a GeoPackage.

    Raises
    ------
    OutputError
        If the file is not a GeoPackage or cannot be read.
    """
    import pyogrio
    from pyogrio.errors import DataSourceError

    try:
        with path.open("rb") as file:
            head = file.read(100)
        if head[68:72] not in {b"GPKG", b"GP10", b"GP11"}:
            raise OutputError(f"{path} exists and is no GeoPackage; choose another name, or remove it")
        return [str(name) for name in pyogrio.list_layers(path)[:, 0]]
    except (DataSourceError, OSError, UnicodeDecodeError) as error:
        raise OutputError(f"{path} exists and cannot be read ({error}); choose another name") from error


def holds_rasters_only(path: Path) -> bool:
    """Return whether a GeoPackage holds rasters and no vector layer; not so of what cannot be read as one."""
    try:
        with closing(_connect(path, "ro")) as package:
            kinds = {kind for (kind,) in package.execute("SELECT data_type FROM gpkg_contents")}
    except _UNREADABLE:
        return False
    return not kinds.isdisjoint(_RASTER_CONTENTS) and "features" not in kinds


def write_geopackage(path: Path, layers: Sequence[VectorLayer], *, original: Path) -> None:
    """Write layers with their styles as a GeoPackage.

    Parameters
    ----------
    path
        Path of the new file.
    layers
        Layers to write.
    original
        Path of a GeoPackage whose other layers are kept, if it exists.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    own: list[dict[str, object]] = []
    if original.exists():
        try:
            _copy(original, path)
            own = _styles_of(path)
        except _UNREADABLE as error:
            raise OutputError(f"{original} exists and cannot be read ({error}); choose another name") from error
    for layer in layers:
        write_layer(path, layer, "GeoPackage")
    with writing(path):
        _store_styles(path, layers, own)


def _copy(source: Path, target: Path) -> None:
    with closing(_connect(source, "ro")) as old, closing(_connect(target, "rwc")) as new:
        old.backup(new)


def _styles_of(path: Path) -> list[dict[str, object]]:
    """Return the rows of the table of styles, if there is one."""
    with closing(_connect(path, "ro")) as package:
        package.row_factory = sqlite3.Row
        found = package.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (_STYLES,)).fetchone()
        return [dict(row) for row in package.execute("SELECT * FROM layer_styles")] if found else []


def _store_styles(path: Path, layers: Sequence[VectorLayer], own: Sequence[Mapping[str, object]]) -> None:
    """Store our style for each layer, but keep the styles the user has given it."""
    if not any(name == _STYLES for name in layer_names(path)):
        _make_table(path)
    with closing(_connect(path, "rw")) as package, package:  # the second one commits
        for layer in layers:
            package.execute("DELETE FROM layer_styles WHERE f_table_name = ?", (layer.name,))
            theirs = [row for row in own if row["f_table_name"] == layer.name]
            for row in theirs or [{**_COLUMNS, "f_table_name": layer.name, "styleQML": qml(layer.kind, layer.colour)}]:
                names, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
                package.execute(f"INSERT INTO layer_styles ({names}) VALUES ({marks})", tuple(row.values()))  # noqa: S608


def _make_table(path: Path) -> None:
    """Create an empty table of styles with GDAL, which lists it among the contents as QGIS does."""
    import pyogrio

    kinds = {True: np.bool_, FIXED_DATE: "datetime64[ms]"}
    empty = [np.empty(0, dtype=kinds.get(value, object)) for value in _COLUMNS.values()]
    options = {"FID": "id"}
    with writing(path):
        pyogrio.raw.write(path, None, empty, list(_COLUMNS), layer=_STYLES, driver="GPKG", layer_options=options)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{_uri(path.resolve())}?mode={mode}", uri=True)
    if mode != "ro":
        connection.execute("PRAGMA journal_mode = OFF")  # nobody needs an unfinished file
    return connection


def _uri(path: Path) -> str:
    """Return the URI of an absolute path; since Python 3.14 ``Path.as_uri`` imports what opens addresses of the web."""
    text = path.as_posix()
    return f"file://{'' if text.startswith('/') else '/'}{quote(os.fsencode(text), safe='/:')}"
