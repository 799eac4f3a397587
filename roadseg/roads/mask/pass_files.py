"""What passes made of blocks, as files that several processes share: arrays in NumPy's ``.npz``.

    traced_0_2048_2048_2048.npz     one pass and block: pass, row, col, height, width
        mask.road.npy …             a mask, 8 pixels per byte, without the eights of bytes that are 0
        levels.bits.npy …           levels near the road, as ``RoadLevels`` stores them
        result.lines.first.npy …    the result, a dataclass of arrays, numbers and other dataclasses
    roads_joined.npz                what the results of a pass were joined to

Each file is written once, whole, and holds the same bytes whoever makes it.
"""

import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import OutputError
from roadseg.roads.mask.passes import BlockOutput
from roadseg.roads.mask.store import BlockGrid, Bools, Bytes, Ints, Plane, place_bits, unpacked_levels
from roadseg.windows import Window

Arrays = dict[str, NDArray[Any]]

_CACHED = 32
"""Masks of so many blocks are kept in memory, an eighth of a byte per pixel: those that the next blocks overlap."""

_NO_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Layer:
    """A pass that wrote a mask: its name, and the indices of its blocks; None if it had all of them."""

    step: str
    blocks: frozenset[int] | None = None


@dataclass(frozen=True)
class StoredPlane(Plane):
    """A mask in files of blocks.

    Parameters
    ----------
    folder
        Where the files lie.
    name
        Name of the mask.
    grid
        The raster, and the blocks it was written by.
    layers
        Passes that wrote it, the last one last. A block is read from the last one that changed it.
    """

    folder: Path
    name: str
    grid: BlockGrid
    layers: tuple[Layer, ...]

    def bits(self, window: Window) -> Bytes:
        """Return the mask in any window with 8 pixels per byte, see ``Plane``."""
        bits = np.zeros((window.height, -(-window.width // 8)), np.uint8)
        for index, block in self.grid.touching(window):
            packed, part = self._packed(index, block), block.intersection(window)
            if packed.size:
                place_bits(bits, packed[part.row - block.row : part.row_stop - block.row], part, block, window)
        return bits

    def is_empty(self, window: Window) -> bool:
        """Return whether all blocks that overlap a window are empty."""
        return not any(self._packed(index, block).size for index, block in self.grid.touching(window))

    def _packed(self, index: int, block: Window) -> Bytes:
        """Return (height, bytes) the mask of a block with 8 pixels per byte; empty if no pixel is 1."""
        for layer in reversed(self.layers):
            if layer.blocks is None or index in layer.blocks:
                found = _mask(self.folder / pass_file(layer.step, block), self.name, block)
                if found is not None:
                    return found
        return np.zeros((0, 0), np.uint8)


@dataclass(frozen=True)
class StoredLevels:
    """Levels near roads in files of blocks, which a pass wrote."""

    folder: Path
    step: str

    def read(self, block: Window, row: Ints, col: Ints) -> tuple[Bytes, Bools]:
        """Return (pixels,) the levels at row, col of a block, 0 where they are not stored, and whether they are."""
        arrays = read_arrays(self.folder / pass_file(self.step, block), "levels.")
        if not arrays:
            return np.zeros(len(row), np.uint8), np.zeros(len(row), bool)
        return unpacked_levels(arrays["bits"], arrays["data"], row * block.width + col, block.area)


def pass_file(step: str, block: Window) -> str:
    """Return the name of the file of a pass and a block."""
    return f"{step}_{block.row}_{block.col}_{block.height}_{block.width}.npz"


def joined_file(step: str) -> str:
    """Return the name of the file of what the results of a pass were joined to."""
    return f"{step}_joined.npz"


def output_bytes(made: BlockOutput) -> bytes:
    """Return the file of what a pass made of a block."""
    arrays: Arrays = {}
    for name, mask in made.masks.items():
        arrays[f"mask.{name}.kept"], arrays[f"mask.{name}.data"] = _without_zeros(mask)
    if made.levels is not None:
        arrays["levels.bits"], arrays["levels.data"] = made.levels
    return result_bytes(made.result, arrays)


def result_bytes(result: Any, others: Mapping[str, NDArray[Any]] | None = None) -> bytes:
    """Return the file of a result, a dataclass or None, and of other arrays."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, array in {**(others or {}), **_flattened(result, "result")}.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _NO_DATE), "w") as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return memory.getvalue()


def read_result(path: Path, kind: type | None) -> Any:
    """Return the result in a file; None if it was None.

    Raises
    ------
    OutputError
        If the file has vanished or is damaged.
    """
    return _gathered(kind, read_arrays(path, "result.")) if kind else None


def read_arrays(path: Path, prefix: str) -> Arrays:
    """Return the arrays of a file whose names begin with a prefix, without it.

    Raises
    ------
    OutputError
        If the file has vanished or is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise OutputError(
            f"{path} cannot be read ({' '.join(str(error).split())}); remove that folder and repeat the command"
        ) from error


def _mask(path: Path, name: str, block: Window) -> Bytes | None:
    """Return a mask as its pass wrote it, None if it wrote none; recent ones are kept in memory."""
    try:
        state = path.stat()
    except OSError as error:
        raise OutputError(f"{path} has vanished ({error.strerror}); repeat the command") from error
    return _cached(os.fspath(path), name, (block.height, -(-block.width // 8)), (state.st_mtime_ns, state.st_ino))


@lru_cache(maxsize=_CACHED)
def _cached(path: str, name: str, shape: tuple[int, int], _: tuple[int, int]) -> Bytes | None:
    arrays = read_arrays(Path(path), f"mask.{name}.")
    return _with_zeros(arrays["kept"], arrays["data"], shape) if arrays else None


def _without_zeros(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Return a bit for each eight of bytes, whether any is not 0, and the bytes of those."""
    words = np.pad(packed.reshape(-1), (0, -packed.size % 8)).view(np.uint64)
    kept = words != 0
    return np.packbits(kept), words[kept].view(np.uint8)


def _with_zeros(kept: Bytes, data: Bytes, shape: tuple[int, int]) -> Bytes:
    """Return (height, bytes) uint8, the inverse of ``_without_zeros``; (0, 0) if all is 0."""
    if not len(data):
        return np.zeros((0, 0), np.uint8)
    size = shape[0] * shape[1]
    words = np.zeros(-(-size // 8), np.uint64)
    words[np.unpackbits(kept, count=len(words)).view(bool)] = data.view(np.uint64)
    return words.view(np.uint8)[:size].reshape(shape)


def _flattened(value: Any, name: str) -> Arrays:
    """Return the arrays in a dataclass by their paths."""
    if value is None:
        return {}
    if not is_dataclass(value):
        return {name: np.asarray(value)}
    parts = (_flattened(getattr(value, field.name), f"{name}.{field.name}") for field in fields(value))
    return {path: array for part in parts for path, array in part.items()}


def _gathered(kind: Any, arrays: Arrays) -> Any:
    """Return a dataclass of arrays, the inverse of ``_flattened``; None without any."""
    if not arrays:
        return None
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in fields(kind):
        hint: Any = hints[field.name]
        if is_dataclass(hint):
            inner = f"{field.name}."
            of_field = {name.removeprefix(inner): array for name, array in arrays.items() if name.startswith(inner)}
            values[field.name] = _gathered(hint, of_field)
        else:
            values[field.name] = arrays[field.name].item() if hint is int else arrays[field.name]
    return kind(**values)
