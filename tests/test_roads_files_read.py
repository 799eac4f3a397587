"""Lines and polygons come back from any vector file, or the error says what to do."""

import json
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pyogrio
import pytest
import rasterio
import rasterio.shutil
import shapely
from shapely.geometry import LineString, MultiLineString, MultiPolygon, Point, Polygon, box

from roadseg.errors import SceneError
from roadseg.roads.files.read import read_lines, read_polygons, read_road_layer

SAMPLE_MASK = Path(__file__).parent.parent / "sample_data" / "mask.tif"


def write(path, geometries, *, kind="Unknown", crs="EPSG:26986", layer="roads", append=False):
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array(geometries, dtype=object)),
        field_data=[],
        fields=[],
        geometry_type=kind,
        crs=crs,
        layer=layer,
        append=append,
    )


def test_polygons_and_multipolygons_come_back_with_their_crs(tmp_path):
    path = tmp_path / "aoi.gpkg"
    parts = MultiPolygon([box(5, 5, 6, 6), box(8, 8, 9, 9)])
    write(path, [box(0, 0, 3, 2), parts])
    polygons, crs = read_polygons(path)
    assert polygons == [box(0, 0, 3, 2), parts]
    assert crs == "EPSG:26986"


def test_lines_come_back_vertex_by_vertex_parts_apart_and_without_height(tmp_path):
    path = tmp_path / "roads.gpkg"
    write(
        path,
        [LineString([(0, 0, 7), (3, 1, 8)]), MultiLineString([[(1, 1), (2, 2)], [(5, 0), (6, 0), (7, 1)]])],
    )
    lines, crs = read_lines(path)
    assert [line.tolist() for line in lines] == [
        [[0, 0], [3, 1]],
        [[1, 1], [2, 2]],
        [[5, 0], [6, 0], [7, 1]],
    ]
    assert crs == "EPSG:26986"


def test_geometries_without_coordinates_and_rows_without_geometry_are_dropped(tmp_path):
    path = tmp_path / "roads.geojson"
    path.write_text(
        '{"type":"FeatureCollection","features":['
        '{"type":"Feature","properties":{},"geometry":null},'
        '{"type":"Feature","properties":{},"geometry":{"type":"LineString","coordinates":[]}},'
        '{"type":"Feature","properties":{},"geometry":{"type":"LineString","coordinates":[[0,0],[1,2]]}}]}',
        "utf-8",
    )
    lines, crs = read_lines(path)
    assert [line.tolist() for line in lines] == [[[0, 0], [1, 2]]]
    assert crs == "EPSG:4326"


def test_the_layer_is_the_one_that_holds_the_kind_asked_for(tmp_path):
    path = tmp_path / "both.gpkg"
    write(path, [Point(0, 0)], layer="junctions", kind="Point")
    write(path, [LineString([(0, 0), (4, 1)])], layer="roads", kind="LineString", append=False)
    assert len(read_lines(path)[0]) == 1


def test_lines_in_two_layers_are_refused_until_one_is_named(tmp_path):
    path = tmp_path / "two.gpkg"
    write(path, [LineString([(0, 0), (4, 1)])], layer="old", kind="LineString")
    write(path, [LineString([(0, 0), (5, 1)])], layer="new", kind="LineString")
    with pytest.raises(SceneError, match=r"several layers \(old, new\); copy one to a file of its own, with ogr2ogr"):
        read_lines(path)
    assert read_lines(path, layer="new")[0][0][1, 0] == 5
    with pytest.raises(SceneError, match="no layer young; it has old, new"):
        read_lines(path, layer="young")


def test_of_several_layers_that_of_roads_is_taken(tmp_path):
    path = tmp_path / "three.gpkg"
    for number, layer in enumerate(("rivers", "roads", "rails")):
        write(path, [LineString([(0, 0), (number, 1)])], layer=layer, kind="LineString")
    assert read_lines(path)[0][0][1, 0] == 1
    table = read_road_layer(path, None, cure="name one", columns=None)
    assert shapely.get_coordinates(table.geometries)[1, 0] == 1
    write(path, [LineString([(0, 0), (9, 1)])], layer="lines", kind="LineString")
    with pytest.raises(SceneError, match=r"several layers \(rivers, roads, rails, lines\); name one"):
        read_road_layer(path, None, cure="name one", columns=None)


def test_of_several_layers_those_without_rows_do_not_count(tmp_path):
    path = tmp_path / "map.gpkg"
    write(path, [], layer="roads", kind="LineString")
    write(path, [LineString([(0, 0), (5, 1)])], layer="ways", kind="LineString")
    table = read_road_layer(path, None, cure="name one", columns=None)
    assert shapely.get_coordinates(table.geometries)[1, 0] == 5
    write(path, [], layer="lines", kind="LineString")
    assert len(read_road_layer(path, None, cure="name one", columns=None).geometries) == 1


