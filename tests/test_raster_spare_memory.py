"""Memory is used again when, and only when, nothing refers to it any more."""

import threading

import numpy as np
import pytest
import torch

from roadseg.raster.spare_memory import SpareMemory

BYTES, FLOATS = np.dtype(np.uint8), np.dtype(np.float32)


def place(array):
    return array.__array_interface__["data"][0]


def test_a_dropped_array_leaves_its_memory_to_the_next():
    memory = SpareMemory()
    first = memory.allocate((3, 40, 50), BYTES)
    where = place(first)
    del first
    second = memory.allocate((40, 30), FLOATS)
    assert (second.shape, second.dtype) == ((40, 30), FLOATS)
    assert place(second) == where
    second[:] = 0.5
    assert second.flags.writeable


def as_tensor(array):
    return torch.from_numpy(array)[1].numpy()


@pytest.mark.parametrize(
    "look", [lambda a: a[1, 10:20].T, lambda a: a.reshape(-1)[5:], lambda a: a.view(np.uint16), memoryview, as_tensor]
)
def test_whatever_looks_at_an_array_keeps_its_memory(look):
    memory = SpareMemory()
    array = memory.allocate((3, 40, 50), BYTES)
    array[:] = 7
    where, kept = place(array), look(array)
    before = np.array(kept)
    del array
    other = memory.allocate((3, 40, 50), BYTES)
    other[:] = 9
    assert place(other) != where
    np.testing.assert_array_equal(np.array(kept), before)
    del kept
    assert place(memory.allocate((3, 40, 50), BYTES)) == where


def test_there_is_no_more_of_it_than_was_in_use_at_once():
    memory = SpareMemory()
    for side in (10, 30, 20, 40, 5, 40, 39):
        held = [memory.allocate((side, side), BYTES) for _ in range(2)]
        assert len({place(array) for array in held}) == 2
        del held
    assert sorted(map(len, memory._all)) == [1600, 1600]


def test_threads_never_get_the_same_memory():
    memory, wrong = SpareMemory(), []

    def use(number):
        for _ in range(300):
            array = memory.allocate((8, 8), BYTES)
            array[:] = number
            wrong.extend(array[array != number])

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(memory._all) <= 5
