"""Levels of a raster at scattered places, as under gaps in roads: tile by tile, by all workers.

To decompress tiles is most of it, and most gaps lie where lines end. These places are known long before the gaps, while
this process joins and repairs lines and the others have nothing to do: they read tiles then, as many as they get to,
and leave them in a file that all processes see. Whatever is not in it is read from the raster.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from roadseg.files.outputs import SCRATCH
from roadseg.files.workers import WorkerPool
from roadseg.raster.probability import TILE_PX, ProbabilityRaster
from roadseg.roads.mask.store import opened, write_all
from roadseg.windows import Window

Bytes = NDArray[np.uint8]
Int32s = NDArray[np.int32]

_FEW_PLACES = 10_000
"""So many are read at once by this process."""

_PARTS = 10
"""More are divided into about so many parts per worker, so that all finish at about the same time."""

_MOST_TILES = 2000
"""So many tiles are read ahead at most, half a gigabyte on disk."""

_TILES_AT_ONCE = 16


class LevelReader:
    """Reads levels of the raster that a pool shares; see ``level_reader``."""

    def __init__(self, pool: WorkerPool, folder: Path) -> None:
        grid = pool.shared.grid
        self._pool, self._tiles = pool, _TileFile(folder / "tiles.levels", grid.height, grid.width)

    def __call__(self, places: Int32s) -> Bytes:
        """Return the levels at (n, 2) row, col; each worker reads some rows of tiles."""
        if self._pool.workers == 1 or len(places) <= _FEW_PLACES:
            return _levels(self._tiles, self._pool.shared, places)
        row = places[:, 0] // TILE_PX
        order = np.argsort(row, kind="stable")
        cuts = np.linspace(0, len(order), _PARTS * self._pool.workers, endpoint=False, dtype=np.int64)
        parts = np.split(order, np.unique(np.searchsorted(row[order], row[order[cuts]]))[1:])
        levels = np.empty(len(places), np.uint8)
        read = self._pool.map(partial(_levels, self._tiles), (places[part] for part in parts))
        for part, found in zip(parts, read, strict=True):
            levels[part] = found
        return levels

    def read_ahead(self, places: Int32s) -> None:
        """Have other processes, if there are any, read the tiles of (n, 2) row, col until there is more urgent work."""
        tiles = self._tiles.containing(places)[:_MOST_TILES]
        some = [tiles[first : first + _TILES_AT_ONCE] for first in range(0, len(tiles), _TILES_AT_ONCE)]
        self._pool.start(partial(_store, self._tiles), some)


@contextmanager
def level_reader(pool: WorkerPool, folder: Path) -> Iterator[LevelReader]:
    """Context manager for a reader of levels; its file, in a folder for temporary files, is removed on exit."""
    with TemporaryDirectory(prefix=SCRATCH, dir=folder, ignore_cleanup_errors=True) as scratch:
        yield LevelReader(pool, Path(scratch))


@dataclass(frozen=True)
class _TileFile:
    """Tiles of a raster on disk: a byte for each, 1 once it was written, then a slot for the pixels of each.

    Parameters
    ----------
    path
        The file.
    height, width
        Size of the raster.
    """

    path: Path
    height: int
    width: int

    def containing(self, places: Int32s) -> NDArray[np.int64]:
        """Return the indices, ascending, of the tiles that contain any of (n, 2) row, col."""
        row, col = np.unique(places // TILE_PX, axis=0).T.astype(np.int64)
        tiles: NDArray[np.int64] = row * self._shape()[1] + col
        return tiles

    def window(self, tile: int) -> Window:
        """Return where a tile lies."""
        row, col = divmod(tile, self._shape()[1])
        window = Window(row * TILE_PX, col * TILE_PX, TILE_PX, TILE_PX)
        return window.intersection(Window(0, 0, self.height, self.width))

    def write(self, tile: int, levels: Bytes) -> None:
        """Store the levels of a tile, (height, width) uint8."""
        with opened(self.path, "r+b") as file:
            file.seek(self._slot(tile))
            write_all(file, levels.tobytes())
            file.seek(tile)
            write_all(file, b"\1")

    def read(self, window: Window) -> Bytes | None:
        """Return the levels in a window that lies in one tile; None if that was not stored."""
        tile = window.row // TILE_PX * self._shape()[1] + window.col // TILE_PX
        stored = self.window(tile)
        with opened(self.path, "rb") as file:
            file.seek(tile)
            if file.read(1) != b"\1":
                return None
            file.seek(self._slot(tile) + (window.row - stored.row) * stored.width)
            rows = np.frombuffer(file.read(window.height * stored.width), np.uint8).reshape(window.height, -1)
        return rows[:, window.col - stored.col :][:, : window.width]

    def _shape(self) -> tuple[int, int]:
        """Return the number of tiles from top to bottom and from left to right."""
        return -(-self.height // TILE_PX), -(-self.width // TILE_PX)

    def _slot(self, tile: int) -> int:
        rows, cols = self._shape()
        return rows * cols + tile * TILE_PX * TILE_PX


def _levels(tiles: _TileFile, raster: ProbabilityRaster, places: Int32s) -> Bytes:
    return raster.at(places, tiles.read)


def _store(tiles: _TileFile, raster: ProbabilityRaster, which: NDArray[np.int64]) -> None:
    for tile in which.tolist():
        tiles.write(tile, raster(tiles.window(tile)))
