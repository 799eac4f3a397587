"""A scene shows the same pixels through every window, and never takes nodata for data."""

import warnings

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from worlds import METRES, ROTATED, picture, write_raster

from roadseg.errors import SceneError
from roadseg.raster import scene as scene_module
from roadseg.raster.scene import Scene
from roadseg.raster.scene_settings import SceneSettings, gsd_to_read_at
from roadseg.windows import Window

FILL = (0.2, 0.4, 0.6)
SETTINGS = SceneSettings(fill=FILL)


def opened(path, **settings):
    return Scene(str(path), SceneSettings(**{"fill": FILL, **settings}))


def read_all(path, **settings):
    """Return values and validity of the whole model grid."""
    with opened(path, **settings) as scene:
        block = scene.read(scene.grid_model.window)
    return block.values, block.valid


def metres_per_pixel(size):
    return Affine.translation(236_789, 901_234) @ Affine.scale(size, -size)


def write_vrt(path, height, width, sources, *, band=""):
    """Write a mosaic of three bytes; ``sources`` are paths with their first row and column."""
    bands = []
    for number in (1, 2, 3):
        placed = ""
        for source, row, col in sources:
            with rasterio.open(source) as file:
                size = f'xSize="{file.width}" ySize="{file.height}"'
            placed += (
                f'<SimpleSource><SourceFilename relativeToVRT="0">{source}</SourceFilename>'
                f'<SourceBand>{number}</SourceBand><SrcRect xOff="0" yOff="0" {size}/>'
                f'<DstRect xOff="{col}" yOff="{row}" {size}/></SimpleSource>'
            )
        bands.append(f'<VRTRasterBand dataType="Byte" band="{number}">{band}{placed}</VRTRasterBand>')
    srs = f"<SRS>{METRES}</SRS><GeoTransform>236789,1,0,901234,0,-1</GeoTransform>"
    path.write_text(
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{srs}{"".join(bands)}</VRTDataset>', "utf-8"
    )
    return path


# Values


def test_bytes_come_as_they_are(draw):
    path = draw(53, 71)
    values, valid = read_all(path)
    assert values.dtype == np.uint8
    assert valid.all()
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(values, file.read())


@pytest.mark.parametrize("window", [Window(3, 5, 20, 31), Window(-30, -9, 200, 90), Window(50, 60, 60, 60)])
def test_beyond_the_border_the_scene_is_mirrored(draw, window):
    path = draw(53, 71)
    whole, _ = read_all(path)
    padded = np.pad(whole, ((0, 0), (200, 200), (200, 200)), mode="reflect")
    with opened(path) as scene:
        block = scene.read(window)
    assert block.window == window
    np.testing.assert_array_equal(block.values, padded[:, *window.grown(0).slices(Window(-200, -200, 1, 1))])


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 500), (40, 1)])
def test_scenes_thinner_than_a_window_are_mirrored_too(draw, shape):
    with opened(draw(*shape)) as scene:
        block = scene.read(Window(0, 0, 224, 224))
        inside = scene.read(scene.grid_model.window)
    assert block.values.shape == (3, 224, 224)
    assert set(np.unique(block.values)) <= set(np.unique(inside.values))


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.float32, np.float64, np.int8, np.uint32])
def test_other_types_are_stretched_once_per_scene(tmp_path, kind):
    values = picture(150, 170, top=100).astype(np.float64)
    values = values * 30 if kind != np.int8 else values
    path = write_raster(tmp_path / "s.tif", values.astype(kind))
    got, valid = read_all(path)
    assert got.dtype == np.float32
    assert valid.all()
    for band in range(3):
        low, high = np.percentile(values[band].astype(kind), (2, 98))
        np.testing.assert_allclose(got[band], ((values[band] - low) / (high - low)).clip(0, 1), atol=2e-5)


