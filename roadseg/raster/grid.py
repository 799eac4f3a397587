"""Grid: where the pixels of a raster lie on the ground, and how large they are there.

The size of a pixel is measured on the WGS 84 ellipsoid at the raster's centre, whatever the CRS:
degrees, feet and the stretched metres of Web Mercator all become true metres. A grid can be
scaled to another ground resolution (GSD) without reprojection: same corners, another number of pixels.
"""

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

import numpy as np
import rasterio.warp
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.io import DatasetReader

from roadseg.windows import Window

Number = TypeVar("Number", float, NDArray[np.float64])

_WGS84_RADIUS_M = 6_378_137.0
WGS84_ECCENTRICITY_SQUARED = 0.00669437999014


@dataclass(frozen=True)
class Grid:
    """The grid of a raster: its pixels and their place on the ground.

    Parameters
    ----------
    crs
        Well-known text, or None without a CRS.
    transform
        From (col, row) to (x, y); may rotate, shear or be south-up.
    height, width
        Size in pixels.
    """

    crs: str | None
    transform: Affine
    height: int
    width: int

    @property
    def window(self) -> Window:
        """The window of the whole grid."""
        return Window(0, 0, self.height, self.width)

    @property
    def lacks_geotransform(self) -> bool:
        """Whether there is a CRS but no geotransform, so that pixels can only be assumed to be one unit of it wide."""
        return self.crs is not None and self.transform.is_identity

    def pixel_size_m(self) -> tuple[float, float] | None:
        """Return the size of the centre pixel on the ground in metres, down its column and along its row.

        None without a CRS whose metres are known.
        """
        if self.crs is None:
            return None
        row, col = self.height / 2, self.width / 2
        points = [self.transform @ place for place in ((col, row), (col, row + 1), (col + 1, row))]
        crs = CRS.from_wkt(self.crs)
        try:
            lons, lats = rasterio.warp.transform(crs, "EPSG:4326", [x for x, _ in points], [y for _, y in points])
            sizes = [_ground_distance_m(lons[0], lats[0], lons[i], lats[i]) for i in (1, 2)]
        except (CPLE_BaseError, CRSError, rasterio.errors.RasterioError, ValueError):
            sizes = [math.nan]
        if all(math.isfinite(size) and size > 0 for size in sizes):
            return sizes[0], sizes[1]
        if not crs.is_projected:
            return None
        unit, t = crs.linear_units_factor[1], self.transform
        return math.hypot(t.b, t.e) * unit, math.hypot(t.a, t.d) * unit

    def mean_pixel_m(self) -> float | None:
        """Return the side of a square with the area of the centre pixel, in metres; None like ``pixel_size_m``."""
        size = self.pixel_size_m()
        return math.sqrt(size[0] * size[1]) if size else None

    def bounds(self) -> tuple[float, float, float, float]:
        """Return the rectangle (xmin, ymin, xmax, ymax) around its corners, in its CRS."""
        corners = [self.transform @ place for place in product((0, self.width), (0, self.height))]
        x, y = zip(*corners, strict=True)
        return min(x), min(y), max(x), max(y)

    def lonlat_bounds(self) -> tuple[float, float, float, float] | None:
        """Return the rectangle (west, south, east, north) around it in degrees; None if it cannot be reprojected."""
        if self.crs is None:
            return None
        try:
            west, south, east, north = rasterio.warp.transform_bounds(
                CRS.from_user_input(self.crs), "EPSG:4326", *self.bounds()
            )
        except (CPLE_BaseError, CRSError, rasterio.errors.RasterioError, ValueError):
            return None
        return (west, south, east, north) if all(map(math.isfinite, (west, south, east, north))) else None

    def offset_px(self, other: "Grid") -> float:
        """Return how far the corners of another grid lie from the same pixels of this one, at most, in its pixels."""
        step = ~self.transform @ other.transform
        corners = [(0, 0), (self.width, 0), (0, self.height)]
        return float(max(abs(v - w) for corner in corners for v, w in zip(step @ corner, corner, strict=True)))

    def is_turned(self, other: "Grid") -> bool:
        """Return whether another grid covers the same ground in another order of pixels: turned, mirrored, south-up."""
        step = ~self.transform @ other.transform
        corners = list(product((0, self.width), (0, self.height)))
        places = [tuple(round(v) for v in step @ corner) for corner in corners]
        return places != corners and sorted(places) == sorted(corners)

    def scaled(self, height: int, width: int) -> "Grid":
        """Return the grid with the same corners and another number of pixels."""
        scale = Affine.scale(self.width / width, self.height / height)
        return Grid(self.crs, self.transform @ scale, height, width)

    def cropped(self, window: Window) -> "Grid":
        """Return the grid of a window."""
        shift = Affine.translation(window.col, window.row)
        return replace(self, transform=self.transform @ shift, height=window.height, width=window.width)

    def window_of(self, bounds: tuple[float, float, float, float]) -> Window:
        """Return the pixels that a rectangle (xmin, ymin, xmax, ymax) touches, clipped to the grid."""
        xmin, ymin, xmax, ymax = bounds
        inverse = ~self.transform
        corners = [inverse @ (x, y) for x in (xmin, xmax) for y in (ymin, ymax)]
        cols, rows = [c for c, _ in corners], [r for _, r in corners]
        row, col = math.floor(min(rows) + 1e-6), math.floor(min(cols) + 1e-6)
        row_stop, col_stop = math.ceil(max(rows) - 1e-6), math.ceil(max(cols) - 1e-6)
        return Window(row, col, max(0, row_stop - row), max(0, col_stop - col)).intersection(self.window)


