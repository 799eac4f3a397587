"""Cloud-optimized GeoTIFFs joined from the finished tiles of blocks, whose pixels are not compressed again.

Blocks of a whole number of 512 px tiles hold the very tiles of the final file, compressed, and those of the overviews 2
and 4, whose pixels come from one block too. Joining copies bytes. Overviews from 8 on are made of the overview 4, a
sixteenth of the pixels. Tags, colours and the order of everything are those of a small file that GDAL writes. It
takes an eighth of the processor time of GDAL's driver.

A pixel of an overview stands for 2 × 2 of the one before. Where their number is odd, the last row or column is left
out, while GDAL stretches pixels to a little over 2; the size of overviews is the same.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import rasterio
from isal import isal_zlib
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from roadseg.errors import OutputError
from roadseg.raster.cog import MAKE_ROOM, write_cog
from roadseg.raster.encoding import NODATA, Product
from roadseg.raster.grid import Grid
from roadseg.raster.mosaic import mosaic_vrt
from roadseg.raster.tiff import (
    COMPRESSION,
    GDAL_METADATA,
    HEIGHT,
    NEW_SUBFILE_TYPE,
    PREDICTOR,
    TILE_HEIGHT,
    TILE_WIDTH,
    WIDTH,
    Directory,
    Tag,
    Tiles,
    compose,
    read_directories,
    tiles_of,
)
from roadseg.windows import Window

Bytes = NDArray[np.uint8]

TILE_PX = 512

_STORED = 2
"""Overviews that blocks hold: 2 and 4."""

_ALIGNED_PX = TILE_PX << _STORED
_DEFLATE = 8
_STRIP_ROWS = 64
_THREADS = 2
"""Threads that compress the tiles of a block; blocks are stored by several threads where there are many processors."""

_COUNTS, _TOTALS = np.ogrid[:5, : 4 * 255]
_MEANS = np.where(_COUNTS > 0, (2 * _TOTALS + _COUNTS) // np.maximum(2 * _COUNTS, 1), NODATA).astype(np.uint8)
"""Mean of ``count`` levels with the sum ``total``, halves rounded up: ``_MEANS[count, total]``."""


def overview_count(height: int, width: int) -> int:
    """Return how many overviews a COG has: each half as large, until one fits into a tile."""
    side, count = max(height, width), 0
    while side > TILE_PX:
        side, count = side // 2, count + 1
    return count


def fits_tiles(product: Product, area: Window, blocks: Iterable[Window]) -> bool:
    """Return whether the raster of an area can be joined from the tiles of its blocks."""
    if product.dtype != "uint8" or not min(area.height, area.width) >> min(_STORED, _count_of(area)):
        return False
    return not any((block.row - area.row) % _ALIGNED_PX or (block.col - area.col) % _ALIGNED_PX for block in blocks)


def tiled_block(product: Product, window: Window, values: Bytes, counts: Mapping[str, int]) -> list[bytes]:
    """Return the file of a finished block: a GeoTIFF of the final tiles and their overviews, in parts.

    Parameters
    ----------
    product
        What the values are.
    window
        Place of the block.
    values
        (height, width) uint8.
    counts
        Numbers to store with it.
    """
    halve, levels = _nearest if product.resampling == "NEAREST" else _average, [values]
    while len(levels) <= _STORED and min(levels[-1].shape) > 1:
        height, width = (side // 2 * 2 for side in levels[-1].shape)
        levels.append(halve(levels[-1][:height, :width]))
    first = _empty_directory(product, window, counts)
    reduced = {tag: first.tags[tag] for tag in first.tags.keys() - {GDAL_METADATA}}
    reduced[NEW_SUBFILE_TYPE] = Tag(4, 1, (1).to_bytes(4, "little"))
    with ThreadPoolExecutor(_THREADS, "roadseg-compress") as pool:
        tiles = [list(pool.map(_compressed, _cut(level))) for level in levels]
    parts = []
    for number, (level, data) in enumerate(zip(levels, tiles, strict=True)):
        length = np.array([len(tile) for tile in data])
        places = Tiles(np.full(len(data), number), np.arange(len(data)), length)
        parts.append(((Directory(reduced) if number else first).resized(*level.shape), places))
    whole: list[bytes] = []
    compose(whole.append, parts, lambda number, tile, _: tiles[number][tile])
    return whole


def join_blocks(
    target: Path,
    product: Product,
    blocks: Sequence[tuple[Path, Window]],
    grid: Grid,
    area: Window,
    tags: Mapping[str, str],
) -> bool:
    """Join the files of blocks to a cloud-optimized GeoTIFF, as ``write_cog`` would write it.

    Parameters
    ----------
    target
        Path of the COG.
    product
        What it holds.
    blocks
        Files of the blocks, and where each lies.
    grid
        Grid of ``area``.
    area
        The pixels that the blocks cover.
    tags
        Metadata of the raster.

    Returns
    -------
    Whether it was written: not if the blocks hold no tiles that fit together.

    Raises
    ------
    OutputError
        If the disk is full or a block cannot be read.
    """
    levels = _stored_levels(blocks, area, min(_STORED, _count_of(area)))
    if not levels:
        return False
    try:
        with ExitStack() as stack:
            paths = [path for path, _ in blocks]
            structure, first, overview = _template(paths[0].parent, product, grid, tags)
            parts = [
                ((overview if level else first).resized(grid.height >> level, grid.width >> level), tiles)
                for level, tiles in enumerate(levels)
            ]
            if _count_of(area) > _STORED:
                paths.append(_reduced(paths[0].parent, product, blocks, grid, area))
                stack.callback(paths[-1].unlink)
                with paths[-1].open("rb") as file:
                    smaller = read_directories(file)[1][1:]
                parts += [(directory, tiles_of(directory, len(blocks))) for directory in smaller]
            with target.open("wb") as file:
                compose(file.write, parts, _reader(paths, stack), structure=structure)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise OutputError(f"cannot write {target} ({error.strerror or error}); {MAKE_ROOM}") from error
    return True


def _count_of(area: Window) -> int:
    return overview_count(area.height, area.width)


def _average(values: Bytes) -> Bytes:
    """Return the means of squares of 2 × 2 levels, halves rounded up; nodata does not count."""
    half = np.empty((values.shape[0] // 2, values.shape[1] // 2), np.uint8)
    for row in range(0, len(half), _STRIP_ROWS):
        strip = values[2 * row : 2 * (row + _STRIP_ROWS)]
        if strip.max() < NODATA:
            rows = strip[0::2].astype(np.uint16) + strip[1::2]
            half[row : row + _STRIP_ROWS] = (rows[:, 0::2] + rows[:, 1::2] + 2) >> 2
            continue
        valid = (strip != NODATA).view(np.uint8)
        known = strip * valid
        rows, counts = known[0::2].astype(np.uint16) + known[1::2], valid[0::2] + valid[1::2]
        total, count = rows[:, 0::2] + rows[:, 1::2], counts[:, 0::2] + counts[:, 1::2]
        half[row : row + _STRIP_ROWS] = _MEANS[count, total]
    return half


def _nearest(values: Bytes) -> Bytes:
    """Return the upper left pixels of squares of 2 × 2."""
    return np.ascontiguousarray(values[::2, ::2])


def _cut(values: Bytes) -> Iterator[Bytes]:
    """Yield the tiles of an array, row by row; those at its lower and right borders are filled up with nodata."""
    for row in range(0, values.shape[0], TILE_PX):
        for col in range(0, values.shape[1], TILE_PX):
            part = values[row : row + TILE_PX, col : col + TILE_PX]
            if part.shape == (TILE_PX, TILE_PX):
                yield np.ascontiguousarray(part)
                continue
            tile = np.full((TILE_PX, TILE_PX), NODATA, np.uint8)
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile


def _compressed(tile: Bytes) -> bytes:
    """Return a tile compressed; nothing if it holds nothing but nodata."""
    return isal_zlib.compress(tile, 1) if tile.min() < NODATA else b""


def _empty_directory(product: Product, window: Window, counts: Mapping[str, int]) -> Directory:
    """Return the directory that GDAL writes for a block without tiles."""
    place = rasterio.Affine(1, 0, window.col, 0, -1, -1 - window.row)  # GDAL warns at the origin
    profile = {"driver": "GTiff", "count": 1, "dtype": product.dtype, "nodata": product.nodata, "transform": place}
    tiling = {"tiled": True, "blockxsize": TILE_PX, "blockysize": TILE_PX, "compress": "DEFLATE", "sparse_ok": True}
    with MemoryFile() as memory:
        with memory.open(**profile, **tiling, height=window.height, width=window.width) as file:
            file.update_tags(**counts)
        return read_directories(io.BytesIO(memory.getbuffer()))[1][0]


def _stored_levels(blocks: Sequence[tuple[Path, Window]], area: Window, count: int) -> list[Tiles]:
    """Return the tiles of all blocks: full resolution, then overviews; empty if they do not fit together."""
    places = [
        np.full((3, -(-(area.height >> level) // TILE_PX), -(-(area.width >> level) // TILE_PX)), -1, np.int64)
        for level in range(count + 1)
    ]
    for number, (path, window) in enumerate(blocks):
        row, col = window.row - area.row, window.col - area.col
        directories = _directories(path)
        if row % _ALIGNED_PX or col % _ALIGNED_PX or not _holds_tiles(directories, window, count):
            return []
        for level, directory in enumerate(directories[: 1 + _levels_of(window, count)]):
            tiles = tiles_of(directory, number)
            rows, cols = -(-(window.height >> level) // TILE_PX), -(-(window.width >> level) // TILE_PX)
            top, left = (row >> level) // TILE_PX, (col >> level) // TILE_PX
            found = np.stack([tiles.file, tiles.offset, tiles.length]).reshape(3, rows, cols)
            places[level][:, top : top + rows, left : left + cols] = found
    return [Tiles(*place.reshape(3, -1)) for place in places]


def _levels_of(window: Window, count: int) -> int:
    """Return how many of ``count`` overviews have pixels of a block: not all do if it is a pixel or three high."""
    return min(count, min(window.height, window.width).bit_length() - 1)


def _directories(path: Path) -> list[Directory]:
    """Return the directories of a block's file; none if it is damaged."""
    with path.open("rb") as file, suppress(ValueError):
        return read_directories(file)[1]
    return []


