"""Worlds to test in: drawn pictures, rasters on disk, and block-by-block prediction of arrays."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from roadseg.prediction.block import predict_block
from roadseg.windows import Block, Plan, Window, reflected

ROTATED = Affine.translation(236_789.0, 901_234.0) @ Affine.rotation(30.0) @ Affine.scale(1.0, -1.0)
"""One metre per pixel, turned by 30 degrees, far from the origin."""

NORTH_UP = Affine.translation(236_789, 901_234) @ Affine.scale(1, -1)
"""One metre per pixel, north up, at the same corner."""

METRES = "EPSG:26986"


def picture(height: int, width: int, *, bands: int = 3, seed: int = 0, top: int = 255) -> NDArray[np.int64]:
    """Draw (bands, height, width) integers up to ``top``: waves with noise, different in every row and column."""
    rows, cols = np.mgrid[:height, :width]
    waves = np.stack([np.sin(rows / (7 + band)) + np.cos(cols / (11 - band)) for band in range(bands)])
    noise = np.random.default_rng(seed).uniform(-1, 1, waves.shape)
    return np.rint((waves + noise + 3) / 6 * top).astype(np.int64)


def stitch(values: NDArray[Any], valid: NDArray[np.bool_], plan: Plan, engine: Any) -> Block:
    """Predict a whole array block by block, mirrored at its edges as a scene is."""
    area = plan.area
    out = Block(area, np.full((area.height, area.width), np.nan, np.float32), np.zeros((area.height, area.width), bool))
    for planned in plan.blocks():
        extent = planned.extent
        rows = reflected(extent.row, extent.row_stop, plan.height)
        cols = reflected(extent.col, extent.col_stop, plan.width)
        place = np.ix_(rows, cols)
        pixels = Block(extent, np.stack([band[place] for band in values]), valid[place])
        done = predict_block(pixels, planned, engine)
        out.values[planned.core.slices(area)] = done.values
        out.valid[planned.core.slices(area)] = done.valid
    return out


def write_raster(
    path: Path,
    values: NDArray[Any],
    *,
    crs: str | None = METRES,
    transform: Affine = ROTATED,
    nodata: float | None = None,
    mask: NDArray[np.bool_] | None = None,
    colours: Sequence[ColorInterp] | None = None,
    overviews: Sequence[int] = (),
    **profile: Any,
) -> Path:
    """Write (bands, height, width) as a GeoTIFF, with an internal mask if one is given."""
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            **{
                "driver": "GTiff",
                "count": len(values),
                "height": values.shape[1],
                "width": values.shape[2],
                "dtype": values.dtype,
                "crs": crs,
                "transform": transform,
                "nodata": nodata,
                **profile,
            },
        ) as file:
            if colours:
                file.colorinterp = colours
            file.write(values)
            if mask is not None:
                file.write_mask(mask)
            if overviews:
                file.build_overviews(list(overviews), rasterio.enums.Resampling.average)
    return path


def whole(height: int, width: int) -> Window:
    """Return the window of a whole grid."""
    return Window(0, 0, height, width)


def read_band(path: Path | str) -> NDArray[Any]:
    """Return the first band of a raster."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            band: NDArray[Any] = file.read(1)
    return band


def names_in(folder: Path | str = ".") -> list[str]:
    """Return the sorted names of what lies in a folder."""
    return sorted(path.name for path in Path(folder).iterdir())
