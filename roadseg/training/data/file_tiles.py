"""Labelled images that stay on disk and are read crop by crop, by several threads."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadseg.raster.grid import Grid
from roadseg.raster.kind import RasterKind
from roadseg.raster.labelled_scene import VOID, LabelledPixels, LabelledScene
from roadseg.raster.scene_settings import SceneSettings
from roadseg.training.data.holdout_blocks import DevBlocks
from roadseg.training.data.pairs import TilePair
from roadseg.training.data.tiles import MemoryTile
from roadseg.windows import Window

_OPEN = 12
"""Pairs of files that a thread keeps open."""


class OpenFiles(threading.local):
    """The pairs of files that each thread has open, those used last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Path, Path], LabelledScene] = OrderedDict()

    def of(self, tile: "FileTile") -> LabelledScene:
        """Return the open files of a tile."""
        if tile.pair not in self._kept:
            self._kept[tile.pair] = LabelledScene(*tile.pair, tile.settings, tile.kind)
            while len(self._kept) > _OPEN:
                self._kept.popitem(last=False)[1].close()
        self._kept.move_to_end(tile.pair)
        return self._kept[tile.pair]


@dataclass
class FileTile:
    """An image on disk with its mask.

    Parameters
    ----------
    pair
        The files.
    settings
        How to read them.
    kind
        What the values of the mask mean.
    grid
        Grid that they are read on.
    pixel_m
        Metres per pixel of the file, None if it does not say.
    image_bands
        Number of bands of the image, used or not, without an alpha band.
    files
        Open files, shared by the tiles of a run.
    dev_blocks
        Blocks of it that are held out for validation.
    """

    pair: TilePair
    settings: SceneSettings
    kind: RasterKind
    grid: Grid
    pixel_m: float | None
    image_bands: int
    files: OpenFiles
    dev_blocks: DevBlocks | None = None
    _levels: NDArray[np.uint8] | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return str(self.pair.image)

    @property
    def bands(self) -> int:
        """How many bands of the image are used."""
        return self.settings.band_count

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.grid.height, self.grid.width

    @property
    def in_memory(self) -> bool:
        """False."""
        return False

    def read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return image (bands, height, width) and label (height, width) in a window inside it."""
        found = self.labelled(window)
        if self._levels is not None and not found.valid.all():
            np.copyto(found.image, self._levels[:, None, None], where=~found.valid)
        return found.image, found.label

    def fill(self, levels: NDArray[np.uint8]) -> None:
        """Set nodata pixels of the image to a colour, (bands,) uint8, from now on."""
        self._levels = levels

    def labelled(self, window: Window) -> LabelledPixels:
        """Return a window as training may see it: without what is held out."""
        found = self.files.of(self).read(window)
        if self.dev_blocks is None or not self.dev_blocks.blocks:
            return found
        label, valid = found.label.copy(), found.valid & ~self.dev_blocks.inside(window)
        label[self.dev_blocks.with_margin(window)] = VOID
        return LabelledPixels(found.image, label, valid)

    def read_whole(self) -> MemoryTile:
        """Read the tile into memory."""
        found = self.labelled(self.grid.window)
        return MemoryTile(self.name, found.image, found.label, found.valid, self.pixel_m)

    def open(self, fill: tuple[float, ...]) -> LabelledScene:
        """Open the pair with nothing held out, and nodata pixels in the colour that prediction gives them."""
        return LabelledScene(*self.pair, replace(self.settings, fill=fill), self.kind)


@dataclass(frozen=True)
class DevArea:
    """Ground to validate on: a whole tile, or a block of it.

    Parameters
    ----------
    tile
        The tile that it lies in.
    window
        Its place there.
    """

    tile: FileTile
    window: Window

    @property
    def name(self) -> str:
        """File name of the image, and where the window begins if it is not the whole image."""
        stem = self.tile.pair.image.stem
        return stem if self.window == self.tile.grid.window else f"{stem} at {self.window.col}, {self.window.row}"

    def open(self, fill: tuple[float, ...]) -> LabelledScene:
        """Open image and mask."""
        return self.tile.open(fill)

    def label(self, scene: LabelledScene) -> NDArray[np.uint8]:
        """Return the labels in the window, (height, width) uint8; what belongs to training is void."""
        label = scene.read_label(self.window)
        if self.tile.dev_blocks is not None:
            label = np.where(self.tile.dev_blocks.inside(self.window), label, np.uint8(VOID))
        return label
