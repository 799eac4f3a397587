"""The width of a road, from its attributes on the map.

The built-in table holds paved widths in metres by OpenStreetMap's ``highway`` class, as seen from the air: a motorway
is mapped as two lines, so its width is that of one carriageway. Classes of width 0 are not roads here.
"""

import csv
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import TrainingError, counted, shortened

_NO_ROAD = (
    "footway path steps cycleway bridleway track pedestrian corridor platform crossing elevator via_ferrata "
    "construction proposed planned abandoned razed disused dismantled rest_area services bus_stop raceway escape "
    "track_grade1 track_grade2 track_grade3 track_grade4 track_grade5 sidewalk rail railway ferry "
    "street_lamp traffic_signals emergency_bay emergency_access_point ladder no"
)

WIDTHS_M: Mapping[str, float] = MappingProxyType(
    {
        "motorway": 11.0,
        "motorway_link": 6.5,
        "trunk": 10.5,
        "trunk_link": 6.5,
        "primary": 9.0,
        "primary_link": 6.0,
        "secondary": 8.0,
        "secondary_link": 6.0,
        "tertiary": 7.5,
        "tertiary_link": 6.0,
        "unclassified": 6.0,
        "residential": 7.0,
        "living_street": 5.5,
        "service": 4.0,
        "busway": 7.0,
        "bus_guideway": 6.0,
        "road": 6.0,
        "unknown": 6.0,
        **dict.fromkeys(_NO_ROAD.split(), 0.0),
    }
)
"""Widths in metres by class."""

_WIDEST_M = 200.0
_METRES = {"": 1.0, "m": 1.0, "ft": 0.3048, "feet": 0.3048, "'": 0.3048, "cm": 0.01}


@dataclass(frozen=True)
class Widths:
    """Where widths come from, in order of precedence.

    Parameters
    ----------
    attribute
        Column with the width of each road in metres; ``7``, ``7.5 m`` and ``23 ft`` can be read.
    given_m
        One width for all roads, whatever their class.
    table
        Widths by class; classes of width 0 are left out, whatever the attribute says. A class that is not in it needs a
        width from elsewhere.
    """

    attribute: str | None = None
    given_m: float | None = None
    table: Mapping[str, float] = field(default_factory=lambda: WIDTHS_M)

    def of(
        self, count: int, classes: Sequence[str | None] | None, values: Sequence[object] | None, notes: list[str]
    ) -> NDArray[np.float64]:
        """Return the width of each road in metres, 0 for roads to leave out.

        Parameters
        ----------
        count
            Number of roads.
        classes
            Class of each road; None if the file has none.
        values
            Value of the attribute for each road, if one was named.
        notes
            List to which messages about roads that were left out or lack the attribute are added.

        Raises
        ------
        TrainingError
            If there is nothing to derive a width from.
        """
        if values is None and classes is None and self.given_m is None:
            raise TrainingError(
                "the labels name no width and no class of road; give one width with --road-width, or the attribute "
                "that holds it with --width-attribute"
            )
        read = np.full(count, np.nan) if values is None else np.array([metres(value) for value in values])
        by_class = np.full(count, np.nan) if classes is None else self._by_class(classes, read, notes)
        found = by_class if self.given_m is None else np.where(by_class == 0, 0.0, self.given_m)
        if values is not None:
            lacking = np.isnan(read)
            found = np.where(lacking | (found == 0), found, read)
            if np.isnan(found).any():
                raise TrainingError(
                    f"{counted(int(np.isnan(found).sum()), 'road')} without a width in {self.attribute}"
                    f"{_example_of(values)}; give those one with --road-width"
                )
            if lacking.any():
                without = counted(int(lacking.sum()), "road")
                notes.append(
                    f"{without} without {self.attribute}{_example_of(values)}: their width is that of --road-width or "
                    "of their class"
                )
            if (read == 0).any():
                notes.append(f"{counted(int((read == 0).sum()), 'road')} with a width of 0 left out")
        return found

    def _by_class(
        self, classes: Sequence[str | None], read: NDArray[np.float64], notes: list[str]
    ) -> NDArray[np.float64]:
        """Return widths by class, 0 for roads to leave out: classes unknown to the table unless a width was read."""
        unlisted = Counter(
            name
            for name, width in zip(classes, read.tolist(), strict=True)
            if name not in self.table and np.isnan(width)
        )
        unclassified = unlisted.pop(None, 0)
        out = Counter(name for name in classes if self.table.get(str(name)) == 0)
        if out:
            notes.append(f"left out, as they are not roads: {_counted(out)}")
        if unlisted and self.given_m is None:
            notes.append(
                f"left out, as their class is not in the table of widths: {_counted(unlisted)} (--width-table)"
            )
        if unclassified and self.given_m is None:
            notes.append(f"{counted(unclassified, 'road')} without a class left out (--road-width gives all one width)")
        other = np.where(np.isnan(read), 0.0, read) if self.given_m is None else np.full(len(read), self.given_m)
        widths = [self.table.get(str(name), width) for name, width in zip(classes, other.tolist(), strict=True)]
        return np.array(widths, dtype=np.float64)


def read_width_table(path: Path) -> dict[str, float]:
    """Read widths by class from TOML (``residential = 6.5``) or CSV (``residential,6.5``), over the built-in ones.

    Raises
    ------
    TrainingError
        If it cannot be read or a width is no length in metres.
    """
    try:
        if path.suffix.lower() == ".toml":
            rows = list(tomllib.loads(path.read_text("utf-8")).items())
        else:
            rows = [(row[0].strip(), row[1]) for row in csv.reader(path.read_text("utf-8").splitlines()) if row]
            rows = rows[1:] if rows and np.isnan(metres(rows[0][1])) else rows
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, IndexError) as error:
        raise TrainingError(
            f"{path} is no table of widths ({error}); write a line such as residential = 6.5"
        ) from error
    table = dict(WIDTHS_M)
    for name, value in rows:
        width = metres(value)
        if np.isnan(width):
            raise TrainingError(f"{path} gives {name} a width of {value!r}; give metres from 0 to {_WIDEST_M:.0f}")
        table[name] = width
    return table


def metres(value: object) -> float:
    """Return a length in metres: a number, or text such as ``7,5``, ``7.5 m`` or ``23 ft``; NaN if it is none."""
    found = re.fullmatch(r"\s*(\d+(?:[.,]\d+)?)\s*(m|ft|feet|'|cm|)\s*", str(value))
    if not found:
        return float("nan")
    length = float(found[1].replace(",", ".")) * _METRES[found[2]]
    return length if length <= _WIDEST_M else float("nan")


def _example_of(values: Sequence[object]) -> str:
    """Return one of the texts that are no lengths, for messages; nothing if there is none."""
    unread = [str(value).strip() for value in values if value is not None and np.isnan(metres(value))]
    shown = [text for text in unread if text not in {"", "nan"}][:1]
    return f" that can be read (such as {shortened(shown)})" if shown else ""


def _counted(names: Counter[str | None], most: int = 6) -> str:
    shown = [f"{count} {name}" for name, count in names.most_common(most)]
    return ", ".join(shown) + (" and others" if len(names) > most else "")
