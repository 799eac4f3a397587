"""Attributes keep their type wherever each of their values has it."""

import numpy as np
import pytest

from roadseg.evaluation.map_lines import column_values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, False], np.array([True, False])),
        ([3, 4], np.array([3, 4])),
        ([3, 2.5], np.array([3.0, 2.5])),
        ([3, None, np.nan], np.array([3.0, np.nan, np.nan])),
        ([True, None], np.array([1.0, np.nan])),
        ([np.nan, np.nan], np.array([np.nan, np.nan])),
        (["track", None], np.array(["track", None], dtype=object)),
        ([1, "one"], np.array(["1", "one"], dtype=object)),
        ([["track", "path"], "road"], np.array(["track;path", "road"], dtype=object)),
        ([None, None], np.array([None, None], dtype=object)),
        ([], np.array([], dtype=object)),
    ],
)
def test_values_become_the_simplest_type_that_holds_them(values, expected):
    found = column_values(values)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
