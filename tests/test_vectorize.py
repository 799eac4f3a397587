"""Vectorize: roads lie where they were draw_t, in metres, whatever the raster; outputs appear whole or not at all."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from road_rasters import NEAR, UTM, UTM_NORTH_UP, bad_rasters, draw_t, sorted_lengths, write_levels
from worlds import ROTATED, names_in, write_raster

import roadseg.vectorize
from roadseg.errors import OutputError, RoadsegError, SceneError, UsageError
from roadseg.files.targets import name_outputs
from roadseg.progress import Listener
from roadseg.raster.crs import DEGREES, reproject
from roadseg.roads.network import RoadAreas
from roadseg.settings import VectorizeSettings, VectorOutputs
from roadseg.vectorize import endings_of, vectorize, vectorize_raster

pytestmark = pytest.mark.usefixtures("open_files_stay")


@pytest.fixture
def heard():
    """Return what is said and warned, and a listener that writes it down."""

    class Heard(list):
        warnings: list[str]

    found = Heard()
    found.warnings = []
    found.listener = Listener(report=found.append, warn=found.warnings.append)
    return found


def run(path, output=None, listener=None, image=None, junctions=None, layer=None, form=None, preview=None, **settings):
    outputs = VectorOutputs(output, form, layer, junctions, preview, image) if output else None
    return vectorize_raster(path, outputs, VectorizeSettings(**settings), listener=listener)


# Where it lies and what it says


def test_a_t_comes_back_as_three_roads_and_a_junction(tmp_path, heard):
    done = run(write_levels(tmp_path / "t.tif", draw_t()), listener=heard.listener)
    network = done.roads
    assert (len(network), int((network.degree == 3).sum()), int((network.degree == 1).sum())) == (3, 1, 3)
    place = network.nodes[network.degree == 3][0]
    assert np.hypot(*(place - (500_100.5, 5_299_939.5))) < NEAR
    assert sorted_lengths(network) == pytest.approx([70, 100, 110], abs=NEAR)
    assert network.width_m == pytest.approx([9, 9, 9], abs=0.6)
    assert network.probability_mean == pytest.approx([230 / 254] * 3, abs=0.02)
    assert network.at_border.sum() == 2
    assert done.sentence().startswith("3 roads, 0.3 km, 1 junction, 1 component, 0 bridged gaps (0.0 km); 0.0 Mpx in ")
    assert heard[0].endswith("210 × 150 px of 1 m used as they are; road from probability 0.5 on (default)")
    assert heard.warnings == []


@pytest.mark.parametrize("transform", [ROTATED, Affine(1, 0, 5e5, 0, 1, 5.3e6), UTM_NORTH_UP @ Affine.shear(10)])
def test_roads_lie_on_the_raster_however_it_is_turned(tmp_path, transform):
    network = run(write_levels(tmp_path / "t.tif", draw_t(), transform=transform)).roads
    place = network.nodes[network.degree == 3][0]
    row_col = (~transform @ tuple(place))[::-1]
    assert np.hypot(*(np.array(row_col) - (60.5, 100.5))) < NEAR
    straight = run(write_levels(tmp_path / "u.tif", draw_t())).roads
    if transform != UTM_NORTH_UP @ Affine.shear(10):
        assert sorted_lengths(network) == pytest.approx(sorted_lengths(straight), rel=2e-3)


@pytest.mark.parametrize(
    ("crs", "x", "y"),
    [(DEGREES, 9.0, 60.0), ("EPSG:3857", 1e6, 8e6), ("EPSG:2249", 750_000, 3e6)],
)
def test_lengths_are_metres_on_the_ground_in_any_crs(tmp_path, crs, x, y):
    """A raster whose pixels measure one metre gives the same metres, be they degrees, stretched metres or feet."""
    lon, lat = reproject(np.array([[x, y]]), crs, DEGREES)[0]
    local = f"+proj=aeqd +lat_0={lat} +lon_0={lon} +datum=WGS84"
    steps = reproject(np.array([[0.0, 0], [1000, 0], [0, 1000]]), local, crs)
    a, d = (steps[1] - steps[0]) / 1000
    b, e = (steps[0] - steps[2]) / 1000
    transform = Affine(a, b, x, d, e, y)
    network = run(write_levels(tmp_path / "t.tif", draw_t(), crs=crs, transform=transform)).roads
    expected = run(write_levels(tmp_path / "u.tif", draw_t())).roads
    assert sorted_lengths(network) == pytest.approx(sorted_lengths(expected), rel=2e-3)
    assert network.width_m == pytest.approx(expected.width_m, rel=0.01)
    assert network.nodes[:, 0] == pytest.approx(x, rel=0.01)


def test_oblong_pixels_do_not_bend_lengths(tmp_path):
    tall = cv2.resize(draw_t(), (210, 75), interpolation=cv2.INTER_AREA)
    network = run(write_levels(tmp_path / "t.tif", tall, transform=UTM_NORTH_UP @ Affine.scale(1, 2))).roads
    assert sorted_lengths(network) == pytest.approx([70, 100, 110], abs=2 * NEAR)
    assert network.width_m == pytest.approx([9, 9, 9], abs=1.5)


def test_without_a_crs_everything_is_in_pixels_and_it_is_said(tmp_path, heard):
    path = write_levels(tmp_path / "t.tif", draw_t(), crs=None, transform=Affine.identity())
    done = run(path, tmp_path / "t.gpkg", listener=heard.listener)
    assert heard.warnings == [f"{path} has no CRS with metres; limits, lengths and widths are in pixels"]
    assert sorted_lengths(done.roads) == pytest.approx([70, 100, 110], abs=NEAR)
    assert (done.length_km, round(done.length_px)) == (None, pytest.approx(280, abs=2 * NEAR))
    assert " px, 1 junction," in done.sentence()


def test_pixels_without_a_geotransform_are_assumed_and_it_is_said(tmp_path, heard):
    path = write_levels(tmp_path / "t.tif", draw_t(), transform=Affine.identity())
    run(path, tmp_path / "t.gpkg", listener=heard.listener)
    (said,) = heard.warnings
    assert said.startswith(f"{path} has a CRS but no geotransform; its pixels are assumed to be ")


def test_paths_too_long_for_sqlite_are_refused_before_any_work(tmp_path):
    """A package is written in a folder beside it, whose name has the package's name, and SQLite takes 512 bytes."""
    path, room = write_levels(tmp_path / "t.tif", draw_t()), (484 - len(str(tmp_path.resolve()))) // 2
    run(path, tmp_path / ("a" * (room - 6) + ".gpkg"))
    with pytest.raises(OutputError, match="is too long a path for SQLite; choose a shorter name or another folder"):
        run(path, tmp_path / ("a" * (room - 5) + ".gpkg"))


