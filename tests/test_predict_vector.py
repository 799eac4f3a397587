"""``predict --vector``: the network of the very probability that is written, with it or not at all."""

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from engines import Identity, Stops, model_of
from road_rasters import NEAR, draw_t, sorted_lengths
from worlds import METRES, NORTH_UP, names_in, write_raster

from roadseg.errors import DeviceError, OutputError, SceneError
from roadseg.files.targets import name_outputs
from roadseg.predict import ENDINGS, predict_scene
from roadseg.progress import Listener
from roadseg.settings import PredictOutputs, PredictSettings, VectorOutputs
from roadseg.vectorize import vectorize_raster

pytestmark = pytest.mark.usefixtures("open_files_stay")


@pytest.fixture
def scene(tmp_path):
    return paint(tmp_path / "scene.tif")


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "roads.tif"


def paint(path, levels=None, transform=NORTH_UP, **options):
    """Write a scene whose first band shows the roads that the identity engine will see."""
    levels = draw_t() if levels is None else levels
    return write_raster(path, np.stack([levels] * 3), transform=transform, crs=options.pop("crs", METRES), **options)


def run(scene, out, *, engine=None, vector="roads.gpkg", listener=None, **settings):
    outputs = PredictOutputs(out, vector=out.parent / vector)
    asked = PredictSettings(**{"overlap_px": 16, "block_px": 96, **settings})
    return predict_scene(str(scene), outputs, model_of(engine or Identity(), window_px=64), asked, listener=listener)


def roads(path):
    meta, _, wkb, data = pyogrio.raw.read(path, layer="roads")
    return shapely.from_wkb(wkb), dict(zip(meta["fields"], data, strict=True))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_it_is_what_vectorize_makes_of_the_raster(scene, out, dtype):
    summary = run(scene, out, dtype=dtype)
    assert summary.outputs == {"raster": out, "vector": out.with_name("roads.gpkg")}
    assert names_in(out.parent) == ["roads.gpkg", "roads.tif"]
    vectorize_raster(out, VectorOutputs(out.with_name("again.gpkg")))
    assert out.with_name("again.gpkg").read_bytes() == out.with_name("roads.gpkg").read_bytes()
    assert len(roads(out.with_name("roads.gpkg"))[0]) == 3


@pytest.mark.parametrize("grid", ["scene", "model"])
@pytest.mark.parametrize("factor", [3, 0.5])
def test_it_is_extracted_as_the_model_saw_the_scene(tmp_path, out, grid, factor):
    """A scene of other pixels than the model's gives metres, whatever grid the raster is written on."""
    fine = draw_t(450, 630, 3) if factor == 3 else np.ascontiguousarray(draw_t()[::2, ::2])
    scene = paint(tmp_path / "other.tif", fine, transform=NORTH_UP @ Affine.scale(1 / factor))
    run(scene, out, grid=grid)
    with rasterio.open(out) as file:
        assert file.shape == (fine.shape if grid == "scene" else (150, 210))
    lines, columns = roads(out.with_name("roads.gpkg"))
    assert sorted(columns["length_m"]) == pytest.approx([70, 100, 110], abs=NEAR)
    assert columns["width_m"] == pytest.approx([9, 9, 9], abs=1.5)
    assert shapely.distance(lines, shapely.Point(236_889.5, 901_173.5)).max() < NEAR


@pytest.mark.parametrize("scales", [None, (2.0,)])
def test_without_a_crs_the_pixel_size_given_makes_metres(tmp_path, out, scales):
    scene = paint(tmp_path / "photo.tif", draw_t(450, 630, 3), crs=None, transform=Affine.identity())
    heard: list[str] = []
    run(scene, out, pixel_m=0.5, scales=scales, listener=Listener(report=heard.append))
    lines, columns = roads(out.with_name("roads.gpkg"))
    assert sorted(columns["length_m"]) == pytest.approx([105, 150, 165], abs=1.5 * NEAR)
    assert np.sort(shapely.length(lines)) == pytest.approx([210, 300, 330], abs=3 * NEAR)
    assert "extracting the road network" in heard


def test_the_raster_on_the_scenes_grid_does_not_change_it(tmp_path, out):
    scene = paint(tmp_path / "other.tif", draw_t(450, 630, 3), transform=NORTH_UP @ Affine.scale(1 / 3))
    run(scene, out, grid="scene")
    run(scene, out.with_name("model.tif"), grid="model", vector="model.gpkg")
    assert out.with_name("roads.gpkg").read_bytes() == out.with_name("model.gpkg").read_bytes()
    vectorize_raster(out.with_name("model.tif"), VectorOutputs(out.with_name("again.gpkg")))
    assert out.with_name("again.gpkg").read_bytes() == out.with_name("model.gpkg").read_bytes()


@pytest.mark.parametrize("pixel", [1.0, 1 / 3])
def test_only_roads_inside_the_area_are_found(tmp_path, out, pixel):
    factor = round(1 / pixel)
    scene = paint(
        tmp_path / "s.tif", draw_t(150 * factor, 210 * factor, factor), transform=NORTH_UP @ Affine.scale(pixel)
    )
    area = shapely.box(*(NORTH_UP @ (20, 90)), *(NORTH_UP @ (80, 30)))
    pyogrio.raw.write(
        tmp_path / "aoi.gpkg", shapely.to_wkb(np.array([area])), [], [], geometry_type="Polygon", crs=METRES
    )
    run(scene, out, aoi=tmp_path / "aoi.gpkg")
    lines, columns = roads(out.with_name("roads.gpkg"))
    assert columns["length_m"].sum() == pytest.approx(60, abs=NEAR)
    assert shapely.within(lines, area.buffer(1)).all()


