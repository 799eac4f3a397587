"""Reading a prediction and its truth together, block by block, on the truth's grid.

Whatever the two files hold, a block gives probability × 254 on one side and 0 or 1 on the other, 255 for
nodata on both. Blocks carry a halo, so counts of their cores add up to those of the whole raster, and
memory does not depend on the raster's size.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import SceneError
from roadseg.evaluation.pairs import ScoredPair
from roadseg.metrics.pixels import FULL, VOID
from roadseg.raster.grid import Grid
from roadseg.raster.kind import RasterKind, ValueScan, settle_kind
from roadseg.raster.road_raster import RoadRaster, grid_mismatch
from roadseg.settings import EvaluateSettings, Neighbourhood
from roadseg.windows import Window, square_windows

_SAME_SIZE = 0.01

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class PairBlock:
    """One block of a prediction and its truth, read with a halo.

    Parameters
    ----------
    window
        The block itself, on the truth's grid.
    core
        Rows and columns of the block within the arrays.
    probability
        (height, width) uint8, predicted probability × 254; 255 is nodata.
    label
        (height, width) uint8: 1 road, 0 not road, 255 nodata.
    """

    window: Window
    core: tuple[slice, slice]
    probability: Bytes
    label: Bytes


@dataclass(frozen=True)
class OpenPair:
    """A prediction and its truth, open on one grid.

    Parameters
    ----------
    prediction, truth
        The rasters.
    is_mask
        Whether the prediction is a mask, not probabilities.
    slack_px, neighbourhood
        Slack of the relaxed measures, in pixels of the grid, and its shape.
    """

    prediction: RoadRaster
    truth: RoadRaster
    is_mask: bool
    slack_px: float
    neighbourhood: Neighbourhood

    @property
    def grid(self) -> Grid:
        """The truth's grid."""
        return self.truth.grid

    @property
    def stored_threshold(self) -> str:
        """The threshold stored in the prediction, empty if there is none."""
        return self.prediction.tags.get("ROADSEG_THRESHOLD", "")

    def blocks(self, side_px: int, *, halo_px: int) -> Iterator[PairBlock]:
        """Yield the blocks of the grid, row by row."""
        for window in square_windows(self.grid.window, side_px):
            seen = window.grown(halo_px).intersection(self.grid.window)
            values = self.prediction.read(seen)
            # road in a mask has the probability one
            probability = np.where(values == 1, np.uint8(FULL), values) if self.is_mask else values
            yield PairBlock(window, window.slices(seen), probability, self._label(seen))

    def _label(self, window: Window) -> Bytes:
        """Read the truth; one stored as floats becomes 0 and 1, and a value in between is an error."""
        values = self.truth.read(window)
        if not self.truth.is_scaled:
            return values
        if not np.isin(values, (0, FULL, VOID)).all():
            raise SceneError(f"{self.truth.path} holds probabilities; a truth is 0 and 1, threshold it first")
        return np.where(values == FULL, np.uint8(1), values)


class PairReader:
    """Opens pairs of rasters, all under the same settings.

    Parameters
    ----------
    kinds
        What the predictions hold, and what the truths hold.
    settings
        Settings for the slack and for resampling.

    Attributes
    ----------
    notes
        Sentences on what was done to a raster so that it can be compared.
    """

    def __init__(self, kinds: tuple[RasterKind, RasterKind], settings: EvaluateSettings) -> None:
        self.kinds, self.settings = kinds, settings
        self.notes: list[str] = []
        self._slack_px = 0.0

    @contextmanager
    def open(self, pair: ScoredPair) -> Iterator[OpenPair]:
        """Context manager that opens both rasters on the truth's grid.

        Raises
        ------
        SceneError
            If the grids differ and resampling is not allowed, or the slack cannot be converted to pixels.
        """
        with RoadRaster(pair.prediction) as prediction, RoadRaster(pair.truth) as truth:
            prediction.interpret_as(self.kinds[0])
            truth.interpret_as(self.kinds[1])
            reason = grid_mismatch(prediction, truth)
            if reason and not self.settings.resample:
                raise SceneError(
                    f"{pair.prediction} {reason} of {pair.truth}; add --resample to bring it to the truth's grid"
                )
            if reason:
                prediction.reproject_to(truth.grid)
                self.notes = ["predictions on another grid were resampled to the truth's"]
            is_mask, slack_px = self.kinds[0] != "probability", self._slack_in_pixels(truth)
            yield OpenPair(prediction, truth, is_mask, slack_px, self.settings.neighbourhood)

    def _slack_in_pixels(self, truth: RoadRaster) -> float:
        """Return the slack in pixels, which must be the same for all pairs because their counts are added."""
        if not self.settings.slack_in_metres:
            return self.settings.slack_distance
        pixel_m = truth.grid.mean_pixel_m()
        if pixel_m is None:
            raise SceneError(f"{truth.path} has no CRS to measure metres in; give --slack in pixels")
        slack_px = self.settings.slack_distance / pixel_m
        if abs(slack_px - round(slack_px)) < _SAME_SIZE:  # a projection's scale must not cost a whole pixel
            slack_px = float(round(slack_px))
        self._slack_px = self._slack_px or slack_px
        if abs(slack_px - self._slack_px) > _SAME_SIZE * slack_px:
            raise SceneError(f"{truth.path} has pixels of another size than the first; give --slack in pixels")
        return self._slack_px


def megapixels(pair: ScoredPair) -> float:
    """Return the size of a pair's truth."""
    with RoadRaster(pair.truth) as truth:
        return truth.grid.window.area / 1e6


def common_kind(paths: Sequence[Path]) -> tuple[RasterKind, list[str]]:
    """Find out what the rasters of one side hold, from all of them together: a tile without road cannot tell alone.

    Returns
    -------
    The kind, and notes on what was assumed.

    Raises
    ------
    SceneError
        If there are both probabilities and masks, or values that are neither.
    """
    values: ValueScan | None = None
    scaled = []
    for path in paths:
        with RoadRaster(path) as raster:
            scaled.append(raster.is_scaled)
            if not raster.is_scaled:
                values = values | raster.values() if values else raster.values()
    if all(scaled):
        return "probability", []
    if any(scaled) or values is None:
        raise SceneError(f"{paths[0].parent} holds probabilities and masks; evaluate them apart")
    return settle_kind(values, paths[0] if len(paths) == 1 else paths[0].parent)
