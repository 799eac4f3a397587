"""What users of GDAL and QGIS expect of predicted rasters: creation options, a CRS for the box, styles, colours."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import rasterio.warp
from engines import Identity, model_of
from worlds import NORTH_UP, names_in, read_band

from roadseg.errors import OutputError, SceneError, UsageError
from roadseg.predict import predict_scene
from roadseg.raster.road_raster import RoadRaster
from roadseg.settings import PredictOutputs, PredictSettings
from roadseg.settings.option import from_options


@pytest.fixture
def run(draw, tmp_path):
    """Return a function that predicts a drawn scene with options of the command line."""
    scene = draw(130, 210, transform=NORTH_UP)

    def predict(name="roads.tif", *, mask=None, **options):
        settings = from_options(PredictSettings, {"overlap": 16, "block": 96 * 3, **options})
        outputs = PredictOutputs(tmp_path / name, mask and tmp_path / mask)
        predict_scene(str(scene), outputs, model_of(Identity(), window_px=64, attribution="© me"), settings)
        return tmp_path / name

    return predict


def test_creation_options_change_the_file_and_not_the_pixels(run):
    plain, asked = run(), run("asked.tif", co=["COMPRESS=ZSTD", "blocksize=256", "OVERVIEWS=NONE"])
    assert (read_band(plain) == read_band(asked)).all()
    with rasterio.open(asked) as file:
        assert file.compression.name == "zstd"
        assert file.block_shapes == [(256, 256)]
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("TILING_SCHEME=GoogleMapsCompatible", "must be KEY=VALUE with one of BIGTIFF, .*, STATISTICS, not 'TILING_S"),
        ("", "must be KEY=VALUE with one of BIGTIFF, .*, STATISTICS, not ''$"),
        ("COMPRESS=JPEG", "COMPRESS must be NONE or LZW or DEFLATE or LZMA or ZSTD, not 'JPEG'$"),
        ("COMPRESS", "COMPRESS must be NONE or .*, not ''$"),
        ("level=99", "LEVEL must be a whole number from 1 to 22, not '99'$"),
        ("NUM_THREADS=0", "NUM_THREADS must be ALL_CPUS or a whole number from 1 on, not '0'$"),
        ("PREDICTOR=FLOATING_POINT", "PREDICTOR=FLOATING_POINT is for float32 alone; give --dtype float32 and no"),
    ],
)
def test_options_that_would_change_pixels_or_mean_nothing_are_named(run, option, words):
    with pytest.raises(UsageError, match=f"^--co {words}"):
        run(co=["STATISTICS=YES", option])
    assert not list(Path().glob("*.partial"))


def test_a_mask_has_no_floats_to_predict(run):
    with pytest.raises(UsageError, match="--co PREDICTOR=FLOATING_POINT is for float32 alone"):
        run(co=["PREDICTOR=FLOATING_POINT"], dtype="float32", mask="mask.tif")
    run(co=["PREDICTOR=FLOATING_POINT"], dtype="float32")


def test_the_box_may_have_a_crs_of_its_own(run):
    box = (236_800.0, 901_160.0, 236_840.0, 901_200.0)
    degrees = rasterio.warp.transform_bounds("EPSG:26986", "EPSG:4326", *box)
    with rasterio.open(run("own.tif", bbox=box)) as own, rasterio.open(run(bbox=degrees, bbox_crs="EPSG:4326")) as file:
        assert np.allclose(file.bounds, own.bounds, atol=3)
        assert file.bounds.left <= box[0] < box[2] <= file.bounds.right
        assert file.bounds.bottom <= box[1] < box[3] <= file.bounds.top
    with pytest.raises(SceneError, match="the CRS EPSG:99 is not known"):
        run("none.tif", bbox=degrees, bbox_crs="EPSG:99")
    with pytest.raises(SceneError, match=r"lies outside .* give it in EPSG:4326"):
        run("none.tif", bbox=(1.0, 2.0, 3.0, 4.0), bbox_crs="EPSG:4326")


def test_a_crs_without_a_box_is_wrong_usage(say, draw):
    said = say("predict", draw(70, 90), "-o", "r.tif", "--bbox-crs", "EPSG:4326")
    assert (said.status, said.stderr) == (2, "roadseg: --bbox-crs is the CRS of --bbox; give both\n")


def test_one_area_is_asked_for(say, draw):
    said = say("predict", draw(70, 90), "-o", "r.tif", "--bbox", "1,2,3,4", "--aoi", "town.gpkg")
    assert (said.status, said.stderr) == (
        2,
        "roadseg: --bbox and --aoi both say which part of the scene is predicted; choose one\n",
    )


def test_styles_lie_where_qgis_looks_for_them(run, tmp_path):
    run(mask="mask.tif", style=True)
    assert [name for name in names_in(tmp_path) if name.endswith(".qml")] == ["mask.qml", "roads.qml"]
    probability, mask = (ET.parse(tmp_path / name).getroot() for name in ("roads.qml", "mask.qml"))
    assert probability.find("pipe/rasterrenderer").get("type") == "singlebandpseudocolor"
    assert [entry.get("alpha") for entry in mask.iter("paletteEntry")] == ["0", "255"]
    run("other.tif")
    assert not (tmp_path / "other.qml").exists()
    Path(tmp_path / "third.qml").write_text("mine", "utf-8")
    with pytest.raises(OutputError, match=r"third\.qml exists; choose another name or add --overwrite"):
        run("third.tif", style=True)
    assert not (tmp_path / "third.tif").exists()
    assert (tmp_path / "third.qml").read_text("utf-8") == "mine"


def test_styles_need_a_file_to_lie_beside(say, draw):
    said = say("predict", draw(70, 90), "-o", "-", "--style")
    assert said.status == 2
    assert "name a file with -o" in said.stderr


def test_masks_have_a_colour_table_and_stay_masks(run, tmp_path):
    run(mask="mask.tif")
    with rasterio.open(tmp_path / "mask.tif") as file:
        table = file.colormap(1)
        assert (table[0][:3], table[1][:3], file.nodata) == ((255, 255, 255), (213, 0, 110), 255)
        assert file.count == 1
    with RoadRaster(tmp_path / "mask.tif") as raster:
        assert not raster.is_scaled
        assert raster.values().present[:2].all()


def test_rasters_say_whom_to_credit(run, tmp_path):
    run(mask="mask.tif")
    for name in ("roads.tif", "mask.tif"):
        with rasterio.open(tmp_path / name) as file:
            assert file.tags()["ROADSEG_ATTRIBUTION"] == "© me"


def test_a_crs_without_a_geotransform_is_no_size_of_pixels(draw, tmp_path, model_file, say):
    scene = draw(70, 90, transform=NORTH_UP)
    bare = tmp_path / "bare.vrt"
    rasterio.shutil.copy(scene, bare, driver="VRT")
    bare.write_text(re.sub(r"<GeoTransform>.*?</GeoTransform>", "", bare.read_text("utf-8")), "utf-8")
    words = "bare.vrt has a CRS but no geotransform; its pixels are assumed to be"
    for path, options, warned in ((bare, (), True), (bare, ("--gsd", "1"), False), (scene, (), False)):
        said = say("predict", path, "-o", "r.tif", "--overwrite", "--model", model_file, "--device", "cpu", *options)
        assert (said.status, words in said.stderr) == (0, warned)
