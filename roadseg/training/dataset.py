"""Training tiles and the random crops drawn from them.

A tile is drawn in proportion to its labelled area, then a position inside it, so that every
labelled pixel is about equally likely. Crops depend on nothing but ``(seed, step)``: a resumed
run sees exactly the crops that the uninterrupted run would have seen, and no generator state has
to be saved.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import TrainingError

VOID = 255
"""Label of a pixel that counts nowhere: not in the loss, not in a metric."""

_TRIES = 20


@dataclass(frozen=True)
class Tile:
    """One labelled image.

    Parameters
    ----------
    name
        For messages.
    image
        (bands, height, width) uint8.
    label
        (height, width) uint8: 1 road, 0 not road, 255 void.
    valid
        (height, width) bool: where the image is known.
    pixel_m
        Metres per pixel, None if the file does not know.
    """

    name: str
    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    pixel_m: float | None = None


@dataclass(frozen=True)
class Batch:
    """Crops: ``images`` (n, bands, crop, crop) uint8 and ``labels`` (n, crop, crop) uint8."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


class Tiles:
    """Labelled images in memory, ready to be cropped.

    Parameters
    ----------
    tiles
        At least one, all with the same number of bands.
    crop
        Side of a crop in pixels.

    Raises
    ------
    TrainingError
        If there is no tile, a tile is smaller than a crop, nothing is labelled, or only one
        class occurs.
    """

    def __init__(self, tiles: Sequence[Tile], *, crop: int) -> None:
        if not tiles:
            raise TrainingError("there are no training tiles; give a folder with images/ and masks/")
        for tile in tiles:
            if min(tile.label.shape) < crop:
                raise TrainingError(f"{tile.name} is smaller than a crop of {crop} px; choose a smaller --crop")
        self.tiles, self.crop = tuple(tiles), crop
        labelled = np.array([np.count_nonzero(t.label != VOID) for t in tiles], dtype=np.float64)
        road = sum(int(np.count_nonzero(t.label == 1)) for t in tiles)
        if not labelled.any():
            raise TrainingError("every pixel of the masks is void (255); label some as road (1) and not road (0)")
        if road == 0 or road == labelled.sum():
            raise TrainingError("the masks hold only one class; they need both road (1) and not road (0) pixels")
        self.road_fraction = road / float(labelled.sum())
        self._shares = labelled / labelled.sum()

    def pixel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation per band on a 0–1 scale, void pixels left out."""
        count, total, squares = 0, 0.0, 0.0
        for tile in self.tiles:
            pixels = tile.image[:, tile.label != VOID].astype(np.float64) / 255
            count += pixels.shape[1]
            total = total + pixels.sum(axis=1)
            squares = squares + np.square(pixels).sum(axis=1)
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - np.square(mean), 1e-12))
        return tuple(np.atleast_1d(mean).tolist()), tuple(np.atleast_1d(std).tolist())

    def fill(self, colour: Sequence[float]) -> None:
        """Give unknown image pixels a colour (0–1 scale), in place, as prediction will do."""
        levels = np.rint(np.array(colour) * 255).astype(np.uint8)
        for tile in self.tiles:
            np.copyto(tile.image, levels[:, None, None], where=~tile.valid)

    def draw(self, count: int, *, seed: int, step: int) -> Batch:
        """Draw the crops of one training step, the same ones for the same seed and step."""
        rng = np.random.default_rng([seed, step])
        crops = [self._draw_one(rng) for _ in range(count)]
        return Batch(np.stack([image for image, _ in crops]), np.stack([label for _, label in crops]))

    def _draw_one(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        for _ in range(_TRIES):
            tile = self.tiles[rng.choice(len(self.tiles), p=self._shares)]
            height, width = tile.label.shape
            row = int(rng.integers(height - self.crop + 1))
            col = int(rng.integers(width - self.crop + 1))
            place = np.s_[row : row + self.crop, col : col + self.crop]
            label = tile.label[place]
            if np.mean(label != VOID) >= 0.5:
                break
        return tile.image[:, place[0], place[1]], label
