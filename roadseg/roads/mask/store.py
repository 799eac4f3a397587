"""Masks of any size on disk, one bit per pixel, written block by block and read by any window.

Each block has a place of its own in the file, so processes write side by side without a lock. A byte
per block at the head of the file says whether it is all 0, all 1 or mixed: empty country costs no disk,
no reading and no time. Reading 1 Mpx of mixed blocks takes 0.2 ms.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadseg.windows import Window

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_EMPTY, _FULL, _MIXED = range(3)


@dataclass(frozen=True)
class Cut:
    """A raster and the blocks it is cut into, about as large as each other.

    Parameters
    ----------
    height, width
        Of the raster.
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
        """How many blocks there are from top to bottom and from left to right."""
        return -(-self.height // self.step[0]), -(-self.width // self.step[1])

    @property
    def raster(self) -> Window:
        """The whole raster."""
        return Window(0, 0, self.height, self.width)

    def blocks(self) -> list[Window]:
        """Return all blocks, row by row."""
        return [self._block(row, col) for row in range(self.shape[0]) for col in range(self.shape[1])]

    def touching(self, window: Window) -> list[tuple[int, Window]]:
        """Return the blocks a window lies on, and their numbers in the order of `blocks`."""
        seen, (height, width) = window.intersection(self.raster), self.step
        return [
            (row * self.shape[1] + col, self._block(row, col))
            for row in range(seen.row // height, -(-seen.row_stop // height))
            for col in range(seen.col // width, -(-seen.col_stop // width))
        ]

    def _step(self, size: int) -> int:
        most = self.block_px + self.block_px // 4
        return max(1, -(-size // max(1, -(-size // most))))

    def _block(self, row: int, col: int) -> Window:
        height, width = self.step
        return Window(row * height, col * width, height, width).intersection(self.raster)


@dataclass(frozen=True)
class BitPlane:
    """A mask on disk; empty where nothing was written yet.

    Parameters
    ----------
    path
        The file; `create` makes it, `remove` takes it away.
    cut
        The blocks it is written by.
    """

    path: Path
    cut: Cut

    def create(self) -> "BitPlane":
        """Make an empty file and return the plane itself."""
        rows, cols = self.cut.shape
        with self.path.open("wb") as file:
            file.truncate(rows * cols)
        return self

    def remove(self) -> None:
        """Delete the file, if it is there."""
        self.path.unlink(missing_ok=True)

    def write(self, block: Window, mask: Bytes) -> None:
        """Write one whole block; (height, width) uint8, 0 or 1."""
        number = self.cut.touching(block)[0][0]
        packed = np.packbits(mask, axis=1)
        state = _MIXED
        if not packed.any():
            state = _EMPTY
        elif mask.all():
            state = _FULL
        with self.path.open("r+b", buffering=0) as file:
            if state == _MIXED:
                file.seek(self._place(number))
                file.write(packed.tobytes())
            file.seek(number)
            file.write(bytes([state]))

    def read(self, window: Window) -> Bytes:
        """Return the mask in any window as (height, width) uint8, 0 or 1; 0 beyond the raster."""
        mask = np.zeros((window.height, window.width), np.uint8)
        with self.path.open("rb", buffering=0) as file:
            for number, block in self.cut.touching(window):
                part = block.intersection(window)
                file.seek(number)
                state = file.read(1)[0]
                if state == _FULL:
                    mask[part.slices(window)] = 1
                elif state == _MIXED:
                    stride = -(-block.width // 8)
                    top, left = part.row - block.row, part.col - block.col
                    file.seek(self._place(number) + top * stride)
                    data = np.frombuffer(file.read(part.height * stride), np.uint8).reshape(part.height, stride)
                    bits = np.unpackbits(data[:, left // 8 : -(-(left + part.width) // 8)], axis=1)
                    mask[part.slices(window)] = bits[:, left % 8 : left % 8 + part.width]
        return mask

    def is_empty(self, window: Window) -> bool:
        """Say whether all blocks under a window are empty; False may be wrong, True never."""
        with self.path.open("rb", buffering=0) as file:
            for number, _ in self.cut.touching(window):
                file.seek(number)
                if file.read(1)[0] != _EMPTY:
                    return False
        return True

    def _place(self, number: int) -> int:
        """Return where a block's bits begin in the file."""
        (rows, cols), (height, width) = self.cut.shape, self.cut.step
        return rows * cols + number * height * -(-width // 8)


def ones(packed: Bytes) -> Ints:
    """Return the places of the bits that are 1, row by row; (height, bytes) uint8, the highest bit to the left."""
    flat = packed.reshape(-1)
    at = np.flatnonzero(flat != 0)
    bit = np.flatnonzero(np.unpackbits(flat[at]).view(bool))
    places: Ints = at[bit >> 3] * 8 + (bit & 7)
    return places


@dataclass(frozen=True)
class KeptLevels:
    """Levels on disk, written and read block by block.

    Parameters
    ----------
    path
        The file; `create` makes it, `remove` takes it away.
    cut
        The blocks it is written by.
    """

    path: Path
    cut: Cut

    def create(self) -> "KeptLevels":
        """Make an empty file and return the levels themselves."""
        self.path.touch()
        return self

    def remove(self) -> None:
        """Delete the file, if it is there."""
        self.path.unlink(missing_ok=True)

    def write(self, block: Window, levels: Bytes, road: Bytes) -> None:
        """Keep the levels of one block near its road; both (height, width) uint8."""
        whole = block.area // 8 * 8
        kept = np.ascontiguousarray(road).reshape(-1)[:whole].view(np.uint64) != 0
        data = np.ascontiguousarray(levels).reshape(-1)[:whole].view(np.uint64)[np.flatnonzero(kept)]
        with self.path.open("r+b", buffering=0) as file:
            file.seek(self._place(block))
            file.write(np.packbits(kept).tobytes() + data.tobytes())

    def read(self, block: Window, row: Ints, col: Ints) -> tuple[Bytes, Bools]:
        """Return the levels at some pixels of a block, and which of them were kept; 0 elsewhere."""
        at, eights = row * block.width + col, block.area // 8
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._place(block))
            bits = np.frombuffer(file.read(-(-eights // 8)).ljust(-(-eights // 8), b"\0"), np.uint8)
            kept = np.append(np.unpackbits(bits, count=eights), np.uint8(0))
            rank = np.cumsum(kept, dtype=np.int64)
            data = np.frombuffer(file.read(8 * int(rank[-1])), np.uint8)
        there = kept[at >> 3].view(bool)
        levels = np.zeros(len(at), np.uint8)
        levels[there] = data[rank[at[there] >> 3] * 8 - 8 + (at[there] & 7)]
        return levels, there

    def _place(self, block: Window) -> int:
        """Return where a block's levels begin in the file."""
        height, width = self.cut.step
        return self.cut.touching(block)[0][0] * (height * width + -(-height * width // 64))
