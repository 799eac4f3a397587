"""A scene's roads lie on the scene, whatever its data; runs that stop go on, and nothing is lost or overwritten."""

import errno
import json
import os
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from engines import Constant, Identity, Placed, Stops, model_of
from worlds import METRES, NORTH_UP, ROTATED, names_in, picture, read_band, write_raster

from roadseg.cli.batch import for_each_file
from roadseg.errors import DeviceError, ModelError, OutputError, RoadsegError, SceneError
from roadseg.files.targets import name_outputs
from roadseg.predict import ENDINGS, predict, predict_scene
from roadseg.prediction import outputs
from roadseg.progress import Listener
from roadseg.raster import picture as picture_module
from roadseg.raster.encoding import NODATA, quantize
from roadseg.raster.partial import Partial
from roadseg.raster.scene import Scene
from roadseg.settings import PredictOutputs, PredictSettings
from roadseg.windows import Window

SMALL = {"overlap_px": 16, "block_px": 96}


def run(scene, output, *, engine=None, mask=None, preview=None, listener=None, **settings):
    """Predict with windows of 64 px in blocks of 96 px, unless told otherwise."""
    model = model_of(engine or Identity(), window_px=64)
    asked = PredictSettings(**{**SMALL, **settings})
    return predict_scene(
        str(scene), PredictOutputs(Path(output), mask, preview), model, asked, command="test", listener=listener
    )


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "roads.tif"


# Where it lies and what it says


@pytest.mark.parametrize("transform", [ROTATED, NORTH_UP, Affine(1, 0, 2e5, 0, 1, 9e5)])
def test_an_unchanged_scene_comes_back_in_its_place(draw, out, transform):
    scene = draw(130, 210, transform=transform)
    summary = run(scene, out)
    with rasterio.open(scene) as before, rasterio.open(out) as after:
        assert after.crs == before.crs
        assert after.transform.almost_equals(before.transform, 1e-9)
        assert after.shape == before.shape
        expected = quantize(before.read(1).astype(np.float32) / 255, np.ones(before.shape, bool))
        assert np.abs(after.read(1).astype(int) - expected).max() <= 1
        assert (after.read(1) == expected).mean() > 0.99
        tags = after.tags()
    assert tags["ROADSEG_MODEL"] == "drawn"
    assert tags["ROADSEG_COMMAND"] == "test"
    assert float(tags["ROADSEG_THRESHOLD"]) == 0.5
    assert names_in(out.parent) == ["roads.tif"]
    assert (summary.megapixels, summary.known_fraction, summary.blocks) == (0.0273, 1.0, 6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (223, 225), (3, 10_000)])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.37])
def test_a_constant_network_gives_its_value_everywhere(draw, out, height, width, value):
    run(draw(height, width), out, engine=Constant(value), dtype="float32", block_px=6144)
    assert read_band(out).shape == (height, width)
    assert (read_band(out) == np.float32(value)).all()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32])
def test_a_constant_scene_is_a_scene_like_any_other(tmp_path, out, kind):
    run(write_raster(tmp_path / "s.tif", np.full((3, 70, 90), 100, kind)), out)
    assert len(np.unique(read_band(out))) == 1
    assert read_band(out)[0, 0] != NODATA


def test_nan_and_infinity_come_out_as_nodata_and_nothing_else_does(tmp_path, out):
    values = picture(90, 130).astype(np.float32)
    values[0, 10:20, 30:50], values[1, 60:, :9], values[2, 5, 99] = np.nan, np.inf, -np.inf
    run(write_raster(tmp_path / "s.tif", values), out)
    np.testing.assert_array_equal(read_band(out) == NODATA, ~np.isfinite(values).all(axis=0))


def test_a_scene_of_nodata_gives_nodata_and_says_so(tmp_path, out):
    warnings, engine = [], Identity()
    scene = write_raster(tmp_path / "s.tif", np.zeros((3, 90, 130), np.uint8), nodata=0)
    summary = run(scene, out, engine=engine, listener=Listener(warn=warnings.append))
    assert (read_band(out) == NODATA).all()
    assert engine.windows == 0
    assert summary.road_fraction is None
    assert summary.known_fraction == 0
    assert "no valid pixel" in warnings[0]


def test_without_a_crs_pixels_are_taken_as_the_models_and_it_is_said(draw, out):
    warnings = []
    run(draw(70, 90, crs=None, transform=Affine.identity()), out, listener=Listener(warn=warnings.append))
    assert "has no CRS" in warnings[0]
    assert "--gsd" in warnings[0]
    assert read_band(out).shape == (70, 90)
    warnings.clear()
    run(
        draw(70, 90, "b.tif", crs=None, transform=Affine.identity()),
        out.with_name("b.tif"),
        pixel_m=1.0,
        listener=Listener(warn=warnings.append),
    )
    assert warnings == []


