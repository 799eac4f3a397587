"""Roads as areas: polygons with holes, the same however the mask is cut into blocks.

Outlines are traced along pixel edges and straightened so that no pixel centre changes sides. For a larger tolerance
they are then simplified together, so that none meets another (Visvalingam and Whyatt 1993, as GEOS implements it for
coverages). About 20 ms per megapixel where a tenth is road, 35 with simplification. Pixels that touch at a corner are
one area. Exact outlines of pixels cannot show that in a valid polygon: there such areas are rows of their own with the
same component.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import shapely
from numpy.typing import NDArray

from roadseg.progress import Advance
from roadseg.ragged import offsets, ranges
from roadseg.raster.ground import Ground
from roadseg.roads.areas.corners import Int32s, Mask
from roadseg.roads.areas.outlines import Rings, find_corners_of, trace_rings
from roadseg.roads.areas.straighten import straighten
from roadseg.roads.mask.passes import Passes
from roadseg.roads.network import RoadAreas
from roadseg.roads.pixel_graph import Floats, Ints

SIMPLIFY_PX = 0.5
"""Default tolerance of outlines: the largest at which no pixel changes sides."""


@dataclass(frozen=True)
class PixelAreas:
    """Areas of a raster; pixel (row, col) has its centre at exactly (row, col).

    Parameters
    ----------
    vertices
        (vertices, 2) float64 row, col along the rings; the first of a ring is not repeated at its end.
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
        """Return (areas,) shapely polygons with x = col and y = row, or with other x, y for the same vertices."""
        xy = self.vertices[:, ::-1] if vertices is None else vertices
        first, last = self.rings[:-1], self.rings[1:]
        closed = np.insert(np.arange(len(xy)), last, first)
        offsets = self.rings + np.arange(len(self.rings)), self.starts
        return np.asarray(shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy[closed], offsets), dtype=object)


def road_areas(
    passes: Passes, mask: Mask, *, simplify_px: float = SIMPLIFY_PX, on_block: Advance = lambda _: None
) -> PixelAreas:
    """Turn a mask of roads into areas.

    Parameters
    ----------
    passes
        Passes over the blocks in which the mask is read; the result does not depend on them.
    mask
        Mask with 1 for road and 0 for anything else; with several workers it must be picklable.
    simplify_px
        0 keeps the edges of the pixels. Up to half a pixel it is how far lines may pass from the middles of pixel
        edges, and rasterizing the polygons gives the mask back. Above, vertices are dropped whose triangle with
        their neighbours is smaller than its square.
    on_block
        Called with the number of megapixels finished since the last call.
    """
    if not simplify_px >= 0:
        raise ValueError("simplify_px must not be negative")
    found = find_corners_of(passes, mask, on_block)
    simplify = partial(straighten, tolerance_px=simplify_px) if simplify_px > 0 else _pixel_edges
    areas = _assembled(trace_rings(found, passes.grid, simplify, joined=simplify_px > 0))
    return areas if simplify_px <= SIMPLIFY_PX or len(areas) == 0 else _simplified(areas, simplify_px)


def areas_to_ground(areas: PixelAreas, ground: Ground) -> RoadAreas:
    """Bring areas from pixels to the CRS of the raster, and measure them.

    Parameters
    ----------
    areas
        Areas in pixels.
    ground
        Ground under these pixels.
    """
    polygons = shapely.orient_polygons(areas.polygons(ground.xy(areas.vertices)))
    return RoadAreas(ground.crs, np.asarray(polygons, dtype=object), _square_metres(areas, ground), areas.component)


def _pixel_edges(corners: Int32s, starts: Ints) -> tuple[Floats, Ints]:
    """Keep all corners."""
    return corners.astype(np.float64), starts


def _assembled(rings: Rings) -> PixelAreas:
    """Group the rings by area: areas in the order of their first pixels, with their holes in that order."""
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


def _simplified(areas: PixelAreas, tolerance_px: float) -> PixelAreas:
    """Drop vertices wherever lines do not meet for it."""
    simple = shapely.coverage_simplify(areas.polygons(), tolerance_px)
    _, xy, (rings, starts) = shapely.to_ragged_array(simple)
    closing = np.asarray(rings[1:] - 1)
    vertices = np.delete(xy, closing, axis=0)[:, ::-1]
    shorter = np.asarray(rings, dtype=np.int64) - np.arange(len(rings))
    return PixelAreas(np.ascontiguousarray(vertices), shorter, np.asarray(starts, dtype=np.int64), areas.component)


def _square_metres(areas: PixelAreas, ground: Ground) -> Floats:
    """Return (areas,) square metres, right to first order where the size of a pixel varies over an area."""
    if len(areas) == 0:
        return np.zeros(0)
    places, first = areas.vertices, areas.rings[:-1]
    following = np.arange(1, len(places) + 1)
    following[areas.rings[1:] - 1] = first
    # A ring is a sum of signed triangles with its first vertex as origin. The pixels of a triangle are taken to have
    # the mean size of those at its corners.
    size = np.abs(np.linalg.det(ground.metres(places)))
    origin = np.repeat(first, np.diff(areas.rings))
    a, b = places - places[origin], places[following] - places[origin]
    triangle = (a[:, 1] * b[:, 0] - a[:, 0] * b[:, 1]) / 2 * (size + size[following] + size[origin]) / 3
    ring = np.abs(np.add.reduceat(triangle, first))
    ring[np.setdiff1d(np.arange(len(ring)), areas.starts[:-1])] *= -1
    return np.asarray(np.add.reduceat(ring, areas.starts[:-1]), dtype=np.float64)
