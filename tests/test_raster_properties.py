"""What is said of a raster is true, whatever it is: an image, a mask with colours, complex numbers."""

import struct

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from worlds import METRES, NORTH_UP, picture, write_raster

from roadseg.errors import SceneError
from roadseg.info import describe_scene
from roadseg.raster.properties import raster_properties

GDAL_VERSION = tuple(map(int, rasterio.__gdal_version__.split(".")[:2]))
RGBA = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]


def holed_mosaic(path, source):
    """Write a mosaic that is larger than its only source."""
    place = '<DstRect xOff="9" yOff="9" xSize="50" ySize="30"/>'
    band = f"<SimpleSource><SourceFilename>{source}</SourceFilename>{place}</SimpleSource>"
    band = f'<VRTRasterBand dataType="Byte" band="1">{band}</VRTRasterBand>'
    path.write_text(f'<VRTDataset rasterXSize="90" rasterYSize="80">{band}</VRTDataset>', "utf-8")
    return path


def test_what_marks_nodata_is_named(tmp_path):
    values, known = picture(30, 50).astype(np.uint8), np.arange(50) > np.zeros((30, 1)) + 9
    alpha = np.concatenate([values, np.where(known, 255, 0)[None].astype(np.uint8)])
    for path, expected in [
        (write_raster(tmp_path / "plain.tif", values), "none marked"),
        (write_raster(tmp_path / "nodata.tif", values, nodata=0), "nodata 0"),
        (write_raster(tmp_path / "masked.tif", values, mask=known), "mask band"),
        (write_raster(tmp_path / "alpha.tif", alpha, colours=RGBA), "alpha band"),
        (holed_mosaic(tmp_path / "mosaic.vrt", tmp_path / "plain.tif"), "holes between the sources"),
    ]:
        assert raster_properties(str(path))["nodata"] == expected


@pytest.mark.parametrize(("dtype", "photometric"), [("uint8", "palette"), ("complex64", "minisblack")])
def test_what_predict_refuses_is_described_all_the_same(tmp_path, dtype, photometric):
    path = tmp_path / "odd.tif"
    profile = {"height": 20, "width": 30, "count": 1, "dtype": dtype, "crs": METRES, "transform": NORTH_UP}
    with rasterio.open(path, "w", driver="GTiff", photometric=photometric, **profile) as file:
        file.write(np.ones((1, 20, 30), dtype))
    found = raster_properties(str(path))
    assert (found["height"], found["width"], found["bands"], found["dtype"]) == (20, 30, 1, dtype)
    assert found["pixel_m"] == pytest.approx([1, 1], rel=1e-3)


@pytest.mark.skipif(GDAL_VERSION < (3, 10), reason="older GDAL opens such a file without its overviews")
def test_an_overview_that_lies_beyond_the_end_of_the_file_is_damage(tmp_path):
    path = write_raster(tmp_path / "cut.tif", picture(90, 130).astype(np.uint8), overviews=(2,))
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)  # the directory: a count, entries of 12 bytes, where the next one is
    (entries,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * entries, len(data) + 5000)
    path.write_bytes(data)
    with pytest.raises(SceneError, match=r"cut\.tif is not a raster that GDAL can open .*; check the file"):
        raster_properties(str(path))


def test_pixels_without_a_geotransform_are_assumed(tmp_path):
    for name, transform, assumed in (("placed", NORTH_UP, False), ("bare", Affine.identity(), True)):
        path = write_raster(tmp_path / f"{name}.tif", picture(20, 30).astype(np.uint8), transform=transform)
        found = raster_properties(str(path))
        assert (found["pixel_assumed"], bool(found["pixel_m"])) == (assumed, True)
        assert ("assumed: no geotransform" in dict(describe_scene(found))["pixel"]) == assumed