@pytest.mark.parametrize(
    ("size", "scales", "read_at"), [(0.3, None, "0.63"), (0.35, None, "0.7"), (0.5, None, "1"), (0.3, (1.0,), "1")]
)
def test_fine_scenes_are_read_finer_unless_scales_were_asked_for(draw, out, size, scales, read_at):
    said, model = [], model_of(Identity(), window_px=64, finest_gsd_m=0.63)
    scene = draw(90, 130, transform=Affine(size, 0, 2e5, 0, -size, 9e5))
    settings = PredictSettings(**SMALL, scales=scales)
    predict_scene(str(scene), PredictOutputs(out), model, settings, command="test", listener=Listener(said.append))
    assert f"read at {read_at} m" in said[0]
    with rasterio.open(out) as file:
        assert file.tags()["ROADSEG_GSD_M"] == read_at
        assert file.shape == (90, 130)


@pytest.mark.parametrize(("latitude", "seen"), [(0.0, (80, 120)), (60.0, (80, 60))])
def test_degrees_are_measured_where_the_scene_lies(draw, out, latitude, seen):
    step = 1 / 111_320
    transform = Affine.translation(25, latitude) @ Affine.scale(2 * step, -2 * step)
    run(draw(40, 60, crs="EPSG:4326", transform=transform), out, grid="model")
    assert read_band(out).shape == pytest.approx(seen, abs=1)


@pytest.mark.parametrize("size", [10.0, 1e-4])
def test_a_ground_resolution_far_off_is_refused(draw, out, size):
    with pytest.raises(SceneError, match="--gsd"):
        run(draw(40, 60, transform=Affine.scale(size, -size)), out)
    assert names_in(out.parent) == []


# Other outputs


def test_the_mask_is_the_thresholded_raster(draw, out):
    mask = out.with_name("mask.tif")
    known = np.arange(90) > 30
    summary = run(draw(70, 90, mask=np.tile(known, (70, 1))), out, mask=mask, threshold=0.6)
    values = read_band(out)
    np.testing.assert_array_equal(read_band(mask), np.where(values == NODATA, NODATA, values / 254 >= np.float32(0.6)))
    assert summary.road_fraction == (read_band(mask) == 1).sum() / (read_band(mask) != NODATA).sum()
    assert summary.known_fraction == pytest.approx(59 / 90)
    with rasterio.open(mask) as file:
        assert file.nodata == NODATA
        assert file.tags()["ROADSEG_THRESHOLD"] == "0.6"


def test_the_preview_has_the_scenes_shape(draw, out):
    import cv2

    preview = out.with_name("roads.png")
    run(draw(70, 95), out, preview=preview)
    assert cv2.imread(str(preview)).shape == (70, 95, 3)


def half_known(draw):
    """Draw a scene whose left half is unknown."""
    known = np.ones((300, 410), bool)
    known[:, :200] = False
    return draw(300, 410, mask=known)


@pytest.mark.parametrize(("longest", "shape"), [(2000, (300, 410, 3)), (83, (61, 83, 3))])
def test_the_preview_is_drawn_block_by_block_where_anything_is_known(draw, out, monkeypatch, longest, shape):
    """Each block is read by a thread; where nothing is known, nothing is read."""
    import cv2

    monkeypatch.setattr(picture_module, "PREVIEW_PX", longest)
    monkeypatch.setattr(outputs, "processor_count", lambda: 3)
    scene, whole_picture, drawn = half_known(draw), Scene.picture, []
    monkeypatch.setattr(
        Scene, "picture", lambda self, window, *size: drawn.append(window) or whole_picture(self, window, *size)
    )
    previews, messages, work = [], [], []
    for block in (96, 512):
        drawn.clear()
        preview = out.with_name(f"{block}.png")
        listener = Listener(report=messages.append, start=lambda total, done: work.append(total), advance=work.append)
        run(scene, out, preview=preview, engine=Constant(0), block_px=block, overwrite=True, listener=listener)
        previews.append(cv2.imread(str(preview)).astype(int))
    assert messages.count("drawing the preview") == 2
    assert drawn == [Window(0, 0, 300, 410)]
    parts, entire = previews
    assert parts.shape == entire.shape == shape
    if longest > 410:
        np.testing.assert_array_equal(parts, entire)
    else:  # each block is reduced by itself
        a_pixel_off = np.abs(parts - np.roll(entire, 1, axis=1)).mean()
        assert np.abs(parts - entire).mean() < a_pixel_off / 2
    assert work[-1] == pytest.approx(300 * 410 / 1e6)


