"""Writing cloud-optimized GeoTIFFs (COG), with a check that they are complete."""

import errno
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from roadseg.errors import OutputError
from roadseg.raster.files import gdal_threads, open_raster, silence_libtiff

MAKE_ROOM = "make room and repeat the command, the finished blocks are kept"


def write_cog(source: Path, target: Path, *, overviews: str = "AVERAGE", creation: Sequence[str] = ()) -> None:
    """Convert a raster to a cloud-optimized GeoTIFF with overviews.

    GDAL builds the overviews in a temporary file, which is not compressed: that would double the time.

    Parameters
    ----------
    source, target
        Paths of the raster and of the COG.
    overviews
        Resampling method of the overviews, in GDAL's names.
    creation
        Further creation options of the driver, as ``KEY=VALUE``.

    Raises
    ------
    OutputError
        If the disk is full or the source is missing.
    """
    options = {
        "driver": "COG",
        "compress": "DEFLATE",
        "level": 1,
        "blocksize": 512,
        "overview_resampling": overviews,
        "bigtiff": "IF_SAFER",
        "sparse_ok": "TRUE",
        "overviews": "IGNORE_EXISTING",
        "num_threads": gdal_threads(),
    }
    asked = {key.lower(): value for key, _, value in (option.partition("=") for option in creation)}
    if "compress" in asked:
        del options["level"]
    options |= asked
    try:
        env = {"GDAL_NUM_THREADS": gdal_threads(), "CHECK_DISK_FREE_SPACE": "TRUE", "COG_TMP_COMPRESSION": "NONE"}
        silence_libtiff()
        with rasterio.Env(**env):
            rasterio.shutil.copy(source, target, **options)
        check_complete(target)
    except (CPLE_BaseError, RasterioError, OSError, SystemError) as error:  # the last: rasterio before 1.4.4
        target.unlink(missing_ok=True)
        raise OutputError(f"cannot write {target} ({error.__cause__ or error}); {MAKE_ROOM}") from error


def check_complete(path: Path) -> None:
    """Raise OSError unless all tiles lie inside the file: GDAL reports no error if the disk fills up on closing."""
    size, full = path.stat().st_size, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    try:
        with open_raster(path) as file:
            rows, cols = (-(-n // side) for n, side in zip(file.shape, file.block_shapes[0], strict=True))
            for row, col in itertools.product(range(rows), range(cols)):
                offset = file.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=1)
                length = file.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1)
                if offset and int(offset) + int(length or 0) > size:
                    raise full
    except RasterioError as error:  # not even its directory is there
        raise full from error
