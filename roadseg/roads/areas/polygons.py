"""Roads as areas: polygons with holes, the same however the mask is cut into blocks.

Outlines are traced along pixel edges and straightened so that no pixel centre changes sides. If that is not
coarse enough they are thinned out all together, so that none meets another (Visvalingam, Whyatt 1993,
as GEOS does it for coverages). About 20 ms per megapixel where a tenth is road, 35 if thinned out.
Pixels that touch at a corner are one area then. Exact outlines of pixels cannot show that in a valid
polygon: such areas are rows of their own with the same component number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import shapely
from numpy.typing import NDArray

from roadseg.ragged import offsets, ranges
from roadseg.raster.ground import Ground
from roadseg.roads.areas.corners import Int32s, Mask
from roadseg.roads.areas.outlines import Rings, TracingSettings, trace_rings
from roadseg.roads.areas.straighten import straighten
from roadseg.roads.network import RoadAreas
from roadseg.roads.pixel_graph import Floats, Ints
from roadseg.windows import Window

SIMPLIFY_PX = 0.5
"""Default of how coarse outlines may get: as coarse as no pixel changes sides."""


@dataclass(frozen=True)
class PixelAreas:
    """Areas of a raster; pixel (row, col) has its centre at exactly (row, col).

    Parameters
    ----------
    vertices
        (vertices, 2) float64 row, col along the rings, none repeated at a ring's end.
    rings
        (rings + 1,) int64: ring ``i`` owns the vertices from ``rings[i]`` up to ``rings[i + 1]``.
    starts
        (areas + 1,) int64: area ``i`` owns the rings from ``starts[i]`` up to ``starts[i + 1]``, its outer one first.
    component
        (areas,) int64: areas that touch at a corner have the same number; numbered from 0 in the order of areas.
    """

    vertices: Floats
    rings: Ints
    starts: Ints
    component: Ints

    def __len__(self) -> int:
        return len(self.component)

    def polygons(self, vertices: Floats | None = None) -> NDArray[np.object_]:
        """Return (areas,) shapely polygons with x = col, y = row, or of other x, y for the same vertices."""
        xy = self.vertices[:, ::-1] if vertices is None else vertices
        first, last = self.rings[:-1], self.rings[1:]
        closed = np.insert(np.arange(len(xy)), last, first)
        offsets = self.rings + np.arange(len(self.rings)), self.starts
        return np.asarray(shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy[closed], offsets), dtype=object)


def road_areas(
    mask: Mask,
    height: int,
    width: int,
    *,
    simplify_px: float = SIMPLIFY_PX,
    block_px: int = 4096,
    workers: int = 1,
    on_block: Callable[[Window], None] | None = None,
) -> PixelAreas:
    """Turn a mask of roads into areas.

    Parameters
    ----------
    mask
        What is road, 0 or 1.
    height, width
        Of the mask.
    simplify_px
        0 keeps the edges of the pixels. Up to half a pixel it is how far lines may pass the middles of pixel edges,
        and burning the polygons gives the mask back. Above, corners go whose triangles are smaller than its square.
    block_px
        Side of the blocks in which the mask is read; no result depends on it.
    workers
        How many processes trace blocks; more than one needs a mask that can be pickled.
    on_block
        Gets every block when it is done.
    """
    if not simplify_px >= 0 or min(block_px, workers) < 1:
        raise ValueError("simplify_px must not be negative, block_px and workers must be positive")
    tracing = TracingSettings(simplify_px > 0, block_px, workers, on_block)
    shape = partial(straighten, tolerance_px=simplify_px) if simplify_px > 0 else _as_they_are
    areas = _assembled(trace_rings(mask, height, width, shape, tracing))
    return areas if simplify_px <= 0.5 or len(areas) == 0 else _thinned_out(areas, simplify_px)


def areas_to_ground(areas: PixelAreas, ground: Ground) -> RoadAreas:
    """Lay areas on the ground and measure them.

    Parameters
    ----------
    areas
        In pixels.
    ground
        Where these pixels lie.
    """
    polygons = shapely.orient_polygons(areas.polygons(ground.xy(areas.vertices)))
    return RoadAreas(ground.crs, np.asarray(polygons, dtype=object), _square_metres(areas, ground), areas.component)


def _as_they_are(corners: Int32s, starts: Ints) -> tuple[Floats, Ints]:
    return corners.astype(np.float64), starts


def _assembled(rings: Rings) -> PixelAreas:
    """Put the rings of each area together: areas by their first pixels, holes by theirs."""
    outer = np.flatnonzero(~rings.hole)
    rank = np.zeros(rings.area.max(initial=-1) + 1, dtype=np.int64)
    rank[rings.area[outer]] = np.arange(len(outer))
    order = np.lexsort((rings.hole, rank[rings.area]))
    size = np.diff(rings.starts)[order]
    index = ranges(rings.starts[order], size)
    first = np.flatnonzero(~rings.hole[order])
    _, appears, number = np.unique(rings.component[outer], return_index=True, return_inverse=True)
    component = np.argsort(np.argsort(appears))[number]
    return PixelAreas(
        rings.vertices[index] - 0.5, offsets(size), np.append(first, len(order)), component.astype(np.int64)
    )


def _thinned_out(areas: PixelAreas, tolerance_px: float) -> PixelAreas:
    """Drop vertices, never so that lines meet."""
    simple = shapely.coverage_simplify(areas.polygons(), tolerance_px)
    _, xy, (rings, starts) = shapely.to_ragged_array(simple)
    closing = np.asarray(rings[1:] - 1)
    vertices = np.delete(xy, closing, axis=0)[:, ::-1]
    shorter = np.asarray(rings, dtype=np.int64) - np.arange(len(rings))
    return PixelAreas(np.ascontiguousarray(vertices), shorter, np.asarray(starts, dtype=np.int64), areas.component)


def _square_metres(areas: PixelAreas, ground: Ground) -> Floats:
    """Return (areas,) square metres, right to first order where the size of a pixel varies over an area.

    A ring is a sum of signed triangles with its first vertex; a triangle's pixels have the mean size of its corners'.
    """
    if len(areas) == 0:
        return np.zeros(0)
    places, first = areas.vertices, areas.rings[:-1]
    following = np.arange(1, len(places) + 1)
    following[areas.rings[1:] - 1] = first
    size = np.abs(np.linalg.det(ground.metres(places)))
    origin = np.repeat(first, np.diff(areas.rings))
    a, b = places - places[origin], places[following] - places[origin]
    triangle = (a[:, 1] * b[:, 0] - a[:, 0] * b[:, 1]) / 2 * (size + size[following] + size[origin]) / 3
    ring = np.abs(np.add.reduceat(triangle, first))
    ring[np.setdiff1d(np.arange(len(ring)), areas.starts[:-1])] *= -1
    return np.asarray(np.add.reduceat(ring, areas.starts[:-1]), dtype=np.float64)
