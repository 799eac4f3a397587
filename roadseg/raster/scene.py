"""A scene: an image that GDAL can read, prepared for a model.

What holds for the whole scene is settled once, when it is opened: the bands, the ground resolution, the stretch
to 0–1, what marks nodata. After that ``read`` returns the same pixels for the same place, whichever window they
are read through. Nodata pixels hold the model's mean colour and never count in statistics.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from roadseg.errors import SceneError
from roadseg.raster.files import OpenFile, decompressing, local_files, open_input, open_raster, unreadable
from roadseg.raster.grid import grid_of
from roadseg.raster.remote import remote_sizes
from roadseg.raster.resample import resample, taps
from roadseg.raster.scene_settings import SceneSettings, choose_bands, choose_grid, settled
from roadseg.raster.spare_memory import Allocate, fresh
from roadseg.raster.stretch import percentiles
from roadseg.raster.validity import validity_of
from roadseg.windows import Block, Window, all_valid, is_all_valid, reflected

_STRIP_PX = 1 << 22
_PROBES, _PROBE_PX = 4, 256


class Scene(OpenFile):
    """An open scene; use it as a context manager, from one thread at a time.

    Parameters
    ----------
    path
        A file, or anything else GDAL opens (``/vsicurl/…``, ``s3://…``).
    settings
        Bands, resolution and stretch.

    Attributes
    ----------
    settings
        The settings, with the resolution that was chosen for this scene.
    grid
        The file's grid.
    grid_model
        The grid of ``read``: the same ground at the model's resolution.
    bands
        Numbers of the bands that are read.
    stretch
        (low, high) per band, or None where uint8 values are used directly.
    dtype
        Type of the values that ``read`` returns: uint8 as stored, or float32 on a 0–1 scale.

    Raises
    ------
    SceneError
        If the file is missing, no raster, has no usable georeference, or lacks the bands.
    """

    def __init__(self, path: str, settings: SceneSettings) -> None:
        self.path, self.settings = path, settings
        with decompressing(path):
            self._file = open_input(path)
        self._source = self._file
        try:
            self._prepare()
        except RasterioError as error:
            self.close()
            raise unreadable(path, error) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._source is not self._file:
            self._source.close()

    @property
    def gsd_factors(self) -> tuple[float, float]:
        """Model pixels per scene pixel, down and across; 1 where the scene keeps its grid."""
        return self.grid_model.height / self.grid.height, self.grid_model.width / self.grid.width

    @property
    def image_bands(self) -> int:
        """Number of bands of the file, not counting an alpha band."""
        return sum(meaning is not ColorInterp.alpha for meaning in self._file.colorinterp)

    def local_files(self) -> list[Path]:
        """Return its files on this machine, the sources of a mosaic and an archive included."""
        return local_files([self.path, *self._file.files])

    def remote_sizes(self) -> dict[str, int]:
        """Return the bytes of its files on servers, by name."""
        return remote_sizes(self._file.files)

    def read(self, window: Window, allocate: Allocate = fresh) -> Block:
        """Read a window of the model's grid; beyond the border the scene is reflected.

        Parameters
        ----------
        window
            Place in the grid; may reach beyond it.
        allocate
            Returns the arrays to fill.

        Returns
        -------
        A block of (bands, height, width) values of ``dtype``; if all pixels are valid, that is read-only.

        Raises
        ------
        SceneError
            If the file is damaged there.
        """
        rows = reflected(window.row, window.row_stop, self.grid_model.height)
        cols = reflected(window.col, window.col_stop, self.grid_model.width)
        inside = Window(int(rows.min()), int(cols.min()), int(np.ptp(rows)) + 1, int(np.ptp(cols)) + 1)
        whole = window.union(inside)  # a window beyond a border may mirror pixels that it does not cover itself
        place, there = inside.slices(whole), window.slices(whole)
        values = allocate((len(self.bands), whole.height, whole.width), self.dtype)
        known = self._read_inside(inside, values[:, *place])
        valid = all_valid((whole.height, whole.width))
        if known.flags.writeable:
            valid = valid.copy()
            valid[place] = known
        to_row, from_row = _mirrored(there[0], rows - whole.row)
        to_col, from_col = _mirrored(there[1], cols - whole.col)
        for array in (values, valid) if valid.flags.writeable else (values,):
            array[..., place[0], to_col] = array[..., place[0], from_col]
            array[..., to_row, there[1]] = array[..., from_row, there[1]]
        return Block(window, values[:, *there], valid[there])

    def sample(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
        """Return pixels of some windows all over the model's grid, on the 0–1 scale; None if no pixel is known there.

        Returns
        -------
        (bands, n, side) float32, and which of them are known, (n, side).
        """
        side = min(_PROBE_PX, self.grid_model.height, self.grid_model.width)
        corners = [
            (round(row), round(col))
            for row in np.linspace(0, self.grid_model.height - side, _PROBES)
            for col in np.linspace(0, self.grid_model.width - side, _PROBES)
        ]
        blocks = [self.read(Window(row, col, side, side)) for row, col in dict.fromkeys(corners)]
        valid = np.concatenate([block.valid for block in blocks])
        if not valid.any():
            return None
        values = np.concatenate([block.values for block in blocks], axis=1).astype(np.float32)
        return values / np.float32(255 if self.dtype == np.uint8 else 1), valid

    def common_value(self, level: int) -> float | None:
        """Return the value in the file of all bands that becomes 0 or 1; None if they differ, or ``--range`` set it.

        A percentile that bands have in common is hardly ever one of pixels of the ground.
        """
        if self.stretch is None:
            return 255.0 * level
        values = {limits[level] for limits in self.stretch}
        return values.pop() if len(values) == 1 and self.settings.value_range is None else None

    def read_valid(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window of the file's own grid are valid, (height, width) bool."""
        return self._read_raw(self._file, window)[1]

    def picture(self, window: Window, height: int, width: int) -> NDArray[np.uint8]:
        """Return a window of the file's grid as (3, height, width) uint8 for display, nodata white."""
        place = RasterWindow(window.col, window.row, window.width, window.height)
        size = (len(self.bands), height, width)
        try:
            raw = self._file.read(self.bands, window=place, out_shape=size, resampling=Resampling.average)
            valid = self._validity.of(self._file, raw, window, (height, width))
        except RasterioError as error:
            raise unreadable(self.path, error) from error
        shown = self._to_unit(raw) if self.stretch else raw.astype(np.float32) / 255
        rgb = shown[[0, 1, 2]] if len(shown) >= 3 else shown[[0, 0, 0]]
        return np.where(valid, np.rint(rgb.clip(0, 1) * 255), 255).astype(np.uint8)

    def _prepare(self) -> None:
        file = self._file
        self.bands = choose_bands(file, self.path, self.settings)
        kinds = {file.dtypes[band - 1] for band in self.bands}
        if any(kind.startswith("complex") for kind in kinds):
            raise SceneError(
                f"{self.path} holds complex numbers; make amplitudes of them first, "
                "for example with gdal_translate -ot Float32 DERIVED_SUBDATASET:AMPLITUDE:…"
            )
        if file.transform.is_identity and (file.gcps[0] or file.rpcs):
            raise SceneError(
                f"{self.path} has {'ground control points' if file.gcps[0] else 'RPCs'} but no geotransform; "
                "rectify it first, for example with gdalwarp"
            )
        self.grid = grid_of(file)
        self.settings = settled(self.settings, self.grid)
        self.grid_model = choose_grid(self.grid, self.path, self.settings)
        self._validity = validity_of(file, self.bands)
        self._open_overview()
        plain = kinds == {"uint8"} and self.settings.value_range is None
        self.stretch = None if plain else self._choose_stretch()
        self.dtype = np.dtype(np.uint8 if plain else np.float32)

    def _open_overview(self) -> None:
        """Read from the coarsest overview that is still at least as fine as the model's grid."""
        shrink = min(1 / factor for factor in self.gsd_factors)
        levels = self._file.overviews(self.bands[0])
        usable = [index for index, level in enumerate(levels) if level <= shrink]
        if usable:
            with decompressing(self.path):
                self._source = open_raster(self.path, overview_level=usable[-1])

    def _choose_stretch(self) -> tuple[tuple[float, float], ...]:
        """Return (low, high) per band: as set, or percentiles."""
        if self.settings.stretch:
            return self.settings.stretch
        if self.settings.value_range:
            return (self.settings.value_range,) * len(self.bands)
        return percentiles(self._file, self.bands, self._validity)

    def _read_inside(self, window: Window, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Read a window inside the model's grid into an array, in strips of bounded memory; return what is valid."""
        valid = all_valid((window.height, window.width))
        source_width = window.width * self._source.width / self.grid_model.width
        rows = max(1, int(_STRIP_PX / source_width * self.grid_model.height / self._source.height))
        for row in range(window.row, window.row_stop, rows):
            strip = Window(row, window.col, min(rows, window.row_stop - row), window.width)
            place = slice(row - window.row, row - window.row + strip.height)
            if self.gsd_factors == (1.0, 1.0) and self.stretch is None:
                _, known = self._read_raw(self._source, strip, values[:, place])  # without a copy of the pixels
                self._fill(values[:, place], known)
            else:
                values[:, place], known = self._read_strip(strip)
            if not is_all_valid(known):
                valid = valid if valid.flags.writeable else valid.copy()
                valid[place] = known
        return valid

    def _read_strip(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        source, grid = self._source, self.grid_model
        if self.gsd_factors == (1.0, 1.0):
            raw, valid = self._read_raw(source, window)
            return self._finish(raw, valid), valid
        rows = taps(window.row, window.row_stop, size_in=source.height, size_out=grid.height)
        cols = taps(window.col, window.col_stop, size_in=source.width, size_out=grid.width)
        raw, valid = self._read_raw(
            source, Window(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
        )
        values, valid = resample(raw, valid, rows, cols)
        return self._finish(values, valid), valid

    def _finish(self, raw: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[Any]:
        """Convert raw values to ``dtype`` and fill nodata pixels with the fill colour."""
        values: NDArray[Any] = self._to_unit(raw) if self.stretch else np.rint(raw).astype(np.uint8)
        self._fill(values, valid)
        return values

    def _fill(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Replace nodata pixels, in place, by the fill colour."""
        if not is_all_valid(valid):
            fill = np.array(self.settings.fill)
            fill = fill if self.stretch else np.rint(fill * 255)
            np.copyto(values, fill[:, None, None].astype(values.dtype), where=~valid)

    def _to_unit(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Stretch raw values to 0–1; float32 is too coarse for those of 32-bit integers and float64."""
        values, exact = np.empty(raw.shape, dtype=np.float32), np.result_type(raw.dtype, np.float32)
        for band, (low, high) in enumerate(self.stretch or ()):
            span = high - low if high > low else 1.0
            with np.errstate(invalid="ignore", over="ignore"):
                values[band] = (raw[band].astype(exact) - exact.type(low)) / exact.type(span)
        return np.nan_to_num(values, nan=0.0).clip(0, 1)

    def _read_raw(
        self, source: DatasetReader, window: Window, out: NDArray[Any] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        place = RasterWindow(window.col, window.row, window.width, window.height)
        try:
            raw = source.read(self.bands, window=place, out=out)
            return raw, self._validity.of(source, raw, window)
        except RasterioError as error:
            raise unreadable(self.path, error, window) from error


def as_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pixels of a scene, uint8 or float32 on a 0–1 scale, as uint8."""
    return values if values.dtype == np.uint8 else np.rint(values * 255).astype(np.uint8)


def _mirrored(there: slice, source: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places on an axis that are not read but mirrored, and what they mirror.

    Parameters
    ----------
    there
        All places.
    source
        What to find at each of them.
    """
    places = np.arange(there.start, there.stop)
    differs = source != places
    return places[differs], source[differs]
