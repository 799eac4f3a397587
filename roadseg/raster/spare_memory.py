"""Memory of large arrays that is used again, block after block.

The C library gives memory of this size back to the system when it is freed. For the next array the system hands out
other pages, and clears each of them first. Memory can be used again when nothing refers to it but this module: views of
an array hold it, so its number of references tells.
"""

import math
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Allocate = Callable[[tuple[int, ...], np.dtype[Any]], NDArray[Any]]
"""Returns an array of a shape and type; its values are arbitrary."""


class SpareMemory:
    """Memory for arrays of about the same size, which any number of threads may share.

    There is never more of it than was in use at once.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._all: list[NDArray[np.uint8]] = []

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array in memory that nothing else refers to."""
        size = math.prod(shape) * dtype.itemsize
        with self._turn:
            idle = [index for index, count in enumerate(_references(self._all)) if count == _IDLE]
            fitting = [index for index in idle if len(self._all[index]) >= size]
            if fitting:
                memory = self._all[min(fitting, key=lambda index: len(self._all[index]))]
            else:  # what is idle is too small, also for the blocks to come: most are of one size
                self._all = [memory for index, memory in enumerate(self._all) if index not in idle]
                memory = np.empty(size, np.uint8)
                self._all.append(memory)
            return memory[:size].view(dtype).reshape(shape)


def fresh(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array with memory of its own."""
    return np.empty(shape, dtype)


def _references(arrays: Sequence[NDArray[Any]]) -> list[int]:
    return [sys.getrefcount(array) for array in arrays]


_IDLE = _references([np.empty(0)])[0]
"""References to an array that nothing but one list holds; how the interpreter counts differs with its version."""
