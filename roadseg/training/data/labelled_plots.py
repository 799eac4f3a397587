"""Labelled ground of one place for adapting a model: plots of its scenes, with labels made ready to be learned from."""

import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from roadseg.errors import RoadsegError, SceneError, TrainingError, counted
from roadseg.files.targets import writable_folder
from roadseg.model.card import ModelCard
from roadseg.progress import Listener
from roadseg.raster.area import polygon_area
from roadseg.raster.files import open_input
from roadseg.raster.grid import Grid, grid_of
from roadseg.raster.rasterize import new_mask
from roadseg.roads.files.read import read_polygons
from roadseg.settings import AdaptSettings, DevFolder
from roadseg.training.data.coverage import coverage_remark
from roadseg.training.data.file_tiles import DevArea, FileTile, lasting_names
from roadseg.training.data.load import load_domains, open_for_model
from roadseg.training.data.map_errors import REACH_M, find_shifts, probability_at_shifts, with_uncertain_edges
from roadseg.training.data.masks import draw_parts, image_grids
from roadseg.training.data.pairs import TilePair, all_pairs, find_images, place_name
from roadseg.training.data.plots import MOST, SIDE_PX, Plot, choose_with_roads, read_plots, shuffled, squares
from roadseg.training.data.validate import at_gsd, gsd_range_of, warn_of_missing_geotransforms, warn_of_unknown_sizes
from roadseg.windows import Window

_TRIED = 4
"""A teacher looks for plots with data in so many times as many."""

_MEASURED = 50
"""Most images that are opened to learn how large their pixels are."""

Predict = Callable[[Sequence[DevArea]], Sequence[NDArray[np.float32]]]
"""Returns the probability of road in areas, (height, width) float32 each."""

FindLabels = Callable[[Path, Sequence[Window], int], Iterable[tuple[Window, NDArray[np.uint8]]]]
"""Returns labels (height, width) of some windows of an image: of so many, in their order, those without data left out.
"""

_Polygons = tuple[Sequence[Polygon | MultiPolygon], str | None]
"""An area of interest: polygons, and their CRS."""


@dataclass(frozen=True)
class LabelledPlots:
    """Plots of labelled scenes.

    Parameters
    ----------
    plots
        The plots, with labels as the files have them.
    gsd_range_m
        Finest and coarsest ground resolution of the scenes; None if none says its own.
    name
        The data in a few words, for messages and the card.
    remark
        That the labels cover too little to judge a model by; empty if they cover enough.
    are_truth
        Whether figures against the labels say how good a model is, which those of a teacher do not.
    """

    plots: tuple[Plot, ...]
    gsd_range_m: tuple[float, float] | None
    name: str
    remark: str = ""
    are_truth: bool = True

    def description(self) -> str:
        """Return the data in words, for messages and the card."""
        pixels = sum(plot.window.area for plot in self.plots)
        return f"{counted(len(self.plots), 'plot')} of {self.name} ({pixels / 1e6:.1f} Mpx)"


