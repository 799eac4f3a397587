"""How probabilities and masks are stored: as levels of one byte, or as floats.

Probability p is stored as round(p × 254), with 255 for nodata; a scale of 1/254 in the file makes GIS tools show 0–1.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.raster.grid import Grid
from roadseg.windows import is_all_valid

LEVELS = 254
"""Probability p is stored as round(p × 254); 255 is nodata."""

NODATA = 255

ATTRIBUTION = "ROADSEG_ATTRIBUTION"
"""Tag that says whom to credit."""

_STRIP_PX = 1 << 16


@dataclass(frozen=True)
class Product:
    """What a raster holds and how it is stored.

    Parameters
    ----------
    name
        Prefix of its block files.
    dtype
        uint8 or float32; the nodata value is 255 or NaN.
    description
        Description of its band.
    scale
        Factor from stored values to what they mean.
    colours
        Red, green and blue by value, from 0, for a colour table; empty for shades of grey.
    as_tiles
        Whether blocks hold the tiles of the finished file, see ``cog_tiles``.
    """

    name: str
    dtype: str
    description: str
    scale: float = 1.0
    colours: tuple[tuple[int, int, int], ...] = ()
    as_tiles: bool = False

    @property
    def nodata(self) -> float:
        """The value of nodata pixels."""
        return NODATA if self.dtype == "uint8" else float("nan")

    @property
    def resampling(self) -> str:
        """How overviews are made, in GDAL's words."""
        return "NEAREST" if self.colours else "AVERAGE"


def probability_product(dtype: str) -> Product:
    """Return the probability raster: uint8 with scale 1/254, or float32."""
    return Product("probability", dtype, "road probability", 1 / LEVELS if dtype == "uint8" else 1.0)


def uncertainty_product(dtype: str) -> Product:
    """Return the standard deviation of the probability over several predictions, stored like the probability."""
    return replace(probability_product(dtype), name="uncertainty", description="standard deviation of road probability")


MASK = Product("mask", "uint8", "road mask: 1 road, 0 not road", colours=((255, 255, 255), (213, 0, 110)))


def quantize(probability: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Store probabilities in 255 grey levels.

    Parameters
    ----------
    probability
        (height, width) float32 in [0, 1]; values outside are clipped, NaN becomes nodata.
    valid
        (height, width) bool.

    Returns
    -------
    (height, width) uint8: round(p × 254), and 255 where not valid.
    """
    levels = np.empty(probability.shape, dtype=np.uint8)
    everywhere = is_all_valid(valid)
    memory = np.empty((_strip_rows(probability.shape), probability.shape[1]), probability.dtype)
    for rows in _strips(probability.shape):
        strip = probability[rows]
        scaled = np.multiply(strip, np.float32(LEVELS), out=memory[: len(strip)])
        np.clip(np.rint(scaled, out=scaled), 0, LEVELS, out=scaled)
        nodata = np.isnan(scaled)
        if not everywhere:
            nodata |= ~valid[rows]
        if nodata.any():
            scaled[nodata] = NODATA
        levels[rows] = scaled
    return levels


def encode(probability: NDArray[np.float32], valid: NDArray[np.bool_], dtype: str) -> NDArray[Any]:
    """Return probabilities as they are stored: ``quantize``d for uint8, else float32 with NaN where not valid."""
    if dtype == "uint8":
        return quantize(probability, valid)
    return np.where(valid, probability, np.float32(np.nan))


def dequantize(values: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return probabilities and validity of stored values, uint8 or float32."""
    if values.dtype == np.uint8:
        valid = values != NODATA
        return np.where(valid, values, 0).astype(np.float32) / np.float32(LEVELS), valid
    valid = ~np.isnan(values)
    return np.where(valid, values, 0).astype(np.float32), valid


def threshold_mask(values: NDArray[Any], threshold: float) -> NDArray[np.uint8]:
    """Return 1 where stored probabilities reach the threshold, 0 where they do not, 255 for nodata.

    uint8 values are compared at their own precision, so the mask equals the thresholded probability raster.
    """
    mask = _reaches(values, threshold).view(np.uint8)
    np.copyto(mask, np.uint8(NODATA), where=values == NODATA if values.dtype == np.uint8 else np.isnan(values))
    return mask


def count_road(values: NDArray[Any], *thresholds: float) -> tuple[int, ...]:
    """Return how many pixels are not nodata, and how many of these reach each threshold."""
    if values.dtype != np.uint8:
        reaching = [np.count_nonzero(_reaches(values, threshold)) for threshold in thresholds]
        return int(np.count_nonzero(~np.isnan(values))), *map(int, reaching)
    lowest = [*map(lowest_reaching, thresholds), NODATA]
    counts = np.zeros(len(lowest), np.int64)
    for rows in _strips(values.shape):
        counts += [np.count_nonzero(values[rows] >= level) for level in lowest]
    *road, nodata = counts.tolist()
    return values.size - nodata, *(count - nodata for count in road)


def _reaches(values: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Return where stored probabilities reach the threshold; bytes of nodata do, NaN does not."""
    return values >= (lowest_reaching(threshold) if values.dtype == np.uint8 else np.float32(threshold))


def lowest_reaching(threshold: float) -> int:
    """Return the lowest level of 0 to 254 that reaches a threshold; all others above do, so bytes can be compared."""
    reaching = dequantize(np.arange(LEVELS + 1, dtype=np.uint8))[0] >= np.float32(threshold)
    return LEVELS + 1 - int(np.count_nonzero(reaching))


def byte_profile(grid: Grid) -> dict[str, Any]:
    """Return how rasterio creates a tiled GeoTIFF of one byte per pixel, a mask or a map of classes."""
    return {
        "driver": "GTiff",
        "height": grid.height,
        "width": grid.width,
        "count": 1,
        "dtype": "uint8",
        "nodata": NODATA,
        "crs": grid.crs,
        "transform": grid.transform,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "DEFLATE",
        "zlevel": 1,
        "bigtiff": "IF_SAFER",
    }


def _strip_rows(shape: tuple[int, ...]) -> int:
    return max(1, _STRIP_PX // max(1, shape[1]))


def _strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices of rows small enough for the processor's cache, where several passes cost little."""
    step = _strip_rows(shape)
    return (slice(row, row + step) for row in range(0, shape[0], step))
