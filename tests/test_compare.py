"""Predicted roads against a map: three layers, with the attributes of both sides, in any CRS."""

import json
import sqlite3
from contextlib import closing

import cv2
import numpy as np
import pyogrio
import pytest
import shapely
from commands import roadseg
from road_rasters import UTM, UTM_NORTH_UP, draw_t, write_levels

from roadseg.compare import MATCHED, MISSING, NOT_SEEN, compare
from roadseg.errors import OutputError, SceneError, UsageError
from roadseg.evaluate import evaluate
from roadseg.files.lock import locked
from roadseg.progress import Listener
from roadseg.vectorize import vectorize

EAST, NORTH = 500_000.0, 5_300_000.0


def write_lines(path, lines, crs=UTM, layer="roads", **columns):
    """Write lines, given in metres from a corner, with attributes, reprojected to a CRS."""
    shapes = np.array([shapely.LineString(np.add(line, (EAST, NORTH))) for line in lines], dtype=object)
    if crs != UTM:
        from roadseg.raster.crs import reproject

        shapes = shapely.transform(shapes, lambda xy: reproject(xy, UTM, crs))
    fields = {name: np.array(values) for name, values in columns.items()}
    pyogrio.raw.write(
        path, shapely.to_wkb(shapes), list(fields.values()), list(fields), geometry_type="LineString", crs=crs,
        driver="GPKG", layer=layer,
    )  # fmt: skip
    return path


def read(path, layer):
    """Return the rows of a layer as dictionaries, with their lines."""
    meta, _, wkb, values = pyogrio.raw.read(path, layer=layer)
    rows = [dict(zip(meta["fields"], row, strict=True)) for row in zip(*values, strict=True)]
    return [{**row, "line": shapely.from_wkb(shape)} for row, shape in zip(rows, wkb, strict=True)], meta["crs"]


@pytest.fixture
def town(tmp_path):
    """Return predicted roads and a map of them: one road is only predicted, another only on the map."""
    main, side, new, old = [(0, 0), (1000, 0)], [(300, 0), (300, 400)], [(600, 0), (600, 250)], [(800, 0), (800, -150)]
    roads = write_lines(tmp_path / "roads.gpkg", [main, side, new], probability_mean=[0.9, 0.8, 0.7], u=[1, 2, 3])
    names = {"name": ["Main Street", "Side Street", "Old Lane"], "highway": ["primary", "residential", "track"]}
    drawn = [[(0, 3), (1000, 3)], [(302, 3), (302, 400)], old]
    return roads, write_lines(tmp_path / "map.gpkg", drawn, crs="EPSG:4326", layer="lines", **names)


def test_attributes_named_as_columns_of_a_geopackage_or_nearly_alike_are_kept(tmp_path):
    names = {"fid": [7], "geom": ["g"], "Name": ["Main Street"], "name": ["Hauptstraße"], "Section_m": [5.0]}
    lines = [[(0, 0), (1000, 0)]]
    shape = shapely.linestrings(np.add(lines, (EAST, NORTH)))
    pyogrio.raw.write(
        tmp_path / "map.fgb", shapely.to_wkb(shape), [np.array(values) for values in names.values()], list(names),
        geometry_type="LineString", crs=UTM, driver="FlatGeobuf",
    )  # fmt: skip
    seen = [[(0, 0), (300, 0)], [(700, 0), (1000, 0)], [(100, 100), (130, 100)], [(450, 60), (550, 60)]]
    roads = write_lines(tmp_path / "roads.gpkg", [*seen, [(470, -80), (530, -80)]])
    result = compare(roads, tmp_path / "map.fgb", tmp_path / "changes.gpkg", buffer=5)
    (row,), _ = read(result.output, NOT_SEEN)
    assert (row["fid_2"], row["geom_2"], row["Name"], row["name_2"]) == (7, "g", "Main Street", "Hauptstraße")
    assert row["Section_m_2"] == 5.0
    assert row["section_m"] == pytest.approx(390, abs=1)
    matched, _ = read(result.output, MATCHED)
    assert [row["map_fid"] for row in matched] == [7, 7]