@pytest.mark.parametrize(("kind", "base"), [(np.uint32, 4e9), (np.int32, 2e9), (np.float64, 1e12)])
def test_small_differences_of_large_values_survive_the_stretch(tmp_path, kind, base):
    plain, _ = read_all(write_raster(tmp_path / "plain.tif", picture(50, 40).astype(np.uint16)))
    far, _ = read_all(write_raster(tmp_path / "far.tif", (picture(50, 40).astype(np.uint16) + base).astype(kind)))
    np.testing.assert_allclose(far, plain, atol=1e-4)


def test_every_window_is_stretched_alike(tmp_path):
    values = picture(150, 170, top=4000).astype(np.uint16)
    values[:, :75] //= 4
    path = write_raster(tmp_path / "s.tif", values)
    whole, _ = read_all(path)
    with opened(path) as scene:
        parts = [scene.read(Window(row, 0, 50, 170)).values for row in (0, 50, 100)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_unknown_pixels_do_not_count_in_the_stretch(tmp_path):
    values = picture(100, 120, top=1000).astype(np.float32)
    clean, _ = read_all(write_raster(tmp_path / "clean.tif", values[:, :, :60]))
    values[:, :, 60:80], values[:, :, 80:100], values[:, :, 100:] = np.nan, np.inf, -9999
    dirty, valid = read_all(write_raster(tmp_path / "dirty.tif", values, nodata=-9999))
    np.testing.assert_allclose(dirty[:, :, :60], clean, atol=1e-6)
    assert valid[:, :60].all()
    assert not valid[:, 60:].any()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_the_range_asked_for_is_the_stretch(tmp_path, kind):
    values = picture(60, 40, top=200)
    got, _ = read_all(write_raster(tmp_path / "s.tif", values.astype(kind)), value_range=(50.0, 150.0))
    np.testing.assert_allclose(got, ((values - 50) / 100).clip(0, 1), atol=1e-6)


def test_a_constant_scene_is_no_division_by_zero(tmp_path):
    got, valid = read_all(write_raster(tmp_path / "s.tif", np.full((3, 30, 20), 700, np.uint16)))
    assert valid.all()
    assert (got == got[0, 0, 0]).all()


# Validity


def masked_corner(shape=(60, 80)):
    known = np.ones(shape, dtype=bool)
    known[:25, :33] = False
    return known


def ways_to_mark_nodata(folder):
    """Write the same picture with the same unknown corner in every way there is."""
    known = masked_corner()
    values = picture(60, 80).astype(np.uint8).clip(1, 254)
    holed = np.where(known, values, 0)
    alpha = np.concatenate([values, np.where(known, 255, 0)[None].astype(np.uint8)])
    rgba = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    left = write_raster(folder / "left.tif", values[:, 25:, :33])
    right = write_raster(folder / "right.tif", values[:, :, 33:])
    renamed = write_vrt(folder / "holes.xml", 60, 80, [(left, 25, 0), (right, 0, 33)])
    floats = np.where(known, values, np.nan).astype(np.float32)
    infinite = np.where(known, values, -np.inf).astype(np.float32)
    float_alpha = np.concatenate([holed, alpha[3:]])
    return {
        "nodata": write_raster(folder / "nodata.tif", holed, nodata=0),
        "nodata 255": write_raster(folder / "nodata255.tif", np.where(known, values, 255), nodata=255),
        "internal mask": write_raster(folder / "mask.tif", values, mask=known),
        "alpha": write_raster(folder / "alpha.tif", alpha, colours=rgba),
        "alpha first": write_raster(folder / "abgr.tif", alpha[::-1], colours=rgba[::-1]),
        "alpha beside nodata": write_raster(folder / "both.tif", float_alpha, colours=rgba, nodata=255),
        "holes between sources": write_vrt(folder / "holes.vrt", 60, 80, [(left, 25, 0), (right, 0, 33)]),
        "holes in a mosaic of mosaics": write_vrt(folder / "outer.vrt", 60, 80, [(folder / "holes.vrt", 0, 0)]),
        "holes in a mosaic without .vrt": write_vrt(folder / "outer_xml.vrt", 60, 80, [(renamed, 0, 0)]),
        "nodata in a mosaic": write_vrt(
            folder / "nodata.vrt", 60, 80, [(left, 25, 0), (right, 0, 33)], band="<NoDataValue>0</NoDataValue>"
        ),
        "NaN": write_raster(folder / "nan.tif", floats),
        "NaN as nodata": write_raster(folder / "nannodata.tif", floats, nodata=float("nan")),
        "infinite": write_raster(folder / "inf.tif", infinite),
        "float nodata": write_raster(
            folder / "low.tif",
            np.where(known, values, -3.4028234663852886e38).astype(np.float32),
            nodata=-3.4028234663852886e38,
        ),
        "one band NaN": write_raster(
            folder / "oneband.tif", np.stack([values[0].astype(np.float32), floats[1], values[2].astype(np.float32)])
        ),
    }


WAYS = [
    "nodata",
    "nodata 255",
    "internal mask",
    "alpha",
    "alpha first",
    "alpha beside nodata",
    "holes between sources",
    "holes in a mosaic of mosaics",
    "holes in a mosaic without .vrt",
    "nodata in a mosaic",
    "NaN",
    "NaN as nodata",
    "infinite",
    "float nodata",
    "one band NaN",
]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_say_unknown_is_understood(tmp_path, way):
    values, valid = read_all(ways_to_mark_nodata(tmp_path)[way])
    np.testing.assert_array_equal(valid, masked_corner())
    fill = np.array(FILL) * (255 if values.dtype == np.uint8 else 1)
    np.testing.assert_allclose(values[:, ~valid], np.repeat(np.round(fill, 2)[:, None], (~valid).sum(), 1), atol=0.5)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [0.3, 1.7])
