"""A raster of roads as road extraction reads it: 255 levels of probability at the resolution of the model.

Finer pixels are averaged, coarser ones interpolated, and neighbouring reads agree bit for bit. A reader can be
pickled; each process opens the file for itself.
"""

import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import SceneError
from roadseg.raster.area import Area
from roadseg.raster.encoding import ATTRIBUTION, LEVELS, NODATA
from roadseg.raster.files import TILE_CACHE_BYTES, bounded_cache
from roadseg.raster.grid import Grid, model_grid
from roadseg.raster.ground import ground_of
from roadseg.raster.kind import RasterKind, settle_kind
from roadseg.raster.resample import resample, taps
from roadseg.raster.road_raster import RoadRaster
from roadseg.windows import Window, square_windows

_STRIP_PX = 1 << 22
TILE_PX = 512
"""Pixels are looked up by squares of this side, and blocks are whole ones where that is possible."""

Bytes = NDArray[np.uint8]


class ProbabilityRaster:
    """Reads windows of a raster of roads on another grid of the same ground; can be pickled.

    Parameters
    ----------
    path
        Path of the raster.
    kind
        Meaning of its values, see ``open_probability``.
    source, grid
        The file's grid, and the one to read on.
    threshold
        Threshold stored in the file, or None.
    area
        Area outside of which all pixels are nodata; None reads all of them.
    attribution
        Whom to credit, if the file says so.
    pixel_m
        Size of the pixels of ``grid`` in metres, down and across, for one whose CRS does not tell; None if unknown.
    """

    def __init__(
        self,
        path: Path | str,
        kind: RasterKind,
        source: Grid,
        grid: Grid,
        *,
        threshold: float | None = None,
        area: Area | None = None,
        attribution: str = "",
        pixel_m: tuple[float, float] | None = None,
    ) -> None:
        self.path, self.kind, self.source, self.grid = path, kind, source, grid
        self.threshold, self.area, self.attribution = threshold, area, attribution
        self.ground = ground_of(grid, pixel_m)
        self._open: tuple[int, RoadRaster] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}

    @property
    def is_mask(self) -> bool:
        """Whether the raster is a mask, without probabilities."""
        return self.kind != "probability"

    def describe(self) -> str:
        """Return a line with its path, its size, and the resolution it is read at."""
        pixel_m = self.source.mean_pixel_m()
        own = f" of {pixel_m:.3g} m" if pixel_m else ""
        resampled = self.ground.in_metres and self.grid != self.source
        scale = f"read at {self.ground.pixel_side:.3g} m" if resampled else "used as they are"
        return f"{self.path}: {self.source.width} × {self.source.height} px{own} {scale}"

    def __call__(self, window: Window) -> Bytes:
        """Return a window inside the grid.

        Returns
        -------
        (height, width) uint8: probability × 254, 0 or 254 of a mask, and 255 for nodata.

        Raises
        ------
        SceneError
            If values do not fit the kind, or the file is damaged.
        """
        with self._cache():
            return self._wanted(window)

    def _wanted(self, window: Window) -> Bytes:
        """Return a window with nodata outside the area."""
        values = self._read(window)
        wanted = self.area.covers(self.grid, window) if self.area else None
        if wanted is not None:
            values[~wanted] = NODATA
        return values

    def at(self, places: NDArray[np.int32], stored: Callable[[Window], Bytes | None] = lambda _: None) -> Bytes:
        """Return the levels at (n, 2) row, col as (n,) uint8, 255 outside the grid; each tile is read only once.

        ``stored`` may know the levels in a window, which lies in one tile.
        """
        levels = np.full(len(places), NODATA, dtype=np.uint8)
        inside = ((places >= 0) & (places < (self.grid.height, self.grid.width))).all(axis=1)
        # Sort by tile, with those outside last and cut off; each run of equal tiles is then one read.
        tile = places // TILE_PX
        order = np.lexsort((tile[:, 1], tile[:, 0], ~inside))[: int(inside.sum())]
        changes = np.flatnonzero((np.diff(tile[order], axis=0) != 0).any(axis=1)) + 1
        with self._cache():
            for group in np.split(order, changes) if len(order) else ():
                inner = places[group]
                (row, col), (last_row, last_col) = inner.min(axis=0).tolist(), inner.max(axis=0).tolist()
                window = Window(row, col, last_row - row + 1, last_col - col + 1)
                known = stored(window)
                values = self._wanted(window) if known is None else known
                levels[group] = values[inner[:, 0] - row, inner[:, 1] - col]
        return levels

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._open and self._open[0] == os.getpid():
            self._open[1].close()
        self._open = None

    def emptiness(self, threshold: float) -> str:
        """Return why no road was found in the raster, for messages."""
        highest, has_data = 0, False
        for window in square_windows(self.grid.window):
            values = self(window)
            seen = values[values != NODATA]
            has_data |= bool(seen.size)
            highest = max(highest, int(seen.max(initial=0)))
        if not has_data:
            return "it holds only nodata"
        if self.is_mask:
            return "it holds no road" if not highest else "its roads are too small"
        if highest < threshold * LEVELS:
            return f"its highest probability is {highest / LEVELS:.2f}, the threshold {threshold:.2f}"
        return "what reaches the threshold is too small"

    def _raster(self) -> RoadRaster:
        """Return this process's open file, or the coarsest overview that is still fine enough."""
        if self._open is None or self._open[0] != os.getpid():
            with bounded_cache():
                raster = RoadRaster(self.path)
            shrink = min(self.source.height / self.grid.height, self.source.width / self.grid.width)
            usable = [i for i, level in enumerate(raster.overviews()) if level <= shrink and not self.is_mask]
            if usable:
                raster.close()
                raster = RoadRaster(self.path, overview=usable[-1])
            raster.interpret_as(self.kind)
            self._open = (os.getpid(), raster)
        return self._open[1]

    def _cache(self) -> AbstractContextManager[Any]:
        """Return a context in which GDAL keeps no tile longer than blocks need it."""
        raster = self._raster()
        once = self._is_own_grid(raster) and raster.has_tiles_for(TILE_PX)
        return bounded_cache(TILE_CACHE_BYTES) if once else bounded_cache()

    def _is_own_grid(self, raster: RoadRaster) -> bool:
        return (raster.grid.height, raster.grid.width) == (self.grid.height, self.grid.width)

    def _read(self, window: Window) -> Bytes:
        raster = self._raster()
        if self._is_own_grid(raster):
            return self._leveled(raster.read(window))
        ratio = raster.grid.height * raster.grid.width / (self.grid.height * self.grid.width)
        rows = max(1, int(_STRIP_PX / max(1.0, window.width * ratio)))
        strips = [
            self._resampled(raster, Window(row, window.col, min(rows, window.row_stop - row), window.width))
            for row in range(window.row, window.row_stop, rows)
        ]
        return np.concatenate(strips)

    def _resampled(self, raster: RoadRaster, window: Window) -> Bytes:
        rows = taps(window.row, window.row_stop, size_in=raster.grid.height, size_out=self.grid.height)
        cols = taps(window.col, window.col_stop, size_in=raster.grid.width, size_out=self.grid.width)
        need = Window(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
        seen = self._leveled(raster.read(need))
        values, valid = resample(seen[None], seen != NODATA, rows, cols)
        levels = np.where(values[0] >= LEVELS / 2, LEVELS, 0) if self.is_mask else np.rint(values[0])
        return np.where(valid, levels, NODATA).astype(np.uint8)

    def _leveled(self, values: Bytes) -> Bytes:
        """Give the roads of a mask the level of probability 1."""
        return np.where(values == 1, np.uint8(LEVELS), values) if self.is_mask else values


def open_probability(path: Path | str, *, pixel_m: float | None = None) -> tuple[ProbabilityRaster, list[str]]:
    """Open a raster of roads on the grid where its roads are extracted.

    Parameters
    ----------
    path
        Anything GDAL opens with one band: probabilities, or a mask of 0 and 1 or 0 and 255.
    pixel_m
        Metres per pixel to read it at; None takes the model's, if the file stores them, else the file's own.

    Returns
    -------
    Its reader, and messages on assumptions that were made.

    Raises
    ------
    SceneError
        If it is no raster of roads, or has no CRS and ``pixel_m`` is given.
    """
    with bounded_cache(), RoadRaster(path) as raster:
        grid, credit = _extraction_grid(raster, pixel_m), raster.tags.get(ATTRIBUTION, "")
        if raster.is_scaled:
            threshold = positive_number(raster.tags.get("ROADSEG_THRESHOLD"))
            return ProbabilityRaster(
                path, "probability", raster.grid, grid, threshold=threshold, attribution=credit
            ), []
        kind, notes = settle_kind(raster.values(), path)
        return ProbabilityRaster(path, kind, raster.grid, grid, attribution=credit), notes


_MOST_ENLARGED = 64
"""Pixels of the extraction's grid in a row for one of the file's: more only costs memory and time."""


def _extraction_grid(raster: RoadRaster, pixel_m: float | None) -> Grid:
    own = raster.grid.pixel_size_m()
    wanted = pixel_m or positive_number(raster.tags.get("ROADSEG_GSD_M"))
    if own is None or wanted is None:
        if pixel_m:
            raise SceneError(
                f"{raster.path} has no CRS with known metres, so it cannot be read at {pixel_m:g} m; "
                "assign one with gdal_edit.py, or leave --gsd out"
            )
        return raster.grid
    if max(own) > _MOST_ENLARGED * wanted:
        raise SceneError(
            f"{raster.path} has pixels of {max(own):.3g} m, too coarse to be read at {wanted:g} m; "
            f"read it at --gsd {max(own) / _MOST_ENLARGED:.2g} or more"
        )
    return model_grid(raster.grid, gsd_m=wanted, pixel_m=own)


def positive_number(text: str | None) -> float | None:
    """Return the positive number in a tag, or None."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None
