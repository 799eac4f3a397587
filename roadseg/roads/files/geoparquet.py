"""GeoParquet 1.1: a Parquet file with geometries as WKB, their bounding boxes, and metadata with the CRS.

The boxes are a column of their own (a "bbox covering"), which readers use to skip what lies elsewhere. pyarrow reads
and writes the file; it is an optional dependency. Source: OGC GeoParquet specification 1.1.0.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import shapely

from roadseg.errors import OutputError, SceneError, no_such_file, one_line
from roadseg.roads.files.geometries import from_wkb, out_of_collections
from roadseg.roads.files.layers import VectorLayer, VectorTable

_ROWS = 1 << 16


def write_geoparquet(path: Path, layer: VectorLayer, projjson: Mapping[str, Any] | None) -> None:
    """Write a layer as a new file.

    Parameters
    ----------
    path
        Path of the file.
    layer
        Layer to write.
    projjson
        Its CRS as PROJJSON; None if it is not known.

    Raises
    ------
    OutputError
        If pyarrow is not installed.
    OSError
        If the file cannot be written.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise OutputError("GeoParquet needs pyarrow; install it with: pip install 'roadseg[parquet]'") from error
    corners = shapely.bounds(layer.shapes)
    sides = [pa.array(side) for side in corners.T]
    columns = {
        **{name: pa.array(values, from_pandas=values.dtype.kind == "f") for name, values in layer.columns.items()},
        "bbox": pa.StructArray.from_arrays(sides, names=["xmin", "ymin", "xmax", "ymax"]),
        "geometry": pa.array(shapely.to_wkb(layer.shapes), type=pa.binary()),
    }
    metadata = json.dumps(_metadata(layer, projjson), sort_keys=True)
    table = pa.table(columns).replace_schema_metadata({"geo": metadata})
    pq.write_table(table, path, compression="zstd", row_group_size=_ROWS)


def read_geoparquet(path: Path, columns: Collection[str] | None) -> VectorTable | None:
    """Read a GeoParquet file with some of its columns, or all.

    Returns
    -------
    The table; None for a file of another extension, or if pyarrow is missing but GDAL knows the format.

    Raises
    ------
    SceneError
        If the file cannot be read, by whatever is installed.
    """
    if path.suffix.lower() not in {".parquet", ".geoparquet"}:
        return None
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        import pyogrio

        if "Parquet" in pyogrio.list_drivers():
            return None
        raise SceneError(f"{path} is GeoParquet; install pyarrow to read it, or give a GeoPackage") from None
    if not path.exists():
        raise no_such_file(path)
    try:
        dataset = parquet.ParquetDataset(path)
        name, crs = _geometry_column(dataset.schema.metadata)
        attributes = [column for column in dataset.schema.names if column not in {name, "bbox"}]
        wanted = [column for column in attributes if columns is None or column in columns]
        table = dataset.read(columns=[name, *wanted])
        geometries = shapely.force_2d(out_of_collections(from_wkb(table[name].to_numpy())))
    except (ArrowException, OSError, KeyError, ValueError, shapely.errors.GEOSException) as error:
        raise SceneError(f"{path} cannot be read as GeoParquet ({one_line(error)}); give a GeoPackage") from error
    return VectorTable(geometries, {column: table[column].to_pylist() for column in wanted}, crs)


def _geometry_column(metadata: Mapping[bytes, bytes] | None) -> tuple[str, str | None]:
    """Return the name and the CRS of the column of geometries; ValueError if it is not described, or not WKB."""
    try:
        about = json.loads((metadata or {})[b"geo"])
        name, column = str(about["primary_column"]), about["columns"][about["primary_column"]]
        encoding, crs = column["encoding"], column.get("crs", "OGC:CRS84")  # the default of the specification
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError("it does not say which column holds geometries") from error
    if encoding != "WKB":
        raise ValueError(f"its geometries are stored as {encoding}, not as WKB")
    return name, crs if crs is None or isinstance(crs, str) else json.dumps(crs)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file without its geometries.

    Raises
    ------
    SceneError
        If pyarrow is not installed or the file cannot be read.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise SceneError("Parquet needs pyarrow; pip install 'roadseg[parquet]' adds it") from error
    try:
        columns = [name for name in pq.read_schema(path).names if name not in {"geometry", "bbox"}]
        rows: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise SceneError(f"{path} cannot be read ({error}); check the file") from error
    return rows


def _metadata(layer: VectorLayer, projjson: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the file's metadata on its geometries; a CRS of null means that it is not known."""
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": [layer.kind],
        "crs": projjson,
        "edges": "planar",
        "covering": {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}},
    }
    if len(layer):
        column["bbox"] = shapely.total_bounds(layer.shapes).tolist()
    if layer.kind == "Polygon":
        column["orientation"] = "counterclockwise"
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
