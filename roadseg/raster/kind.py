"""What the values of a raster of roads mean.

    float, or a scale tag             probability
    values 0 and 1, maybe 255         mask; 255 is nodata
    values 0 and 255, no nodata tag   mask; 255 is road
    anything else                     refused, with the cure

Masks that belong together are judged together: a tile without any road holds only 0, and fits both kinds.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import SceneError

RasterKind = Literal["probability", "mask 0/1", "mask 0/255"]


@dataclass(frozen=True)
class ValueScan:
    """The values a file holds in its valid pixels, (256,) bool, and whether a tag makes 255 nodata."""

    present: NDArray[np.bool_]
    tagged: bool

    def __or__(self, other: "ValueScan") -> "ValueScan":
        return ValueScan(self.present | other.present, self.tagged or other.tagged)


def mask_kind(values: ValueScan) -> RasterKind | None:
    """Return the kind of mask that has these values, in one file or in several together; None if it is no mask."""
    if values.present[2:255].any():
        return None
    if values.present[255] and not values.present[1] and not values.tagged:
        return "mask 0/255"
    return "mask 0/1"


def settle_kind(values: ValueScan, source: Path | str) -> tuple[RasterKind, list[str]]:
    """Return the kind of the masks that have these values together, and messages on what was assumed.

    Parameters
    ----------
    values
        Values of one file, or of all that are read alike.
    source
        The file or its folder, for messages.

    Raises
    ------
    SceneError
        If they are no masks.
    """
    kind = mask_kind(values)
    if kind is None:
        raise SceneError(
            f"{source} holds grey values but no scale; if they are probabilities say so, with "
            "gdal_edit.py -scale 0.00392157 for 0–255, else make a mask of 0 and 1"
        )
    return kind, [f"{source}: values 0 and 255, 255 taken for road"] if kind == "mask 0/255" else []