def test_of_the_layers_of_a_gpx_file_that_of_its_tracks_is_read(tmp_path):
    """GDAL names all kinds of layers a GPX file may have, and does not count their rows."""
    path = tmp_path / "driven.gpx"
    shapes = shapely.to_wkb(np.array([MultiLineString([[(9, 48), (9.1, 48)]])], dtype=object))
    pyogrio.raw.write(path, shapes, [], [], geometry_type="MultiLineString", crs="EPSG:4326", driver="GPX")
    table = read_road_layer(path, None, cure="name one", columns=None)
    assert shapely.get_coordinates(table.geometries).tolist() == [[9, 48], [9.1, 48]]


def test_rows_within_a_rectangle_come_in_the_order_of_the_file(tmp_path):
    """The spatial index of a GeoPackage has an order of its own."""
    x = np.random.default_rng(0).permutation(2000)
    write(tmp_path / "map.gpkg", [LineString([(at, 0), (at, 1)]) for at in x], kind="LineString")
    table = read_road_layer(
        tmp_path / "map.gpkg", None, cure="name one", columns=None, within=lambda _: (9.5, -1, 1500.5, 2)
    )
    assert shapely.get_coordinates(table.geometries)[::2, 0].tolist() == [at for at in x if 10 <= at <= 1500]