def test_an_empty_name_is_no_output(tmp_path):
    path = write_levels(tmp_path / "t.tif", draw_t())
    with pytest.raises(UsageError, match="output is empty; name the file"):
        vectorize(path, "")


def test_the_network_is_extracted_at_the_models_resolution(tmp_path, heard):
    transform = UTM_NORTH_UP @ Affine.scale(0.25)
    path = write_levels(tmp_path / "t.tif", draw_t(600, 840, 4), transform=transform, tags={"ROADSEG_GSD_M": "1"})
    network = run(path, listener=heard.listener).roads
    assert "840 × 600 px of 0.25 m read at 1 m" in heard[0]
    coarse = run(write_levels(tmp_path / "u.tif", draw_t())).roads
    assert sorted_lengths(network) == pytest.approx(sorted_lengths(coarse), abs=2)
    assert network.width_m == pytest.approx(coarse.width_m, abs=0.5)
    own = run(path, pixel_m=0.25, listener=heard.listener).roads
    assert "used as they are" in heard[-1]
    assert own.width_m == pytest.approx(coarse.width_m, abs=0.5)


def test_the_threshold_comes_from_the_raster_or_the_user(tmp_path, heard):
    path = write_levels(tmp_path / "t.tif", draw_t() // 2, tags={"ROADSEG_THRESHOLD": "0.4"})
    noted = run(path, listener=heard.listener)
    assert (noted.threshold, len(noted.roads)) == (0.4, 3)
    assert "probability 0.4 on (stored in the raster)" in heard[0]
    given = run(path, threshold=0.6, listener=heard.listener)
    assert (given.threshold, len(given.roads)) == (0.6, 0)
    assert "probability 0.6 on (given)" in heard[1]


def test_roads_reach_the_threshold_as_the_pixels_of_a_mask_do(tmp_path):
    path = write_levels(tmp_path / "t.tif", np.where(draw_t() > 127, np.uint8(36), np.uint8(0)))
    assert len(run(path, threshold=float(np.float32(36 / 254)), bridge_m=0).roads) == 3  # a little over 36 / 254
    assert len(run(path, threshold=0.1418, bridge_m=0).roads) == 0


def test_the_low_threshold_carries_a_road_on(tmp_path):
    levels = draw_t()
    levels[:, 120:] = levels[:, 120:] // 3
    path = write_levels(tmp_path / "t.tif", levels)
    assert run(path, low_threshold=0.2).roads.length_m.sum() == pytest.approx(280, abs=2 * NEAR)
    assert run(path, low_threshold=0.5).roads.length_m.sum() == pytest.approx(190, abs=2 * NEAR)
    with pytest.raises(SceneError, match=r"low threshold 0.6 is above the threshold 0.5; give a lower --low"):
        run(path, low_threshold=0.6)


@pytest.mark.parametrize("road", [1, 255])
def test_masks_give_the_same_network_without_probabilities(tmp_path, road):
    mask = ((draw_t() > 0) * road).astype(np.uint8)
    done = run(write_levels(tmp_path / "m.tif", mask, scale=None, nodata=None))
    expected = run(write_levels(tmp_path / "p.tif", draw_t())).roads
    np.testing.assert_array_equal(done.roads.vertices, expected.vertices)
    assert np.isnan(done.roads.probability_mean).all()


@pytest.mark.parametrize("settings", [{"block_px": 64}, {"block_px": 101, "workers": 2}])
@pytest.mark.parametrize("geometry", ["lines", "polygons"])
def test_neither_blocks_nor_workers_show_in_the_file(tmp_path, settings, geometry, monkeypatch, given_away):
    monkeypatch.setattr("roadseg.roads.extract.processor_count", lambda: 2)
    monkeypatch.setattr("roadseg.roads.level_reader._FEW_PLACES", 0)
    path = write_levels(tmp_path / "t.tif", draw_t())
    files = []
    for name, how in (("a", {}), ("b", settings)):
        run(path, tmp_path / f"{name}.gpkg", geometry=geometry, **how)
        files.append((tmp_path / f"{name}.gpkg").read_bytes())
    assert files[0] == files[1]
    assert ("_call" in given_away) == ("workers" in settings)


def test_more_workers_than_processors_are_not_started(tmp_path, heard, monkeypatch):
    monkeypatch.setattr("roadseg.roads.extract.processor_count", lambda: 1)
    path = write_levels(tmp_path / "t.tif", draw_t())
    assert len(run(path, workers=64, block_px=64, listener=heard.listener).roads) == 3
    assert "64 workers were asked for; one per processor makes 1" in heard


def test_progress_is_told_in_megapixels_and_ends_at_the_total(tmp_path):
    for geometry in ("lines", "polygons"):
        told = []
        listener = Listener(start=lambda total, done, told=told: told.append(total), advance=told.append)
        run(write_levels(tmp_path / "t.tif", draw_t()), geometry=geometry, block_px=64, listener=listener)
        total, *steps = told
        assert total == pytest.approx(0.0315)
        assert sum(steps) == pytest.approx(total)


# Files


def test_a_package_holds_roads_and_junctions(tmp_path):
    done = run(write_levels(tmp_path / "t.tif", draw_t()), tmp_path / "t.gpkg")
    assert [name for name, kind in pyogrio.list_layers(tmp_path / "t.gpkg") if kind] == ["roads", "junctions"]
    meta, _, wkb, _ = pyogrio.raw.read(tmp_path / "t.gpkg", layer="roads")
    assert meta["crs"] == UTM
    assert shapely.equals(shapely.from_wkb(wkb), done.roads.lines()).all()
    assert set(meta["fields"]) == {
        "length_m", "width_m", "probability_mean", "probability_min", "u", "v", "inferred", "component", "areal",
    }  # fmt: skip
    assert done.outputs == {"vector": tmp_path / "t.gpkg"}
    assert json.loads(json.dumps(done.to_dict()))["roads"] == 3
    assert names_in(tmp_path) == ["t.gpkg", "t.tif"]


def test_single_layer_formats_hold_roads_and_junctions_go_elsewhere(tmp_path):
    path = write_levels(tmp_path / "t.tif", draw_t())
    run(path, tmp_path / "t.fgb", junctions=tmp_path / "nodes.geojson", layer="mine")
    assert pyogrio.list_layers(tmp_path / "t.fgb").tolist() == [["mine", "LineString"]]
    nodes = json.loads((tmp_path / "nodes.geojson").read_text("utf-8"))
    assert nodes["name"] == "mine_junctions"
    assert sorted(node["properties"]["degree"] for node in nodes["features"]) == [1, 1, 1, 3]


def test_outputs_of_one_name_in_several_folders_stay_apart(tmp_path):
    path = write_levels(tmp_path / "t.tif", draw_t())
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    vector, junctions, osm = (tmp_path / name / "osm.geojson" for name in ("a", "b", "c"))
    vectorize(path, vector, junctions=junctions, osm=osm)
    kinds = [pyogrio.read_info(file)["geometry_type"] for file in (vector, junctions, osm)]
    assert kinds == ["LineString", "Point", "LineString"]
    assert "length_m" in pyogrio.read_info(vector)["fields"]
    assert "highway" in pyogrio.read_info(osm)["fields"]


def test_a_shapefile_is_whole_whatever_its_name(tmp_path):
    run(write_levels(tmp_path / "t.tif", draw_t()), tmp_path / "t[1].shp", form="Shapefile")
    assert names_in(tmp_path) == ["t.tif", "t[1].cpg", "t[1].dbf", "t[1].prj", "t[1].shp", "t[1].shx"]


def test_another_crs_moves_the_coordinates_and_no_length(tmp_path):
    path = write_levels(tmp_path / "t.tif", draw_t())
    own = run(path, tmp_path / "own.gpkg").roads
    run(path, tmp_path / "other.gpkg", crs="EPSG:3857")
    meta, _, wkb, data = pyogrio.raw.read(tmp_path / "other.gpkg", layer="roads")
    assert meta["crs"] == "EPSG:3857"
    columns = dict(zip(meta["fields"], data, strict=True))
    assert columns["length_m"] == pytest.approx(own.length_m, abs=1e-3)
    back = reproject(shapely.get_coordinates(shapely.from_wkb(wkb)), "EPSG:3857", UTM)
    np.testing.assert_allclose(back, own.vertices, atol=1e-4)
    assert shapely.length(shapely.from_wkb(wkb)).sum() > 1.4 * own.length_m.sum()


def test_areas_are_polygons(tmp_path):
    done = run(write_levels(tmp_path / "t.tif", draw_t()), tmp_path / "t.gpkg", geometry="polygons")
    assert isinstance(done.roads, RoadAreas)
    assert done.roads.area_m2.sum() == pytest.approx((draw_t() > 0).sum(), rel=0.02)
    assert dict(pyogrio.list_layers(tmp_path / "t.gpkg")) == {"roads": "Polygon", "layer_styles": None}
    assert "1 road area, 0.00 km², 1 component;" in done.sentence()
    run(write_levels(tmp_path / "t.tif", draw_t()), tmp_path / "t.geojson", geometry="polygons")
    (feature,) = json.loads((tmp_path / "t.geojson").read_text("utf-8"))["features"]
    assert shapely.is_ccw(shapely.linearrings(feature["geometry"]["coordinates"][0]))


def test_a_layer_is_added_or_replaced_and_others_stay(tmp_path):
    path, target = write_levels(tmp_path / "t.tif", draw_t()), tmp_path / "t.gpkg"
    run(path, target, layer="first")
    first = pyogrio.raw.read(target, layer="first")
    with pytest.raises(OutputError, match=r"exists; .*vectorize --layer NAME adds"):
        run(path, target)
    with pytest.raises(OutputError, match="already has a layer first"):
        run(path, target, layer="first")
    run(path, target, layer="second", threshold=0.99)
    run(path, target, overwrite=True)
    names = {name for name, kind in pyogrio.list_layers(target) if kind}
    assert names == {"first", "first_junctions", "second", "second_junctions", "roads", "junctions"}
    assert pyogrio.read_info(target, layer="second")["features"] == 0
    np.testing.assert_array_equal(pyogrio.raw.read(target, layer="first")[2], first[2])
    assert names_in(tmp_path) == ["t.gpkg", "t.tif"]


@pytest.mark.parametrize("name", ["t.gpkg", "t.geojson", "t.fgb", "t.parquet"])
def test_what_fails_midway_leaves_everything_as_it_was(tmp_path, name, monkeypatch):
    path, target = write_levels(tmp_path / "t.tif", draw_t()), tmp_path / name
    run(path, target)
    before = target.read_bytes()
    for place in ("roadseg.vectorize.extract", "roadseg.vectorize.stage_vectors", "roadseg.files.outputs.publish"):

        def stop(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(place, stop)
        with pytest.raises(KeyboardInterrupt):
            run(path, target, overwrite=True)
        assert target.read_bytes() == before
        assert names_in(tmp_path) == [name, "t.tif"]
        monkeypatch.undo()


# Rasters without roads, and bad ones


@pytest.mark.parametrize(
    ("levels", "scale", "words"),
    [
        (np.zeros((90, 130), np.uint8), 1 / 254, "its highest probability is 0.00, the threshold 0.50"),
        (np.full((90, 130), 255, np.uint8), 1 / 254, "it holds only nodata"),
        (np.zeros((1, 1), np.uint8), None, "it holds no road"),
    ],
)
def test_no_road_is_an_empty_layer_and_a_sentence(tmp_path, heard, levels, scale, words):
    path = write_levels(tmp_path / "t.tif", levels, scale=scale, nodata=255 if scale else None)
    for geometry, target in (("lines", "t.gpkg"), ("polygons", "a.gpkg")):
        done = run(path, tmp_path / target, geometry=geometry, listener=heard.listener)
        assert heard.warnings.pop() == f"no road was found in {path}: {words}"
        assert len(done.roads) == 0
        assert pyogrio.read_info(tmp_path / target, layer="roads")["features"] == 0
        assert pyogrio.read_info(tmp_path / target, layer="roads")["crs"] == UTM


@pytest.mark.parametrize("shape", [(90, 131), (1, 1), (1, 50), (3, 3)])
def test_all_road_does_no_harm(tmp_path, shape):
    path = write_levels(tmp_path / "t.tif", np.full(shape, 254, np.uint8))
    run(path, tmp_path / "t.gpkg", min_area_m2=0)
    areas = run(path, tmp_path / "t.gpkg", min_area_m2=0, geometry="polygons", simplify_m=0, overwrite=True).roads
    assert areas.area_m2.sum() == pytest.approx(shape[0] * shape[1], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("none.tif", {}, "does not exist; check the path"),
        ("text.tif", {}, "is not a raster that GDAL can open"),
        ("rgb.tif", {}, "has 3 bands .* roadseg predict makes roads of it"),
        ("grey.tif", {}, "grey values but no scale"),
        ("float.tif", {}, "not probabilities from 0 to 1"),
        ("nowhere.tif", {"crs": "EPSG:4326"}, "without a CRS roads cannot be reprojected to EPSG:4326"),
        (
            "nowhere.tif",
            {"output": "o.geojson"},
            "without a CRS roads cannot be reprojected to EPSG:4326 for GeoJSON; .* or write .gpkg",
        ),
        ("nowhere.tif", {"pixel_m": 2.0}, "cannot be read at 2 m"),
        ("good.tif", {"crs": "EPSG:99"}, "the CRS EPSG:99 is not known"),
        ("good.tif", {"crs": "EPSG:4978"}, "EPSG:4978 is neither projected nor in longitude and latitude"),
        ("good.tif", {"crs": "EPSG:3857", "output": "o.geojsonl"}, "GeoJSONSeq holds longitude and latitude only"),
        ("good.tif", {"output": "o.dxf"}, "extension of no vector format; choose one of .gpkg"),
        ("good.tif", {"output": "o.shp"}, "cuts field names to 10 letters"),
        ("good.tif", {"output": "none/o.gpkg"}, "folder .*none does not exist; create it first"),
        ("good", {"output": "good", "form": "GeoPackage"}, "is also the input"),
        ("good.tif", {"output": "text", "form": "GeoPackage", "overwrite": True}, "is no GeoPackage"),
        ("good.tif", {"output": "text", "form": "GeoJSON"}, "exists; choose another name or add --overwrite"),
        ("good.tif", {"output": "o.tif", "form": "GeoPackage"}, "another format than its name says; .* .gpkg, or none"),
        (
            "good.tif",
            {"output": "o.gpkg", "form": "FlatGeobuf"},
            "another format than its name says; .* .fgb",
        ),
        ("good.tif", {"output": "o", "form": "FlatGeobuf"}, "o does not end in .fgb, as every FlatGeobuf does"),
        ("good.tif", {"output": "o", "form": "Shapefile"}, "o does not end in .shp, as every Shapefile does"),
        ("good.tif", {"preview": "o.gpkg"}, "named twice"),
        ("good.tif", {"layer": "gpkg_x"}, "cannot name a layer"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, name, options, words):
    bad_rasters(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    output = tmp_path / options.pop("output", "o.gpkg")
    options = {k: tmp_path / v if k == "preview" else v for k, v in options.items()}
    with pytest.raises(RoadsegError, match=words) as caught:
        run(tmp_path / name, output, **options)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_image_of_other_ground_is_refused_before_the_roads_are_extracted(tmp_path, monkeypatch):
    monkeypatch.setattr(roadseg.vectorize, "extract", None)
    far = UTM_NORTH_UP @ Affine.translation(5000, 0)
    image = write_raster(tmp_path / "far.tif", np.zeros((3, 30, 40), np.uint8), crs=UTM, transform=far)
    with pytest.raises(SceneError, match="shows other ground"):
        run(write_levels(tmp_path / "t.tif", draw_t()), tmp_path / "t.gpkg", preview=tmp_path / "p.png", image=image)


def test_a_place_that_cannot_be_written_to(tmp_path):
    path = write_levels(tmp_path / "t.tif", draw_t())
    with pytest.raises(OutputError, match="choose another place"):
        run(path, Path("/proc/roads.gpkg"))


def test_results_take_their_rasters_names(tmp_path):
    outputs = VectorOutputs(tmp_path / "v", None, None, tmp_path / "j", tmp_path / "p")
    jobs = dict(name_outputs(["x/a.tif", "b.tif"], outputs, endings_of(outputs)))
    assert [jobs["b.tif"].vector, jobs["b.tif"].junctions] == [tmp_path / "v" / "b.gpkg", tmp_path / "j" / "b.gpkg"]
    assert jobs["x/a.tif"].preview == tmp_path / "p" / "a.png"
    outputs = VectorOutputs(tmp_path, "FlatGeobuf")
    assert name_outputs(["x/a.tif", "b.tif"], outputs, endings_of(outputs))[0][1].vector == tmp_path / "a.fgb"


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"bridge": 0}, "--bridge"),
        ({"min_length": 5.0}, "--min-length"),
        ({"spur": 0}, "--spur"),
        ({"merge_junctions": False}, "--keep-junctions"),
    ],
)
def test_options_of_lines_are_refused_for_areas(tmp_path, options, flag):
    path = write_levels(tmp_path / "t.tif", draw_t())
    with pytest.raises(UsageError, match=f"^{flag} is about lines, and areas have none"):
        vectorize(path, tmp_path / "o.gpkg", as_="polygons", **options)
    assert not (tmp_path / "o.gpkg").exists()
