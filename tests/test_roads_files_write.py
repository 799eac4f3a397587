"""Vector files hold what they were given, in every format, and a GeoPackage keeps what else is in it."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow.parquet
import pyogrio
import pytest
import shapely
from pyogrio.errors import DataSourceError

from roadseg.errors import OutputError
from roadseg.roads.files.geopackage import check_layers, holds_rasters_only, layer_names, write_geopackage
from roadseg.roads.files.layers import VectorLayer, area_layer, junction_layer, road_layer
from roadseg.roads.files.style import qml
from roadseg.roads.files.write import SUFFIX_OF, files_of, format_of, write_layer
from roadseg.roads.network import RoadAreas, RoadNetwork

UTM = "EPSG:32619"
DEGREES = "EPSG:4326"
NOWHERE = Path("none.gpkg")


def network(crs=UTM, scale=1.0, origin=(300_000.0, 4_600_000.0), rows=4):
    """Return a T, a lone road of three vertices, and a ring: shared nodes, NaN, a bridged gap."""
    nodes = np.array([[0, 0], [50, 0], [100, 0], [50, 40], [200, 0], [230, 9], [300, 5]], float)
    lines = [[0, 1], [1, 2], [1, 3], [4, 5], [6, 6]]
    paths = [nodes[[0, 1]], nodes[[1, 2]], nodes[[1, 3]], np.array([nodes[4], [215, 7.25], nodes[5]]),
             np.array([nodes[6], [310, 5], [305, 15], nodes[6]])][: rows + 1]  # fmt: skip
    ends = np.array(lines[: rows + 1], dtype=np.int64).reshape(-1, 2)
    count = len(ends)
    starts = np.cumsum([0, *map(len, paths)], dtype=np.int64)
    place = np.array(origin)
    return RoadNetwork(
        crs=crs,
        nodes=nodes * scale + place,
        degree=np.bincount(ends.ravel(), minlength=len(nodes)),
        at_border=np.arange(len(nodes)) == 2,
        ends=ends,
        starts=starts,
        vertices=np.vstack((np.zeros((0, 2)), *paths)) * scale + place,
        length_m=np.linspace(10, 50, count),
        width_m=np.linspace(5, 9, count) + 1 / 3,
        probability_mean=np.where(np.arange(count) == 1, np.nan, 0.875),
        probability_min=np.where(np.arange(count) == 1, np.nan, 0.5),
        inferred=np.arange(count) == 2,
        areal=np.arange(count) == 3,
        component=np.array([0, 0, 0, 1, 2])[:count],
    )


def areas(crs=UTM):
    ring = np.array([[0, 0], [40, 0], [40, 30], [0, 30]], float)[::-1] + np.array([300_000, 4_600_000])
    polygons = shapely.orient_polygons(shapely.polygons([ring, ring + 100]))
    return RoadAreas(crs, np.asarray(polygons, dtype=object), np.array([1200.0, 1200.0]), np.array([0, 1]))


EMPTY = network(rows=-1)
FORMATS = SUFFIX_OF


def read(path, layer=None):
    """Return the shapes and the columns of a layer of any format."""
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        columns = {name: table[name].to_numpy() for name in table.column_names if name not in {"geometry", "bbox"}}
        return shapely.from_wkb(table["geometry"].to_numpy()), columns
    meta, _, wkb, data = pyogrio.raw.read(path, layer=layer)
    return shapely.from_wkb(wkb), dict(zip(meta["fields"], data, strict=True))


def in_degrees(form):
    return form in {"GeoJSON", "GeoJSONSeq"}


def world(form):
    return network(DEGREES, 1e-5, (-71.0, 42.0)) if in_degrees(form) else network()


def write(folder, form, layer):
    path = folder / f"roads{FORMATS[form]}"
    write_layer(path, layer, form, projjson={"type": "GeographicCRS"})
    return path


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_written_is_read_back(tmp_path, form):
    made = world(form)
    shapes, columns = read(write(tmp_path, form, road_layer(made, "roads")))
    order = np.arange(5)
    if form == "FlatGeobuf":  # in the order of its index
        order = np.array([next(i for i, line in enumerate(made.lines()) if line.equals(s)) for s in shapes])
        assert sorted(order) == [0, 1, 2, 3, 4]
    error = 5e-8 if in_degrees(form) else 0
    assert shapely.equals_exact(shapes, made.lines()[order], tolerance=error).all()
    short = {"probability_mean": "prob_mean", "probability_min": "prob_min"} if form == "Shapefile" else {}
    for name, values in made.table().items():
        if name != "geometry":
            found = columns[short.get(name, name)]
            assert found == pytest.approx(np.round(values[order] * 1.0, 3), nan_ok=True, abs=1e-12), name
    assert len(columns) == 9


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_network_gives_the_same_bytes(tmp_path, form):
    contents = []
    for name in "ab":
        (tmp_path / name).mkdir()
        path = write(tmp_path / name, form, road_layer(world(form), "roads"))
        contents.append([file.read_bytes() for file in files_of(path) if file.suffix != ".dbf"])
    assert contents[0] == contents[1]
    assert all(contents[0])


@pytest.mark.parametrize("form", FORMATS)
def test_no_roads_make_a_valid_empty_layer(tmp_path, form):
    path = write(tmp_path, form, road_layer(replace(EMPTY, crs=DEGREES), "roads"))
    if form == "GeoJSONSeq":
        assert path.read_bytes() == b""
    elif form == "GeoParquet":
        assert pyarrow.parquet.read_table(path).num_rows == 0
        assert "bbox" not in geo(path)["columns"]["geometry"]
    else:
        shapes, columns = read(path)
        assert (len(shapes), len(columns)) == (0, 0 if form == "GeoJSON" else 9)


def test_junctions_are_the_nodes_that_u_and_v_name():
    made = network()
    roads, junctions = road_layer(made, "roads"), junction_layer(made, "junctions")
    first = shapely.get_point(roads.shapes, 0)
    assert shapely.equals(first, junctions.shapes[roads.columns["u"]]).all()
    last = shapely.get_point(roads.shapes, -1)
    assert shapely.equals(last, junctions.shapes[roads.columns["v"]]).all()
    assert junctions.columns["node"].tolist() == list(range(7))
    assert junctions.columns["degree"].tolist() == [1, 3, 1, 1, 1, 1, 2]


def test_a_value_that_is_not_known_is_null(tmp_path):
    made = world("GeoJSON")
    path = write(tmp_path, "GeoJSON", road_layer(made, "roads"))
    assert '"width_m":5.333,' in path.read_text("utf-8").replace(" ", "")
    rows = [feature["properties"] for feature in json.loads(path.read_text("utf-8"))["features"]]
    assert [row["probability_mean"] for row in rows] == [0.875, None, 0.875, 0.875, 0.875]
    assert [row["inferred"] for row in rows] == [False, False, True, False, False]
    package = write(tmp_path, "GeoPackage", road_layer(network(), "roads"))
    with closing(sqlite3.connect(package)) as database:
        assert database.execute("SELECT count(*) FROM roads WHERE probability_min IS NULL").fetchone() == (1,)


def test_geojson_is_that_of_rfc_7946(tmp_path):
    ring = np.array([[-71.0, 42.0], [-71.0, 42.1], [-70.9, 42.1], [-70.9, 42.0]])  # clockwise
    polygons = np.asarray(shapely.polygons([ring + 1 / 3e5]), dtype=object)
    layer = area_layer(RoadAreas(DEGREES, polygons, np.array([1.0]), np.array([0])), "roads")
    found = json.loads(write(tmp_path, "GeoJSON", layer).read_text("utf-8"))
    assert "crs" not in found
    xy = np.array(found["features"][0]["geometry"]["coordinates"][0])
    assert shapely.is_ccw(shapely.linearrings(xy))
    assert np.array_equal(xy, np.round(xy, 7))
    assert found["features"][0]["properties"] == {"area_m2": 1.0, "component": 0}
    lines = write(tmp_path, "GeoJSONSeq", layer).read_text("utf-8").splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["Feature"]


def geo(path):
    return json.loads(pyarrow.parquet.read_schema(path).metadata[b"geo"])


def test_geoparquet_says_what_it_holds(tmp_path):
    made = network()
    path = write(tmp_path, "GeoParquet", road_layer(made, "roads"))
    note = geo(path)
    assert (note["version"], note["primary_column"]) == ("1.1.0", "geometry")
    column = note["columns"]["geometry"]
    assert (column["encoding"], column["geometry_types"]) == ("WKB", ["LineString"])
    assert column["crs"] == {"type": "GeographicCRS"}
    assert column["bbox"] == list(shapely.total_bounds(made.lines()))
    table = pyarrow.parquet.read_table(path)
    for name, (field, part) in column["covering"]["bbox"].items():
        side = table[field].combine_chunks().field(part).to_numpy()
        assert side.tolist() == shapely.bounds(made.lines())[:, ["xmin", "ymin", "xmax", "ymax"].index(name)].tolist()
    assert table["probability_mean"].null_count == 1
    write_layer(path, road_layer(replace(made, crs=None), "roads"), "GeoParquet")
    assert geo(path)["columns"]["geometry"]["crs"] is None


def test_geoparquet_without_pyarrow_tells_the_cure(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OutputError, match=r"pip install 'roadseg\[parquet\]'"):
        write(tmp_path, "GeoParquet", road_layer(network(), "roads"))


@pytest.mark.parametrize(
    ("name", "form"), [("a.gpkg", "GeoPackage"), ("a.GEOJSON", "GeoJSON"), ("x/a.geojsons", "GeoJSONSeq")]
)
def test_the_ending_tells_the_format(name, form):
    assert format_of(Path(name)) == form
    assert format_of(Path("x/a.fgb"), "FlatGeobuf") == "FlatGeobuf"
    assert format_of(Path("x/a.data"), form) == form
    with pytest.raises(OutputError, match=r"another format than its name says; give it the extension .fgb"):
        format_of(Path(name), "FlatGeobuf")


@pytest.mark.parametrize("name", ["a!b.gpkg", "a;b.fgb", "!folder/b.gpkg"])
def test_a_name_that_would_be_another_files_is_refused(name):
    with pytest.raises(OutputError, match="has ! or ; in its path"):
        format_of(Path(name))


def test_an_unknown_ending_tells_the_list_and_a_shapefile_why_not():
    with pytest.raises(
        OutputError, match=r"a\.dxf has the extension of no vector format; choose one of \.gpkg .GeoPackage."
    ):
        format_of(Path("a.dxf"))
    with pytest.raises(OutputError, match=r"cuts field names to 10 letters .* --format Shapefile"):
        format_of(Path("a.shp"))
    assert format_of(Path("a.shp"), "Shapefile") == "Shapefile"


def test_a_full_disk_is_an_error_of_ours(tmp_path):
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import test_roads_files_write as t\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "for form in ('GeoPackage', 'GeoParquet', 'GeoJSON'):\n"
        "    made = t.world(form)\n"
        "    layer = t.road_layer(made, 'roads')\n"
        "    many = t.VectorLayer('roads', 'LineString', layer.crs, t.np.repeat(layer.shapes, 400),\n"
        "        {k: t.np.repeat(v, 400) for k, v in layer.columns.items()})\n"
        "    try:\n"
        "        t.write(Path(sys.argv[2]), form, many)\n"
        "        print('written')\n"
        "    except t.OutputError as error:\n"
        "        print('ours', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ours"] * 3, done.stdout + done.stderr


# GeoPackages


def package(folder, *layers, name="roads.gpkg", original=NOWHERE):
    path = folder / name
    write_geopackage(path, layers, original=original)
    return path


def rows(path, query):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def test_a_disk_that_fills_up_while_styles_are_stored_is_an_error_of_ours(tmp_path, monkeypatch):
    write = pyogrio.raw.write

    def fill_up(*arguments, layer, **options):
        if layer == "layer_styles":
            raise DataSourceError("Failed to commit transaction")
        write(*arguments, layer=layer, **options)

    monkeypatch.setattr(pyogrio.raw, "write", fill_up)
    with pytest.raises(OutputError, match=r"cannot write roads.gpkg \(Failed to commit transaction\); make room"):
        package(tmp_path, road_layer(network(), "roads"))


def test_layers_and_their_styles_are_registered(tmp_path):
    made = network()
    path = package(tmp_path, road_layer(made, "roads"), junction_layer(made, "junctions"))
    assert dict(pyogrio.list_layers(path)) == {"roads": "LineString", "junctions": "Point", "layer_styles": None}
    assert pyogrio.read_info(path, layer="roads")["crs"] == UTM
    listed = rows(path, "SELECT table_name, data_type, last_change FROM gpkg_contents ORDER BY table_name")
    kinds = {"junctions": "features", "layer_styles": "attributes", "roads": "features"}
    assert listed == [(name, kind, "1970-01-01T00:00:00.000Z") for name, kind in kinds.items()]
    counted = rows(path, "SELECT feature_count FROM gpkg_ogr_contents WHERE table_name = 'layer_styles'")
    assert counted in ([(2,)], [(None,)])  # None is not counted: GDAL before 3.9
    styles = rows(path, "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles")
    assert [row[:3] for row in styles] == [("roads", "geom", 1), ("junctions", "geom", 1)]
    assert [row[3] for row in styles] == [qml("LineString"), qml("Point")]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "PRAGMA foreign_key_check") == []
    assert rows(path, "PRAGMA user_version") == [(10200,)]  # older programs warn of later ones


@pytest.mark.parametrize("kind", ["LineString", "Point", "Polygon"])
def test_styles_are_well_formed_and_name_columns_that_exist(kind):
    style = ET.fromstring(qml(kind))
    assert style.tag == "qgis"
    symbols = {symbol.get("name") for symbol in style.iter("symbol")}
    assert {rule.get("symbol") for rule in style.iter("rule") if rule.get("symbol")} == symbols
    made = {
        "LineString": road_layer(network(), ""),
        "Point": junction_layer(network(), ""),
        "Polygon": area_layer(areas(), ""),
    }
    text = " ".join(rule.get("filter", "") for rule in style.iter("rule"))
    text += " ".join(option.get("value", "") for option in style.iter("Option") if option.get("name") == "expression")
    named = set(text.split('"')[1::2])
    assert named <= set(made[kind].columns)
    assert named or kind == "Polygon"


def test_bridged_gaps_are_dashed_and_lines_as_wide_as_roads():
    style = ET.fromstring(qml("LineString"))
    dashes = {}
    for rule in style.iter("rule"):
        symbol = next(s for s in style.iter("symbol") if s.get("name") == rule.get("symbol"))
        options = {o.get("name"): o.get("value") for o in symbol.iter("Option")}
        dashes[rule.get("filter")] = options["line_style"]
        assert "width_m" in options["expression"]
    assert dashes == {'not "inferred"': "solid", '"inferred"': "dash"}


@pytest.fixture
def theirs(tmp_path):
    """Write a user's package: a layer of houses, an older layer of roads, a style of their own for it."""
    path = package(tmp_path, road_layer(network(rows=1), "roads"), name="theirs.gpkg")
    houses = VectorLayer("houses", "Point", UTM, shapely.points([[1.5, 2], [3, 4]]), {"floors": np.array([2, 5])})
    write_layer(path, houses, "GeoPackage")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE layer_styles SET styleName = 'my own', styleQML = '<qgis/>'")
        database.execute("CREATE TABLE notes (words TEXT)")
        database.execute("INSERT INTO notes VALUES ('mine')")
    return path


