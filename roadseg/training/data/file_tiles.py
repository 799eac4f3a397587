"""Labelled images that stay on disk and are read crop by crop, by several threads."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadseg.raster.area import Area
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

    def close(self) -> None:
        """Close those of the calling thread."""
        while self._kept:
            self._kept.popitem()[1].close()


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
    aoi
        Where it is labelled; None is everywhere.
    """

    pair: TilePair
    settings: SceneSettings
    kind: RasterKind
    grid: Grid
    pixel_m: float | None
    image_bands: int
    files: OpenFiles
    dev_blocks: DevBlocks | None = None
    aoi: Area | None = None
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
        found = found._replace(label=self.inside_aoi(found.label, window))
        if self.dev_blocks is None or not self.dev_blocks.blocks:
            return found
        label, valid = found.label.copy(), found.valid & ~self.dev_blocks.inside(window)
        label[self.dev_blocks.with_margin(window)] = VOID
        return LabelledPixels(found.image, label, valid)

    def inside_aoi(self, label: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
        """Return the labels of a window, (height, width), void outside the area of interest."""
        covered = self.aoi.covers(self.grid, window) if self.aoi else None
        return label if covered is None else np.where(covered, label, np.uint8(VOID))

    def with_pixel_size(self, pixel_m: float | None) -> "FileTile":
        """Return a tile whose file does not state the size of its pixels with one given; others stay as they are."""
        if self.pixel_m:
            return self
        return replace(self, pixel_m=pixel_m, settings=replace(self.settings, pixel_m=pixel_m))

    def read_whole(self) -> MemoryTile:
        """Read the tile into memory."""
        found = self.labelled(self.grid.window)
        return MemoryTile(self.name, found.image, found.label, found.valid, self.pixel_m)

    def open(self, fill: tuple[float, ...]) -> LabelledScene:
        """Open the pair with nothing held out, and nodata pixels in the colour that prediction gives them."""
        return LabelledScene(*self.pair, replace(self.settings, fill=fill), self.kind)


def lasting_names(tiles: Sequence[FileTile]) -> dict[TilePair, str]:
    """Return names that stay when folders are moved or renamed: those of the files, numbered where some are equal.

    Random choices depend on these names.
    """
    seen, names = Counter[str](), {}
    for tile in tiles:
        name = tile.pair.image.name
        seen[name] += 1
        names[tile.pair] = name if seen[name] == 1 else f"{name}/{seen[name]}"
    return names


@dataclass(frozen=True)
class DevArea:
    """Ground to validate on: a whole tile, or a block of it.

    Parameters
    ----------
    tile
        The tile that it lies in.
    window
        Its place there.
    shift
        Rows and columns by which the labels lie too far up and to the left.
    """

    tile: FileTile
    window: Window
    shift: tuple[int, int] = (0, 0)

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
        label = shifted(self.tile.inside_aoi(scene.read_label(self.window), self.window), self.shift)
        if self.tile.dev_blocks is not None:
            label = np.where(self.tile.dev_blocks.inside(self.window), label, np.uint8(VOID))
        return label

    def road_px(self, fill: tuple[float, ...]) -> int:
        """Return the number of road pixels in the window."""
        with self.open(fill) as scene:
            return int((self.label(scene) == 1).sum())


def shifted(label: NDArray[np.uint8], shift: tuple[int, int]) -> NDArray[np.uint8]:
    """Return labels (height, width) moved down and right by rows and columns; what comes into view is void."""
    if shift == (0, 0):
        return label
    height, width = label.shape
    moved = np.full_like(label, VOID)
    source = Window(-shift[0], -shift[1], height, width).intersection(Window(0, 0, height, width))
    target = Window(source.row + shift[0], source.col + shift[1], source.height, source.width)
    moved[target.slices()] = label[source.slices()]
    return moved
