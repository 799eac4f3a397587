"""Ground: where the pixels of a raster lie, and how many metres a step from one to the next is.

The length of a step varies over a raster in degrees, feet or the stretched metres of Web Mercator. It is measured
on the WGS 84 ellipsoid at the points of a lattice, some 65 × 65 over the raster, and interpolated between them,
which is exact to a few parts in 100,000 for rasters of a country's size. Interpolated are the squared lengths of the
steps and their product (the metric tensor), as east and north turn around a pole. What gets a ``Ground`` needs no CRS
library.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import SceneError
from roadseg.raster.crs import DEGREES, reproject
from roadseg.raster.grid import WGS84_ECCENTRICITY_SQUARED, Grid, radii_of_curvature

Floats = NDArray[np.float64]

Steps = Callable[[Floats], Floats]
"""From (n, 2) row, col to (n, 2, 2) metres: how far one pixel down and one pixel to the right (second axis) lead in two
directions at right angles (first axis), which may differ from place to place. Lengths, angles and areas are true."""

Transform = tuple[float, float, float, float, float, float]
"""a, b, c, d, e, f: x = a col + b row + c, y = d col + e row + f; (0, 0) is the raster's upper left corner."""

_CELLS = 64


@dataclass(frozen=True)
class Ground:
    """The ground under a raster.

    Parameters
    ----------
    crs
        Well-known text, or None if the raster has no CRS.
    transform
        From pixel corners to x, y; the first six numbers of an ``Affine``.
    pixel_size
        Size of a pixel down its column and along its row: metres at the raster's centre, (1, 1) without a CRS.
    steps
        Size and direction of a pixel anywhere, see ``plane_steps`` and ``metre_steps``. None: everywhere
        ``pixel_size``, at right angles.
    in_metres
        Whether sizes are in metres; in pixels otherwise, because nothing gives metres.
    """

    crs: str | None = None
    transform: Transform = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    pixel_size: tuple[float, float] = (1.0, 1.0)
    steps: Steps | None = None
    in_metres: bool = True

    @property
    def pixel_side(self) -> float:
        """The side of a square as large as a pixel."""
        return math.sqrt(self.pixel_size[0] * self.pixel_size[1])

    def xy(self, pixels: Floats) -> Floats:
        """Return (n, 2) x, y of row, col; whole numbers are the centres of pixels."""
        a, b, c, d, e, f = self.transform
        row, col = pixels[:, 0] + 0.5, pixels[:, 1] + 0.5
        return np.stack([a * col + b * row + c, d * col + e * row + f], axis=1)

    def metres(self, pixels: Floats) -> Floats:
        """Return (n, 2, 2) metres that a step down and one to the right lead in two directions, as ``Steps`` does."""
        if self.steps is not None:
            return self.steps(pixels)
        return np.broadcast_to(np.diag(self.pixel_size), (len(pixels), 2, 2))


def ground_of(grid: Grid, pixel_m: tuple[float, float] | None = None) -> Ground:
    """Return the ground under a grid; ``pixel_m`` is the size of its pixels, down and across, if no CRS tells."""
    transform, crs, pixel_size = tuple(grid.transform)[:6], grid.crs, grid.pixel_size_m()
    if crs is None or pixel_size is None:
        return Ground(crs, transform, pixel_m) if pixel_m else Ground(crs, transform, in_metres=False)
    try:
        steps = metre_steps(transform, (grid.height, grid.width), lambda xy: reproject(xy, crs, DEGREES))
    except SceneError:  # a CRS that lies nowhere on Earth still has a unit
        steps = None
    return Ground(crs, transform, pixel_size, steps)


def plane_steps(transform: Transform, unit_m: float) -> Steps:
    """Take the plane of a projection for the ground: every step is as long as on the map.

    Parameters
    ----------
    transform
        From pixel corners to x, y.
    unit_m
        Metres per unit of x and y.
    """
    a, b, _, d, e, _ = transform
    step = np.array([[b, a], [e, d]]) * unit_m
    return lambda pixels: np.broadcast_to(step, (len(pixels), 2, 2))


def metre_steps(transform: Transform, shape: tuple[int, int], to_degrees: Callable[[Floats], Floats]) -> Steps:
    """Measure the steps of a raster on the ellipsoid.

    Parameters
    ----------
    transform
        From pixel corners to x, y.
    shape
        Rows and columns.
    to_degrees
        From (n, 2) x, y to (n, 2) longitude, latitude; called once, with some 20,000 points.
    """
    axes = [np.linspace(0, size, min(_CELLS, size) + 1) for size in shape]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    # Around each lattice point four others: below, above, right, left. Their differences are the steps.
    reach = [max(size / _CELLS / 2, 16.0) for size in shape]
    moves = np.array([[reach[0], 0], [-reach[0], 0], [0, reach[1]], [0, -reach[1]]])
    around = (lattice[..., None, :] + moves).reshape(-1, 2) - 0.5
    degrees = to_degrees(Ground(transform=transform).xy(around))
    points = _in_space(degrees).reshape(*lattice.shape[:2], 4, 3)
    down, right = np.moveaxis(points[:, :, 0::2] - points[:, :, 1::2], 2, 0) / (2 * np.array(reach)).reshape(2, 1, 1, 1)
    products = [(down * down).sum(axis=2), (down * right).sum(axis=2), (right * right).sum(axis=2)]
    return _Lattice(np.stack(products, axis=2), shape)


@dataclass(frozen=True)
class _Lattice:
    """Steps at the points of a lattice over a raster, interpolated between them.

    Parameters
    ----------
    table
        (rows + 1, cols + 1, 3) float64 square metres, at the corners of rows × cols equal cells: the step down times
        itself, times the step to the right, and the latter times itself (scalar products).
    shape
        Rows and columns of the raster.
    """

    table: Floats
    shape: tuple[int, int]

    def __call__(self, pixels: Floats) -> Floats:
        cells = self.table.shape[0] - 1, self.table.shape[1] - 1
        at = [(pixels[:, i] + 0.5) / self.shape[i] * cells[i] for i in (0, 1)]
        row, col = (np.clip(at[i].astype(np.int64), 0, cells[i] - 1) for i in (0, 1))
        down, right = (np.clip(at[i] - cell, 0, 1)[:, None] for i, cell in enumerate((row, col)))
        upper = self.table[row, col] * (1 - right) + self.table[row, col + 1] * right
        lower = self.table[row + 1, col] * (1 - right) + self.table[row + 1, col + 1] * right
        down_down, down_right, right_right = (upper * (1 - down) + lower * down).T
        # The step down leads in the first direction, so that the one to the right has a part in each.
        length = np.sqrt(down_down)
        along = down_right / length
        across = np.sqrt(np.maximum(right_right - along**2, 0))
        return np.stack([np.stack([length, along], axis=1), np.stack([np.zeros_like(length), across], axis=1)], axis=1)


def _in_space(degrees: Floats) -> Floats:
    """Return (n, 3) metres from the centre of the Earth of (n, 2) longitude, latitude on the ellipsoid."""
    lon, lat = np.radians(degrees).T
    _, normal = radii_of_curvature(np.sin(lat))
    across = normal * np.cos(lat)
    return np.stack(
        [across * np.cos(lon), across * np.sin(lon), normal * (1 - WGS84_ECCENTRICITY_SQUARED) * np.sin(lat)], axis=1
    )