def test_blocks_without_any_known_pixel_are_white_in_the_preview(draw, out, monkeypatch):
    scene, whole_picture, drawn = half_known(draw), Scene.picture, []
    monkeypatch.setattr(
        Scene, "picture", lambda self, window, *size: drawn.append(window) or whole_picture(self, window, *size)
    )
    run(scene, out, preview=out.with_name("roads.png"), engine=Constant(0))
    assert drawn
    assert min(window.col for window in drawn) > 100


def test_the_preview_of_an_area_is_white_outside_it(draw, out, tmp_path):
    import cv2

    scene, previews = draw(300, 410, transform=NORTH_UP), []
    aoi = triangle(NORTH_UP, METRES, tmp_path / "aoi.gpkg")
    for block in (96, 512):
        preview = out.with_name(f"{block}.png")
        run(scene, out, preview=preview, aoi=aoi, engine=Constant(0), block_px=block, overwrite=True)
        previews.append(cv2.imread(str(preview)))
    assert (previews[0] == previews[1]).all()
    known = read_band(out) != NODATA
    assert 0 < known.mean() < 1
    assert (previews[0][~known] == 255).all()
    assert (previews[0][known] < 255).any()


def test_a_run_that_stops_before_its_outputs_are_moved_is_repeated(draw, out, monkeypatch):
    """Whatever is staged in the partial folder by then is known as roadseg's own."""
    place = out.with_name
    wanted = PredictOutputs(out, place("m.tif"), place("p.png"), place("r.gpkg"), uncertainty=place("u.tif"))
    settings = PredictSettings(**SMALL, style=True, scales=(1.0, 0.5))
    model = model_of(Identity(), window_px=64)

    def stop(partial, finished):
        raise OutputError(f"stopped, {len(finished)} files")

    scene = str(draw(100, 140, transform=NORTH_UP))
    with monkeypatch.context() as stopped:
        stopped.setattr(Partial, "publish", stop)
        with pytest.raises(OutputError, match="stopped, 7 files"):
            predict_scene(scene, wanted, model, settings)
    done = predict_scene(scene, wanted, model, settings)
    assert done.blocks_resumed == done.blocks > 1
    assert names_in(out.parent) == ["m.qml", "m.tif", "p.png", "r.gpkg", "roads.qml", "roads.tif", "u.tif"]


def test_float32_keeps_what_uint8_rounds(draw, out):
    scene = draw(90, 130)
    run(scene, out)
    exact = out.with_name("exact.tif")
    run(scene, exact, dtype="float32")
    with rasterio.open(exact) as file:
        assert file.dtypes == ("float32",)
        assert np.isnan(file.nodata)
        np.testing.assert_array_equal(quantize(file.read(1), np.ones(file.shape, bool)), read_band(out))


@pytest.mark.parametrize("size", [0.4, 1.7, 3.0])
def test_the_models_grid_has_the_scenes_corners(draw, out, size):
    transform = NORTH_UP @ Affine.scale(size)
    run(draw(90, 130, transform=transform), out, grid="model")
    with rasterio.open(out) as file:
        assert file.shape == (round(90 * size), round(130 * size))
        assert file.transform @ (0, 0) == pytest.approx(transform @ (0, 0))
        assert file.transform @ (file.width, file.height) == pytest.approx(transform @ (130, 90))


@pytest.mark.parametrize("size", [0.4, 1.7])
def test_back_on_the_scenes_grid_a_constant_is_still_constant_and_holes_are_where_they_were(draw, out, size):
    known = np.ones((90, 130), dtype=bool)
    known[30:55, 100:] = False
    run(draw(90, 130, transform=NORTH_UP @ Affine.scale(size), mask=known), out, engine=Constant(0.6), dtype="float32")
    np.testing.assert_array_equal(~np.isnan(read_band(out))[~known], False)
    np.testing.assert_allclose(read_band(out)[known & ~np.isnan(read_band(out))], 0.6, rtol=1e-6)
    lost = known & np.isnan(read_band(out))
    lost[27:58, 97:] = False
    assert not lost.any()


# Independence


