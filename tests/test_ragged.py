"""Ragged arrays: offsets and ranges are what a loop over the rows gives."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from roadseg.ragged import offsets, ranges, reduce_ranges

rows = st.lists(st.tuples(st.integers(-5, 100), st.integers(0, 7)), max_size=12)


@given(rows)
def test_ranges_are_aranges_end_to_end(rows):
    first, counts = np.array(rows, np.int64).reshape(-1, 2).T
    expected = [index for begin, count in rows for index in range(begin, begin + count)]
    assert ranges(first, counts).tolist() == expected


@given(rows)
def test_offsets_cut_the_values_into_rows(rows):
    first, counts = np.array(rows, np.int64).reshape(-1, 2).T
    bounds, values = offsets(counts), ranges(first, counts)
    assert bounds[0] == 0
    assert bounds[-1] == len(values)
    for row, (begin, count) in enumerate(rows):
        assert values[bounds[row] : bounds[row + 1]].tolist() == list(range(begin, begin + count))


def test_one_first_index_serves_all_rows():
    assert ranges(0, np.array([2, 0, 3])).tolist() == [0, 1, 0, 1, 2]


def test_no_rows_have_no_values():
    none = np.zeros(0, np.int64)
    assert ranges(none, none).tolist() == []
    assert ranges(none, none).dtype == np.int64
    assert offsets(none).tolist() == [0]


@given(rows, st.integers(0, 20))
def test_ranges_are_reduced_one_by_one_and_empty_ones_give_the_default(rows, gap):
    first, counts = np.array(rows, np.int64).reshape(-1, 2).T
    first = offsets(counts + gap)[:-1]
    values = np.random.default_rng(len(rows)).normal(size=int((counts + gap).sum()))
    expected = [values[begin : begin + n].min() if n else -7 for begin, n in zip(first, counts, strict=True)]
    assert reduce_ranges(np.minimum, values, first, counts, -7).tolist() == expected
