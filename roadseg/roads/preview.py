"""Previews: roads drawn over a picture of the ground."""

import numpy as np
import shapely
from numpy.typing import NDArray

from roadseg.raster.backdrop import Backdrop
from roadseg.raster.picture import draw_areas, draw_lines
from roadseg.roads.network import RoadAreas, Roads


def draw_roads(roads: Roads, backdrop: Backdrop) -> NDArray[np.uint8]:
    """Return a picture of roads over a backdrop, (3, height, width) uint8."""
    if isinstance(roads, RoadAreas):
        if not len(roads):
            return draw_areas(backdrop.rgb, np.zeros((0, 2)), np.zeros(1, dtype=np.int64))
        _, xy, (rings, _) = shapely.to_ragged_array(roads.polygons)
        return draw_areas(backdrop.rgb, backdrop.pixels(xy), np.asarray(rings, dtype=np.int64))
    nodes = backdrop.pixels(roads.nodes)
    return draw_lines(
        backdrop.rgb,
        backdrop.pixels(roads.vertices),
        roads.starts,
        width_px=roads.width_m / backdrop.pixel_size(),
        inferred=roads.inferred,
        junctions=nodes[roads.degree >= 3],
        dead_ends=nodes[(roads.degree == 1) & ~roads.at_border],
    )
