"""Components by runs are those by pixels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from roadseg.roads.mask.components import find_runs, label_pairs, label_runs, set_bits

EIGHT = np.ones((3, 3))

masks = st.builds(
    lambda seed, height, width, share: (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8),
    st.integers(0, 10**6),
    st.integers(1, 20),
    st.integers(1, 23),
    st.sampled_from([0, 0.1, 0.4, 0.6, 0.9, 1]),
)


def runs_of(mask):
    return find_runs(np.packbits(mask, axis=1), mask.shape[1])


def painted(runs, values):
    """Return an int64 image of the runs, each with its value."""
    image = np.zeros((runs.height, runs.width), np.int64)
    for row, col, length, value in zip(runs.row, runs.col, runs.length, values, strict=True):
        image[row, col : col + length] = value
    return image


def same_partition(one, other):
    """Return whether two label images group the same pixels; 0 is no group."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return all(len(np.unique(side)) == pairs.shape[1] for side in pairs)


@given(masks)
def test_set_bits_are_the_pixels_that_are_1(mask):
    padded = np.pad(mask, ((0, 0), (0, -mask.shape[1] % 8)))
    assert set_bits(np.packbits(mask, axis=1)).tolist() == np.flatnonzero(padded).tolist()


@given(masks)
def test_runs_are_the_pixels_of_a_mask_and_their_complement_the_others(mask):
    runs = runs_of(mask)
    assert np.array_equal(painted(runs, np.ones(len(runs.start))), mask)
    assert np.array_equal(painted(runs.complement(), np.ones(len(runs.complement().start))), 1 - mask)
    assert (runs.length > 0).all()
    neighbours = (runs.row[1:] == runs.row[:-1]) & (runs.col[1:] <= (runs.col + runs.length)[:-1])
    assert not neighbours.any()


@given(masks, st.booleans())
def test_labels_are_those_of_the_pixels(mask, diagonal):
    runs = runs_of(mask)
    count, labels = label_runs(runs, diagonal=diagonal)
    expected, expected_count = ndimage.label(mask, EIGHT if diagonal else None)
    assert count == expected_count
    assert same_partition(painted(runs, labels + 1), expected)


@given(masks)
def test_runs_that_touch_the_border_have_one_of_its_pixels(mask):
    runs = runs_of(mask)
    framed = np.ones(mask.shape, bool)
    framed[1:-1, 1:-1] = False
    touching = [framed[r, c : c + n].any() for r, c, n in zip(runs.row, runs.col, runs.length, strict=True)]
    assert runs.touch_border().tolist() == touching


@given(masks, st.integers(0, 10**6))
def test_chosen_runs_are_painted_and_no_others(mask, seed):
    runs = runs_of(mask)
    chosen = np.random.default_rng(seed).random(len(runs.start)) < 0.5
    found = mask.copy()
    runs.where(chosen).paint(found, 0)
    assert np.array_equal(found, painted(runs, ~chosen))


@given(masks, st.integers(0, 10**6))
def test_the_run_that_contains_another_is_found(mask, seed):
    some = mask & (np.random.default_rng(seed).random(mask.shape) < 0.6)
    runs, parts = runs_of(mask), runs_of(some)
    index = runs.containing(parts)
    assert (runs.start[index] <= parts.start).all()
    assert (runs.stop[index] >= parts.stop).all()


@given(st.integers(0, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=15))
def test_numbers_in_pairs_have_one_label(size, pairs):
    pairs = np.array([pair for pair in pairs if max(pair) < size], np.int64).reshape(-1, 2)
    count, labels = label_pairs(size, pairs)
    assert len(labels) == size
    assert labels.dtype == np.int64
    if size:
        graph = coo_array((np.ones(len(pairs)), pairs.T), shape=(size, size))
        expected_count, expected = connected_components(graph, directed=False)
        assert count == expected_count
        assert labels.tolist() == expected.tolist()  # numbered in the order of their smallest members, too
    else:
        assert count == 0


def test_a_long_chain_in_any_order_is_one_component():
    order = np.random.default_rng(0).permutation(20_000)
    for chain in (order, np.arange(20_000), np.arange(20_000)[::-1]):
        count, labels = label_pairs(20_001, np.column_stack([chain[:-1], chain[1:]]))
        assert count == 2
        assert labels[:-1].max() == 0
