"""Pairs of files to compare, and counting pairs of rasters block by block.

Two files make a pair, or those of two folders with the same stem. Rasters are counted in memory that
does not depend on their size.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import SceneError
from roadseg.evaluation import error_map as errors
from roadseg.files import RASTERS, files_by_stem, match_stems, shortened
from roadseg.metrics import cldice, pixels
from roadseg.progress import Listener
from roadseg.raster.class_map import ClassMap
from roadseg.raster.grid import Grid
from roadseg.raster.road_raster import RasterKind, RoadRaster, ValueScan, grid_mismatch, mask_kind
from roadseg.raster.scene import Scene, SceneSettings
from roadseg.settings import EvaluateSettings, Neighbourhood
from roadseg.windows import Window, square_windows

VECTORS = (
    ".gpkg",
    ".geojson",
    ".json",
    ".geojsonl",
    ".geojsons",
    ".fgb",
    ".shp",
    ".parquet",
    ".gml",
    ".kml",
    ".sqlite",
)
"""Endings of files that hold networks; everything else is a raster."""

_PICTURE_PX = 1000
_SAME_SIZE = 0.01

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """A prediction and the truth it is held against, under one name, and an image to show beneath."""

    name: str
    prediction: Path
    truth: Path
    image: Path | None = None


def find_pairs(prediction: Path, truth: Path, images: Path | None = None) -> tuple[list[Pair], list[str]]:
    """Match two files, or the files of two folders by stem, and say which have no partner.

    Raises
    ------
    SceneError
        If one is a folder and the other is not, or no stem is in both.
    """
    for path in (prediction, truth, *([images] if images else [])):
        if not path.exists():
            raise SceneError(f"{path} does not exist; check the path")
    if prediction.is_dir() != truth.is_dir():
        folder, file = (prediction, truth) if prediction.is_dir() else (truth, prediction)
        raise SceneError(f"{folder} is a folder and {file} is not; give two files or two folders")
    if not prediction.is_dir():
        image = images / prediction.name if images and images.is_dir() else images
        return [Pair(prediction.stem, prediction, truth, image if image and image.exists() else None)], []
    matched = match_stems(prediction, truth, RASTERS + VECTORS)
    shown = files_by_stem(images, RASTERS + VECTORS) if images and images.is_dir() else {}
    if not matched.pairs:
        names = " against ".join(shortened(alone) or "none" for alone in matched.alone)
        raise SceneError(f"no file in {prediction} has the stem of one in {truth} ({names}); rename them alike")
    notes = [
        f"{len(alone)} of {folder} without a partner, not scored: {shortened(alone)}"
        for folder, alone in zip((prediction, truth), matched.alone, strict=True)
        if alone
    ]
    return [Pair(stem, *files, shown.get(stem)) for stem, files in matched.pairs.items()], notes


def is_network(path: Path) -> bool:
    """Say whether a file is taken for a vector file, by its ending."""
    return path.suffix.lower() in VECTORS


class Counter:
    """Counts pairs of rasters block by block, all in the same way."""

    def __init__(self, kinds: tuple[RasterKind, RasterKind], settings: EvaluateSettings, listener: Listener) -> None:
        self.kinds, self.settings, self.listener = kinds, settings, listener
        self.notes: list[str] = []
        self.noted: set[str] = set()
        self._slack_px = 0.0

    def megapixels(self, pair: Pair) -> float:
        """Return the size of a pair's truth."""
        with RoadRaster(pair.truth) as truth:
            return truth.grid.window.area / 1e6

    def count(self, pair: Pair) -> pixels.PixelCounts:
        """Count what depends on no threshold."""
        with self._open(pair) as (prediction, truth):
            self.noted.add(prediction.tags.get("ROADSEG_THRESHOLD", ""))
            how = self._how(truth)
            total = pixels.no_pixels(slack_px=how[0], neighbourhood=how[1])
            for window, core, values, label in self._blocks(prediction, truth, pixels.halo_px(how[0])):
                total += pixels.count_pixels(values, label, slack_px=how[0], neighbourhood=how[1], core=core)
                self.listener.advance(window.area / 1e6)
        return total

    def look_closer(
        self, pair: Pair, level: int, target: Path | None, *, picture: bool
    ) -> tuple[cldice.ClDiceCounts | None, str]:
        """Count skeletons, write the map of errors, and paint a picture, as asked for."""
        if not (self.settings.cldice or target or picture):
            return None, ""
        skeletons = cldice.ClDiceCounts()
        with ExitStack() as stack:
            prediction, truth = stack.enter_context(self._open(pair))
            grid, (slack, shape) = truth.grid, self._how(truth)
            tags = {"ROADSEG_THRESHOLD": f"{level / pixels.FULL:g}", "ROADSEG_SLACK": f"{slack:g} px, {shape}"}
            chart = stack.enter_context(ClassMap(target, grid, errors.COLOURS, tags)) if target else None
            factor = -(-max(grid.height, grid.width) // _PICTURE_PX)
            parts = np.zeros((4, -(-grid.height // factor), -(-grid.width // factor)), np.float32)
            halo = max(pixels.halo_px(slack), cldice.HALO_PX if self.settings.cldice else 0)
            for window, core, values, label in self._blocks(prediction, truth, halo, multiple=factor):
                if self.settings.cldice:
                    known = ((values != pixels.VOID) & (label != pixels.VOID)).view(np.uint8)
                    road = (values >= level).view(np.uint8), (label == 1).view(np.uint8)
                    skeletons += cldice.count_skeletons(*road, known=known, core=core)
                if chart or picture:
                    kinds = errors.classify(values, label, level=level, slack_px=slack, neighbourhood=shape)[core]
                    if chart:
                        chart.write(window, kinds)
                    row, col = window.row // factor, window.col // factor
                    share = errors.shares(kinds, factor)
                    parts[:, row : row + share.shape[1], col : col + share.shape[2]] = share
                self.listener.advance(window.area / 1e6)
        painted = (
            errors.png_base64(errors.paint(parts, _backdrop(pair.image, grid, parts.shape[1:]))) if picture else ""
        )
        return skeletons if self.settings.cldice else None, painted

    @contextmanager
    def _open(self, pair: Pair) -> Iterator[tuple[RoadRaster, RoadRaster]]:
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
                note = "predictions on another grid were resampled to the truth's"
                self.notes += [note] if note not in self.notes else []
            yield prediction, truth

    def _how(self, truth: RoadRaster) -> tuple[float, Neighbourhood]:
        """Return slack in pixels and its shape, the same for all pairs."""
        if not self.settings.slack_in_metres:
            return self.settings.slack, self.settings.neighbourhood
        size = truth.grid.pixel_size_m()
        if size is None:
            raise SceneError(f"{truth.path} has no CRS to measure metres in; give --slack in pixels")
        slack_px = self.settings.slack / math.sqrt(size[0] * size[1])
        if abs(slack_px - round(slack_px)) < _SAME_SIZE:  # a projection's scale must not cost a whole pixel
            slack_px = float(round(slack_px))
        self._slack_px = self._slack_px or slack_px
        if abs(slack_px - self._slack_px) > _SAME_SIZE * slack_px:
            raise SceneError(f"{truth.path} has pixels of another size than the first; give --slack in pixels")
        return self._slack_px, self.settings.neighbourhood

    def _blocks(
        self, prediction: RoadRaster, truth: RoadRaster, halo: int, *, multiple: int = 1
    ) -> Iterator[tuple[Window, tuple[slice, slice], Bytes, Bytes]]:
        """Yield each block's window, its place in the arrays read with a halo, and the arrays."""
        side = max(1, self.settings.block_px // multiple) * multiple
        for window in square_windows(truth.grid.window, side):
            seen = window.grown(halo).intersection(truth.grid.window)
            values, label = prediction.read(seen), truth.read(seen)
            yield window, window.slices(seen), _as_levels(values, self.kinds[0]), _as_label(label, truth)


def _as_levels(values: Bytes, kind: RasterKind) -> Bytes:
    """Give road in a mask the value of probability one."""
    if kind == "probability":
        return values
    return np.where(values == 1, np.uint8(pixels.FULL), values)


def _as_label(label: Bytes, truth: RoadRaster) -> Bytes:
    """Turn a truth of floats into 0 and 1; anything between is no truth."""
    if not truth.is_scaled:
        return label
    if not np.isin(label, (0, pixels.FULL, pixels.VOID)).all():
        raise SceneError(f"{truth.path} holds probabilities; a truth is 0 and 1, threshold it first")
    return np.where(label == pixels.FULL, np.uint8(1), label)


def kind_of(paths: Sequence[Path], notes: list[str]) -> RasterKind:
    """Find out what the files of one side hold, together: a tile without road cannot tell alone."""
    found: ValueScan | None = None
    scaled = []
    for path in paths:
        with RoadRaster(path) as raster:
            scaled.append(raster.is_scaled)
            if not raster.is_scaled:
                values = raster.values()
                found = found | values if found else values
    if all(scaled):
        return "probability"
    if any(scaled) or found is None:
        raise SceneError(f"{paths[0].parent} holds probabilities and masks; evaluate them apart")
    kind = mask_kind(found)
    if kind is None:
        raise SceneError(
            f"{paths[0]} holds grey values but no scale; if they are probabilities say so, with "
            "gdal_edit -scale 0.00392157 for 0–255, else make a mask of 0 and 1"
        )
    if kind == "mask 0/255":
        where = paths[0] if len(paths) == 1 else paths[0].parent
        notes.append(f"{where}: masks of 0 and 255, 255 taken for road")
    return kind


def _backdrop(image: Path | None, grid: Grid, size: tuple[int, ...]) -> Bytes | None:
    """Return the imagery under a picture as (3, rows, cols) uint8, if it lies on the same grid."""
    if image is None:
        return None
    with Scene(str(image), SceneSettings(any_gsd=True)) as scene:
        if (scene.grid.height, scene.grid.width) != (grid.height, grid.width):
            return None
        return scene.picture(scene.grid.window, size[0], size[1])
