"""Labelled tiles and the random crops drawn from them.

Crop number i of a run depends only on the seed, i and the labels: not on whether tiles lie in memory or on disk, nor on
the crops before. So a resumed run sees exactly the crops that the uninterrupted run would have seen, and threads can
draw crops ahead while the device computes.
"""

import hashlib
import json
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from roadseg.errors import TrainingError, counted
from roadseg.files.processors import processor_count
from roadseg.raster.labelled_scene import VOID
from roadseg.training.data.sampling import CellCounts, count_cells, crop_positions
from roadseg.windows import Window

Bytes = NDArray[np.uint8]

_CELLS = 1 << 21
"""Most cells that the pixels of all tiles are counted in; larger data get larger cells."""

_AHEAD = 2
"""Batches drawn ahead, besides those that threads are working on."""


class LabelledTile(Protocol):
    """A labelled image to draw crops from, in memory or on disk; several threads may read it."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def bands(self) -> int:
        """Number of bands."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""

    @property
    def pixel_m(self) -> float | None:
        """Metres per pixel, None if the file does not say."""

    @property
    def in_memory(self) -> bool:
        """Whether reading costs no more than copying."""

    def read(self, window: Window) -> tuple[Bytes, Bytes]:
        """Return image (bands, height, width) and label (height, width) in a window inside it."""

    def fill(self, levels: Bytes) -> None:
        """Set nodata pixels of the image to a colour, (bands,) uint8, from now on."""


@dataclass(frozen=True)
class MemoryTile:
    """One labelled image in memory.

    Parameters
    ----------
    name
        For messages.
    image
        (bands, height, width) uint8.
    label
        (height, width) uint8: 1 road, 0 not road, 255 void.
    valid
        (height, width) bool: where the image has data.
    pixel_m
        Metres per pixel, None if the file does not say.
    """

    name: str
    image: Bytes
    label: Bytes
    valid: NDArray[np.bool_]
    pixel_m: float | None = None

    @property
    def bands(self) -> int:
        """Number of bands."""
        return len(self.image)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.label.shape[0], self.label.shape[1]

    @property
    def in_memory(self) -> bool:
        """True."""
        return True

    def read(self, window: Window) -> tuple[Bytes, Bytes]:
        """Return views of image and label."""
        place = window.slices()
        return self.image[:, place[0], place[1]], self.label[place]

    def fill(self, levels: Bytes) -> None:
        """Set nodata pixels of the image to a colour, in place."""
        np.copyto(self.image, levels[:, None, None], where=~self.valid)


@dataclass(frozen=True)
class CropBatch:
    """The crops of one step.

    Parameters
    ----------
    pixels
        (n, bands + 1, side, side) uint8, contiguous, so that one copy takes it to a device: image bands, then label.
    """

    pixels: Bytes

    @property
    def images(self) -> Bytes:
        """(n, bands, side, side) uint8."""
        return self.pixels[:, :-1]

    @property
    def labels(self) -> Bytes:
        """(n, side, side) uint8."""
        return self.pixels[:, -1]


