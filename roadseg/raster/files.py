"""Opening rasters."""

import warnings
from os import PathLike
from typing import Any

import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader


def open_raster(path: "str | PathLike[str]", **options: Any) -> DatasetReader:
    """Open a raster for reading; whether it lies anywhere on Earth is the caller's to ask."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, **options)