def test_each_road_lands_in_its_layer_with_its_attributes(town, tmp_path):
    result = compare(*town, tmp_path / "changes.gpkg")
    missing, crs = read(result.output, MISSING)
    assert crs == UTM
    assert [row["u"] for row in missing] == [3]
    assert missing[0]["probability_mean"] == pytest.approx(0.7)
    assert missing[0]["section_m"] == pytest.approx(250, abs=0.1)
    not_seen, _ = read(result.output, NOT_SEEN)
    assert not not_seen  # it lies outside the rectangle around the predicted roads
    matched, _ = read(result.output, MATCHED)
    assert {(row["u"], row["map_name"]) for row in matched} == {(1, "Main Street"), (2, "Side Street")}
    assert result.missing_from_map_km == pytest.approx(0.25, abs=1e-3)
    assert (result.missing_from_map, result.not_seen) == (1, 0)


def test_the_area_of_interest_says_where_the_map_counts(town, tmp_path):
    area = tmp_path / "area.gpkg"
    box = shapely.box(EAST - 10, NORTH - 200, EAST + 1010, NORTH + 500)
    pyogrio.raw.write(area, shapely.to_wkb([box]), [], [], geometry_type="Polygon", crs=UTM, driver="GPKG", layer="a")
    result = compare(*town, tmp_path / "changes.gpkg", aoi=area)
    not_seen, _ = read(result.output, NOT_SEEN)
    assert [(row["name"], row["highway"]) for row in not_seen] == [("Old Lane", "track")]
    assert result.not_seen_km == pytest.approx(0.150, abs=2e-3)


def test_only_roads_on_the_ground_compared_are_counted(town, tmp_path):
    area = write_area(tmp_path / "area.gpkg", crs=UTM, bounds=(EAST + 500, NORTH - 200, EAST + 1000, NORTH + 500))
    said = []
    compare(*town, tmp_path / "changes.gpkg", aoi=area, listener=Listener(report=said.append))
    assert said[0] == "comparing 2 predicted roads with 2 of the map"


def test_an_area_of_any_size_in_any_crs_and_none_elsewhere(town, tmp_path):
    def write_box(name, *bounds):
        wkb = shapely.to_wkb([shapely.box(*bounds)])
        pyogrio.raw.write(tmp_path / name, wkb, [], [], geometry_type="Polygon", crs="EPSG:4326", driver="GPKG")
        return tmp_path / name

    result = compare(*town, tmp_path / "changes.gpkg", aoi=write_box("world.gpkg", -180, -90, 180, 90))
    assert (result.missing_from_map, result.not_seen) == (1, 1)
    with pytest.raises(SceneError, match=r"far.gpkg lies outside the roads compared; choose other polygons"):
        compare(*town, tmp_path / "other.gpkg", aoi=write_box("far.gpkg", 70, 10, 71, 11))
    assert not (tmp_path / "other.gpkg").exists()


def test_only_the_classes_asked_for_count(town, tmp_path):
    result = compare(*town, tmp_path / "changes.gpkg", classes="primary")
    missing, _ = read(result.output, MISSING)
    assert sorted(row["u"] for row in missing) == [2, 3]
    with pytest.raises(SceneError, match="no road of the classes motorway; it has primary, residential, track"):
        compare(*town, tmp_path / "other.gpkg", classes="motorway")
    assert not (tmp_path / "other.gpkg").exists()


def test_a_road_on_the_border_meets_its_twin_beyond(tmp_path):
    roads = write_lines(tmp_path / "roads.gpkg", [[(0, 0), (500, 0)]])
    drawn = write_lines(tmp_path / "map.gpkg", [[(0, -5), (500, -5)], [(0, -20), (500, -20)]], crs="EPSG:4326")
    result = compare(roads, drawn, tmp_path / "c.gpkg")
    assert (result.map_km, result.matched_km) == (pytest.approx(0.5, abs=1e-3), pytest.approx(0.5, abs=1e-3))
    assert (result.missing_from_map, result.not_seen) == (0, 0)


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize("area", [False, True])
def test_of_a_map_of_a_country_only_what_lies_near_is_read(tmp_path, crs, area):
    """The tunnel in the next town is not counted, for it is not read; a road that reaches into the area is."""
    roads = write_lines(tmp_path / "roads.gpkg", [[(0, 0), (1000, 0)]])
    drawn = [[(-2000, 5), (3000, 5)], [(500, 0), (500, 9)], [(70000, 0), (70500, 0)], [(0, 3000), (900, 3000)]]
    country = write_lines(tmp_path / "map.gpkg", drawn, crs=crs, tunnel=["no", "yes", "yes", "no"])
    options = {}
    if area:
        box = shapely.to_wkb(np.array([shapely.box(EAST, NORTH - 500, EAST + 1000, NORTH + 3500)], dtype=object))
        pyogrio.raw.write(tmp_path / "area.gpkg", box, [], [], geometry_type="Polygon", crs=UTM)
        options = {"aoi": tmp_path / "area.gpkg"}
    said = []
    result = compare(roads, country, tmp_path / "c.gpkg", listener=Listener(report=said.append), **options)
    assert said[0] == "map.gpkg: 1 road in tunnels or below ground left out"
    assert result.matched_km == pytest.approx(1, abs=1e-3)
    assert result.map_km == pytest.approx(1.9 if area else 1.02, abs=1e-2)


