"""Opening rasters, and how much memory GDAL may use for them."""

import os
import warnings
from os import PathLike
from pathlib import Path
from typing import Any, Self

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from roadseg.errors import SceneError

_CACHE_BYTES = 128 << 20


def bounded_cache() -> rasterio.Env:
    """Context manager in which GDAL's block cache stays small, unless the user set GDAL_CACHEMAX.

    GDAL's default is 5 % of the machine's memory; a small cache is also faster, because it fits the processor's.
    """
    return rasterio.Env(**({} if "GDAL_CACHEMAX" in os.environ else {"GDAL_CACHEMAX": _CACHE_BYTES}))


class OpenFile:
    """Base of objects that hold files open; a ``with`` statement closes them."""

    def close(self) -> None:
        """Close the files."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_raster(path: "str | PathLike[str]", **options: Any) -> DatasetReader:
    """Open a raster for reading, without a warning if it is not georeferenced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, **options)


def open_input(path: str) -> DatasetReader:
    """Open a raster that a user named.

    Raises
    ------
    SceneError
        If it is missing, a folder, no raster, or its name is not UTF-8.
    """
    try:
        return open_raster(path)
    except UnicodeEncodeError as error:
        raise SceneError(f"{path!a} is no name that GDAL can read, because it is not UTF-8; rename it") from error
    except RasterioError as error:
        local = "://" not in path and not path.startswith("/vsi")
        if local and not Path(path).exists():
            raise SceneError(f"{path} does not exist; check the path") from error
        if local and Path(path).is_dir():
            raise SceneError(f"{path} is a folder; name its images, for example {path}/*.tif") from error
        raise SceneError(f"{path} is not a raster that GDAL can open ({reason(error)})") from error


def reason(error: Exception) -> str:
    """Return GDAL's own message of an error, without a full stop."""
    return str(error.__cause__ or error).strip().rstrip(".")
