"""Writing a map of classes: a cloud-optimized GeoTIFF with a colour table, finished or not there."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from roadseg.errors import OutputError
from roadseg.files import publish
from roadseg.raster.cog import write_cog
from roadseg.raster.encoding import NODATA
from roadseg.raster.grid import Grid
from roadseg.windows import Window


class ClassMap:
    """A map in the making; as a context manager it is published at the end, or removed on an error.

    Parameters
    ----------
    path
        Where it is to be.
    grid
        Of the map.
    colours
        Red, green and blue of each class; 255 is nodata.
    tags
        Metadata to write.
    """

    def __init__(
        self, path: Path, grid: Grid, colours: Mapping[int, tuple[int, int, int]], tags: Mapping[str, str]
    ) -> None:
        self._path, self._draft = path, path.with_name(f".{path.name}.draft.tif")
        try:
            self._file: Any = rasterio.open(
                self._draft,
                "w",
                driver="GTiff",
                height=grid.height,
                width=grid.width,
                count=1,
                dtype="uint8",
                nodata=NODATA,
                crs=grid.crs,
                transform=grid.transform,
                tiled=True,
                blockxsize=512,
                blockysize=512,
                compress="DEFLATE",
                bigtiff="IF_SAFER",
            )
        except RasterioError as error:
            raise OutputError(f"cannot write {path} ({error}); choose another place") from error
        self._file.write_colormap(1, {kind: (*rgb, 255) for kind, rgb in colours.items()})
        self._file.update_tags(**tags)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        made = self._path.with_name(f".{self._path.name}.new.tif")
        try:
            if error is None:
                write_cog(self._draft, made, overviews="MODE")
                publish(made, self._path)
        finally:
            self._draft.unlink(missing_ok=True)
            made.unlink(missing_ok=True)

    def write(self, window: Window, classes: NDArray[np.uint8]) -> None:
        """Write (height, width) classes to a window of the grid."""
        place = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        try:
            self._file.write(classes, 1, window=place)
        except RasterioError as error:
            raise OutputError(f"cannot write {self._path} ({error}); make room and try again") from error
