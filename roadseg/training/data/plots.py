"""Plots: the parts of labelled scenes that adapting reads, and how they are kept apart.

A scene is cut into squares, and only some of a large one are read. A part of them is learned from, another calibrates,
and a third gives the figures before and after. Where there are few squares, each of them is cut instead:

    ┌──────────────────┬─┬──────┐
    │                  │m│score │
    │ learn            │a│      │
    │                  │r├──────┤
    │                  │g│cali- │
    │                  │in│brate│
    └──────────────────┴─┴──────┘

Ground is held apart in the coordinates of the CRS, so that overlapping scenes cannot bring it back.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import shapely
from numpy.typing import NDArray

from roadseg.errors import counted
from roadseg.raster.labelled_scene import VOID
from roadseg.training.data.file_tiles import DevArea, FileTile, shifted
from roadseg.training.data.tiles import MemoryTile
from roadseg.windows import Window

T = TypeVar("T")

SIDE_PX = 512
"""Side of a plot in pixels of the model, about."""

MOST = 64
"""Most plots that are read."""

MANY = 10
"""With fewer plots, each is cut into ground to learn from and ground that is kept apart."""

_EVERY, _SCORED, _CALIBRATED = 6, 2, 5
_STRIP, _SCORED_SHARE = 0.25, 0.6
_MARGIN_PX = 16
_LABELLED = 0.1
_LEAST_PX = 4
"""Side of the smallest plot from which strips can be cut."""


@dataclass(frozen=True)
class Plot:
    """A part of a labelled scene.

    Parameters
    ----------
    tile
        The scene with its labels.
    window
        Place of the plot there.
    image
        (bands, height, width) uint8.
    label
        (height, width) uint8: 1 road, 0 not road, 255 void.
    valid
        (height, width) bool: where the image has data.
    shift
        Rows and columns by which the file's labels were moved.
    """

    tile: FileTile
    window: Window
    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    shift: tuple[int, int] = (0, 0)

    @property
    def area(self) -> DevArea:
        """The plot as an area that can be predicted and scored."""
        return DevArea(self.tile, self.window, self.shift)

    @property
    def road_share(self) -> float:
        """Share of road among its labelled pixels."""
        return _road_share(self.label)

    def moved(self, shift: tuple[int, int]) -> "Plot":
        """Return the plot with labels moved by rows and columns."""
        total = (self.shift[0] + shift[0], self.shift[1] + shift[1])
        return replace(self, label=shifted(self.label, shift), shift=total)

    def tile_without(self, held: Sequence[DevArea], margin_px: int) -> MemoryTile:
        """Return the plot to learn from, with labels void on held ground and in a margin around it."""
        label = self.label.copy()
        for area in held:
            near = _place_in(self.tile, area).grown(margin_px).intersection(self.window)
            if near.area:
                label[near.slices(self.window)] = VOID
        return MemoryTile(self.area.name, self.image, label, self.valid, self.tile.pixel_m)


@dataclass(frozen=True)
class SplitPlots:
    """Plots to learn from, areas to calibrate on, areas that are only scored, and the plots that these lie in."""

    learn: tuple[MemoryTile, ...]
    calibration: tuple[DevArea, ...]
    score: tuple[DevArea, ...]
    scored_plots: tuple[DevArea, ...]

    def held_in_words(self) -> str:
        """Return for what ground is kept apart, for messages."""
        return (
            f"kept apart: {counted(len(self.calibration), 'area')} to calibrate and {len(self.score)} for the figures"
        )


def squares(window: Window, side: int) -> list[Window]:
    """Cut a window into equal parts, as near to squares of a side as it allows."""
    rows, cols = (max(1, round(n / side)) for n in (window.height, window.width))
    down = [window.row + window.height * i // rows for i in range(rows + 1)]
    across = [window.col + window.width * i // cols for i in range(cols + 1)]
    return [
        Window(top, left, bottom - top, right - left)
        for top, bottom in itertools.pairwise(down)
        for left, right in itertools.pairwise(across)
    ]


def choose_with_roads(windows: Sequence[Window], seed: int, most: int) -> Callable[[NDArray[np.object_]], list[Window]]:
    """Return a function that chooses, given the outlines of roads in pixels, the windows that hold some.

    Parameters
    ----------
    windows
        The windows to choose from.
    seed
        Seed of the choice if there are too many.
    most
        Number of windows that are all taken, with roads or not.
    """

    def choose(roads: NDArray[np.object_]) -> list[Window]:
        if len(windows) <= most:
            return list(windows)
        tree = shapely.STRtree(roads)
        boxes = [shapely.box(w.col, w.row, w.col_stop, w.row_stop) for w in windows]
        hit = np.unique(tree.query(boxes, predicate="intersects")[0]).tolist()
        return shuffled([windows[index] for index in hit], str(seed))[:most]

    return choose


def shuffled(things: Sequence[T], seed: str, key: Callable[[T], str] = str) -> list[T]:
    """Return things in an order that depends on the seed and their keys alone."""
    return sorted(things, key=lambda one: hashlib.sha256(f"{seed} {key(one)}".encode()).digest())


def read_plots(candidates: Sequence[tuple[FileTile, Window]], most: int = MOST) -> Iterator[Plot]:
    """Yield those of the candidates, in their order, that are labelled and not tiny, until there are enough.

    Their files are closed at the end.
    """
    found = 0
    try:
        for tile, window in candidates:
            if found >= most:
                return
            if min(window.height, window.width) < _LEAST_PX:
                continue
            pixels = tile.labelled(window)
            if (pixels.label != VOID).mean() >= _LABELLED:
                found += 1
                yield Plot(tile, window, pixels.image, pixels.label, pixels.valid)
    finally:
        for tile, _ in candidates:
            tile.files.close()


def split(plots: Sequence[Plot]) -> SplitPlots:
    """Split plots into ground to learn from, to calibrate on, and to score; each has about the same share of road."""
    if len(plots) < MANY:
        return _split_each(plots)
    ranked = sorted(plots, key=lambda plot: (plot.road_share, plot.area.name))
    held = {
        place: [plot.area for index, plot in enumerate(ranked) if index % _EVERY == place]
        for place in (_CALIBRATED, _SCORED)
    }
    learn = [plot for index, plot in enumerate(ranked) if index % _EVERY not in held]
    return _without_held(learn, held[_CALIBRATED], held[_SCORED], held[_SCORED], _MARGIN_PX)


def _split_each(plots: Sequence[Plot]) -> SplitPlots:
    """Cut a strip off each plot, on the side where the share of road is nearest to that of the whole plot."""
    calibration: list[DevArea] = []
    score: list[DevArea] = []
    for plot in plots:
        strips = [strip for strip in _strips(plot.window) if strip.area]
        best = min(strips, key=lambda strip: abs(_road_share(plot.label[strip.slices(plot.window)]) - plot.road_share))
        for areas, window in zip((score, calibration), _halves(best), strict=True):
            areas.append(replace(plot.area, window=window))
    margin = min(_MARGIN_PX, *(max(2, min(plot.label.shape) // 16) for plot in plots))
    return _without_held(plots, calibration, score, [plot.area for plot in plots], margin)


def _without_held(
    learn: Sequence[Plot],
    calibration: Sequence[DevArea],
    score: Sequence[DevArea],
    scored_plots: Sequence[DevArea],
    margin_px: int,
) -> SplitPlots:
    held = [*calibration, *score]
    tiles = (plot.tile_without(held, margin_px) for plot in learn)
    labelled = tuple(tile for tile in tiles if (tile.label != VOID).any())
    return SplitPlots(labelled, tuple(calibration), tuple(score), tuple(scored_plots))


def _strips(window: Window) -> list[Window]:
    """Return the strips along the four sides of a window."""
    high, wide = round(_STRIP * window.height), round(_STRIP * window.width)
    return [
        Window(window.row, window.col, high, window.width),
        Window(window.row_stop - high, window.col, high, window.width),
        Window(window.row, window.col, window.height, wide),
        Window(window.row, window.col_stop - wide, window.height, wide),
    ]


def _halves(strip: Window) -> tuple[Window, Window]:
    """Cut a strip across, into a part to score and a part to calibrate on."""
    if strip.width >= strip.height:
        cut = round(_SCORED_SHARE * strip.width)
        return replace(strip, width=cut), replace(strip, col=strip.col + cut, width=strip.width - cut)
    cut = round(_SCORED_SHARE * strip.height)
    return replace(strip, height=cut), replace(strip, row=strip.row + cut, height=strip.height - cut)


def _road_share(label: NDArray[np.uint8]) -> float:
    """Return the share of road among labelled pixels."""
    return float((label == 1).sum() / max(1, (label != VOID).sum()))


def _place_in(tile: FileTile, area: DevArea) -> Window:
    """Return the pixels of a tile that show an area of the same or of another tile; none in another CRS."""
    if area.tile.pair == tile.pair:
        return area.window
    if tile.grid.crs is None or area.tile.grid.crs != tile.grid.crs:
        return Window(0, 0, 0, 0)
    return tile.grid.window_of(area.tile.grid.cropped(area.window).bounds())