def test_replacing_a_layer_keeps_the_others_and_the_users_style(theirs, tmp_path):
    before = theirs.read_bytes()
    made = network()
    path = package(tmp_path, road_layer(made, "roads"), junction_layer(made, "junctions"), original=theirs)
    assert theirs.read_bytes() == before
    shapes, columns = read(path, "houses")
    assert shapely.get_coordinates(shapes).tolist() == [[1.5, 2], [3, 4]]
    assert columns["floors"].tolist() == [2, 5]
    assert len(read(path, "roads")[0]) == 5
    assert rows(path, "SELECT words FROM notes") == [("mine",)]
    styles = dict(rows(path, "SELECT f_table_name, styleName FROM layer_styles"))
    assert styles == {"roads": "my own", "junctions": "roadseg"}
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("name", ["100 %", "a?mode=memory", "b#c", "d&e=f", "ä 道", "g%20h"])
def test_packages_in_folders_of_any_name_are_copied(theirs, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    path = package(folder, road_layer(network(), "new"), original=theirs.rename(folder / "theirs.gpkg"))
    assert sorted(layer_names(path)) == ["houses", "layer_styles", "new", "roads"]
    assert len(list(folder.iterdir())) == 2


def test_adding_a_layer_changes_no_other(theirs, tmp_path):
    path = package(tmp_path, road_layer(network(), "new"), original=theirs)
    assert sorted(layer_names(path)) == ["houses", "layer_styles", "new", "roads"]
    assert len(read(path, "roads")[0]) == 2
    assert len(read(path, "new")[0]) == 5
    assert len(rows(path, "SELECT * FROM layer_styles")) == 2


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (
            ["roads", "junctions"],
            {},
            r"exists; .* --overwrite to replace its layers roads and junctions \(vectorize --layer NAME adds",
        ),
        (["Houses"], {"chosen": True}, r"already has a layer Houses; choose another --layer or add --overwrite"),
        (["gpkg_contents"], {"chosen": True}, r"gpkg_contents cannot name a layer"),
    ],
)
def test_layers_that_may_not_be_written(theirs, names, options, words):
    with pytest.raises(OutputError, match=words):
        check_layers(theirs, names, **{"chosen": False, "overwrite": False, **options})