def test_unknown_pixels_stay_unknown_at_another_resolution(tmp_path, way, size):
    _, valid = read_all(ways_to_mark_nodata(tmp_path)[way], pixel_m=size)
    rows, cols = ((np.arange(n) + 0.5) / n for n in valid.shape)
    inside = (rows[:, None] < 25 / 60) & (cols < 33 / 80)
    border = (abs(rows[:, None] - 25 / 60) < 1.2 / 60 / min(size, 1)) | (abs(cols - 33 / 80) < 1.2 / 80 / min(size, 1))
    np.testing.assert_array_equal(valid[~border], ~inside[~border])


def test_black_pixels_of_one_band_are_known_beside_a_nodata_of_zero(tmp_path):
    values = picture(20, 30).astype(np.uint8).clip(1)
    values[0, 5:9], values[:, 12] = 0, 0
    _, valid = read_all(write_raster(tmp_path / "s.tif", values, nodata=0))
    assert valid[5:9].all()
    assert not valid[12].any()
    assert valid.sum() == 19 * 30


def test_holes_of_a_mosaic_are_where_a_larger_one_places_them(tmp_path):
    """The outer mosaic takes the lower right quarter of the inner one, and shows it twice as large."""
    values = picture(30, 40).astype(np.uint8)
    tile = write_raster(tmp_path / "tile.tif", values)
    inner = write_vrt(tmp_path / "inner.vrt", 60, 80, [(tile, 0, 0), (tile, 30, 50)])
    path = write_vrt(tmp_path / "outer.vrt", 60, 80, [(inner, 0, 0)])
    whole, quarter = (
        '<SrcRect xOff="0" yOff="0" xSize="80" ySize="60"/>',
        '<SrcRect xOff="40" yOff="30" xSize="40" ySize="30"/>',
    )
    path.write_text(path.read_text("utf-8").replace(whole, quarter), "utf-8")
    _, valid = read_all(path)
    assert not valid[:, :20].any()
    assert valid[:, 20:].all()


def test_a_mosaic_source_without_a_place_covers_everything(tmp_path):
    values = picture(30, 40).astype(np.uint8)
    tile = write_raster(tmp_path / "t.tif", values)
    path = write_vrt(tmp_path / "m.vrt", 30, 40, [(tile, 0, 0)])
    text = path.read_text("utf-8")
    whole = text.replace(text[text.index("<SrcRect") : text.index("</SimpleSource>")], "")
    path.write_text(whole, "utf-8")
    _, valid = read_all(path)
    assert valid.all()


