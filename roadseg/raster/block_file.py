"""The file of a finished block: a small GeoTIFF that lives until the outputs are written, its name and its content."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from roadseg.errors import OutputError
from roadseg.files.outputs import write_atomically
from roadseg.raster.cog import MAKE_ROOM
from roadseg.raster.cog_tiles import tiled_block
from roadseg.raster.encoding import Product
from roadseg.windows import Window


def block_name(product: Product, window: Window) -> str:
    """Return the name of a block's file."""
    return f"{product.name}_{window.row}_{window.col}_{window.height}_{window.width}.tif"


def block_data(product: Product, window: Window, values: NDArray[Any], counts: Mapping[str, int]) -> list[bytes]:
    """Return the content of that file, in parts: (height, width) values, and counts that ``Partial.totals`` adds up."""
    if product.as_tiles:
        return tiled_block(product, window, values, counts)
    with MemoryFile() as memory:
        with rasterio.Env(GDAL_NUM_THREADS="1"), memory.open(**_profile(product, window)) as file:
            file.write(values, 1)
            file.update_tags(**counts)
        return [bytes(memory.getbuffer())]


def write_block(folder: Path, name: str, *data: bytes) -> None:
    """Write the file of a block, in parts.

    Raises
    ------
    OutputError
        If the disk is full, or the folder gone.
    """
    try:
        write_atomically(folder / name, *data)
    except FileNotFoundError as error:
        raise OutputError(f"{folder} was removed while blocks were written to it; repeat the command") from error
    except OSError as error:
        raise OutputError(f"cannot write to {folder} ({error.strerror}); {MAKE_ROOM}") from error


@cache
def _quick_compression() -> dict[str, Any]:
    """Return the fastest compression of this GDAL; block files only live until the end of a run."""
    quick: dict[str, Any] = {"compress": "ZSTD", "zstd_level": 1}
    size = {"height": 16, "width": 16, "count": 1, "dtype": "uint8", "transform": rasterio.Affine(1, 0, 1, 0, -1, 1)}
    try:
        with MemoryFile() as memory, memory.open(driver="GTiff", **size, **quick) as file:
            file.write(np.zeros((16, 16), dtype=np.uint8), 1)
    except (RasterioError, CPLE_BaseError):
        return {"compress": "DEFLATE", "zlevel": 1}
    return quick


def _profile(product: Product, window: Window) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "height": window.height,
        "width": window.width,
        "count": 1,
        "dtype": product.dtype,
        "nodata": product.nodata,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        **_quick_compression(),
        "transform": rasterio.Affine(1, 0, window.col, 0, -1, -1 - window.row),  # GDAL warns at the origin
    }