def test_classes_that_no_road_near_has_are_no_error(town, tmp_path):
    far = write_lines(tmp_path / "far.gpkg", [[(0, 0), (9, 0)], [(90000, 0), (90009, 0)]], highway=["track", "primary"])
    assert compare(town[0], far, tmp_path / "c.gpkg", classes="primary").map_km == 0
    with pytest.raises(SceneError, match=r"no road of the classes trunk; it has primary, track$"):
        compare(town[0], far, tmp_path / "d.gpkg", classes="trunk")


def test_a_map_with_longitudes_from_0_to_360_is_found(tmp_path):
    pieces = np.array([[(-71.0, 42.0), (-70.99, 42.0)]])
    for name, shift in (("roads.gpkg", 0), ("map.gpkg", 360)):
        shape = shapely.to_wkb(shapely.linestrings(pieces + np.array([shift, 0])))
        pyogrio.raw.write(tmp_path / name, shape, [], [], geometry_type="LineString", crs="EPSG:4326")
    result = compare(tmp_path / "roads.gpkg", tmp_path / "map.gpkg", tmp_path / "c.gpkg")
    assert result.matched_km == pytest.approx(result.predicted_km)


def test_a_map_on_a_server_is_to_be_downloaded(town, tmp_path):
    with pytest.raises(SceneError, match=r"^https://host/map.gpkg is not a file on this machine; download it first$"):
        compare(town[0], "https://host/map.gpkg", tmp_path / "c.gpkg")
    with pytest.raises(SceneError, match=r"^/vsizip/a.zip/map.gpkg is not a file .*; unpack or download it first$"):
        compare(town[0], "/vsizip/a.zip/map.gpkg", tmp_path / "c.gpkg")
    with pytest.raises(SceneError, match=r"is QGIS's name of a layer; give the file alone, which ends before the \|$"):
        compare(town[0], f"{town[1]}|layername=lines", tmp_path / "changes.gpkg")
    with pytest.raises(SceneError, match=r"^s3://tiles/roads.tif is not a file on this machine; download it first$"):
        compare("s3://tiles/roads.tif", town[1], tmp_path / "c.gpkg")


def test_options_that_change_nothing_are_named(town, tmp_path):
    said = []
    listener = Listener(warn=said.append)
    compare(*town, tmp_path / "c.gpkg", threshold=0.2, listener=listener)
    raster = write_levels(tmp_path / "t.tif", draw_t(), transform=UTM_NORTH_UP)
    compare(raster, town[1], tmp_path / "d.gpkg", roads_layer="roads", listener=listener)
    assert said[0] == f"--threshold changed nothing: {town[0]} is a vector file"
    assert said[1] == f"--roads-layer changed nothing: {raster} is a raster"
    mask = write_levels(tmp_path / "m.tif", (draw_t() > 0).astype(np.uint8), scale=None, transform=UTM_NORTH_UP)
    compare(mask, town[1], tmp_path / "e.gpkg", threshold=0.2, listener=listener)
    assert f"--threshold changed nothing: {mask} is a mask" in said
    with pytest.raises(UsageError, match="--classes must be names separated by commas, not ' , '"):
        compare(*town, tmp_path / "e.gpkg", classes=" , ")


def test_tunnels_are_not_expected_to_be_seen(tmp_path):
    roads = write_lines(tmp_path / "roads.gpkg", [[(0, 0), (500, 0)], [(0, 300), (500, 300)]])
    drawn = write_lines(
        tmp_path / "map.gpkg", [[(0, 0), (500, 0)], [(250, 0), (250, 300)]], tunnel=["no", "yes"], layer="lines"
    )
    said = []
    from roadseg.progress import Listener

    result = compare(roads, drawn, tmp_path / "c.gpkg", listener=Listener(report=said.append))
    assert result.not_seen == 0
    one = write_lines(tmp_path / "one.gpkg", [[(0, 0), (500, 0)]])
    compare(one, drawn, tmp_path / "d.gpkg", listener=Listener(report=said.append))
    assert said[-1].startswith("comparing 1 predicted road with ")
    assert any("1 road in tunnels" in sentence for sentence in said)


