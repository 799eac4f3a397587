"""The stretch of large files without overviews is chosen by spots all over them."""

import numpy as np
import pytest
import rasterio
from worlds import NORTH_UP, picture, write_raster

from roadseg.raster import stretch
from roadseg.raster.stretch import percentiles
from roadseg.raster.validity import validity_of

BANDS = (1, 2, 3)


@pytest.fixture
def large(monkeypatch):
    monkeypatch.setattr(stretch, "_READ_WHOLE_PX", 1000)


def values_of(height, width):
    slope = np.linspace(100, 3000, width)
    return (slope + picture(height, width, top=400)).astype(np.uint16)


def stretch_of(path):
    with rasterio.open(path) as file:
        return percentiles(file, BANDS, validity_of(file, BANDS))


@pytest.mark.parametrize(("height", "width"), [(1300, 2100), (20, 9000), (9000, 1)])
def test_spots_stand_for_the_whole(tmp_path, large, monkeypatch, height, width):
    values, read = values_of(height, width), []
    path = write_raster(tmp_path / "s.tif", values, transform=NORTH_UP)
    monkeypatch.setattr(stretch, "_ENOUGH_PX", 1)
    monkeypatch.setattr(stretch, "_reduced", lambda *_: read.append("whole"))
    np.testing.assert_allclose(stretch_of(path), np.percentile(values, (2, 98), axis=(1, 2)).T, atol=40)
    assert not read


def test_unknown_pixels_of_spots_do_not_count(tmp_path, large):
    values = values_of(900, 1700)
    values[:, :, 400:] = 0
    path = write_raster(tmp_path / "s.tif", values, nodata=0, transform=NORTH_UP)
    np.testing.assert_allclose(stretch_of(path), np.percentile(values[:, :, :400], (2, 98), axis=(1, 2)).T, atol=40)


def test_a_file_with_few_known_pixels_is_read_whole(tmp_path, large):
    """Between two spots of 48 px, which lie some 130 px apart, known ground may hide."""
    values = np.zeros((3, 3000, 3000), np.uint16)
    values[:, 1410:1450, 1405:1450] = values_of(40, 45)
    path = write_raster(tmp_path / "s.tif", values, nodata=0, transform=NORTH_UP)
    for (low, high), band in zip(stretch_of(path), values, strict=True):
        known = band[band > 0]
        assert known.min() <= low < high <= known.max()
    blank = write_raster(tmp_path / "b.tif", np.zeros_like(values), nodata=0, transform=NORTH_UP)
    assert stretch_of(blank) == ((0.0, 1.0),) * 3


def test_overviews_are_read_instead(tmp_path, large, monkeypatch):
    path = write_raster(tmp_path / "s.tif", values_of(1300, 2100), overviews=[2, 4], transform=NORTH_UP)
    monkeypatch.setattr(stretch, "_spots", lambda *_: pytest.fail("spots were read"))
    low, high = stretch_of(path)[0]
    assert 100 < low < high < 3400
