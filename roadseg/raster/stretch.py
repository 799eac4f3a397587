"""The stretch of values that are not uint8: those that become 0 and 1, settled once per scene."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from roadseg.raster.validity import Validity
from roadseg.windows import Window

_REDUCED_PX = 1024
"""Longest side of a reduced read."""

_READ_WHOLE_PX = 1 << 26
"""Without overviews, a reduced read decompresses every pixel: of larger files spots all over them are read instead."""

_SPOTS, _SPOT_PX = 24, 48
"""How many spots there are along a side, and their size."""

_ENOUGH_PX = 1 << 16
"""If fewer pixels of the spots are valid, the file is read whole after all."""


def percentiles(file: DatasetReader, bands: tuple[int, ...], validity: Validity) -> tuple[tuple[float, float], ...]:
    """Return the percentiles 2 and 98 of each band, 0 and 1 if no pixel is valid.

    Raises
    ------
    RasterioError
        If the file cannot be read.
    """
    pixels = None
    if file.height * file.width > _READ_WHOLE_PX and not file.overviews(bands[0]):
        pixels = _spots(file, bands, validity)
    if pixels is None or pixels.shape[1] < _ENOUGH_PX:
        pixels = _reduced(file, bands, validity)
    if not pixels.size:
        return ((0.0, 1.0),) * len(bands)
    limits = [np.percentile(band.astype(np.float64), (2, 98)) for band in pixels]
    return tuple((float(low), float(high)) for low, high in limits)


def _spots(file: DatasetReader, bands: tuple[int, ...], validity: Validity) -> NDArray[Any]:
    """Return the valid pixels of spots all over a file, (bands, n)."""
    found = []
    for (row, height), (col, width) in itertools.product(_spread(file.height), _spread(file.width)):
        values = file.read(bands, window=RasterWindow(col, row, width, height))
        found.append(values[:, validity.of(file, values, Window(row, col, height, width))])
    return np.concatenate(found, axis=1)


def _spread(size: int) -> list[tuple[int, int]]:
    """Return where spots begin along a side, each in the middle of its share, and their size."""
    side = min(_SPOT_PX, size)
    places = (np.arange(_SPOTS) + 0.5) * size / _SPOTS - side / 2
    return [(place, side) for place in np.unique(places.clip(0, size - side).astype(int)).tolist()]


def _reduced(file: DatasetReader, bands: tuple[int, ...], validity: Validity) -> NDArray[Any]:
    """Return the valid pixels of a file that is read at reduced size, (bands, n)."""
    scale = max(1.0, max(file.shape) / _REDUCED_PX)
    height, width = (max(1, round(n / scale)) for n in file.shape)
    values: NDArray[Any] = file.read(bands, out_shape=(len(bands), height, width))
    found: NDArray[Any] = values[:, validity.of(file, values, Window(0, 0, *file.shape), (height, width))]
    return found