@pytest.mark.parametrize("size", [1.0, 0.4, 1.7, 3.0])
def test_pixels_do_not_depend_on_the_blocks(draw, out, size):
    known = np.ones((110, 150), dtype=bool)
    known[:40, 60:90] = False
    scene = draw(110, 150, transform=NORTH_UP @ Affine.scale(size), mask=known)
    results = []
    for block_px in (48, 100, 6144):
        path = out.with_name(f"{block_px}.tif")
        run(scene, path, engine=Placed(), block_px=block_px)
        results.append(read_band(path))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("size", [1.0, 1.7])
@pytest.mark.parametrize("grid", ["scene", "model"])
def test_a_box_gives_the_pixels_of_the_full_run(draw, out, size, grid):
    scene = draw(110, 150, transform=NORTH_UP @ Affine.scale(size))
    run(scene, out, engine=Placed(), grid=grid)
    x0, y1 = NORTH_UP @ Affine.scale(size) @ (37.3, 20.8)
    x1, y0 = NORTH_UP @ Affine.scale(size) @ (88.1, 71.2)
    part = out.with_name("part.tif")
    summary = run(scene, part, engine=Placed(), grid=grid, bbox=(x0, y0, x1, y1))
    with rasterio.open(out) as everything, rasterio.open(part) as cut:
        col, row = (round(v) for v in ~everything.transform @ (cut.transform @ (0, 0)))
        assert cut.bounds.left <= x0
        assert cut.bounds.top >= y1
        assert cut.bounds.right >= x1
        assert cut.bounds.bottom <= y0
        window = rasterio.windows.Window(col, row, cut.width, cut.height)
        np.testing.assert_array_equal(cut.read(1), everything.read(1, window=window))
    assert summary.megapixels == pytest.approx(52 * 52 / 1e6)


def write_polygon(path, points, crs):
    ring = np.array([shapely.Polygon(points)], dtype=object)
    pyogrio.raw.write(path, shapely.to_wkb(ring), field_data=[], fields=[], geometry_type="Polygon", crs=crs)
    return path


def triangle(transform, crs, path):
    """Write a triangle in pixels of a scene in METRES as polygons in a CRS."""
    points = [transform @ place for place in ((20, 10), (120, 25), (60, 95))]
    if crs != METRES:
        points = list(zip(*rasterio.warp.transform(METRES, crs, *zip(*points, strict=True)), strict=True))
    return write_polygon(path, points, crs)


@pytest.mark.parametrize("crs", [METRES, "EPSG:4326"])
@pytest.mark.parametrize(("size", "grid"), [(1.0, "scene"), (1.7, "scene"), (1.7, "model")])
def test_polygons_give_the_pixels_of_the_full_run_inside_and_nothing_outside(draw, tmp_path, out, crs, size, grid):
    transform = NORTH_UP @ Affine.scale(size)
    scene = draw(110, 150, transform=transform)
    run(scene, out, engine=Placed(), grid=grid)
    part, engine = out.with_name("part.tif"), Placed()
    run(scene, part, engine=engine, grid=grid, aoi=triangle(transform, crs, tmp_path / "aoi.gpkg"))
    with rasterio.open(out) as everything, rasterio.open(part) as cut:
        col, row = (round(v) for v in ~everything.transform @ (cut.transform @ (0, 0)))
        full = everything.read(1, window=rasterio.windows.Window(col, row, cut.width, cut.height))
        inside = cut.read(1) != NODATA
        np.testing.assert_array_equal(cut.read(1)[inside], full[inside])
        area_m2 = inside.sum() * abs(cut.transform.determinant)
    assert area_m2 == pytest.approx(100 * 85 / 2 * size**2 * 0.9, rel=0.2)
    assert inside.mean() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("settings", [{"bbox": (0.0, 0.0, 9.0, 9.0)}, {"aoi": METRES}, {"aoi": "EPSG:4326"}])
def test_an_area_outside_is_refused(draw, tmp_path, out, settings):
    if "aoi" in settings:
        settings = {"aoi": write_polygon(tmp_path / "far.gpkg", [(0, 0), (9, 0), (9, 9)], settings["aoi"])}
    with pytest.raises(SceneError, match=r"lies? outside"):
        run(draw(70, 90), out, **settings)
    assert names_in(out.parent) == []


