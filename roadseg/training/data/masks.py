"""Masks drawn from vector roads, one per image, cached so that each is drawn once.

The name of a mask holds a hash of everything it depends on: the label files (paths, sizes and times), the layer, the
widths, and the image's grid. A file that exists is complete.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from roadseg.errors import SceneError, TrainingError, counted, no_such_file, shortened
from roadseg.files.states import file_states, states_hash
from roadseg.files.targets import writable_folder
from roadseg.progress import Listener
from roadseg.raster.files import open_input
from roadseg.raster.grid import Grid, grid_of
from roadseg.raster.labelled_scene import location_text
from roadseg.raster.rasterize import box_in, near, write_mask
from roadseg.settings import DataSettings, LabelSettings
from roadseg.training.data.pairs import TilePair
from roadseg.training.data.vector_roads import RoadLabels, read_roads
from roadseg.training.data.widths import WIDTHS_M, Widths, read_width_table
from roadseg.windows import Window

_DRAWING = 1
"""Version of the drawing, part of the hash."""

_PARTS = {".shp", ".shx", ".dbf", ".prj", ".cpg", ".tab", ".dat", ".map", ".id", ".mif", ".mid"}
"""Extensions of the files that shapefiles and MapInfo files consist of; others of their name may be ours."""

_REACH_M = 100.0
_THIN = 1e-9


def draw_masks(
    images: Sequence[Path], settings: DataSettings, cache: Path, listener: Listener
) -> tuple[list[TilePair], list[str]]:
    """Draw the labels on the grid of each image, unless the cache has the mask.

    Parameters
    ----------
    images
        Georeferenced scenes.
    settings
        The labels and their widths.
    cache
        Folder for the masks; created if it is missing.
    listener
        Callbacks for messages about what was left out.

    Returns
    -------
    The pairs, and a message about each image that cannot be used (``skip_unreadable`` only).

    Raises
    ------
    SceneError, TrainingError
        If an image or the labels cannot be used, or they do not overlap.
    OutputError
        If a mask cannot be written.
    """
    if settings.labels is None:
        raise TrainingError("images alone teach nothing; name the roads with --labels")
    widths = widths_of(settings)
    identity = _identity(settings.labels, settings.label_layer, widths)
    grids, failed = image_grids(images, skip=settings.skip_unreadable)
    pairs = {image: cache / f"{image.stem}-{_key(identity, grid)}.tif" for image, grid in grids.items()}
    missing = [image for image, mask in pairs.items() if not mask.exists()]
    if missing:
        with writable_folder(cache, "choose another --cache"):
            roads = _roads_near([grids[image] for image in missing], settings.labels, settings, listener)
            _draw(roads, settings.labels, {image: (grids[image], pairs[image]) for image in missing}, listener)
    listener.report(
        f"{counted(len(missing), 'mask')} drawn from {settings.labels}, {len(pairs) - len(missing)} found in {cache}"
    )
    return [TilePair(image, mask) for image, mask in pairs.items()], failed


def draw_parts(
    grids: Mapping[Path, Grid],
    settings: LabelSettings,
    folder: Path,
    choose: Callable[[Path, Grid], Callable[[NDArray[np.object_]], Sequence[Window]]],
    listener: Listener,
) -> dict[TilePair, list[Window]]:
    """Draw the labels in some windows of each image.

    Parameters
    ----------
    grids
        Grids of the images.
    settings
        The labels and their widths.
    folder
        Folder for the masks; it must exist.
    choose
        Returns for an image and its grid the function that chooses windows, see ``write_mask``.
    listener
        Callbacks for messages about what was left out.

    Returns
    -------
    The windows drawn in each image.

    Raises
    ------
    SceneError, TrainingError, OutputError
        As of ``draw_masks``.
    """
    labels = settings.labels or Path()
    roads = _roads_near(list(grids.values()), labels, settings, listener)
    masks = {image: folder / f"{image.stem}-{_key({}, grid)}.tif" for image, grid in grids.items()}
    drawn = _draw(roads, labels, {image: (grids[image], masks[image]) for image in grids}, listener, choose)
    return {TilePair(image, masks[image]): windows for image, windows in drawn.items()}


def widths_of(settings: LabelSettings) -> Widths:
    """Return where the widths of roads come from.

    Raises
    ------
    TrainingError
        If the table of widths cannot be read.
    """
    table = read_width_table(settings.width_table) if settings.width_table else WIDTHS_M
    return Widths(settings.width_attribute, settings.road_width_m, table)


def _roads_near(grids: Sequence[Grid], labels: Path, settings: LabelSettings, listener: Listener) -> RoadLabels:
    """Read the roads around grids, and report what was left out."""
    if not labels.exists():
        raise no_such_file(labels)
    widths = widths_of(settings)
    roads = read_roads(labels, widths, layer=settings.label_layer, within=lambda crs: _box(grids, crs))
    for note in roads.notes:
        listener.warn(note)
    return roads


def _draw(
    roads: RoadLabels,
    labels: Path,
    wanted: Mapping[Path, tuple[Grid, Path]],
    listener: Listener,
    choose: Callable[[Path, Grid], Callable[[NDArray[np.object_]], Sequence[Window]]] | None = None,
) -> dict[Path, list[Window]]:
    """Draw masks, all of them or the windows chosen, and return the windows drawn."""
    rows = {image: near(roads.geometries, roads.crs, grid, reach_m=_REACH_M) for image, (grid, _) in wanted.items()}
    if not any(len(found) for found in rows.values()):
        image, (grid, _) = next(iter(wanted.items()))
        raise SceneError(
            f"{labels} and the images lie in different places "
            f"(labels {_extent(roads)}; {image} {location_text(grid)}); check the CRS of both"
        )
    empty = [str(image) for image, found in rows.items() if not len(found)]
    if empty:
        listener.warn(
            f"{counted(len(empty), 'image')} without any road of {labels}: every pixel there counts as not road; "
            f"leave out what is not mapped: {shortened(empty, 3)}"
        )
    drawn = {}
    for image, (grid, mask) in wanted.items():
        here, tags = rows[image], {"ROADSEG_LABELS": labels.name}
        lines = roads.geometries[here], roads.widths_m[here], roads.crs
        drawn[image] = write_mask(mask, grid, *lines, tags, choose(image, grid) if choose else None)
    return drawn


def image_grids(images: Sequence[Path], *, skip: bool = False) -> tuple[dict[Path, Grid], list[str]]:
    """Return the grids of georeferenced images, and a message for each that cannot be used (``skip`` only).

    Raises
    ------
    SceneError
        If one cannot be used, without ``skip``.
    """
    grids, failed = {}, []
    for image in images:
        try:
            with open_input(str(image)) as file:
                grid = grid_of(file)
                if grid.crs is None and file.transform.is_identity:
                    raise SceneError(
                        f"{image} does not say where it lies; give it a georeference to draw labels on it, with "
                        "gdalwarp if it has ground control points"
                    )
                grids[image] = grid
        except SceneError as error:
            if not skip:
                raise
            failed.append(str(error))
    return grids, failed


def _box(grids: Sequence[Grid], crs: str | None) -> tuple[float, float, float, float]:
    """Return the bounding box of all grids in the CRS of the labels, with a margin."""
    boxes = np.array([box_in(grid, crs, reach_m=_REACH_M) for grid in grids])
    low, high = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    return low[0], low[1], high[0], high[1]


def _extent(roads: RoadLabels) -> str:
    bounds = roads.bounds
    if bounds is None:
        xmin, ymin, xmax, ymax = shapely.total_bounds(roads.geometries).tolist()
    else:
        xmin, ymin, xmax, ymax = bounds
    if not np.isfinite([xmin, ymin, xmax, ymax]).all():
        return "nowhere"
    return location_text(
        Grid(roads.crs, Affine(max(xmax - xmin, _THIN), 0, xmin, 0, -max(ymax - ymin, _THIN), ymax), 1, 1)
    )


def _identity(labels: Path, layer: str | None, widths: Widths) -> dict[str, Any]:
    if not labels.exists():
        raise no_such_file(labels)
    return {
        "drawing": _DRAWING,
        "labels": states_hash(file_states(_files_of(labels))),
        "layer": layer,
        "widths": [widths.attribute, widths.given_m, sorted(widths.table.items())],
    }


def _files_of(labels: Path) -> list[Path]:
    """Return the files that a vector file consists of: shapefiles and MapInfo files are several, beside each other."""
    if labels.is_dir():
        return sorted(path for path in labels.rglob("*") if path.is_file())
    if labels.suffix.lower() in _PARTS:
        beside = (path for path in labels.parent.iterdir() if path.suffix.lower() in _PARTS)
        return sorted(path for path in beside if path.stem == labels.stem)
    return [labels, labels.with_name(f"{labels.name}-wal")]  # where SQLite keeps what it has not merged yet


def _key(identity: dict[str, Any], grid: Grid) -> str:
    place = [grid.crs, list(grid.transform)[:6], grid.height, grid.width]
    return hashlib.sha256(json.dumps([identity, place]).encode()).hexdigest()[:16]