def test_tiles_with_masks_keep_them_in_a_mosaic(tmp_path):
    known = np.arange(40) > np.arange(30)[:, None]
    values = picture(30, 40).astype(np.uint8)
    tile = write_raster(tmp_path / "t.tif", values, mask=known)
    mask_band = (
        '<MaskBand><VRTRasterBand dataType="Byte"><SimpleSource><SourceFilename relativeToVRT="0">'
        f'{tile}</SourceFilename><SourceBand>mask,1</SourceBand><SrcRect xOff="0" yOff="0" xSize="40" ySize="30"/>'
        '<DstRect xOff="0" yOff="0" xSize="40" ySize="30"/></SimpleSource></VRTRasterBand></MaskBand>'
    )
    path = write_vrt(tmp_path / "m.vrt", 30, 60, [(tile, 0, 0)])
    path.write_text(path.read_text("utf-8").replace("</VRTDataset>", mask_band + "</VRTDataset>"), "utf-8")
    _, valid = read_all(path)
    np.testing.assert_array_equal(valid, np.pad(known, ((0, 0), (0, 20))))


def test_all_nodata_is_no_error_here(tmp_path):
    for kind in (np.uint8, np.uint16):
        values, valid = read_all(write_raster(tmp_path / f"{kind.__name__}.tif", np.zeros((3, 20, 30), kind), nodata=0))
        assert not valid.any()
        assert np.isfinite(values).all()


def test_validity_of_the_files_own_grid(tmp_path):
    path = ways_to_mark_nodata(tmp_path)["internal mask"]
    with opened(path, pixel_m=3.0) as scene:
        valid = scene.read_valid(Window(10, 20, 30, 40))
    np.testing.assert_array_equal(valid, masked_corner()[10:40, 20:60])


# Bands


def test_bands_are_chosen_by_their_colour(tmp_path):
    values = picture(20, 30, bands=4).astype(np.uint8)
    order = [ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined]
    path = write_raster(tmp_path / "bgr.tif", values, colours=order, photometric="MINISBLACK")
    with opened(path) as scene:
        assert scene.bands == (3, 2, 1)
        np.testing.assert_array_equal(scene.read(scene.grid.window).values, values[[2, 1, 0]])


@pytest.mark.parametrize(
    ("words", "bands"), [(("blue", "green", "Red", "nir"), (3, 2, 1)), (("B2", "B3", "red"), (1, 2, 3))]
)
def test_bands_are_chosen_by_their_description_where_they_have_no_colour(tmp_path, words, bands):
    path = write_raster(tmp_path / "s.tif", np.zeros((len(words), 20, 30), np.uint16), photometric="MINISBLACK")
    with rasterio.open(path, "r+") as file:
        file.descriptions = words
    with opened(path) as scene:
        assert scene.bands == bands


def test_without_colours_the_first_bands_are_taken_and_asked_for_ones_always(tmp_path):
    path = write_raster(tmp_path / "s.tif", picture(20, 30, bands=5).astype(np.uint16))
    with opened(path) as scene:
        assert scene.bands == (1, 2, 3)
    with opened(path, bands=(5, 1, 1)) as scene:
        assert scene.bands == (5, 1, 1)
    with opened(path, band_count=4, fill=(0.0,) * 4) as scene:
        assert scene.bands == (1, 2, 3, 4)


def test_an_alpha_band_is_no_image_band(tmp_path):
    grey_alpha = [ColorInterp.gray, ColorInterp.alpha]
    path = write_raster(tmp_path / "s.tif", picture(20, 30, bands=2).astype(np.uint8), colours=grey_alpha)
    with pytest.raises(SceneError, match=r"wants 3 bands and .* offers 1; choose 3 with --bands .*1,1,1"):
        opened(path)
    with opened(path, bands=(1, 1, 1)) as scene:
        assert scene.read(scene.grid.window).values.shape == (3, 20, 30)