def test_lines_of_one_vertex_are_dropped(tmp_path):
    shapes = [
        {"type": "LineString", "coordinates": [[9, 48]]},
        {"type": "MultiLineString", "coordinates": [[[9, 48], [8, 48]], [[7, 48]], [[9, 48], [9, 47], [8, 47]]]},
        {"type": "MultiLineString", "coordinates": [[[7, 48]]]},
        {"type": "LineString", "coordinates": [[9, 48], [9, 49]]},
    ]
    features = [{"type": "Feature", "properties": {}, "geometry": shape} for shape in shapes]
    (tmp_path / "roads.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
    lines, _ = read_lines(tmp_path / "roads.geojson")
    assert [line.tolist() for line in lines] == [
        [[9, 48], [8, 48]],
        [[9, 48], [9, 47], [8, 47]],
        [[9, 48], [9, 49]],
    ]


def write_parquet(path, geometries, about, **columns):
    table = pa.table({"geometry": geometries, **columns})
    pyarrow.parquet.write_table(table.replace_schema_metadata(about and {"geo": json.dumps(about)}), path)
    return path


def about_geometry(**column):
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB", **column}}}


def test_geoparquet_is_read_as_other_files_are(tmp_path):
    lines = [struct.pack("<BIIdd", 1, 2, 1, 9.0, 48.0), shapely.to_wkb(LineString([(9, 48), (9, 49)])), None]
    path = write_parquet(
        tmp_path / "r.parquet", lines, about_geometry(crs=None), name=["a", "b", "c"], tags=[{"x": 1}] * 3
    )
    assert [line.tolist() for line in read_lines(path)[0]] == [[[9, 48], [9, 49]]]
    assert read_road_layer(path, None, cure="", columns=["name", "none"]).columns == {"name": ["a", "b", "c"]}
    assert list(read_road_layer(path, None, cure="", columns=None).columns) == ["name", "tags"]


@pytest.mark.parametrize(
    ("about", "words"),
    [
        (about_geometry(encoding="linestring"), "its geometries are stored as linestring, not as WKB"),
        (None, "it does not say which column holds geometries"),
        ([1], "it does not say which column holds geometries"),
        ({"primary_column": "geometry"}, "it does not say which column holds geometries"),
    ],
)
def test_parquet_that_is_no_geoparquet_is_refused(tmp_path, about, words):
    places = pa.array([[{"x": 9.0, "y": 48.0}, {"x": 9.0, "y": 49.0}]])
    path = write_parquet(tmp_path / "r.parquet", places, about)
    with pytest.raises(SceneError, match=rf"cannot be read as GeoParquet \({words}\); give a GeoPackage"):
        read_lines(path)


def test_a_layer_of_lines_without_rows_is_an_empty_network(tmp_path):
    path = tmp_path / "none.gpkg"
    write(path, [], kind="LineString")
    assert read_lines(path) == ([], "EPSG:26986")


def test_a_layer_whose_rows_have_no_geometry_is_no_empty_network(tmp_path):
    """GDAL gives none, and says nothing, where a geometry is damaged."""
    path = tmp_path / "roads.gpkg"
    write(path, [None, None], kind="LineString")
    with pytest.raises(SceneError, match="holds no lines; give a file that does"):
        read_lines(path)


@pytest.mark.parametrize(
    ("geometries", "kind"), [([Point(1, 2)], "Point"), ([box(0, 0, 1, 1)], "Unknown"), ([], "Point")]
)
def test_a_file_without_lines_is_refused(tmp_path, geometries, kind):
    path = tmp_path / "other.gpkg"
    write(path, geometries, kind=kind)
    with pytest.raises(SceneError, match="holds no lines"):
        read_lines(path)


def test_a_file_without_polygons_is_refused(tmp_path):
    path = tmp_path / "lines.gpkg"
    write(path, [LineString([(0, 0), (1, 1)])])
    with pytest.raises(SceneError, match="holds no polygons"):
        read_polygons(path)
    empty = tmp_path / "empty.gpkg"
    write(empty, [], kind="Polygon")
    with pytest.raises(SceneError, match="holds no polygons"):
        read_polygons(empty)


def test_a_missing_file_and_a_file_of_another_kind_are_named(tmp_path):
    with pytest.raises(SceneError, match=r"gone\.gpkg does not exist"):
        read_polygons(tmp_path / "gone.gpkg")
    (tmp_path / "notes.gpkg").write_text("not a database", "utf-8")
    with pytest.raises(SceneError, match=r"notes\.gpkg cannot be read as a vector file"):
        read_lines(Path(tmp_path / "notes.gpkg"))


@pytest.mark.parametrize(
    ("name", "content", "cure"),
    [
        ("a.gpkg", "", "it is empty, so copy or download it again"),
        ("a.tif", "text", "give road lines or areas, as this looks like a raster"),
        ("a.gpkg", "text", "repair it, or give another"),
        ("a.geojson.gz", "text", "unpack it first"),
    ],
)
def test_what_to_do_about_a_file_that_holds_no_lines(tmp_path, name, content, cure):
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(SceneError, match=f"; {cure}$"):
        read_lines(tmp_path / name)


def test_a_geopackage_of_rasters_looks_like_a_raster(tmp_path):
    rasterio.shutil.copy(SAMPLE_MASK, tmp_path / "a.gpkg", driver="GPKG")
    with pytest.raises(SceneError, match=r"as this looks like a raster$"):
        read_lines(tmp_path / "a.gpkg")


@pytest.mark.parametrize("sign", "!;")
def test_no_other_file_is_read_for_one_with_an_odd_name(tmp_path, sign):
    write(tmp_path / "b.gpkg", [LineString([(0, 0), (1, 1)])])
    (tmp_path / f"a{sign}b.gpkg").write_bytes((tmp_path / "b.gpkg").read_bytes())
    with pytest.raises(SceneError, match=f"a{sign}b.gpkg has ! or ; in its path, .*; rename it"):
        read_lines(tmp_path / f"a{sign}b.gpkg")


def test_a_coordinate_that_is_not_finite_is_refused(tmp_path):
    path = tmp_path / "nan.gpkg"
    with np.errstate(invalid="ignore"):
        write(path, [LineString([(0, 0), (np.nan, 1)])])
    with pytest.raises(SceneError, match="not a finite number"):
        read_lines(path)
    with np.errstate(invalid="ignore"):
        write(path, [Polygon([(0, 0), (np.nan, 1), (1, 1)])], kind="Polygon")
    with pytest.raises(SceneError, match="not a finite number; repair that polygon"):
        read_polygons(path)


def test_a_polygon_that_crosses_itself_comes_back_valid(tmp_path):
    path = tmp_path / "bow.gpkg"
    good = box(10, 10, 13, 12)
    write(path, [Polygon([(0, 0), (2, 2), (2, 0), (0, 2)]), good], kind="Polygon")
    polygons = read_polygons(path)[0]
    assert good in polygons
    assert all(polygon.is_valid for polygon in polygons)
    assert sum(polygon.area for polygon in polygons) == pytest.approx(2 + good.area)


def test_a_missing_crs_comes_back_as_none(tmp_path):
    path = tmp_path / "plain.shp"
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        write(path, [Polygon([(0, 0), (2, 0), (0, 3)])], kind="Polygon", crs=None)
    assert read_polygons(path)[1] is None


@pytest.mark.parametrize("srs_id", [0, -1])
def test_the_undefined_crs_of_older_geopackages_is_none(tmp_path, srs_id):
    path = tmp_path / "plain.gpkg"
    write(path, [LineString([(0, 0), (100, 0)])], kind="LineString")
    with closing(sqlite3.connect(path)) as package, package:
        for table in ("gpkg_contents", "gpkg_geometry_columns"):
            package.execute(f"UPDATE {table} SET srs_id = ?", (srs_id,))
    assert read_lines(path)[1] is None


def test_coordinates_that_are_no_degrees_are_refused_where_degrees_are_meant(tmp_path):
    path, lines = tmp_path / "metres.geojson", [LineString([(171500, 902500), (171850, 902500)])]
    path.write_text(json.dumps(shapely.geometry.mapping(lines[0])), "utf-8")
    with pytest.raises(SceneError, match=r"coordinates 171500, 902500, which are no degrees.*with ogr2ogr -a_srs$"):
        read_lines(path)
    write(tmp_path / "metres.gpkg", lines)
    assert len(read_lines(tmp_path / "metres.gpkg")[0]) == 1
    path.write_text('{"type": "LineString", "coordinates": [[359, 1], [361, 1]]}', "utf-8")  # beyond the antimeridian
    assert len(read_lines(path)[0]) == 1


def test_advice_for_programmers_is_left_out(tmp_path):
    (tmp_path / "text.gpkg").write_text("hello", "utf-8")
    with pytest.raises(SceneError, match=r"text\.gpkg' not recognized as [a-z ]+ file format\); repair"):
        read_lines(tmp_path / "text.gpkg")