def grid_of(file: DatasetReader) -> Grid:
    """Return the grid of an open raster."""
    return Grid(file.crs.to_wkt() if file.crs else None, file.transform, file.height, file.width)


def model_grid(grid: Grid, *, gsd_m: float, pixel_m: tuple[float, float], tolerance: float = 0.15) -> Grid:
    """Return the grid for a model: the scene's, or the same scaled to the model's GSD.

    Parameters
    ----------
    grid
        Grid of the scene.
    gsd_m
        Metres per pixel the model was trained at.
    pixel_m
        Size of the scene's pixels on the ground in metres, down a column and along a row.
    tolerance
        Largest relative difference, on both axes, at which the scene's grid is kept.
    """
    factors = [size / gsd_m for size in pixel_m]
    if all(1 - tolerance <= factor <= 1 + tolerance for factor in factors):
        return grid
    height, width = (max(1, round(n * f)) for n, f in zip((grid.height, grid.width), factors, strict=True))
    return grid.scaled(height, width)


def units_per_metre(crs: str, x: float, y: float) -> tuple[float, float] | None:
    """Return the units of a CRS per metre on the ground at a place, along x and along y; None if unknown."""
    unit = 1e-4 if CRS.from_user_input(crs).is_geographic else 1.0
    pixel = Grid(CRS.from_user_input(crs).to_wkt(), Affine(unit, 0, x, 0, -unit, y), 1, 1).pixel_size_m()
    return (unit / pixel[1], unit / pixel[0]) if pixel else None


def radii_of_curvature(sin_latitude: Number) -> tuple[Number, Number]:
    """Return the radii of the WGS 84 ellipsoid in metres, along the meridian and across it, for floats or arrays."""
    w2 = 1 - WGS84_ECCENTRICITY_SQUARED * sin_latitude**2
    return _WGS84_RADIUS_M * (1 - WGS84_ECCENTRICITY_SQUARED) / w2**1.5, _WGS84_RADIUS_M / np.sqrt(w2)


def _ground_distance_m(lon0: float, lat0: float, lon1: float, lat1: float) -> float:
    """Return the length of a short line on the ellipsoid."""
    lat = math.radians((lat0 + lat1) / 2)
    meridian, normal = radii_of_curvature(math.sin(lat))
    turn = math.remainder(lon1 - lon0, 360.0)
    return math.hypot(math.radians(lat1 - lat0) * meridian, math.radians(turn) * normal * math.cos(lat))