@pytest.mark.parametrize(("bands", "message"), [((0, 1, 2), "has no band 0: it has 3"), ((1, 2, 9), "no band 9")])
def test_bands_that_do_not_exist_are_named(draw, bands, message):
    with pytest.raises(SceneError, match=message):
        opened(draw(20, 30), bands=bands)


@pytest.mark.parametrize("bands", [(1,), (1, 2, 3, 1), ()])
def test_the_number_of_bands_must_be_the_models(draw, bands):
    with pytest.raises(SceneError, match="model wants 3 bands"):
        opened(draw(20, 30), bands=bands)


@pytest.mark.parametrize("bands", [None, (1, 1, 1)])
def test_colour_numbers_are_refused(tmp_path, bands):
    path = tmp_path / "p.tif"
    profile = {"count": 1, "height": 20, "width": 30, "dtype": "uint8", "crs": METRES, "transform": ROTATED}
    with rasterio.open(path, "w", driver="GTiff", photometric="palette", **profile) as file:
        file.write(picture(20, 30, bands=1).astype(np.uint8))
        file.write_colormap(1, {i: (i, 255 - i, 0, 255) for i in range(256)})
    with pytest.raises(SceneError, match=r"palette.*gdal_translate -expand rgb"):
        opened(path, bands=bands)


# Ground


@pytest.mark.parametrize("size", [0.3, 1.7, 3.0])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_every_window_gives_the_same_bits_at_every_resolution(tmp_path, size, kind):
    known = np.ones((150, 190), dtype=bool)
    known[40:60, 100:150] = False
    path = write_raster(
        tmp_path / "s.tif", picture(150, 190).astype(kind), transform=metres_per_pixel(size), mask=known
    )
    with opened(path) as scene:
        assert scene.gsd_factors == pytest.approx((size, size), rel=0.02)
        whole = scene.read(scene.grid_model.window)
        step = 37
        for row in range(0, scene.grid_model.height, step):
            for col in range(0, scene.grid_model.width, step):
                part = scene.read(Window(row, col, step, step).intersection(scene.grid_model.window))
                place = part.window.slices()
                np.testing.assert_array_equal(part.values, whole.values[:, *place])
                np.testing.assert_array_equal(part.valid, whole.valid[place])


def test_strips_do_not_show(tmp_path, monkeypatch):
    path = write_raster(tmp_path / "s.tif", picture(200, 90).astype(np.uint8), transform=metres_per_pixel(0.4))
    whole, _ = read_all(path)
    monkeypatch.setattr("roadseg.raster.scene._STRIP_PX", 1000)
    in_strips, _ = read_all(path)
    np.testing.assert_array_equal(in_strips, whole)


def test_twice_the_pixel_size_twice_the_pixels(draw):
    with opened(draw(40, 70, transform=metres_per_pixel(2))) as scene:
        assert (scene.grid_model.height, scene.grid_model.width) == (80, 140)


def test_oblong_pixels_become_square(draw):
    with opened(draw(40, 70, transform=Affine(2, 0, 2e5, 0, -0.5, 9e5))) as scene:
        assert (scene.grid_model.height, scene.grid_model.width) == (20, 140)


def test_pixel_size_given_wins_over_the_georeference(draw):
    with opened(draw(40, 70, transform=metres_per_pixel(100)), pixel_m=0.5) as scene:
        assert (scene.grid_model.height, scene.grid_model.width) == (20, 35)


@pytest.mark.parametrize("transform", [ROTATED, Affine(1, 0, 2e5, 0, 1, 9e5), Affine(0, 1, 2e5, 1, 0, 9e5)])
def test_turned_and_south_up_scenes_keep_their_place(draw, transform):
    with opened(draw(40, 70, transform=transform)) as scene:
        assert scene.grid.transform.almost_equals(transform)
        assert scene.grid_model is scene.grid


