"""Roads for OpenStreetMap editors: their tags, shared nodes equal to the last digit, whom to credit."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pyogrio
import pytest
from road_rasters import UTM, UTM_NORTH_UP, draw_t, write_levels

from roadseg.compare import MATCHED, MISSING, compare
from roadseg.errors import OutputError, SceneError, UsageError
from roadseg.roads.files.osm import osm_geojson
from roadseg.vectorize import vectorize

CREDIT = 'me & "you" ©'


@pytest.fixture
def raster(tmp_path):
    tags = {"ROADSEG_ATTRIBUTION": CREDIT}
    return write_levels(tmp_path / "t.tif", draw_t(), transform=UTM_NORTH_UP, crs=UTM, tags=tags)


def read(path):
    found = json.loads(path.read_text("utf-8"))
    assert found["type"] == "FeatureCollection"
    return found, [np.array(feature["geometry"]["coordinates"]) for feature in found["features"]]


def test_ways_have_the_tags_that_mappers_expect_and_no_others(raster, tmp_path):
    result = vectorize(raster, tmp_path / "r.gpkg", osm=tmp_path / "r.geojson")
    assert result.outputs["osm"] == tmp_path / "r.geojson"
    found, lines = read(tmp_path / "r.geojson")
    assert found["attribution"] == CREDIT
    assert len(lines) == 3
    for feature, width in zip(found["features"], result.roads.width_m, strict=True):
        assert feature["properties"] == {"highway": "road", "est_width": f"{width:.1f}"}


def test_bridged_gaps_ask_to_be_checked(tmp_path):
    levels = draw_t()
    levels[:, 48:54] = 0
    raster = write_levels(tmp_path / "t.tif", levels, transform=UTM_NORTH_UP, crs=UTM)
    roads = vectorize(raster, tmp_path / "r.gpkg", osm=tmp_path / "r.geojson", min_length=1).roads
    found, _ = read(tmp_path / "r.geojson")
    assert roads.inferred.any()
    for feature, inferred in zip(found["features"], roads.inferred, strict=True):
        assert ("fixme" in feature["properties"], "est_width" in feature["properties"]) == (inferred, not inferred)


def test_no_width_is_stated_that_no_road_for_cars_has():
    line = np.array([[9.0, 48.0], [9.001, 48.0]])
    found = json.loads(osm_geojson([line] * 4, [1.9, 2.0, np.nan, 5.04], ""))
    widths = [feature["properties"].get("est_width") for feature in found["features"]]
    assert widths == [None, "2.0", None, "5.0"]


def test_ways_that_meet_share_their_node_to_the_last_digit(raster, tmp_path):
    vectorize(raster, tmp_path / "r.gpkg", osm=tmp_path / "r.geojson")
    _, lines = read(tmp_path / "r.geojson")
    ends = Counter(tuple(line[at]) for line in lines for at in (0, -1))
    assert sorted(ends.values()) == [1, 1, 1, 3]
    assert all(9 - 3 < x < 9 + 3 and 47 < y < 49 for line in lines for x, y in line)  # 500 km east, 5,300 km north


def test_missing_roads_are_written_for_editors_too(raster, tmp_path):
    vectorize(raster, tmp_path / "r.gpkg")
    half = write_levels(tmp_path / "half.tif", draw_t()[:70], transform=UTM_NORTH_UP, crs=UTM)
    vectorize(half, tmp_path / "map.gpkg")
    result = compare(tmp_path / "r.gpkg", tmp_path / "map.gpkg", tmp_path / "c.gpkg", osm=tmp_path / "c.geojson")
    found, lines = read(tmp_path / "c.geojson")
    assert found["attribution"] == CREDIT
    assert len(lines) == result.missing_from_map > 0
    assert all(feature["properties"]["highway"] == "road" for feature in found["features"])
    for layer, tag in ((MISSING, CREDIT), (MATCHED, CREDIT)):
        assert pyogrio.read_info(tmp_path / "c.gpkg", layer=layer)["layer_metadata"]["ROADSEG_ATTRIBUTION"] == tag


def test_a_way_without_width_or_length_is_no_trouble():
    lines = [np.array([[9.0, 48.0], [9.00000001, 48.0], [9.1, 48.0]]), np.array([[9.0, 48.0], [9.00000001, 48.0]])]
    found = json.loads(osm_geojson(lines, [np.nan, 5.0], ""))
    assert "attribution" not in found
    (feature,) = found["features"]
    assert feature["properties"] == {"highway": "road"}
    assert feature["geometry"]["coordinates"] == [[9.0, 48.0], [9.1, 48.0]]
    assert json.loads(osm_geojson([], [], ""))["features"] == []


@pytest.mark.parametrize(("vertices", "sizes"), [(2000, [2000]), (2001, [2000, 2]), (4500, [2000, 2000, 502])])
def test_no_way_has_more_nodes_than_openstreetmap_takes(vertices, sizes):
    line = np.column_stack([np.linspace(9, 10, vertices), np.full(vertices, 48.0)])
    ways = [feature["geometry"]["coordinates"] for feature in json.loads(osm_geojson([line], [5.0], ""))["features"]]
    assert [len(way) for way in ways] == sizes
    assert all(one[-1] == other[0] for one, other in pairwise(ways))
    assert np.array_equal(np.concatenate([ways[0], *(way[1:] for way in ways[1:])]), np.round(line, 7))


@pytest.mark.parametrize("turn", [-360, 0, 360])
def test_ways_end_at_the_antimeridian(turn):
    line = np.array([[turn + 179.9, 10], [turn + 180.1, 12], [turn + 180.3, 12], [turn + 179.9, 16]])
    ways = [feature["geometry"]["coordinates"] for feature in json.loads(osm_geojson([line], [5.0], ""))["features"]]
    assert ways == [
        [[179.9, 10.0], [180.0, 11.0]],
        [[-180.0, 11.0], [-179.9, 12.0], [-179.7, 12.0], [-180.0, 15.0]],
        [[180.0, 15.0], [179.9, 16.0]],
    ]
    with_jumps = np.where(line > 180, line - 360, line)
    assert osm_geojson([with_jumps], [5.0], "") == osm_geojson([line], [5.0], "")


def test_rasters_from_0_to_360_degrees_have_ways_where_editors_look():
    (feature,) = json.loads(osm_geojson([np.array([[250.0, 9.0], [250.1, 9.0]])], [5.0], ""))["features"]
    assert feature["geometry"]["coordinates"] == [[-110.0, 9.0], [-109.9, 9.0]]


@pytest.mark.parametrize("output", ["r.gpkg", "r.geojson"])
def test_a_local_crs_has_no_place_on_earth(tmp_path, output):
    local = write_levels(tmp_path / "n.tif", draw_t(), transform=UTM_NORTH_UP, crs='LOCAL_CS["site",UNIT["metre",1]]')
    osm = {"osm": tmp_path / "o.geojson"} if output == "r.gpkg" else {}
    with pytest.raises(SceneError, match=r"in a local CRS .* assign that of a map with gdal_edit\.py"):
        vectorize(local, tmp_path / output, **osm)


def test_what_cannot_be_written_for_editors_is_refused_before_any_work(raster, tmp_path):
    output = tmp_path / "r.gpkg"
    with pytest.raises(OutputError, match=r"let it end in \.geojson"):
        vectorize(raster, output, osm=tmp_path / "r.osm")
    with pytest.raises(UsageError, match="--osm holds lines; leave out --as polygons"):
        vectorize(raster, output, osm=tmp_path / "r.geojson", as_="polygons")
    nowhere = write_levels(tmp_path / "n.tif", draw_t(), crs=None)
    with pytest.raises(SceneError, match=r"without a CRS .* assign one with gdal_edit\.py"):
        vectorize(nowhere, output, osm=tmp_path / "r.geojson")
    with pytest.raises(OutputError, match="named twice"):
        vectorize(raster, tmp_path / "r.geojson", osm=tmp_path / "r.geojson")
    assert not output.exists()
