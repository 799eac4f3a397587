"""The lines of a raster of roads, extracted as ``roadseg vectorize`` does, for comparisons with lines from files."""

import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadseg.progress import Listener
from roadseg.raster.probability import open_probability
from roadseg.roads.extract import ExtractionPlan, extract
from roadseg.roads.network import RoadNetwork
from roadseg.settings import VectorizeSettings


def extract_network(path: Path, settings: VectorizeSettings, listener: Listener) -> tuple[RoadNetwork, str]:
    """Extract the road network of a raster.

    Parameters
    ----------
    path
        Raster of road probability, or a mask.
    settings
        Settings for the extraction of lines.
    listener
        Receives notes on the raster, and the progress.

    Returns
    -------
    The network, and whom to credit for the raster; empty if it does not say.

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
    if not isinstance(network, RoadNetwork):
        raise TypeError("areas were asked for, not lines")
    return network, raster.attribution


def lines_of(network: RoadNetwork) -> list[NDArray[np.float64]]:
    """Return the lines of a network, (vertices, 2) float64 x, y each."""
    return list(np.split(network.vertices, network.starts[1:-1])) if len(network) else []