def test_overviews_are_read_where_they_are_fine_enough(tmp_path):
    values = picture(240, 320).astype(np.uint8)
    path = write_raster(tmp_path / "s.tif", values, transform=metres_per_pixel(0.25), overviews=[2, 4, 8])
    with opened(path) as scene:
        assert scene._source.shape == (60, 80)
        with rasterio.open(path, overview_level=1) as file:
            np.testing.assert_array_equal(scene.read(scene.grid_model.window).values, file.read())
    with opened(path, pixel_m=0.4) as scene:
        assert scene._source.shape == (120, 160)
    with opened(path, pixel_m=1.0) as scene:
        assert scene._source is scene._file


def test_a_scene_that_cannot_be_used_stays_open_nowhere(tmp_path, monkeypatch):
    values = picture(130, 210).astype(np.uint16)
    path = write_raster(tmp_path / "s.tif", values, transform=metres_per_pixel(0.25), overviews=[2, 4])
    files = []

    def fail(*_):
        raise SceneError("no")

    def watched(function):
        def watch(*arguments, **options):
            files.append(function(*arguments, **options))
            return files[-1]

        return watch

    for name in ("open_input", "open_raster"):
        monkeypatch.setattr(scene_module, name, watched(getattr(scene_module, name)))
    monkeypatch.setattr(scene_module, "percentiles", fail)
    with pytest.raises(SceneError, match=r"^no$"):
        opened(path)
    assert [file.closed for file in files] == [True, True]


def test_masks_are_read_from_overviews_too(tmp_path):
    known = np.ones((240, 320), dtype=bool)
    known[:100, :140] = False
    values = picture(240, 320).astype(np.uint8)
    path = write_raster(tmp_path / "s.tif", values, transform=metres_per_pixel(0.25), overviews=[2, 4], mask=known)
    _, valid = read_all(path)
    assert valid.mean() == pytest.approx(known.mean(), abs=0.01)
    assert not valid[:24, :34].any()
    assert valid[26:].all()


@pytest.mark.parametrize(
    ("pixel_m", "finest_m", "read_at"),
    [(0.05, 0.63, 0.63), (0.3, 0.63, 0.63), (0.35, 0.63, 0.7), (0.42, 0.63, 0.84), (0.43, 0.63, 1), (0.6, 0.63, 1),
     (2, 0.63, 1), (0.3, None, 1), (None, 0.63, 1)],
)  # fmt: skip
def test_much_finer_scenes_are_read_at_twice_their_pixels(pixel_m, finest_m, read_at):
    assert gsd_to_read_at(pixel_m, 1, finest_m) == read_at


@pytest.mark.parametrize(("size", "message"), [(10, "too coarse.*--gsd"), (1e-5, "cannot be right.*--gsd")])
def test_pixels_far_off_the_models_are_refused(draw, size, message):
    with pytest.raises(SceneError, match=message):
        opened(draw(20, 30, transform=metres_per_pixel(size)))


# What cannot be used


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SceneError, match=r"none.tif does not exist; check the path"):
        opened(tmp_path / "none.tif")


def test_a_name_that_is_not_utf_8(tmp_path):
    with pytest.raises(SceneError, match="not UTF-8, as GDAL needs it; rename it") as caught:
        opened(tmp_path / "\udcff.tif")
    assert str(caught.value).isascii()


def test_a_name_in_utf_8_where_python_takes_names_for_ascii(tmp_path, monkeypatch):
    """As under LC_ALL=C with PYTHONUTF8=0."""
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    with pytest.raises(SceneError, match="cannot be read as ascii, the encoding here; set PYTHONUTF8=1"):
        opened(tmp_path / "stra\udcc3\udc9fe.tif")


def test_a_folder_is_no_scene_and_the_cure_is_told(tmp_path):
    with pytest.raises(SceneError, match="is a folder; name its images"):
        opened(tmp_path)


