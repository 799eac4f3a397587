"""GDAL's memory is bounded while rasters are worked on, and only then."""

import pytest
from rasterio.env import get_gdal_config

from roadseg.raster.files import bounded_cache


def test_the_cache_is_bounded_inside_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    with bounded_cache():
        assert get_gdal_config("GDAL_CACHEMAX") == 128 << 20
    assert get_gdal_config("GDAL_CACHEMAX") != 128 << 20


def test_what_the_user_set_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_CACHEMAX", "64")
    before = get_gdal_config("GDAL_CACHEMAX")
    with bounded_cache():
        assert get_gdal_config("GDAL_CACHEMAX") == before
