"""Attributes of road maps: which class a road has, and whether it can be seen from above.

They are looked for as columns, under the names that OpenStreetMap and its usual exports have, and in the text
``other_tags`` that GDAL makes of OpenStreetMap files.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.roads.files.layers import VectorTable

CLASSES = ("highway", "fclass", "class", "road_class")
"""Columns that may hold the class of a road, in this order."""

_HIDDEN = ("tunnel", "covered", "layer")
_TAGS = "other_tags"
_NO = {"", "no", "n", "false", "f", "0", "none", "nan", "null"}

COLUMNS = (*CLASSES, *_HIDDEN, _TAGS)
"""All columns that are looked at."""


def is_hidden(table: VectorTable) -> NDArray[np.bool_]:
    """Return (rows,) bool: which roads are in tunnels, covered or below the ground."""
    hidden = np.zeros(len(table.geometries), dtype=np.bool_)
    for name in ("tunnel", "covered"):
        values = _tagged(table, name)
        hidden |= np.array([str(value).strip().lower() not in _NO for value in values], dtype=np.bool_)
    return hidden | np.array([_level(value) < 0 for value in _tagged(table, "layer")], dtype=np.bool_)


def _level(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 0.0


def _tagged(table: VectorTable, name: str) -> Sequence[Any]:
    """Return the values of a column, or those under its name in the other tags."""
    if name in table.columns:
        return table.columns[name]
    tag = re.compile(f'"{name}"=>"([^"]*)"')
    found = [tag.search(str(text)) for text in table.columns.get(_TAGS, [""] * len(table.geometries))]
    return [match[1] if match else None for match in found]


def road_classes(table: VectorTable) -> Sequence[str | None] | None:
    """Return the class of each road, None for those without; None if the table has no column of classes."""
    name = next((name for name in CLASSES if name in table.columns), None)
    return [_first_class(value) for value in table.columns[name]] if name else None


def _first_class(value: object) -> str | None:
    """Return the class of a road, the first of several: OSMnx merges roads and lists theirs, in GeoPackages as text."""
    if isinstance(value, list | np.ndarray):
        value = next(iter(value), None)
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return None
    text = f"{value:g}" if isinstance(value, float) else str(value).strip()
    listed = re.match(r"\[\s*(['\"])(.*?)\1", text)
    return (listed[2] if listed else text.partition(";")[0]) or None
