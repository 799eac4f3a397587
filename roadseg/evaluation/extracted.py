"""The roads of a raster, extracted as ``roadseg vectorize`` does, for comparisons with lines from files."""

import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from roadseg.progress import Listener
from roadseg.raster.area import valid_ground
from roadseg.raster.grid import Grid
from roadseg.raster.probability import open_probability
from roadseg.roads.extract import ExtractionPlan, extract
from roadseg.roads.network import RoadNetwork
from roadseg.settings import VectorizeSettings


@dataclass(frozen=True)
class ExtractedRoads:
    """The roads of a raster, and where they were looked for.

    Parameters
    ----------
    network
        The roads.
    attribution
        Whom to credit for the raster; empty if it does not say.
    ground
        Where the raster has data, a shapely geometry in its CRS.
    has_nodata
        Whether that is less than all of it.
    """

    network: RoadNetwork
    attribution: str
    ground: Any
    has_nodata: bool

    @property
    def lines(self) -> list[NDArray[np.float64]]:
        """The lines of the network, (vertices, 2) float64 x, y each."""
        network = self.network
        return list(np.split(network.vertices, network.starts[1:-1])) if len(network) else []


def extract_roads(path: Path, settings: VectorizeSettings, listener: Listener) -> ExtractedRoads:
    """Extract the road network of a raster.

    Parameters
    ----------
    path
        Raster of road probability, or a mask.
    settings
        Settings for the extraction of lines.
    listener
        Receives notes on the raster, and the progress.

    Raises
    ------
    SceneError
        If it cannot be read.
    """
    raster, notes = open_probability(path)
    with closing(raster), tempfile.TemporaryDirectory(prefix="roadseg-") as folder:
        for note in notes:
            listener.report(note)
        if raster.is_mask and settings.threshold is not None:
            listener.warn(f"--threshold changed nothing: {path} is a mask")
        network = extract(ExtractionPlan(raster, settings), Path(folder), listener)
        ground = valid_ground(raster, raster.grid)
    if not isinstance(network, RoadNetwork):
        raise TypeError("areas were asked for, not lines")
    if ground is None:
        return ExtractedRoads(network, raster.attribution, _outline(raster.grid), has_nodata=False)
    return ExtractedRoads(network, raster.attribution, ground, has_nodata=True)


def _outline(grid: Grid) -> shapely.Polygon:
    corners = ((0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height))
    return shapely.Polygon([grid.transform @ corner for corner in corners])