@pytest.mark.parametrize("transform", [NORTH_UP, ROTATED])
def test_polygons_of_any_size_are_cut_by_the_scene(draw, tmp_path, out, transform):
    """The world has no place in a state's CRS, and what is a straight line in degrees is a curve there."""
    scene = draw(110, 150, transform=transform)
    (west,), (north,) = rasterio.warp.transform(METRES, "EPSG:4326", *([v] for v in transform @ (75, 55)))
    world = write_polygon(tmp_path / "world.gpkg", [(-180, -90), (180, -90), (180, 90), (-180, 90)], "EPSG:4326")
    run(scene, out, aoi=world)
    assert (read_band(out) != NODATA).all()
    points = [(west - 4, north - 2), (west + 2, north - 2), (west + 2, north), (west - 4, north)]
    run(scene, out, aoi=write_polygon(tmp_path / "south.gpkg", points, "EPSG:4326"), overwrite=True)
    assert (read_band(out) != NODATA).sum() == pytest.approx(110 * 150 / 2, rel=0.1)


def test_polygons_may_lie_in_a_folder_as_geodatabases_do(draw, tmp_path, out):
    """A run that resumes knows by the files in it whether the polygons are the same."""
    scene, folder = draw(110, 150), tmp_path / "aoi"
    folder.mkdir()
    aoi = triangle(NORTH_UP, METRES, folder / "aoi.shp")
    run(scene, out, aoi=aoi)
    again = out.with_name("again.tif")
    with pytest.raises(DeviceError):
        run(scene, again, aoi=folder, engine=Stops(4))
    assert run(scene, again, aoi=folder).blocks_resumed > 0
    np.testing.assert_array_equal(read_band(again), read_band(out))
    third = out.with_name("third.tif")
    with pytest.raises(DeviceError):
        run(scene, third, aoi=folder, engine=Stops(4))
    write_polygon(aoi, [NORTH_UP @ place for place in ((20, 10), (120, 25), (60, 90))], METRES)
    with pytest.raises(OutputError, match="differs in its area"):
        run(scene, third, aoi=folder)


def test_polygons_with_a_crs_cannot_be_placed_in_a_scene_without(draw, tmp_path, out):
    aoi = write_polygon(tmp_path / "aoi.gpkg", [(0, 0), (9, 0), (9, 9)], METRES)
    with pytest.raises(
        SceneError, match=r"no CRS, so the polygons cannot be placed in it; assign one .* or give polygons"
    ):
        run(draw(70, 90, crs=None), out, aoi=aoi)


# Going on


@pytest.mark.parametrize("size", [1.0, 1.7])
@pytest.mark.parametrize("error", [DeviceError("stopped"), KeyboardInterrupt(), MemoryError()])
def test_a_run_that_stopped_goes_on_and_gives_the_same_bytes(draw, out, size, error):
    scene = draw(110, 250, transform=NORTH_UP @ Affine.scale(size))
    undisturbed, engine = out.with_name("undisturbed.tif"), Identity()
    run(scene, undisturbed, engine=engine)
    with pytest.raises(type(error)):
        run(scene, out, engine=Stops(engine.windows * 2 // 3, error))
    assert names_in(out.parent) == ["roads.tif.partial", "undisturbed.tif"]
    rest, heard = Identity(), []
    summary = run(scene, out, engine=rest, listener=Listener(heard.append))
    assert 0 < summary.blocks_resumed < summary.blocks
    assert f"{summary.blocks_resumed} of {summary.blocks} blocks finished before" in heard
    assert rest.windows < engine.windows
    assert out.read_bytes() == undisturbed.read_bytes()
    assert names_in(out.parent) == ["roads.tif", "undisturbed.tif"]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"overlap_px": 20}, "overlap"),
        ({"block_px": 150}, "block size"),
        ({"bands": (3, 2, 1)}, "bands"),
        ({"dtype": "float32"}, "type"),
        ({"value_range": (0.0, 100.0)}, "stretch"),
        ({"pixel_m": 1.7}, "GSD"),
        ({"threshold": 0.3}, "threshold"),
        ({"grid": "model"}, "grid"),
    ],
)
def test_it_does_not_go_on_under_other_settings(draw, out, change, name):
    scene = draw(110, 250)
    with pytest.raises(DeviceError):
        run(scene, out, engine=Stops(16))
    before = names_in(out.with_name("roads.tif.partial"))
    with pytest.raises(OutputError, match=f"differs in its .*{name}.*; repeat that command .* or add --overwrite"):
        run(scene, out, **change)
    assert names_in(out.with_name("roads.tif.partial")) == before
    assert run(scene, out, overwrite=True, **change).blocks_resumed == 0
    assert names_in(out.parent) == ["roads.tif"]


