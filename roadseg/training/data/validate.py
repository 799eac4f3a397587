"""Pairs opened and checked before training: same ground, same pixel size, and what 255 means in their masks."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import shapely
from shapely import Polygon

from roadseg.errors import SceneError, TrainingError, counted, shortened
from roadseg.progress import Listener
from roadseg.raster.kind import RasterKind, ValueScan, mask_kind
from roadseg.raster.labelled_scene import LabelledScene, scan_mask
from roadseg.raster.scene_settings import COARSEST, SceneSettings
from roadseg.settings import DataSettings
from roadseg.training.data.file_tiles import FileTile, OpenFiles
from roadseg.training.data.pairs import TilePair

_ODD = 0.15

_SHARED = 0.05
"""Share of a dev tile that may be trained on, as tiles often reach a little into their neighbours."""

_LEAST_PX = 32
"""Fewest pixels across that a tile may shrink to: with less there is nothing to learn, or everything is road."""


class _Sized(Protocol):
    """Something with a name and a pixel size."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def pixel_m(self) -> float | None:
        """Metres per pixel, None if it is not known."""


def open_pairs(
    pairs: Sequence[TilePair],
    settings: DataSettings,
    listener: Listener,
    skip: Callable[[str], None] | None,
) -> list[FileTile]:
    """Open all pairs and find out what the values of their masks mean: a mask without road does not show it alone.

    Raises
    ------
    SceneError, TrainingError
        If a file cannot be used and ``skip`` is None.
    """
    files, found, values = OpenFiles(), [], []
    for pair in pairs:
        try:
            values.append(scan_mask(pair.mask))
            found.append(open_pair(pair, settings, files))
        except SceneError as error:
            del values[len(found) :]
            if skip is None:
                raise
            skip(str(error))
    if pairs and not found:
        raise TrainingError("none of the pairs can be used; repair them or name others")
    kind = kind_of(values, [tile.pair.mask for tile in found], listener)
    return [replace(tile, kind=kind) for tile in found]


def open_pair(pair: TilePair, settings: DataSettings, files: OpenFiles) -> FileTile:
    """Open a pair and decide how it is read.

    Raises
    ------
    SceneError
        If it cannot be used.
    """
    count = len(settings.bands) if settings.bands else 3
    wanted = SceneSettings(bands=settings.bands, band_count=count, any_gsd=True, fill=(0.0,) * count)
    with LabelledScene(*pair, wanted) as opened:
        wanted = replace(wanted, bands=opened.scene.bands, stretch=opened.scene.stretch)
        grid, image_bands = opened.grid, opened.scene.image_bands
        return FileTile(pair, wanted, "mask 0/1", grid, grid.mean_pixel_m(), image_bands, files)


def kind_of(values: Sequence[ValueScan], masks: Sequence[Path], listener: Listener) -> RasterKind:
    """Settle what 255 means in all masks together: road where no mask has a 1, else unknown."""
    together = values[0] if values else ValueScan(np.zeros(256, dtype=np.bool_), tagged=False)
    for other in values[1:]:
        together |= other
    kind = mask_kind(together) or "mask 0/1"
    if kind == "mask 0/255":
        listener.warn(f"no pixel of {shortened([mask.name for mask in masks], 3)} is 1, so 255 is taken for road")
        return kind
    alone = [mask.name for mask, held in zip(masks, values, strict=True) if mask_kind(held) == "mask 0/255"]
    if alone:
        listener.warn(
            f"{counted(len(alone), 'mask')} with 0 and 255 but no 1, unlike others; 255 is taken for unknown there: "
            f"{shortened(alone, 3)}"
        )
    return kind


def shared_gsd(tiles: Sequence[_Sized], given: float | None) -> float:
    """Return the ground resolution to train at, in metres per pixel.

    Raises
    ------
    TrainingError
        If it is not known, or tiles differ by more than 15 % and none was given, or all are too coarse for the given.
    """
    sized = sorted((tile.pixel_m, tile.name) for tile in tiles if tile.pixel_m)
    if given:
        check_fineness(given, sized[0][0] if sized else None, "--gsd", "train")
        return given
    if not sized:
        raise TrainingError("no tile says its pixel size; give it with --gsd, in metres")
    middle = float(np.median([pixel_m for pixel_m, _ in sized]))
    (finest_m, finest), (coarsest_m, coarsest) = sized[0], sized[-1]
    if max(1 - finest_m / middle, coarsest_m / middle - 1) > _ODD:
        raise TrainingError(
            f"the tiles have pixels of {finest_m:.3g} m ({finest}) to {coarsest_m:.3g} m ({coarsest}); "
            "resample all to one size with --gsd, in metres"
        )
    return round(middle, 3)


def check_fineness(wanted_m: float, pixel_m: float | None, option: str, verb: str) -> None:
    """Check that images are not to be read far finer than they are.

    Parameters
    ----------
    wanted_m, pixel_m
        Metres per pixel to read at, and of the images, if known.
    option, verb
        The option that gives them and what for, for the message.

    Raises
    ------
    TrainingError
        If they are.
    """
    if pixel_m and pixel_m > COARSEST * wanted_m:
        raise TrainingError(
            f"{option} {wanted_m:g} asks for far finer pixels than the images have, {pixel_m:.3g} m; "
            f"give metres per pixel to {verb} at"
        )


