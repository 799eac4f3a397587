"""Opening rasters, and the memory GDAL may take for it."""

import os
import warnings
from os import PathLike
from typing import Any

import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader

_CACHE_BYTES = 128 << 20


def bounded_cache() -> rasterio.Env:
    """Return a context in which GDAL's block cache stays small; a GDAL_CACHEMAX set by the user stands.

    Left alone it grows to a twentieth of the machine's memory, and is slower for not fitting the processor's.
    """
    return rasterio.Env(**({} if "GDAL_CACHEMAX" in os.environ else {"GDAL_CACHEMAX": _CACHE_BYTES}))


def open_raster(path: "str | PathLike[str]", **options: Any) -> DatasetReader:
    """Open a raster for reading; whether it lies anywhere on Earth is the caller's to ask."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, **options)