def _holds_tiles(directories: Sequence[Directory], window: Window, count: int) -> bool:
    """Return whether a block's file has the tiles of its full resolution and overviews as the final file needs them."""
    count = _levels_of(window, count)
    if len(directories) <= count:
        return False
    wanted = {COMPRESSION: _DEFLATE, TILE_WIDTH: TILE_PX, TILE_HEIGHT: TILE_PX, PREDICTOR: 1}
    return all(
        directory.number(HEIGHT) == window.height >> level
        and directory.number(WIDTH) == window.width >> level
        and all(directory.number(tag, default=1) == value for tag, value in wanted.items())
        for level, directory in enumerate(directories[: count + 1])
    )


def _template(
    folder: Path, product: Product, grid: Grid, tags: Mapping[str, str]
) -> tuple[bytes, Directory, Directory]:
    """Return the structure of a COG that GDAL writes, and its directories: full resolution and overview."""
    side = TILE_PX + 8  # one overview
    small = Grid(grid.crs, grid.transform, side, side)
    made = _by_gdal(folder, product, "empty", mosaic_vrt(product, [], small, small.window, tags))
    with made.open("rb") as file:
        structure, (first, overview) = read_directories(file)
    made.unlink()
    return structure, first, overview


def _reduced(folder: Path, product: Product, blocks: Sequence[tuple[Path, Window]], grid: Grid, area: Window) -> Path:
    """Write a COG of the overview 4, whose overviews are the smaller ones; return its path."""
    grid = grid.scaled(grid.height >> _STORED, grid.width >> _STORED)
    blocks = [(path, window) for path, window in blocks if _levels_of(window, _STORED) == _STORED]
    return _by_gdal(folder, product, "reduced", mosaic_vrt(product, blocks, grid, area, {}, overview=_STORED))


def _by_gdal(folder: Path, product: Product, name: str, vrt: str) -> Path:
    mosaic, made = folder / f"{product.name}_{name}.vrt", folder / f"{product.name}_{name}.cog.tif"
    mosaic.write_text(vrt, encoding="utf-8")
    write_cog(mosaic, made, overviews=product.resampling)
    mosaic.unlink()
    return made


def _reader(paths: Sequence[Path], stack: ExitStack) -> Callable[[int, int, int], bytes]:
    """Return what reads bytes of files; they are open until the stack is closed."""
    opened: dict[int, BinaryIO] = {}

    def read(file: int, offset: int, length: int) -> bytes:
        if file not in opened:
            if len(opened) >= 200:
                opened.pop(next(iter(opened))).close()
            opened[file] = stack.enter_context(paths[file].open("rb", buffering=0))
        opened[file].seek(offset)
        return opened[file].read(length)

    return read