def warn_of_unknown_sizes(tiles: Sequence[_Sized], gsd_m: float, option: str, listener: Listener) -> None:
    """Warn of images that are read as they are because nobody says how wide their pixels are.

    Parameters
    ----------
    tiles
        The images; nothing is said of those that state the size of their pixels.
    gsd_m
        What they are taken for, in metres per pixel.
    option
        The option that gives the size.
    listener
        Warned.
    """
    unsized = [tile.name for tile in tiles if not tile.pixel_m]
    if unsized:
        which = f"{len(unsized)} of {counted(len(tiles), 'image')} ({shortened(unsized, 1)})"
        listener.warn(
            f"no CRS with known metres in {which}; their pixels are assumed to be {gsd_m:g} m wide, "
            f"give their size with {option} if they are not"
        )


def warn_of_missing_geotransforms(tiles: Sequence[FileTile], listener: Listener) -> None:
    """Warn of images with a CRS but no geotransform: how wide their pixels are is assumed."""
    unplaced = [tile for tile in tiles if tile.grid.lacks_geotransform and tile.pixel_m]
    if unplaced:
        which = f"{len(unplaced)} of {counted(len(tiles), 'image')} ({shortened([tile.name for tile in unplaced], 1)})"
        listener.warn(
            f"a CRS but no geotransform in {which}; their pixels are assumed to be {unplaced[0].pixel_m:.3g} m wide, "
            "assign a geotransform with gdal_edit.py if they are not"
        )


def warn_of_shared_ground(tiles: Sequence[FileTile], dev: Sequence[FileTile], listener: Listener) -> None:
    """Warn of dev tiles on ground that is trained on, in files of other names: what was learned there is no news."""
    trained = _outlines(tiles)
    shared = []
    for crs, there in _outlines(dev).items():
        tree = shapely.STRtree([outline for _, outline in trained.get(crs, [])])
        for name, outline in there:
            same = shapely.intersection(tree.geometries[tree.query(outline)], outline)
            if shapely.union_all(same).area > _SHARED * outline.area:
                shared.append(name)
    if shared:
        listener.warn(
            f"{len(shared)} of {counted(len(dev), 'dev tile')} on ground that is trained on, so that the figures are "
            f"too good: {shortened(shared, 3)}; leave them out, or hold ground out with --dev-fraction"
        )


def _outlines(tiles: Sequence[FileTile]) -> dict[str, list[tuple[str, Polygon]]]:
    """Return names and outlines of tiles by their CRS; not of those that do not say where they lie."""
    found: dict[str, list[tuple[str, Polygon]]] = {}
    for tile in tiles:
        grid = tile.grid
        if grid.crs:
            corners = ((0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height))
            outline = Polygon([grid.transform @ corner for corner in corners])
            found.setdefault(grid.crs, []).append((tile.name, outline))
    return found


def gsd_range_of(tiles: Sequence[_Sized]) -> tuple[float, float] | None:
    """Return the finest and the coarsest ground resolution of tiles, in metres per pixel; None if none says its own."""
    sizes = [round(tile.pixel_m, 3) for tile in tiles if tile.pixel_m]
    return (min(sizes), max(sizes)) if sizes else None


def at_gsd(
    tiles: Sequence[FileTile],
    gsd_m: float | None,
    option: str | None = "--gsd",
    skip: Callable[[str], None] | None = None,
) -> list[FileTile]:
    """Return tiles that are read at a ground resolution; those within 15 % of it are not resampled.

    Parameters
    ----------
    tiles, gsd_m
        The tiles, and metres per pixel; None reads them as they are.
    option
        The option that gives the resolution, for messages; None if it is that of a model.
    skip
        Called with a message for each tile of far too coarse pixels, which is left out; None raises instead.

    Raises
    ------
    SceneError
        If pixels are far too coarse and ``skip`` is None.
    TrainingError
        If hardly a pixel is left of all tiles.
    """
    if gsd_m is None:
        return list(tiles)
    sides = [(max(tile.shape), tile.pixel_m) for tile in tiles if tile.pixel_m]
    largest_before = max((side_px for side_px, _ in sides), default=0)
    largest = max((side_px * pixel_m / gsd_m for side_px, pixel_m in sides), default=0)
    if largest < _LEAST_PX <= largest_before:
        cure = f"choose a smaller {option}" if option else "name larger ones"
        raise TrainingError(f"at {gsd_m:g} m per pixel no tile is more than {max(1, round(largest))} px across; {cure}")
    files, found = OpenFiles(), []
    for tile in tiles:
        if tile.pixel_m and tile.pixel_m > COARSEST * gsd_m:
            larger = f", or choose a larger {option}" if option else ""
            coarse = f"{tile.name} has pixels of {tile.pixel_m:.3g} m, too coarse to be read at {gsd_m:g} m"
            if skip is None:
                raise SceneError(f"{coarse}; leave it out{larger}")
            skip(f"{coarse}; it is left out")
            continue
        settings = replace(tile.settings, any_gsd=False, gsd_m=gsd_m)
        with LabelledScene(*tile.pair, settings, tile.kind) as opened:
            found.append(replace(tile, settings=settings, grid=opened.grid, files=files))
    return found