@pytest.mark.parametrize("data", [b"", b"just some words\n", b"II*\0\xff\xff\xff\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_raster_is_refused(tmp_path, data):
    path = tmp_path / "text.tif"
    path.write_bytes(data)
    with pytest.raises(SceneError, match=r"text.tif is not a raster that GDAL can open \(.*[^.]\)"):
        opened(path)


@pytest.mark.parametrize("kind", ["complex64", "complex128", "complex_int16"])
def test_complex_numbers_are_refused_with_the_cure(tmp_path, kind):
    path = tmp_path / "c.tif"
    profile = {"count": 3, "height": 20, "width": 30, "dtype": kind, "crs": METRES, "transform": ROTATED}
    with rasterio.open(path, "w", driver="GTiff", **profile) as file:
        file.write(np.ones((3, 20, 30), "complex64"))
    with pytest.raises(SceneError, match="complex numbers; make amplitudes"):
        opened(path)


def test_a_scene_with_control_points_alone_is_refused_with_the_cure(tmp_path):
    path = tmp_path / "g.tif"
    points = [GroundControlPoint(r, c, 2e5 + c, 9e5 - r) for r in (0, 20) for c in (0, 30)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", driver="GTiff", count=3, height=20, width=30, dtype="uint8") as file:
            file.write(picture(20, 30).astype(np.uint8))
            file.gcps = points, rasterio.crs.CRS.from_user_input(METRES)
    with pytest.raises(SceneError, match=r"control points but no geotransform; rectify it first.*gdalwarp"):
        opened(path)


def test_a_scene_with_rpcs_alone_is_refused_as_that(tmp_path):
    path = tmp_path / "r.tif"
    sizes = {"LINE": 10, "SAMP": 15, "LAT": 1, "LONG": 1, "HEIGHT": 500}
    tags = {f"{name}_{part}": str(size) for name, size in sizes.items() for part in ("OFF", "SCALE")}
    tags |= {f"{axis}_{part}_COEFF": "1 " + "0 " * 19 for axis in ("LINE", "SAMP") for part in ("NUM", "DEN")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", driver="GTiff", count=3, height=20, width=30, dtype="uint8") as file:
            file.write(picture(20, 30).astype(np.uint8))
            file.update_tags(ns="RPC", **tags)
    with pytest.raises(SceneError, match=r"has RPCs but no geotransform; rectify it first.*gdalwarp"):
        opened(path)


def test_a_damaged_file_says_where(tmp_path):
    path = write_raster(
        tmp_path / "s.tif", picture(300, 330).astype(np.uint8), tiled=True, blockxsize=64, blockysize=64
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with (
        opened(path) as scene,
        pytest.raises(SceneError, match=r"cannot be read at row 0, column 0 .*damaged or out of reach"),
    ):
        scene.read(scene.grid.window)


def test_a_damaged_file_fails_to_open_where_its_stretch_is_needed(tmp_path):
    path = write_raster(
        tmp_path / "s.tif", picture(300, 330).astype(np.uint16), tiled=True, blockxsize=64, blockysize=64
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SceneError, match=r"cannot be read \((?!Read failed).*\); the file is damaged or out of reach$"):
        opened(path)


# For people


def test_the_picture_is_white_where_nothing_is_known(tmp_path):
    path = ways_to_mark_nodata(tmp_path)["internal mask"]
    with opened(path) as scene:
        shown = scene.picture(Window(0, 0, 60, 80), 60, 80)
    known = masked_corner()
    assert (shown[:, ~known] == 255).all()
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(shown[:, known], file.read()[:, known])


@pytest.mark.parametrize("bands", [1, 2, 4])
def test_the_picture_has_three_colours_whatever_the_bands(tmp_path, bands):
    path = write_raster(tmp_path / "s.tif", picture(30, 50, bands=bands, top=900).astype(np.uint16))
    with opened(path, band_count=bands, fill=(0.0,) * bands) as scene:
        assert scene.picture(Window(0, 0, 30, 50), 15, 25).shape == (3, 15, 25)
