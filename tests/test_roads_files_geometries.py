"""Well-known binary: lines of one vertex become empty, whatever else is damaged is an error."""

import struct

import numpy as np
import pytest
import shapely

from roadseg.roads.files.geometries import from_wkb

STUB = struct.pack("<BIIdd", 1, 2, 1, 5, 5)
LINE = shapely.to_wkb(shapely.LineString([(0, 0), (1, 1)]))
OPEN_RING = struct.pack("<BIII8d", 1, 3, 1, 4, 0, 0, 1, 0, 1, 1, 0, 1)


def as_array(*wkb):
    found = np.empty(len(wkb), dtype=object)
    found[:] = wkb
    return found


def test_lines_of_one_vertex_become_empty_and_all_else_stays():
    both = struct.pack("<BII", 1, 5, 2) + STUB + LINE
    found = from_wkb(as_array(STUB, None, LINE, both))
    assert shapely.to_wkt(found).tolist() == [
        "LINESTRING EMPTY",
        None,
        "LINESTRING (0 0, 1 1)",
        "MULTILINESTRING ((0 0, 1 1))",
    ]


@pytest.mark.parametrize("damaged", [OPEN_RING, b"", b"\1", LINE[:20], struct.pack("<BII", 1, 5, 1 << 31) + STUB])
def test_anything_else_that_is_damaged_is_an_error(damaged):
    with pytest.raises(shapely.errors.GEOSException):
        from_wkb(as_array(LINE, damaged))
