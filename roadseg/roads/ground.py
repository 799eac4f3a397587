"""Ground: where the pixels of a raster lie, and how many metres a step between them is.

This folder knows no projections. Whoever opens the raster hands in a function that carries its
coordinates to degrees; here that becomes a lattice of local scales, so that degrees, feet and the
stretched metres of web mercator all come out as metres on the WGS 84 ellipsoid. The scale between the
lattice's points is interpolated, which is exact to a few parts in 100,000 for rasters of a country's size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from roadseg.roads.pixel_graph import Floats

Steps = Callable[[Floats], Floats]
"""From (n, 2) row, col to (n, 2, 2): metres east and north (rows) of a step down and one across (columns)."""

Transform = tuple[float, float, float, float, float, float]
"""a, b, c, d, e, f: x = a col + b row + c, y = d col + e row + f; (0, 0) is the raster's upper left corner."""

_RADIUS_M = 6_378_137.0
_ECCENTRICITY_SQUARED = 0.00669437999014
_CELLS = 64


@dataclass(frozen=True)
class Ground:
    """The ground under a raster.

    Parameters
    ----------
    crs
        Well-known text, or None if it is not known.
    transform
        From pixel corners to x, y; the first six numbers of an ``Affine``.
    pixel
        Size of a pixel down its column and along its row, in metres at the raster's middle; (1, 1) without CRS.
    steps
        Metres of a step anywhere, see ``plane_steps`` and ``metre_steps``. None: everywhere ``pixel``, at right angles.
    """

    crs: str | None = None
    transform: Transform = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    pixel: tuple[float, float] = (1.0, 1.0)
    steps: Steps | None = None

    def xy(self, places: Floats) -> Floats:
        """Return (n, 2) x, y of row, col; whole numbers are the middles of pixels."""
        a, b, c, d, e, f = self.transform
        row, col = places[:, 0] + 0.5, places[:, 1] + 0.5
        return np.stack([a * col + b * row + c, d * col + e * row + f], axis=1)

    def metres(self, places: Floats) -> Floats:
        """Return (n, 2, 2) metres of a step down and of one across at some places, as ``Steps`` does."""
        if self.steps is not None:
            return self.steps(places)
        return np.broadcast_to(np.diag(self.pixel), (len(places), 2, 2))


def plane_steps(transform: Transform, unit_m: float) -> Steps:
    """Take the plane of a projection for the ground: every step is as long as on paper.

    Parameters
    ----------
    transform
        From pixel corners to x, y.
    unit_m
        Metres per unit of x and y.
    """
    a, b, _, d, e, _ = transform
    step = np.array([[b, a], [e, d]]) * unit_m
    return lambda places: np.broadcast_to(step, (len(places), 2, 2))


def metre_steps(transform: Transform, shape: tuple[int, int], to_degrees: Callable[[Floats], Floats]) -> Steps:
    """Measure the steps of a raster.

    Parameters
    ----------
    transform
        From pixel corners to x, y.
    shape
        Rows and columns.
    to_degrees
        Carries (n, 2) x, y to (n, 2) longitude, latitude; it is called once, with some 20,000 points.
    """
    axes = [np.linspace(0, size, min(_CELLS, size) + 1) for size in shape]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    reach = [max(size / _CELLS / 2, 16.0) for size in shape]
    moves = np.array([[reach[0], 0], [-reach[0], 0], [0, reach[1]], [0, -reach[1]]])
    there = (lattice[..., None, :] + moves).reshape(-1, 2) - 0.5
    degrees = to_degrees(Ground(transform=transform).xy(there)).reshape(*lattice.shape[:2], 4, 2)
    span = degrees[:, :, 0::2] - degrees[:, :, 1::2]  # (rows, cols, down | across, lon | lat)
    span[..., 0] = (span[..., 0] + 180) % 360 - 180
    east, north = _metres_per_degree(degrees[..., 1].mean(axis=2))
    per_step = span * np.stack([east, north], axis=-1)[:, :, None] / (2 * np.array(reach)[:, None])
    table = np.swapaxes(per_step, 2, 3)  # (rows, cols, east | north, down | across)

    def steps(places: Floats) -> Floats:
        where = [(places[:, i] + 0.5) / shape[i] * (len(axes[i]) - 1) for i in (0, 1)]
        cell = [np.clip(where[i].astype(np.int64), 0, len(axes[i]) - 2) for i in (0, 1)]
        down, across = (np.clip(where[i] - cell[i], 0, 1)[:, None, None] for i in (0, 1))
        upper = table[cell[0], cell[1]] * (1 - across) + table[cell[0], cell[1] + 1] * across
        lower = table[cell[0] + 1, cell[1]] * (1 - across) + table[cell[0] + 1, cell[1] + 1] * across
        found: Floats = upper * (1 - down) + lower * down
        return found

    return steps


def _metres_per_degree(latitude: Floats) -> tuple[Floats, Floats]:
    """Return the lengths of a degree of longitude and of latitude from the ellipsoid's radii of curvature."""
    lat = np.radians(latitude)
    w2 = 1 - _ECCENTRICITY_SQUARED * np.sin(lat) ** 2
    meridian = _RADIUS_M * (1 - _ECCENTRICITY_SQUARED) / w2**1.5
    return np.radians(_RADIUS_M / np.sqrt(w2) * np.cos(lat)), np.radians(meridian)
