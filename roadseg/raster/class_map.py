"""Writing a map of classes: a cloud-optimized GeoTIFF with a colour table."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from roadseg.errors import OutputError
from roadseg.files.outputs import publish
from roadseg.raster.cog import write_cog
from roadseg.raster.encoding import byte_profile
from roadseg.raster.files import create_raster
from roadseg.raster.grid import Grid
from roadseg.windows import Window

WriteClasses = Callable[[Window, NDArray[np.uint8]], None]
"""Writes (height, width) classes to a window of the grid."""


@contextmanager
def class_map(
    path: Path, grid: Grid, colours: Mapping[int, tuple[int, int, int]], tags: Mapping[str, str]
) -> Iterator[WriteClasses]:
    """Context manager that yields a writer; the map appears on exit, finished, or not at all after an error.

    Parameters
    ----------
    path
        The GeoTIFF to write.
    grid
        Grid of the map.
    colours
        Red, green and blue of each class; 255 is nodata.
    tags
        Metadata to write.

    Raises
    ------
    OutputError
        If the map cannot be written.
    """
    draft, finished = path.with_name(f".{path.name}.draft.tif"), path.with_name(f".{path.name}.new.tif")
    try:
        file = create_raster(draft, byte_profile(grid))
    except RasterioError as error:
        raise OutputError(f"cannot write {path} ({error}); choose another place") from error

    def write(window: Window, classes: NDArray[np.uint8]) -> None:
        try:
            file.write(classes, 1, window=RasterWindow(window.col, window.row, window.width, window.height))
        except RasterioError as error:
            raise OutputError(f"cannot write {path} ({error}); make room and try again") from error

    try:
        with file:
            file.write_colormap(1, {value: (*rgb, 255) for value, rgb in colours.items()})
            file.update_tags(**tags)
            yield write
        try:
            write_cog(draft, finished, overviews="MODE")
        except OutputError as error:
            raise OutputError(f"cannot write {path}, probably for want of room; make some and try again") from error
        publish(finished, path)
    finally:
        draft.unlink(missing_ok=True)
        finished.unlink(missing_ok=True)
