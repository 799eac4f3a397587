"""Opening rasters, and the memory GDAL may take for it."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader

from roadseg.errors import OutputError

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


@contextmanager
def workplace(target: Path) -> Iterator[Path]:
    """Give a hidden folder beside an output, in which it can be made; it is removed at the end, whatever happens.

    Raises
    ------
    OutputError
        If there can be none.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(f"cannot write beside {target} ({error.strerror}); choose another place") from error
    with folder as name:
        yield Path(name)