def test_a_raster_is_vectorized_first(tmp_path):
    raster = write_levels(tmp_path / "t.tif", draw_t(), transform=UTM_NORTH_UP)
    far = write_lines(tmp_path / "map.gpkg", [[(0, 9_000), (100, 9_000)]])
    result = compare(raster, far, tmp_path / "c.gpkg")
    assert result.matched_km == 0
    assert result.missing_from_map_km == pytest.approx(result.predicted_km)
    assert result.predicted_km > 0.1


@pytest.mark.parametrize("hole", ["half", "all", "specks", "none"])
def test_a_map_is_not_compared_where_a_raster_has_nodata(tmp_path, hole):
    levels = draw_t()
    vectorize(write_levels(tmp_path / "whole.tif", levels, transform=UTM_NORTH_UP), tmp_path / "map.gpkg")
    places = {"half": np.s_[:, levels.shape[1] // 2 :], "all": np.s_[:], "specks": np.s_[::9, ::9], "none": np.s_[:0]}
    levels[places[hole]] = 255
    raster = write_levels(tmp_path / "t.tif", levels, transform=UTM_NORTH_UP)
    said: list[str] = []
    listener = Listener(report=said.append)
    result = compare(raster, tmp_path / "map.gpkg", tmp_path / "c.gpkg", min_length=5, listener=listener)
    assert (f"the map is not compared where {raster} has nodata" in said) == (hole in {"half", "all"})
    assert result.not_seen_km < 0.01
    assert (result.map_km == 0) == (hole == "all")


def test_a_raster_without_a_crs_is_told_how_to_get_one(tmp_path):
    raster = write_levels(tmp_path / "t.tif", draw_t(), transform=UTM_NORTH_UP, crs=None)
    roads = write_lines(tmp_path / "map.gpkg", [[(0, 0), (100, 0)]])
    with pytest.raises(
        SceneError, match=r"t\.tif has no CRS and the other file has one; assign it, with gdal_edit\.py"
    ):
        compare(raster, roads, tmp_path / "c.gpkg")


def test_sections_share_the_places_where_they_were_cut(tmp_path):
    roads = write_lines(tmp_path / "roads.gpkg", [[(0, 0), (1000, 0)]])
    drawn = write_lines(tmp_path / "map.gpkg", [[(0, 0), (400, 0)]])
    result = compare(roads, drawn, tmp_path / "c.gpkg")
    (missing,), (matched,) = read(result.output, MISSING)[0], read(result.output, MATCHED)[0]
    assert matched["line"].coords[-1] == missing["line"].coords[0]
    assert matched["line"].length == pytest.approx(410, abs=0.01)  # the buffer reaches 10 m beyond the end


def test_layers_have_colours_of_their_own(town, tmp_path):
    result = compare(*town, tmp_path / "changes.gpkg")
    with closing(sqlite3.connect(result.output)) as package:
        styles = dict(package.execute("SELECT f_table_name, styleQML FROM layer_styles"))
    assert set(styles) == {MISSING, NOT_SEEN, MATCHED}
    assert len(set(styles.values())) == 3


@pytest.mark.parametrize("name", ["changes.geojson", "nowhere/changes.gpkg"])
def test_outputs_that_cannot_be_written_are_refused_before_any_work(name, town, tmp_path):
    with pytest.raises(OutputError):
        compare(*town, tmp_path / name)


def test_a_map_without_a_crs_is_refused(town, tmp_path):
    bare, shapes = tmp_path / "bare.gpkg", shapely.to_wkb([shapely.LineString([(0, 0), (100, 0)])])
    with pytest.warns(UserWarning, match="crs"):
        pyogrio.raw.write(bare, shapes, [], [], geometry_type="LineString", crs=None, driver="GPKG", layer="roads")
    with pytest.raises(SceneError, match=r"bare\.gpkg has no CRS"):
        compare(town[0], bare, tmp_path / "c.gpkg")


def test_the_same_comparison_gives_the_same_bytes(town, tmp_path):
    one, two = (compare(*town, tmp_path / name).output.read_bytes() for name in ("a.gpkg", "b.gpkg"))
    assert one == two


def test_the_command_prints_the_lengths_and_draws_a_picture(town, tmp_path):
    done = roadseg(
        "compare", *town, "-o", tmp_path / "c.gpkg", "--json", "--preview", tmp_path / "c.png", "--buffer", 12
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["missing_from_map"], said["not_seen"]) == (1, 0)
    assert "0.2 km of predicted roads are missing from the map (1 section)" in done.stderr
    picture = cv2.imread(str(tmp_path / "c.png"))
    assert max(picture.shape[:2]) == 2000
    assert (picture == (110, 0, 213)).all(axis=2).any()  # missing roads in blue, green, red
    again = roadseg("compare", *town, "-o", tmp_path / "c.gpkg")
    assert again.returncode == 1
    assert "--overwrite" in again.stderr


def test_two_runs_on_one_output_do_not_overwrite_each_other(town, tmp_path):
    output = tmp_path / "changes.gpkg"
    with locked([output]), pytest.raises(OutputError, match=r"changes.gpkg is being written by process \d+ on"):
        compare(*town, output)
    assert not output.exists()

    def faster(_):
        if not output.exists():
            compare(*town, output, buffer=12)

    with pytest.raises(OutputError, match="exists; choose another name"):
        compare(*town, output, listener=Listener(report=faster))
    alone = compare(*town, tmp_path / "alone.gpkg", buffer=12)
    assert read(output, MATCHED) == read(alone.output, MATCHED)


def test_options_without_sense_are_wrong_usage(town, tmp_path):
    done = roadseg("compare", *town, "-o", tmp_path / "c.gpkg", "--angle", 120)
    assert done.returncode == 2
    assert "--angle" in done.stderr
    with pytest.raises(TypeError, match="unexpected keyword"):
        compare(*town, tmp_path / "c.gpkg", bufer=3)


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326"])
def test_a_map_whose_roads_lie_just_beyond_the_predicted_ones_has_them(tmp_path, crs):
    roads = write_lines(tmp_path / "roads.gpkg", [[(0, 0), (1000, 0)], [(0, 0), (0, -900)]], crs=crs)
    drawn = write_lines(tmp_path / "map.gpkg", [[(-4, 6), (1000, 6)], [(-4, 6), (-4, -900)]], name=["a", "b"])
    result = compare(roads, drawn, tmp_path / "c.gpkg")
    assert (result.missing_from_map, result.not_seen) == (0, 0)
    assert result.matched_km == pytest.approx(1.9, abs=0.005)
    assert {row["map_name"] for row in read(result.output, MATCHED)[0]} == {"a", "b"}


def test_a_road_of_the_map_just_inside_the_area_was_seen_just_outside(tmp_path):
    roads = write_lines(tmp_path / "roads.gpkg", [[(0, 0), (1000, 0)], [(0, 0), (0, 400)]])
    drawn = write_lines(tmp_path / "map.gpkg", [[(0, 6), (1000, 6)]])
    area, box = tmp_path / "area.gpkg", shapely.box(EAST - 50, NORTH + 3, EAST + 950, NORTH + 500)
    pyogrio.raw.write(area, shapely.to_wkb([box]), [], [], geometry_type="Polygon", crs=UTM, driver="GPKG", layer="a")
    result = compare(roads, drawn, tmp_path / "c.gpkg", aoi=area)
    assert (result.not_seen, result.matched_km) == (0, pytest.approx(0, abs=0.02))
    assert result.map_km == pytest.approx(0.95, abs=0.001)
    assert result.predicted_km == pytest.approx(0.397, abs=0.001)


def write_area(path, *, crs, bounds):
    """Write an area of interest, a rectangle."""
    wkb = shapely.to_wkb([shapely.box(*bounds)])
    pyogrio.raw.write(path, wkb, [], [], geometry_type="Polygon", crs=crs, driver="GPKG", layer="a")
    return path


@pytest.mark.parametrize("bounds", [(6, 47.98, 12, 48.2), (-180, -90, 180, 90)])
def test_an_area_in_another_crs_lies_where_it_should_whatever_its_size(tmp_path, bounds):
    north = 16_000.0  # at a latitude of 47.997; a straight side from 6° to 12° would run north of it
    roads = write_lines(tmp_path / "roads.gpkg", [[(0, north), (600, north)]])
    area = write_area(tmp_path / "area.gpkg", crs="EPSG:4326", bounds=bounds)
    result = compare(roads, roads, tmp_path / "c.gpkg", aoi=area)
    assert result.predicted_km == pytest.approx(0.6, abs=1e-3)
    assert result.matched_km == pytest.approx(0.6, abs=1e-3)


def test_an_area_with_a_crs_cannot_be_placed_among_roads_without_one(tmp_path):
    wkb, kind = shapely.to_wkb([shapely.LineString([(0, 0), (100, 0)])]), "LineString"
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        pyogrio.raw.write(tmp_path / "r.gpkg", wkb, [], [], geometry_type=kind, crs=None, layer="roads")
    area = write_area(tmp_path / "area.gpkg", crs="EPSG:4326", bounds=(0, 0, 1, 1))
    with pytest.raises(SceneError, match=r"r\.gpkg has no CRS to place .*area\.gpkg in; assign it"):
        compare(tmp_path / "r.gpkg", tmp_path / "r.gpkg", tmp_path / "c.gpkg", aoi=area)


def test_geoparquet_is_compared_and_scored(tmp_path):
    pytest.importorskip("pyarrow")
    raster = write_levels(tmp_path / "t.tif", draw_t(), transform=UTM_NORTH_UP)
    paths = [tmp_path / f"r{suffix}" for suffix in (".gpkg", ".parquet", ".geoparquet")]
    for path in paths:
        vectorize(raster, path)
    for path in paths[1:]:
        assert compare(path, paths[0], tmp_path / "c.gpkg", overwrite=True).missing_from_map_km == 0
        assert evaluate(paths[0], path).figures["APLS"] == pytest.approx(1)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize("swapped", [False, True])
def test_longitudes_that_go_on_beyond_180_meet_those_that_start_again(tmp_path, swapped, crs):
    beyond = [np.array([(179.999, 10), (180.002, 10)]), np.array([(180.0005, 10), (180.0005, 10.002)])]
    again = [np.column_stack([np.where(x > 180, x - 360, x), y]) for x, y in (line.T for line in beyond)]
    paths = [tmp_path / "beyond.gpkg", tmp_path / "again.gpkg"]
    if crs == "EPSG:3857":
        radians = [np.radians(line).T for line in beyond]
        beyond = [6_378_137.0 * np.column_stack([lon, np.arcsinh(np.tan(lat))]) for lon, lat in radians]
    for path, lines, written in zip(paths, (beyond, again), (crs, "EPSG:4326"), strict=True):
        shapes = shapely.to_wkb(np.array([shapely.LineString(line) for line in lines], dtype=object))
        pyogrio.raw.write(path, shapes, [], [], geometry_type="LineString", crs=written)
    result = compare(*(paths[::-1] if swapped else paths), tmp_path / "changes.gpkg")
    assert (result.missing_from_map, result.not_seen) == (0, 0)
    assert result.matched_km == pytest.approx(0.550, abs=0.001)


def test_attributes_that_are_lists_become_text(town, tmp_path):
    rows, _ = read(town[1], "lines")
    names = (["Main Street", "High Street"], "Side Street", ["Old Lane"])
    features = [
        {"type": "Feature", "properties": {"name": name}, "geometry": shapely.geometry.mapping(row["line"])}
        for name, row in zip(names, rows, strict=True)
    ]
    (tmp_path / "map.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
    result = compare(town[0], tmp_path / "map.geojson", tmp_path / "changes.gpkg")
    matched, _ = read(result.output, MATCHED)
    assert {row["map_name"] for row in matched} == {"Main Street;High Street", "Side Street"}


def test_an_attribute_without_any_value_stays_text(town, tmp_path):
    """OpenStreetMap extracts have such; as a number, it would not fit that of the next tile."""
    rows, _ = read(town[1], "lines")
    features = [
        {"type": "Feature", "properties": {"waterway": None}, "geometry": shapely.geometry.mapping(row["line"])}
        for row in rows
    ]
    (tmp_path / "map.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
    result = compare(town[0], tmp_path / "map.geojson", tmp_path / "changes.gpkg")
    about = pyogrio.read_info(result.output, layer=MATCHED)
    assert dict(zip(about["fields"], about["ogr_types"], strict=True))["map_waterway"] == "OFTString"