def typical_pixel_m(data: Sequence[Path], settings: AdaptSettings) -> float | None:
    """Return the median pixel size of the images in metres; None if none is known.

    Parameters
    ----------
    data, settings
        The images, and the size of pixels that do not say.
    """
    images = find_images(data) if settings.names_scenes else [pair.image for pair in _all_pairs(data)]
    sizes = [_pixel_m(image) or settings.pixel_m for image in images[:: max(1, len(images) // _MEASURED)]]
    known = [size for size in sizes if size]
    return float(np.median(known)) if known else None


def load_ground(
    data: Sequence[Path],
    settings: AdaptSettings,
    card: ModelCard,
    folder: Path,
    listener: Listener,
    find_labels: FindLabels | None = None,
) -> LabelledPlots:
    """Find the labelled scenes of a place and read plots of them.

    Parameters
    ----------
    data
        Scenes, if ``settings`` names labels to draw or a teacher; else folders of images and masks or CSV files.
    settings
        The labels and how to read the scenes.
    card
        Card of the model, which says the bands and the ground resolution it needs.
    folder
        Folder for the masks of scenes.
    listener
        Callbacks for messages about what was found and left out.
    find_labels
        The teacher.

    Raises
    ------
    RoadsegError
        If the data cannot be used or hold no labels.
    """
    parts: Mapping[TilePair, Sequence[Window] | None]
    aoi = read_polygons(settings.aoi) if settings.aoi else None
    if settings.labels:
        parts = _drawn(data, settings, aoi, card.gsd_m, folder, listener)
    elif find_labels:
        parts = _found(data, settings, aoi, card.gsd_m, folder, find_labels)
    else:
        parts = dict.fromkeys(_all_pairs(data))
    opened = open_for_model(list(parts), bands=card.bands, chosen=settings.bands, listener=listener)
    sized = [tile.with_pixel_size(settings.pixel_m) for tile in opened]
    warn_of_missing_geotransforms(opened, listener)
    warn_of_unknown_sizes(sized, card.gsd_m, "--gsd", listener)
    if settings.pixel_m and settings.dev is None and all(tile.pixel_m for tile in opened):
        listener.warn(f"--gsd {settings.pixel_m:g} changes nothing: all images say how wide their pixels are")
    scenes = {tile.pair: tile.grid for tile in opened}
    tiles = _inside_aoi(at_gsd(sized, card.gsd_m, "--model-gsd"), aoi)
    plots = tuple(read_plots(_candidates(tiles, scenes, parts, settings.seed)))
    if not any((plot.label == 1).any() for plot in plots):
        if settings.teacher:
            raise TrainingError(
                f"{settings.teacher} is sure of no road in the images; name another --teacher, or a map with --labels"
            )
        where = settings.labels.name if settings.labels else "the masks"
        options = "--aoi and --model-gsd" if settings.model_gsd else "--aoi"
        raise TrainingError(f"no road of {where} lies where the images have pixels; add roads, or check {options}")
    remark = "" if settings.teacher else coverage_remark(plots, scenes.values())
    return LabelledPlots(plots, gsd_range_of(tiles), _name(data, settings), remark, are_truth=not settings.teacher)


@contextmanager
def label_folder(run: Path) -> Iterator[Path]:
    """Context manager that yields the folder in a run folder for masks of scenes; it goes if an error comes."""
    folder = run / "labels"
    try:
        yield folder
    except RoadsegError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def correct_shifts(ground: LabelledPlots, predict: Predict, gsd_m: float, listener: Listener) -> LabelledPlots:
    """Move the labels of plots to where a model sees the roads, where that is clear.

    Parameters
    ----------
    ground
        Plots with rough labels.
    predict
        Predicts areas, by a model that has not seen the labels.
    gsd_m
        Ground resolution of the plots.
    listener
        Receives what was found.
    """
    reach = max(2, round(REACH_M / gsd_m))
    probabilities = predict([plot.area for plot in ground.plots])
    fits = [
        probability_at_shifts(probability, plot.label, reach_px=reach)
        for probability, plot in zip(probabilities, ground.plots, strict=True)
    ]
    shifts = find_shifts(fits, [int((plot.label == 1).sum()) for plot in ground.plots])
    moved = [np.hypot(*shift) * gsd_m for shift in shifts if shift != (0, 0)]
    if moved:
        listener.report(
            f"labels of {len(moved)} of {counted(len(shifts), 'plot')} moved onto the roads the model sees, by a "
            f"median of {np.median(moved):.1f} m and at most {max(moved):.1f} m"
        )
    plots = tuple(plot.moved(shift) for plot, shift in zip(ground.plots, shifts, strict=True))
    return replace(ground, plots=plots)


def with_uncertain_labels(ground: LabelledPlots, gsd_m: float) -> LabelledPlots:
    """Return the ground with void along the edges of roads, where rough labels cannot be trusted."""
    return replace(
        ground, plots=tuple(replace(plot, label=with_uncertain_edges(plot.label, gsd_m)) for plot in ground.plots)
    )


def load_other_place(settings: AdaptSettings, card: ModelCard, listener: Listener) -> tuple[DevArea, ...]:
    """Return the tiles of another place that are only scored; none if none are named.

    Raises
    ------
    RoadsegError
        If they cannot be used or hold no road.
    """
    if settings.dev is None:
        return ()
    place = DevFolder(settings.dev, settings.pixel_m, "--gsd")
    ((_, areas),) = load_domains([place], bands=card.bands, gsd_m=card.gsd_m, listener=listener, chosen=settings.bands)
    return areas


def _all_pairs(data: Sequence[Path]) -> list[TilePair]:
    return [pair for place in data for pair in all_pairs(place)]


def _pixel_m(image: Path) -> float | None:
    """Return the side of an image's pixels, None if it does not say."""
    with open_input(str(image)) as file:
        return grid_of(file).mean_pixel_m()


def _drawn(
    data: Sequence[Path],
    settings: AdaptSettings,
    aoi: _Polygons | None,
    gsd_m: float,
    folder: Path,
    listener: Listener,
) -> dict[TilePair, list[Window]]:
    """Draw the labels in the plots of scenes, and return these plots."""
    images = find_images(data)
    grids, _ = image_grids(images)
    most = -(-MOST // len(images))

    def choose(image: Path, grid: Grid) -> Callable[[NDArray[np.object_]], Sequence[Window]]:
        return choose_with_roads(_squares_of(image, grid, settings, aoi, gsd_m), settings.seed, most)

    with _mask_folder(folder):
        return draw_parts(grids, settings, folder, choose, listener)


def _found(
    data: Sequence[Path],
    settings: AdaptSettings,
    aoi: _Polygons | None,
    gsd_m: float,
    folder: Path,
    find_labels: FindLabels,
) -> dict[TilePair, list[Window]]:
    """Have plots of scenes labelled, write masks of them, and return these plots."""
    images = find_images(data)
    most = -(-MOST // len(images))
    parts: dict[TilePair, list[Window]] = {}
    with _mask_folder(folder):
        for number, image in shuffled(list(enumerate(images)), str(settings.seed), key=lambda one: one[1].name):
            if sum(map(len, parts.values())) >= MOST:
                break
            with open_input(str(image)) as file:
                grid = grid_of(file)
            windows = shuffled(_squares_of(image, grid, settings, aoi, gsd_m), f"{settings.seed} {number}")
            labelled = find_labels(image, windows[: _TRIED * most], most)
            mask = folder / f"{image.stem}-{number}.tif"
            with new_mask(mask, grid, {"ROADSEG_LABELS": str(settings.teacher)}) as write:
                places = []
                for window, label in labelled:
                    write(window, label)
                    places.append(window)
            parts[TilePair(image, mask)] = places
    return parts


def _mask_folder(folder: Path) -> AbstractContextManager[object]:
    return nullcontext() if folder.exists() else writable_folder(folder, "choose another place for -o")


def _squares_of(image: Path, grid: Grid, settings: AdaptSettings, aoi: _Polygons | None, gsd_m: float) -> list[Window]:
    """Return the squares of a scene, or of an area of interest in it, that plots are chosen from."""
    side = max(1, round(SIDE_PX * gsd_m / (settings.pixel_m or grid.mean_pixel_m() or gsd_m)))
    try:
        return squares(polygon_area(grid, *aoi, str(image)).window if aoi else grid.window, side)
    except SceneError:  # ``_inside_aoi`` raises it if the area touches no scene
        return []


def _inside_aoi(tiles: Sequence[FileTile], aoi: _Polygons | None) -> list[FileTile]:
    """Return the tiles that an area of interest touches, void outside of it.

    Raises
    ------
    SceneError
        If it touches none.
    """
    if aoi is None:
        return list(tiles)
    found, errors = [], []
    for tile in tiles:
        try:
            found.append(replace(tile, aoi=polygon_area(tile.grid, *aoi, tile.name)))
        except SceneError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    return found


def _candidates(
    tiles: Sequence[FileTile],
    scenes: Mapping[TilePair, Grid],
    parts: Mapping[TilePair, Sequence[Window] | None],
    seed: int,
) -> list[tuple[FileTile, Window]]:
    """Return the plots to read, in random order; parts are windows of the scenes' own grids."""
    found = []
    for tile in tiles:
        drawn = parts[tile.pair]
        if drawn is None:
            windows = squares(tile.aoi.window if tile.aoi else tile.grid.window, SIDE_PX)
        else:
            windows = [_scaled(window, scenes[tile.pair], tile.grid) for window in drawn]
        found += [(tile, window) for window in windows if window.area]
    names = lasting_names(tiles)
    return shuffled(found, str(seed), key=lambda one: f"{names[one[0].pair]} {one[1]}")


def _scaled(window: Window, scene: Grid, grid: Grid) -> Window:
    """Return the pixels of a model's grid that lie in a window of the scene's own."""
    down, across = grid.height / scene.height, grid.width / scene.width
    rows = math.ceil(window.row * down), math.floor(window.row_stop * down)
    cols = math.ceil(window.col * across), math.floor(window.col_stop * across)
    return Window(rows[0], cols[0], rows[1] - rows[0], cols[1] - cols[0]).intersection(grid.window)


def _name(data: Sequence[Path], settings: AdaptSettings) -> str:
    names = " and ".join(map(place_name, data[:3])) + (" and others" if len(data) > 3 else "")
    if settings.teacher:
        return f"{names} with roads that {Path(settings.teacher).name} is sure of"
    return f"{names} with roads of {settings.labels.name}" if settings.labels else names