class TileDataset:
    """Labelled images, ready to be cropped.

    Parameters
    ----------
    tiles
        At least one, all with the same number of bands; one smaller than a crop is mirrored, its mirror image void.
    crop
        Side of a crop in pixels.
    road_share
        Share of the crops that is drawn in proportion to the road in them; the rest is drawn evenly.
    threads
        Threads that draw ahead; None takes 2 for tiles in memory, else one per processor and 16 at most.

    Attributes
    ----------
    bands
        Number of bands of all tiles.
    road_fraction
        Share of road among the labelled pixels.

    Raises
    ------
    TrainingError
        If there is no tile, nothing is labelled, or only one class occurs.
    """

    def __init__(
        self,
        tiles: Sequence[LabelledTile],
        *,
        crop: int,
        road_share: float = 0.0,
        threads: int | None = None,
    ) -> None:
        if not tiles:
            raise TrainingError("there are no training tiles; give a folder with images/ and masks/")
        self.tiles, self.crop, self.bands, self._road_share = tuple(tiles), crop, tiles[0].bands, road_share
        odd = next((tile for tile in tiles if tile.bands != self.bands), None)
        if odd:
            raise TrainingError(
                f"{odd.name} has {counted(odd.bands, 'band')}, {tiles[0].name} {self.bands}; choose with --bands"
            )
        in_memory = all(tile.in_memory for tile in tiles)
        self._threads = threads or min(2 if in_memory else 16, processor_count())
        self._moments, labelled, self.road_fraction = np.zeros((3, self.bands)), 0, 0.0
        cells = self._count(cell_px([tile.shape for tile in tiles], crop))
        for counts in cells:
            self._moments += counts.moments
            labelled += int(counts.known.sum())
            self.road_fraction += float(counts.road.sum())
        if not labelled:
            raise TrainingError(
                "every pixel is void in the masks (255) or nodata in the images; label some as road (1) and not road "
                "(0), or mend the nodata value of the images"
            )
        self.road_fraction /= labelled
        if self.road_fraction in {0.0, 1.0}:
            some_void = labelled < sum(rows * cols for rows, cols in (tile.shape for tile in tiles))
            raise TrainingError(_one_class(all_road=bool(self.road_fraction), some_void=some_void))
        self._positions = crop_positions(cells, crop=crop, road_share=road_share)

    def pixel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation per band on a 0–1 scale, void pixels left out."""
        count, total, squares = self._moments
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - np.square(mean), 1e-12 * 255**2))
        return tuple((mean / 255).tolist()), tuple((std / 255).tolist())

    def fingerprint(self) -> str:
        """Return a hash of tile sizes, sums of pixel values and the amount of road, to recognize other data by."""
        shapes = [tile.shape for tile in self.tiles]
        facts = [shapes, self.crop, self._road_share, self.road_fraction, self._moments.tolist()]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def fill(self, colour: Sequence[float]) -> None:
        """Set nodata pixels to a colour on the 0–1 scale, as prediction does."""
        levels = np.rint(np.array(colour) * 255).astype(np.uint8)
        for tile in self.tiles:
            tile.fill(levels)

    def draw(self, count: int, *, seed: int, step: int, margin_px: int = 0) -> CropBatch:
        """Draw the crops of one training step: those numbered from ``step * count``."""
        return self.crops(range(step * count, (step + 1) * count), seed=seed, margin_px=margin_px)

    def crops(self, numbers: Sequence[int], *, seed: int, margin_px: int = 0) -> CropBatch:
        """Draw crops by their numbers.

        Parameters
        ----------
        numbers
            Crop numbers; the same number is the same crop.
        seed
            Seed of the run; another one gives other crops to the same numbers.
        margin_px
            Pixels added on each side of a crop; beyond a tile's border the image is mirrored and the label void.

        Raises
        ------
        SceneError
            If a file can no longer be read.
        """
        side = self.crop + 2 * margin_px
        pixels = np.empty((len(numbers), self.bands + 1, side, side), dtype=np.uint8)
        for out, number in zip(pixels, numbers, strict=True):
            tile, row, col = self._positions.draw(np.random.default_rng([seed, number]))
            copy_window(self.tiles[tile], Window(row - margin_px, col - margin_px, side, side), out)
        return CropBatch(pixels)

    def stream(
        self, batches: Iterable[Sequence[int]], *, seed: int, margin_px: int = 0
    ) -> Generator[CropBatch, None, None]:
        """Yield batches of numbered crops in order, drawn ahead by threads; close it if you stop early."""
        waiting: deque[Future[CropBatch]] = deque()
        pool = ThreadPoolExecutor(self._threads, "roadseg-crops")
        try:
            for numbers in batches:
                waiting.append(pool.submit(self.crops, numbers, seed=seed, margin_px=margin_px))
                if len(waiting) >= self._threads + _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _count(self, cell: int) -> list[CellCounts]:
        def count(tile: LabelledTile) -> CellCounts:
            return count_cells(tile.read, tile.shape, tile.bands, cell)

        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(count, self.tiles))


def _one_class(*, all_road: bool, some_void: bool) -> str:
    """Return the message for masks that hold only road, or only what is not road."""
    message = "the masks hold only one class; they need both road (1) and not road (0) pixels"
    if not some_void:
        return message
    lost = "0 is not road" if all_road else "255 is road"
    return f"{message}; where {lost} and a nodata tag hides it, take that away with gdal_edit.py -unsetnodata"


def cell_px(shapes: Sequence[tuple[int, int]], crop: int) -> int:
    """Return the side of the cells that pixels are counted in: 8 px, more if there would be too many cells."""
    cell = 8
    while sum(-(-height // cell) * -(-width // cell) for height, width in shapes) > _CELLS:
        cell *= 2
    return max(1, min(cell, crop // 4))


def copy_window(tile: LabelledTile, window: Window, out: Bytes) -> None:
    """Copy a window to ``out``, (bands + 1, height, width); beyond the tile it is mirrored and void."""
    real = window.intersection(Window(0, 0, *tile.shape))
    image, label = tile.read(real)
    if real == window:
        out[:-1], out[-1] = image, label
        return
    top, left = real.row - window.row, real.col - window.col
    bottom, right = window.row_stop - real.row_stop, window.col_stop - real.col_stop
    for target, band in zip(out, image, strict=False):
        target[:] = cv2.copyMakeBorder(band, top, bottom, left, right, cv2.BORDER_REFLECT_101)
    out[-1] = VOID
    out[-1][real.slices(window)] = label