def test_layers_that_may_be_written(theirs, tmp_path):
    check_layers(tmp_path / "new.gpkg", ["roads"], chosen=False, overwrite=False)
    check_layers(theirs, ["new"], chosen=True, overwrite=False)
    check_layers(theirs, ["roads"], chosen=False, overwrite=True)


def test_a_package_that_is_open_elsewhere_is_refused(theirs):
    with closing(sqlite3.connect(theirs)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("INSERT INTO notes VALUES ('unsaved')")
        database.commit()
        with pytest.raises(OutputError, match="is open in another program; close it"):
            check_layers(theirs, ["new"], chosen=True, overwrite=False)
    check_layers(theirs, ["new"], chosen=True, overwrite=False)


@pytest.mark.parametrize("content", [b"", b"words", b"SQLite format 3\0" + bytes(200)])
def test_what_is_no_package_is_not_touched(tmp_path, content):
    path = tmp_path / "x.gpkg"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="is no GeoPackage"):
        check_layers(path, ["roads"], chosen=False, overwrite=True)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE layer_styles SET styleName = CAST(X'FF' AS TEXT)",
        "UPDATE gpkg_contents SET data_type = CAST(X'FF' AS TEXT)",
    ],
)
def test_a_package_whose_texts_are_damaged_is_refused_or_read_in_words(theirs, tmp_path, damage):
    with closing(sqlite3.connect(theirs)) as database, database:
        database.execute(damage)
    assert not holds_rasters_only(theirs)
    with nullcontext() if "data_type" in damage else pytest.raises(OutputError, match=r"theirs.gpkg exists and cannot"):
        package(tmp_path, road_layer(network(), "new"), original=theirs)