def test_the_threshold_is_that_of_the_run(tmp_path, out):
    scene = paint(tmp_path / "faint.tif", draw_t() // 2)
    run(scene, out, threshold=0.4)
    assert len(roads(out.with_name("roads.gpkg"))[0]) == 3
    run(scene, out, threshold=0.6, overwrite=True)
    assert len(roads(out.with_name("roads.gpkg"))[0]) == 0


def test_a_run_that_stops_has_neither_and_goes_on(scene, out):
    run(scene, out.with_name("a.tif"), vector="a.gpkg")
    with pytest.raises(DeviceError):
        run(scene, out, engine=Stops(12))
    assert names_in(out.parent) == ["a.gpkg", "a.tif", "roads.tif.partial"]
    assert run(scene, out).blocks_resumed > 0
    assert out.with_name("roads.gpkg").read_bytes() == out.with_name("a.gpkg").read_bytes()
    assert names_in(out.parent) == ["a.gpkg", "a.tif", "roads.gpkg", "roads.tif"]


@pytest.mark.parametrize("name", ["fingerprint.json", "published.json", "roads.geoparquet"])
def test_a_network_may_have_any_name(scene, out, monkeypatch, name):
    """Its folder of blocks holds files of roadseg's own, and a run that is killed in it can be repeated."""
    with monkeypatch.context() as patched:
        patched.setattr("roadseg.raster.partial.publish_together", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(scene, out, vector=name)
    run(scene, out, vector=name)
    assert names_in(out.parent) == sorted([name, "roads.tif"])
    assert out.with_name(name).stat().st_size > 1000


@pytest.mark.parametrize("place", ["roads.extract.extract", "roads.files.outputs.stage_vectors"])
def test_a_network_that_fails_leaves_no_raster_and_keeps_the_blocks(scene, out, monkeypatch, place):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"roadseg.{place}", stop)
    with pytest.raises(KeyboardInterrupt):
        run(scene, out)
    assert names_in(out.parent) == ["roads.tif.partial"]
    monkeypatch.undo()
    summary = run(scene, out)
    assert summary.blocks_resumed == summary.blocks
    assert names_in(out.parent) == ["roads.gpkg", "roads.tif"]


def test_a_run_killed_while_it_publishes_can_be_repeated(scene, out, monkeypatch):
    move = Path.replace

    def killed(self, target):
        done = move(self, target)
        if target == out:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run(scene, out)
    monkeypatch.undo()
    assert names_in(out.parent) == ["roads.tif", "roads.tif.partial"]
    run(scene, out)
    assert names_in(out.parent) == ["roads.gpkg", "roads.tif"]


def test_what_cannot_be_written_is_said_before_the_work(tmp_path, scene, out):
    engine = Identity()
    nowhere = paint(tmp_path / "nowhere.tif", crs=None, transform=Affine.identity())
    with pytest.raises(SceneError, match=r"without a CRS roads cannot be reprojected to EPSG:4326 for GeoJSON"):
        run(nowhere, out, engine=engine, vector="roads.geojson")
    with pytest.raises(OutputError, match=r"a shapefile, .* have vectorize write it with --format Shapefile"):
        run(scene, out, engine=engine, vector="roads.shp")
    for name, words in (("roads.dxf", "no vector format"), ("none/r.gpkg", "create it first"), ("roads.tif", "twice")):
        with pytest.raises(OutputError, match=words):
            run(scene, out, engine=engine, vector=name)
    out.with_name("roads.gpkg").write_bytes(b"words")
    with pytest.raises(OutputError, match="is no GeoPackage"):
        run(scene, out, engine=engine)
    assert engine.windows == 0
    assert names_in(out.parent) == ["roads.gpkg"]


def test_a_package_keeps_its_other_layers(scene, out):
    vectorize_settings = VectorOutputs(out.with_name("roads.gpkg"), layer="older")
    run(scene, out)
    vectorize_raster(out, vectorize_settings)
    with pytest.raises(OutputError, match="exists"):
        run(scene, out)
    run(scene, out, overwrite=True)
    names = {name for name, kind in pyogrio.list_layers(out.with_name("roads.gpkg")) if kind}
    assert names == {"roads", "junctions", "older", "older_junctions"}


def test_several_scenes_have_a_network_each(tmp_path, out):
    scenes = [str(paint(tmp_path / f"{name}.tif")) for name in "ab"]
    vectors = tmp_path / "vectors"
    vectors.mkdir()
    jobs = name_outputs(scenes, PredictOutputs(out.parent, vector=vectors), ENDINGS)
    heard = []
    settings = PredictSettings(overlap_px=16, block_px=96)
    model = model_of(Identity(), window_px=64)
    for name, outputs in jobs:
        predict_scene(name, outputs, model, settings, listener=Listener(report=heard.append))
    assert names_in(vectors) == ["a.gpkg", "b.gpkg"]
    assert heard.count("3 roads found") == 2


def test_geojson_by_its_ending(scene, out):
    run(scene, out, vector="roads.geojson")
    found = json.loads(out.with_name("roads.geojson").read_text("utf-8"))["features"]
    assert sorted(row["properties"]["length_m"] for row in found) == pytest.approx([70, 100, 110], abs=NEAR)
    assert sorted_lengths(vectorize_raster(out).roads) == sorted(
        round(row["properties"]["length_m"], 1) for row in found
    )
