"""Rasters of roads, as they are scored: probabilities as 255 levels, masks as 0 and 1, 255 for nodata.

Reading is by window, so memory does not depend on the raster.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterWindow

from roadseg.errors import SceneError
from roadseg.raster.crs import why_not
from roadseg.raster.encoding import LEVELS, NODATA, quantize
from roadseg.raster.files import OpenFile, open_input, open_raster, unreadable
from roadseg.raster.grid import Grid, grid_of
from roadseg.raster.kind import RasterKind, ValueScan
from roadseg.windows import Window, square_windows

_SAME_PX = 0.01


@dataclass(frozen=True)
class TileFacts:
    """What a mosaic needs to know of a raster: GDAL's name for it, the number of its band, how values are stored."""

    path: str
    name: str
    band: int
    grid: Grid
    dtype: str
    scale: float
    offset: float
    nodata: float | None
    tags: dict[str, str]


class RoadRaster(OpenFile):
    """An open raster of roads; use it as a context manager.

    Parameters
    ----------
    path
        Anything GDAL opens, with one band besides an alpha band.
    overview
        Index of the overview to read; None reads the file at full resolution.

    Attributes
    ----------
    grid
        Grid of the file, or the one it is reprojected to.
    tags
        Metadata of the file.
    dtype
        Type of the stored values.

    Raises
    ------
    SceneError
        If it cannot be opened or has several bands.
    """

    def __init__(self, path: Path | str, *, overview: int | None = None) -> None:
        self.path = path
        self._file: Any = open_input(str(path))
        bands = [i + 1 for i, meaning in enumerate(self._file.colorinterp) if meaning is not ColorInterp.alpha]
        if len(bands) != 1:
            count = len(bands)
            self._file.close()
            image = "is it the image? roadseg predict makes roads of it, else " if count >= 3 else ""
            raise SceneError(
                f"{path} has {count} bands where one is wanted; {image}pick it first, with gdal_translate -b 1"
            )
        self._band = bands[0]
        file = self._file
        self._scale, self._offset = file.scales[self._band - 1], file.offsets[self._band - 1]
        if overview is not None:  # overviews do not report scales
            file.close()
            file = self._file = open_raster(path, overview_level=overview)
        self._source = file
        self.grid = grid_of(file)
        self.tags: dict[str, str] = file.tags()
        self.dtype = np.dtype(file.dtypes[self._band - 1])
        self._kind: RasterKind | None = None
        by_value = file.nodata == NODATA and file.mask_flag_enums[self._band - 1] == [MaskFlags.nodata]
        self._as_stored = self._stores_levels() and by_value

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._source.close()

    @property
    def is_georeferenced(self) -> bool:
        """Whether the file is georeferenced."""
        return not self._source.transform.is_identity

    @property
    def is_scaled(self) -> bool:
        """Whether the type or the scale tag marks the values as probabilities."""
        return bool(np.issubdtype(self.dtype, np.floating)) or self._scale != 1

    def has_tiles_for(self, side_px: int) -> bool:
        """Return whether squares of this side, from the upper-left corner on, share no tile, and are read at once."""
        height, width = self._file.block_shapes[self._band - 1]
        is_tiled = self._file.driver == "GTiff" and side_px % height == 0 and side_px % width == 0
        return bool(self._as_stored and is_tiled)

    def facts(self) -> TileFacts:
        """Return what a mosaic needs to know of the file."""
        name = str(Path(self.path).resolve()) if Path(self.path).exists() else str(self._file.files[0])
        return TileFacts(
            path=str(self.path),
            name=name,
            band=self._band,
            grid=self.grid,
            dtype=self.dtype.name,
            scale=self._scale,
            offset=self._offset,
            nodata=self._file.nodata,
            tags=self.tags,
        )

    def overviews(self) -> list[int]:
        """Return the reduction factor of each overview."""
        return list(self._file.overviews(self._band))

    def values(self) -> ValueScan:
        """Collect the values of an unscaled file; stops as soon as it cannot be a mask.

        Raises
        ------
        SceneError
            If there is a value below 0 or above 255.
        """
        present = np.zeros(256, dtype=np.bool_)
        for window in square_windows(self.grid.window):
            raw, valid = self._read_raw(window)
            held = raw[valid]
            if held.size and not 0 <= int(held.min()) <= int(held.max()) <= 255:
                raise SceneError(
                    f"{self.path} holds {held.min()} to {held.max()}, no road mask; make it 0 and 1, for example "
                    'with gdal_calc.py --calc "A==N" --type Byte, N the class of road'
                )
            present |= np.bincount(held.astype(np.uint8).ravel(), minlength=256) > 0
            if present[2:255].any():
                break
        return ValueScan(present, self._file.nodata == NODATA)

    def sample_values(self, most: int) -> tuple[list[float], bool]:
        """Return some of the values in the file, ``most`` or a few more, and whether it has nodata: for messages."""
        found, has_nodata = np.zeros(0), False
        for window in square_windows(self.grid.window):
            raw, valid = self._read_raw(window)
            found, has_nodata = np.union1d(found, raw[valid]), has_nodata or not valid.all()
            if len(found) > most:
                break
        return found.tolist(), has_nodata

    def interpret_as(self, kind: RasterKind) -> None:
        """Set what the values mean; needed before reading."""
        self._kind = kind

    def reproject_to(self, grid: Grid) -> None:
        """Read on another grid from now on: probabilities by bilinear interpolation, masks by the nearest pixel.

        Raises
        ------
        SceneError
            If the file or the grid has no CRS, or the file cannot be reprojected.
        """
        if grid.crs is None or self.grid.crs is None:
            raise SceneError(
                f"{self.path} or its truth has no CRS, so it cannot be resampled; assign one with gdal_edit.py"
            )
        smooth = self._kind == "probability"
        self._as_stored = False
        try:
            self._file = WarpedVRT(
                self._file,
                crs=CRS.from_wkt(grid.crs),
                transform=grid.transform,
                height=grid.height,
                width=grid.width,
                resampling=Resampling.bilinear if smooth else Resampling.nearest,
                nodata=self._file.nodata,
                add_alpha=self._file.nodata is None and ColorInterp.alpha not in self._file.colorinterp,
            )
        except (CPLE_BaseError, RasterioError) as error:
            raise SceneError(
                f"{self.path} cannot be reprojected ({why_not(error)}); assign its true CRS, with gdal_edit.py -a_srs"
            ) from error
        self.grid = grid

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return a window inside the grid as (height, width) uint8, 255 for nodata.

        Returns
        -------
        Probability × 254, or 0 and 1 of a mask.

        Raises
        ------
        SceneError
            If values do not fit the kind, or the file is damaged.
        """
        if self._kind == "probability" and self._as_stored:
            levels: NDArray[np.uint8] = self._read_band(window)
            return levels
        raw, valid = self._read_raw(window)
        if self._kind == "probability":
            return self._levels(raw, valid)
        road = raw == (1 if self._kind == "mask 0/1" else 255)
        if self._kind == "mask 0/1":
            valid &= raw != NODATA
        if (valid & ~road & (raw != 0)).any():
            raise SceneError(f"{self.path} holds values besides 0 and 1, so it is no mask of roads; make it one first")
        return np.where(valid, road.astype(np.uint8), np.uint8(NODATA))

    def reduced(self, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return probability and validity of the whole file at another size, (height, width) each, for display."""
        size = {"out_shape": (height, width)}
        try:
            raw = self._file.read(self._band, resampling=Resampling.average, **size).astype(np.float32)
            valid = self._file.read_masks(self._band, **size) > 0
        except RasterioError as error:
            raise unreadable(self.path, error) from error
        if self._kind == "mask 0/1":
            valid &= raw <= 1  # 255 is nodata in a mask, whether a tag says so or not
        scale = {"probability": self._scale, "mask 0/1": 1.0, "mask 0/255": 1 / 255}[self._kind or "probability"]
        probability = np.nan_to_num(raw * np.float32(scale) + np.float32(self._offset)).clip(0, 1)
        return probability, valid & np.isfinite(raw)

    def _stores_levels(self) -> bool:
        """Return whether the stored values are levels, as ``roadseg predict`` writes them."""
        return bool(self.dtype == np.uint8 and abs(self._scale * LEVELS - 1) < 1e-6 and self._offset == 0)

    def _levels(self, raw: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        if self._stores_levels():
            return np.where(valid, raw, np.uint8(NODATA))
        scale, offset = self._scale, self._offset
        probability = np.where(valid, raw, 0).astype(np.float32) * np.float32(scale) + np.float32(offset)
        low, high = float(probability.min()), float(probability.max())
        if low < -1e-3 or high > 1 + 1e-3:
            raise SceneError(
                f"{self.path} holds {low:.4g} to {high:.4g}, not probabilities from 0 to 1; rescale it, "
                "for example with gdal_translate -scale"
            )
        return quantize(probability, valid)

    def _read_raw(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        raw = self._read_band(window)
        valid = self._read_band(window, mask=True) > 0
        if np.issubdtype(raw.dtype, np.floating):
            valid &= np.isfinite(raw)
        return raw, valid

    def _read_band(self, window: Window, *, mask: bool = False) -> NDArray[Any]:
        """Return the values of a window, or GDAL's mask of it."""
        place = RasterWindow(window.col, window.row, window.width, window.height)
        read = self._file.read_masks if mask else self._file.read
        try:
            values: NDArray[Any] = read(self._band, window=place)
        except RasterioError as error:
            raise unreadable(self.path, error, window) from error
        return values


def grid_mismatch(prediction: RoadRaster, truth: RoadRaster) -> str | None:
    """Return why two rasters do not share a grid, None if they do.

    A raster without georeference is assumed to lie on the other if it has the same size.
    """
    a, b = prediction.grid, truth.grid
    if prediction.is_georeferenced and truth.is_georeferenced:
        if a.crs and b.crs and CRS.from_wkt(a.crs) != CRS.from_wkt(b.crs):
            names = (CRS.from_wkt(crs).to_string() for crs in (a.crs, b.crs))
            return "has another CRS ({} against {}) than that".format(*(name[:40] for name in names))
        if (a.height, a.width) == (b.height, b.width):
            off = b.offset_px(a)
            return None if off <= _SAME_PX else f"lies up to {round(off, 2):,.10g} px off"
    if (a.height, a.width) != (b.height, b.width):
        return f"has {a.width} × {a.height} px against {b.width} × {b.height}"
    return None