def test_it_does_not_go_on_with_a_scene_that_changed_nor_with_another_model(draw, out):
    scene = draw(110, 250)
    with pytest.raises(DeviceError):
        run(scene, out, engine=Stops(16))
    with pytest.raises(OutputError, match="differs in its device, precision or --tta"):
        run(scene, out, engine=Placed())
    os.utime(scene, (1, 1))
    with pytest.raises(OutputError, match="its scene size or date"):
        run(scene, out)


def test_a_tile_that_changed_is_noticed_through_its_mosaic(draw, tmp_path, out):
    tile = draw(110, 250)
    mosaic = tmp_path / "m.vrt"
    rasterio.shutil.copy(tile, mosaic, driver="VRT")
    with pytest.raises(DeviceError):
        run(mosaic, out, engine=Stops(16))
    os.utime(tile, (1, 1))
    with pytest.raises(OutputError, match="its scene size or date"):
        run(mosaic, out)


def test_overwriting_goes_on_with_its_own_blocks(draw, out):
    scene = draw(110, 250)
    out.write_bytes(b"old")
    with pytest.raises(DeviceError):
        run(scene, out, engine=Stops(16), overwrite=True)
    assert out.read_bytes() == b"old"
    assert run(scene, out, overwrite=True).blocks_resumed > 0
    assert read_band(out).shape == (110, 250)


def test_a_run_killed_while_it_publishes_can_be_repeated(draw, out, monkeypatch):
    scene, mask = draw(110, 250), out.with_name("mask.tif")
    move = Path.replace

    def killed(self, target):
        done = move(self, target)
        if target == out:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run(scene, out, mask=mask)
    monkeypatch.undo()
    assert names_in(out.parent) == ["roads.tif", "roads.tif.partial"]
    first = out.read_bytes()
    assert run(scene, out, mask=mask).blocks_resumed == 6
    assert names_in(out.parent) == ["mask.tif", "roads.tif"]
    assert out.read_bytes() == first


def test_a_file_damaged_in_the_middle_keeps_what_was_finished_and_says_how_to_go_on(tmp_path, out):
    scene = tmp_path / "s.tif"
    write_raster(scene, picture(400, 130).astype(np.uint8), tiled=True, blockxsize=64, blockysize=64)
    whole = scene.read_bytes()
    scene.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(SceneError, match=r"cannot be read at row \d+.*finished blocks are kept: repeat the command"):
        run(scene, out)
    kept = names_in(out.with_name("roads.tif.partial"))
    assert len(kept) > 3
    assert names_in(out.parent) == ["roads.tif.partial"]
    scene.write_bytes(whole)
    with pytest.raises(OutputError, match="--overwrite"):
        run(scene, out)
    run(scene, out, overwrite=True)
    assert names_in(out.parent) == ["roads.tif"]


def test_a_file_damaged_at_its_start_leaves_nothing(tmp_path, out):
    scene = tmp_path / "s.tif"
    write_raster(scene, picture(400, 130).astype(np.uint8), tiled=True, blockxsize=64, blockysize=64)
    scene.write_bytes(scene.read_bytes()[:3000])
    with pytest.raises(SceneError, match=r"damaged or out of reach$"):
        run(scene, out)
    assert names_in(out.parent) == []


def test_a_disk_that_fills_up_keeps_what_was_finished(draw, out, monkeypatch):
    scene, calls = draw(110, 250), []
    undisturbed = out.with_name("undisturbed.tif")
    run(scene, undisturbed)

    def full(_):
        calls.append(1)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"No space left on device\); make room and repeat the command"):
        run(scene, out)
    monkeypatch.undo()
    assert names_in(out.parent) == ["roads.tif.partial", "undisturbed.tif"]
    assert run(scene, out).blocks_resumed == 2
    assert out.read_bytes() == undisturbed.read_bytes()


# Nothing is overwritten


def test_an_existing_output_stays_unless_it_may_be_replaced(draw, out):
    scene, engine = draw(70, 90), Identity()
    for place in (out, out.with_name("mask.tif"), out.with_name("p.png")):
        place.write_bytes(b"old")
        with pytest.raises(OutputError, match=f"{place.name} exists; choose another name or add --overwrite"):
            run(scene, out, engine=engine, mask=out.with_name("mask.tif"), preview=out.with_name("p.png"))
        assert place.read_bytes() == b"old"
        assert names_in(out.parent) == [place.name]
        place.unlink()
    assert engine.windows == 0
    out.write_bytes(b"old")
    run(scene, out, overwrite=True)
    assert read_band(out).shape == (70, 90)


