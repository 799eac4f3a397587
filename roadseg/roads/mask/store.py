"""Masks and levels of any size on disk, written block by block and read by any window.

Each block has a fixed slot in the file, so processes write side by side without a lock. Blocks of a mask that are
all 0 or all 1 are a single byte: empty country costs no disk, no reading and no time. A file comes into being when
it is first opened, and whatever was never written reads as 0. Reading 1 Mpx of mixed blocks takes 0.2 ms.
"""

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from roadseg.windows import Window

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_EMPTY, _FULL, _MIXED = range(3)
"""States of a mask's block; what was never written is empty."""

_TILE_PX = 512


@dataclass(frozen=True)
class BlockGrid:
    """A raster divided into blocks of nearly equal size, of whole tiles of 512 px where that is possible.

    Files that ``predict`` writes have such tiles, and each is decompressed for one block only, by one process.

    Parameters
    ----------
    height, width
        Size of the raster.
    block_px
        Side of a block. It may be a quarter longer, so that no narrow strips are left at the raster's border.
    """

    height: int
    width: int
    block_px: int

    @cached_property
    def step(self) -> tuple[int, int]:
        """Height and width of all blocks but those at the bottom and the right, which may be smaller."""
        return self._step(self.height), self._step(self.width)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Number of blocks from top to bottom and from left to right."""
        return -(-self.height // self.step[0]), -(-self.width // self.step[1])

    @property
    def raster(self) -> Window:
        """The whole raster."""
        return Window(0, 0, self.height, self.width)

    def blocks(self) -> list[Window]:
        """Return all blocks, row by row."""
        return [self._block(row, col) for row in range(self.shape[0]) for col in range(self.shape[1])]

    def touching(self, window: Window) -> list[tuple[int, Window]]:
        """Return the blocks that overlap a window, each with its index in ``blocks``."""
        inside, (height, width) = window.intersection(self.raster), self.step
        return [
            (row * self.shape[1] + col, self._block(row, col))
            for row in range(inside.row // height, -(-inside.row_stop // height))
            for col in range(inside.col // width, -(-inside.col_stop // width))
        ]

    def _step(self, size: int) -> int:
        longest = self.block_px + self.block_px // 4
        equal = max(1, -(-size // max(1, -(-size // longest))))
        whole = -(-equal // _TILE_PX) * _TILE_PX
        return whole if whole <= min(longest, size) else equal

    def _block(self, row: int, col: int) -> Window:
        height, width = self.step
        return Window(row * height, col * width, height, width).intersection(self.raster)


class Plane(ABC):
    """A mask of a raster that is read by any window; ``grid`` is the raster, and the blocks it was written by."""

    grid: BlockGrid

    def read(self, window: Window) -> Bytes:
        """Return the mask in any window as (height, width) uint8, 0 or 1; 0 beyond the raster."""
        return np.unpackbits(self.bits(window), axis=1, count=window.width)

    @abstractmethod
    def bits(self, window: Window) -> Bytes:
        """Return the same with 8 pixels per byte, (height, ceil(width / 8)) uint8; the last bits of a row are 0."""

    @abstractmethod
    def is_empty(self, window: Window) -> bool:
        """Return whether all blocks that overlap a window are empty; cheap, as no pixel is read."""


class Levels(Protocol):
    """Levels of the pixels near roads."""

    def read(self, block: Window, row: Ints, col: Ints) -> tuple[Bytes, Bools]:
        """Return (pixels,) the levels at row, col of a block, 0 where they are not stored, and whether they are."""


@dataclass(frozen=True)
class BitPlane(Plane):
    """A mask on disk, one bit per pixel; 0 wherever nothing was written.

    Parameters
    ----------
    path
        The file.
    grid
        The raster, and the blocks it is written by.
    """

    # The file: a state for each block, then a slot for each block's bits, each row padded to whole bytes.
    #
    #     | 0 | 2 | 1 | 2 | .... | slot 0 (unused) | slot 1: bits | slot 2 (unused) | slot 3: bits | ....

    path: Path
    grid: BlockGrid

    def write(self, block: Window, bits: Bytes) -> None:
        """Write one whole block with 8 pixels per byte, (height, ceil(width / 8)) uint8; a row's last bits are 0."""
        index = self.grid.touching(block)[0][0]
        count = int(np.bitwise_count(bits).sum(dtype=np.int64))
        state = _EMPTY if not count else _FULL if count == block.area else _MIXED
        with opened(self.path, "r+b") as file:
            if state == _MIXED:
                file.seek(self._slot(index))
                write_all(file, bits.tobytes())
            file.seek(index)
            write_all(file, bytes([state]))

    def bits(self, window: Window) -> Bytes:
        """Return the mask in any window with 8 pixels per byte, see ``Plane``."""
        bits = np.zeros((window.height, -(-window.width // 8)), np.uint8)
        with opened(self.path, "rb") as file:
            for index, block in self.grid.touching(window):
                part, state = block.intersection(window), _state(file, index)
                row_bytes = -(-block.width // 8)
                if state == _FULL:
                    place_bits(bits, np.full((part.height, row_bytes), 255, np.uint8), part, block, window)
                elif state == _MIXED:
                    file.seek(self._slot(index) + (part.row - block.row) * row_bytes)
                    data = np.frombuffer(file.read(part.height * row_bytes), np.uint8).reshape(part.height, row_bytes)
                    place_bits(bits, data, part, block, window)
        return bits

    def is_empty(self, window: Window) -> bool:
        """Return whether all blocks that overlap a window are empty; cheap, as no pixel is read."""
        with opened(self.path, "rb") as file:
            return all(_state(file, index) == _EMPTY for index, _ in self.grid.touching(window))

    def _slot(self, index: int) -> int:
        """Return where a block's bits begin in the file."""
        (rows, cols), (height, width) = self.grid.shape, self.grid.step
        return rows * cols + index * height * -(-width // 8)


@dataclass(frozen=True)
class RoadLevels:
    """Levels on disk, of the pixels near roads only.

    Parameters
    ----------
    path
        The file.
    grid
        The raster, and the blocks it is written and read by.
    """

    # A block's pixels, row by row, are taken by eights. An eight with any road keeps its levels; the slot of a block
    # holds a bit per eight, then the levels of those kept:
    #
    #     road    00000000 00110000 00000000 11111111      bits     0 1 0 1
    #     levels  abcdefgh ijklmnop qrstuvwx yz......      stored   ijklmnop yz......

    path: Path
    grid: BlockGrid

    def write(self, block: Window, levels: tuple[Bytes, Bytes]) -> None:
        """Store the levels of one block near its road, see ``packed_levels``."""
        bits, data = levels
        with opened(self.path, "r+b") as file:
            file.seek(self._slot(block))
            write_all(file, bits.tobytes() + data.tobytes())

    def read(self, block: Window, row: Ints, col: Ints) -> tuple[Bytes, Bools]:
        """Return (pixels,) the levels at row, col of a block, 0 where they are not stored, and whether they are."""
        size = -(-(block.area // 8) // 8)
        with opened(self.path, "rb") as file:
            file.seek(self._slot(block))
            bits = np.frombuffer(file.read(size).ljust(size, b"\0"), np.uint8)
            data = np.frombuffer(file.read(8 * int(np.bitwise_count(bits).sum())), np.uint8)
        return unpacked_levels(bits, data, row * block.width + col, block.area)

    def _slot(self, block: Window) -> int:
        """Return where a block's levels begin in the file."""
        height, width = self.grid.step
        return self.grid.touching(block)[0][0] * (height * width + -(-height * width // 64))


def place_bits(target: Bytes, rows: Bytes, part: Window, block: Window, window: Window) -> None:
    """Copy a part of a mask with 8 pixels per byte to where it lies in another one, which is 0 there.

    Parameters
    ----------
    target
        The mask in ``window``.
    rows
        The rows of the part, as wide as ``block``.
    part
        What is copied; it lies in both.
    """
    # Columns 13 to 20 of a block to columns 2 to 9 of a window: bytes are cut to the part and moved to the right by s
    # bits. What a byte loses there goes to the next one.
    #
    #     rows     ........ .....abc defgh...    s = 5     target   ..abcdef gh......
    if not part.area:
        return
    left, at = part.col - block.col, part.col - window.col
    data = rows[:, left // 8 : -(-(left + part.width) // 8)].copy()
    data[:, 0] &= 255 >> left % 8
    data[:, -1] &= 255 << -(left + part.width) % 8 & 255
    first, shift = divmod(at - left % 8, 8)
    to = target[part.row - window.row :][: part.height]
    for moved, byte in ((data >> shift, first), (data << (8 - shift), first + 1)) if shift else ((data, first),):
        begin, stop = max(byte, 0), min(byte + data.shape[1], target.shape[1])  # beyond are only zeros
        to[:, begin:stop] |= moved[:, begin - byte : stop - byte]


def packed_levels(levels: Bytes, road: Bytes) -> tuple[Bytes, Bytes]:
    """Return the levels of a block near its road as ``RoadLevels`` stores them: a bit per eight, and those kept.

    Both are (height, width) uint8; the road is 0 or 1.
    """
    whole = levels.size // 8 * 8
    stored = np.ascontiguousarray(road).reshape(-1)[:whole].view(np.uint64) != 0
    data = np.ascontiguousarray(levels).reshape(-1)[:whole].view(np.uint64)[np.flatnonzero(stored)]
    return np.packbits(stored), data.view(np.uint8)


def unpacked_levels(bits: Bytes, data: Bytes, flat: Ints, size: int) -> tuple[Bytes, Bools]:
    """Return (pixels,) the levels at some pixels of a block, 0 where they are not stored, and whether they are.

    Parameters
    ----------
    bits, data
        As ``packed_levels`` returns them.
    flat
        (pixels,) int64 flat indices in the block.
    size
        Number of pixels of the block.
    """
    stored = np.append(np.unpackbits(bits, count=size // 8), np.uint8(0))
    rank = np.cumsum(stored, dtype=np.int64)
    known = stored[flat >> 3].view(bool)
    levels = np.zeros(len(flat), np.uint8)
    levels[known] = data[(rank[flat[known] >> 3] - 1) * 8 + (flat[known] & 7)]
    return levels, known


def opened(path: Path, mode: str) -> FileIO:
    """Open a file without a buffer; it is created if it does not exist, for reading too."""
    return FileIO(path, mode, opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o666))


def write_all(file: FileIO, data: bytes) -> None:
    """Write all bytes: without a buffer, a disk that fills up takes only some of them, and the next write fails."""
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        error.filename = file.name
        raise


def _state(file: FileIO, index: int) -> int:
    """Return the state of a block; nothing was written beyond the end of the file."""
    file.seek(index)
    state = file.read(1)
    return state[0] if state else _EMPTY