def test_an_input_is_never_an_output(draw, tmp_path, out):
    tile = draw(70, 90)
    mosaic = tmp_path / "m.vrt"
    rasterio.shutil.copy(tile, mosaic, driver="VRT")
    aoi = triangle(ROTATED, METRES, tmp_path / "aoi.gpkg")
    before = tile.read_bytes()
    for scene, target in [(tile, tile), (mosaic, mosaic), (mosaic, tile), (tile, aoi)]:
        with pytest.raises(
            OutputError, match="is also the input" if target is tile else "another format than its name"
        ):
            run(scene, target, overwrite=True, aoi=aoi)
    with pytest.raises(OutputError, match="is also the input"):
        run(tile, out, overwrite=True, mask=tile)
    assert tile.read_bytes() == before


def test_a_source_of_a_mosaic_of_mosaics_is_an_input(draw, tmp_path):
    tile = draw(70, 90)
    rasterio.shutil.copy(tile, tmp_path / "1.vrt", driver="VRT")
    for source, mosaic in [("1.vrt", "2.other"), ("2.other", "3.vrt")]:
        text = (tmp_path / "1.vrt").read_text("utf-8")
        assert text.count("scene.tif") == 3
        (tmp_path / mosaic).write_text(text.replace("scene.tif", source), "utf-8")
    for target in (tile, tmp_path / "2.other"):
        with pytest.raises(OutputError, match="is also the input"):
            run(tmp_path / "3.vrt", target, overwrite=True)
    assert read_band(tmp_path / "3.vrt").shape == (70, 90)


@pytest.mark.parametrize(
    "name", ["/vsisubfile/0_{size},{tile}", "/vsizip/{zip}/scene.tif", "/vsizip/{{{zip}}}/scene.tif"]
)
def test_the_file_that_a_name_of_gdal_points_into_is_an_input(draw, tmp_path, out, name):
    tile, archive = draw(70, 90), tmp_path / "scenes.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(tile, "scene.tif")
    path = name.format(size=tile.stat().st_size, tile=tile, zip=archive)
    with pytest.raises(OutputError, match="is also the input"):
        run(path, archive if "zip" in name else tile, overwrite=True)
    run(path, out)
    assert read_band(out).shape == (70, 90)


def test_the_model_is_an_input(draw, tmp_path):
    model = tmp_path / "model"
    model.write_bytes(b"weights")
    loaded = replace(model_of(Identity(), window_px=64), path=model)
    with pytest.raises(OutputError, match="is also the input"):
        predict_scene(str(draw(70, 90)), PredictOutputs(model), loaded, PredictSettings(**SMALL, overwrite=True))
    assert model.read_bytes() == b"weights"


class Edits(Identity):
    """Changes a file after some windows."""

    def __init__(self, edit, windows):
        super().__init__()
        self.edit, self.after = edit, windows

    def __call__(self, batches):
        for probabilities in super().__call__(batches):
            if self.windows > self.after:
                self.edit()
            yield probabilities


@pytest.mark.parametrize(
    "edit",
    [
        lambda path: path.write_bytes(path.read_bytes() + b" "),
        lambda path: os.utime(path, ns=(1, path.stat().st_mtime_ns + 1000)),
        lambda path: path.unlink(missing_ok=True),
    ],
)
def test_a_scene_that_changes_while_it_is_read_gives_no_output(draw, tmp_path, out, edit):
    tile, mosaic = draw(110, 250), tmp_path / "m.vrt"
    rasterio.shutil.copy(tile, mosaic, driver="VRT")
    whole = tile.read_bytes()
    for scene in (tile, mosaic):
        tile.write_bytes(whole)
        with pytest.raises(SceneError, match=r"scene.tif changed while it was read, so nothing was written; repeat"):
            run(scene, out, engine=Edits(lambda: edit(tile), 20))
        assert names_in(out.parent) == []


def test_statistics_that_a_viewer_writes_beside_a_scene_do_no_harm(draw, out):
    scene = draw(110, 250)
    notes = scene.with_name("scene.tif.aux.xml")
    notes.write_text("<PAMDataset></PAMDataset>", "utf-8")
    run(scene, out, engine=Edits(lambda: notes.write_text("<PAMDataset> </PAMDataset>", "utf-8"), 20))
    assert names_in(out.parent) == ["roads.tif"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("name", ["raster", "mask", "vector", "preview"])
def test_an_output_that_is_a_link_back_to_itself_is_refused(draw, model_file, tmp_path, name):
    endings = {"raster": ".tif", "mask": ".tif", "vector": ".gpkg", "preview": ".png"}
    outputs = {key: tmp_path / f"{key}{ending}" for key, ending in endings.items()}
    outputs[name].symlink_to(outputs[name].name)
    raster = outputs.pop("raster")
    with pytest.raises(OutputError, match=rf"{name}\.\w+ is a link that leads back to itself; remove it"):
        predict(draw(70, 90), raster, model=model_file, **outputs)


def test_a_link_as_output_stays_and_the_file_it_leads_to_is_written(draw, tmp_path, out):
    place = tmp_path / "place.tif"
    out.symlink_to(place)
    run(draw(70, 90), out)
    assert out.is_symlink()
    assert read_band(place).shape == (70, 90)
    assert names_in(out.parent) == ["roads.tif"]


def test_two_outputs_need_two_names(draw, out):
    with pytest.raises(OutputError, match="named twice"):
        run(draw(70, 90), out, mask=out.parent / "." / "roads.tif", overwrite=True)
    assert names_in(out.parent) == []


def test_an_overlap_as_large_as_the_window_is_refused(draw, out):
    with pytest.raises(ModelError, match="less than 64"):
        run(draw(70, 90), out, overlap_px=64)
    assert names_in(out.parent) == []


# Several scenes


def test_one_bad_scene_stops_no_other(draw, tmp_path, out):
    bad = tmp_path / "bad.tif"
    bad.write_text("no raster", "utf-8")
    scenes = [str(draw(70, 90, "a.tif")), str(bad), str(draw(80, 60, "c.tif"))]
    heard, done = [], []

    def process(scene, outputs):
        done.append(predict_scene(scene, outputs, model_of(Identity(), window_px=64), PredictSettings(**SMALL)))

    jobs = name_outputs(scenes, PredictOutputs(out.parent), ENDINGS)
    ((name, error),) = for_each_file(jobs, process, listener=Listener(warn=heard.append))
    assert [result.scene for result in done] == [scenes[0], scenes[2]]
    assert name == str(bad)
    assert isinstance(error, SceneError)
    assert "not a raster" in heard[0]
    assert names_in(out.parent) == ["a.tif", "c.tif"]


def test_a_result_is_json(draw, out):
    found = json.loads(json.dumps(run(draw(70, 90), out, mask=out.with_name("m.tif")).to_dict()))
    assert found["outputs"] == {"raster": str(out), "mask": str(out.with_name("m.tif"))}
    assert found["megapixels"] == 0.0063
    assert 0 < found["road_fraction"] < 1


def test_progress_is_told_in_megapixels_and_ends_at_the_total(draw, out):
    told = []
    listener = Listener(start=lambda total, done: told.append((total, done)), advance=told.append)
    scene = draw(110, 250)
    with pytest.raises(DeviceError):
        run(scene, out, engine=Stops(16))
    run(scene, out, listener=listener)
    (total, done), *steps = told
    assert total == pytest.approx(0.0275)
    assert 0 < done < total
    assert done + sum(steps) == pytest.approx(total)


def test_results_take_their_scenes_names(tmp_path):
    outputs = PredictOutputs(tmp_path / "r", tmp_path / "m", tmp_path / "p")
    jobs = name_outputs(["x/a.jp2", "https://host/b.tif?token=1"], outputs, ENDINGS)
    assert [made.raster.name for _, made in jobs] == ["a.tif", "b.tif"]
    assert [str(made.mask.relative_to(tmp_path)) for _, made in jobs] == ["m/a.tif", "m/b.tif"]
    assert [str(made.preview.relative_to(tmp_path)) for _, made in jobs] == ["p/a.png", "p/b.png"]
    with pytest.raises(SceneError, match=r"the outputs of x/a\.tif and y/a\.jp2 would have the same name"):
        name_outputs(["x/a.tif", "y/a.jp2"], outputs, ENDINGS)
    with pytest.raises(
        OutputError, match=r"roads\.tif is named like a file, and the outputs of several inputs go into"
    ):
        name_outputs(["a.tif", "b.tif"], PredictOutputs(Path("roads.tif")), ENDINGS)
    assert names_in(tmp_path) == []


def test_every_error_is_one_of_ours(draw, tmp_path, out):
    for scene, settings in [
        (tmp_path / "none.tif", {}),
        (draw(20, 30, "two.tif", bands=2), {}),
        (draw(20, 30, "three.tif"), {"bands": (1, 2, 9)}),
        (draw(20, 30, "aoi.tif"), {"aoi": tmp_path / "none.gpkg"}),
    ]:
        with pytest.raises(RoadsegError) as caught:
            run(scene, out, **settings)
        assert "\n" not in str(caught.value)
    assert names_in(out.parent) == []
