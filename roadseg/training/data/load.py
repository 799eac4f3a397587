"""Training data ready for use: pairs found and opened, masks drawn, dev tiles held out, tiles read into memory."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from roadseg.errors import RoadsegError, TrainingError, counted, shortened
from roadseg.progress import Listener
from roadseg.settings import DataSettings, DevFolder, TrainSettings
from roadseg.training.data.file_tiles import DevArea, FileTile
from roadseg.training.data.holdout import hold_out
from roadseg.training.data.masks import draw_masks
from roadseg.training.data.memory import free_bytes, readable_size
from roadseg.training.data.pairs import TilePair, find_images, find_tile_pairs, place_name
from roadseg.training.data.tiles import LabelledTile, TileDataset
from roadseg.training.data.validate import (
    at_gsd,
    gsd_range_of,
    open_pairs,
    shared_gsd,
    warn_of_missing_geotransforms,
    warn_of_shared_ground,
    warn_of_unknown_sizes,
)
from roadseg.windows import square_windows

Result = TypeVar("Result")

MOSTLY_ROAD = 0.5
"""From this share of road on, among what is labelled, 0 and 1 may be swapped."""

_READERS = 4


@dataclass(frozen=True)
class TrainingData:
    """Tiles to train on and areas to validate on.

    Parameters
    ----------
    tiles
        The tiles that crops are drawn from.
    dev
        Areas that are never trained on.
    gsd_m
        Ground resolution of all of them, in metres per pixel.
    gsd_range_m
        Finest and coarsest ground resolution of the training images before resampling; None if no file says it.
    summary
        The data in a few words, for messages.
    name, dev_name
        The data in a few words, for the card.
    """

    tiles: TileDataset
    dev: tuple[DevArea, ...]
    gsd_m: float
    gsd_range_m: tuple[float, float] | None
    summary: str
    name: str
    dev_name: str

    def description(self) -> str:
        """Return the training data in words, for the card."""
        return f"{counted(len(self.tiles.tiles), 'tile')} of {self.name}"


def load_training_data(data: DataSettings, output: Path, settings: TrainSettings, listener: Listener) -> TrainingData:
    """Find training data, check them, hold out dev data, and prepare them for drawing crops.

    Parameters
    ----------
    data
        Where the data come from.
    output
        The model file; masks drawn from vectors are kept beside it.
    settings
        ``crop``, ``pixel_m``, ``patience``, and ``seed``, which chooses what is held out.
    listener
        Callbacks for messages about what was found and left out.

    Raises
    ------
    RoadsegError
        If the data cannot be used.
    """
    skip = listener.warn if data.skip_unreadable else None
    pairs, dev_pairs, failed = collect_pairs(data, output, listener)
    for message in failed:
        listener.warn(message)
    others = [pair for place in data.domains for pair in find_tile_pairs(place.path).for_validation()]
    _check_apart(data, pairs, [*dev_pairs, *others])
    files = open_pairs(pairs, data, listener, skip)
    dev_files = open_pairs(dev_pairs, data, listener, skip)
    warn_of_missing_geotransforms([*files, *dev_files], listener)
    gsd_m, gsd_range_m = shared_gsd(files, settings.pixel_m), gsd_range_of(files)
    files = at_gsd(files, settings.pixel_m, skip=skip)
    if settings.pixel_m is None:
        warn_of_unknown_sizes([*files, *dev_files], gsd_m, "--gsd", listener)
    dev_files = check_dev_tiles(at_gsd(dev_files, gsd_m, skip=skip), skip)
    warn_of_shared_ground(files, dev_files, listener)
    areas = [DevArea(tile, tile.grid.window) for tile in dev_files]
    ready, where = open_or_load(files, data.memory_gb, skip)
    if data.dev_fraction:
        ready, areas = hold_out(ready, files, data, margin_px=settings.crop, seed=settings.seed)
        _require_road(areas)
    if settings.patience and not areas:
        raise TrainingError("--patience looks at dev scores, and there are no dev tiles; name some with --dev")
    tiles = _dataset(ready, data, settings)
    if tiles.road_fraction > MOSTLY_ROAD:
        listener.warn(
            f"{100 * tiles.road_fraction:.0f} % of what is labelled is road; are 0 and 1 swapped in the masks?"
        )
    trained = f"{counted(len(tiles.tiles), 'training tile')} {where}, {100 * tiles.road_fraction:.1f} % road"
    dev = f"{counted(len(areas), 'area')} kept for validation" if data.dev_fraction else counted(len(areas), "dev tile")
    summary = f"{trained}; {dev}{_bands_of(files)}"
    return TrainingData(tiles, tuple(areas), gsd_m, gsd_range_m, summary, *_names(data))


def load_dev_areas(
    place: DevFolder, *, bands: int, gsd_m: float, listener: Listener, chosen: tuple[int, ...] | None = None
) -> tuple[DevArea, ...]:
    """Return the tiles of a folder or CSV file as a model sees them.

    Parameters
    ----------
    place
        Folder or CSV file, of the latter the dev rows or all if there are none, and the size of pixels without a CRS;
        None takes the model's.
    bands, gsd_m
        Number of bands and ground resolution that the model needs.
    listener
        Callbacks for messages.
    chosen
        Bands to use; None takes red, green and blue for three bands, else the first ones.

    Raises
    ------
    RoadsegError
        If they cannot be used.
    """
    pairs = find_tile_pairs(place.path).for_validation()
    opened = open_for_model(pairs, bands=bands, chosen=chosen, listener=listener)
    warn_of_missing_geotransforms(opened, listener)
    sized = [tile.with_pixel_size(place.pixel_m) for tile in opened]
    warn_of_unknown_sizes(sized, gsd_m, place.gsd_option, listener)
    tiles = at_gsd(sized, gsd_m, option=None)
    return tuple(DevArea(tile, tile.grid.window) for tile in tiles)


def open_for_model(
    pairs: Sequence[TilePair], *, bands: int, chosen: tuple[int, ...] | None, listener: Listener
) -> list[FileTile]:
    """Open pairs on their own grids, with the bands that a model needs.

    Parameters
    ----------
    pairs
        Images and masks.
    bands
        Number of bands that the model needs.
    chosen
        Bands to use; None takes red, green and blue for three bands, else the first ones.
    listener
        Callbacks for messages.

    Raises
    ------
    RoadsegError
        If a file cannot be used or gives another number of bands.
    """
    used = chosen or (None if bands == 3 else tuple(range(1, bands + 1)))
    opened = open_pairs(pairs, DataSettings(bands=used), listener, None)
    wrong = next((tile for tile in opened if tile.bands != bands), None)
    if wrong:
        raise TrainingError(
            f"{wrong.name} gives {counted(wrong.bands, 'band')}, the model needs {bands}; choose them with --bands"
        )
    return opened


def load_domains(
    places: Sequence[DevFolder], *, bands: int, gsd_m: float, listener: Listener, chosen: tuple[int, ...] | None = None
) -> list[tuple[str, tuple[DevArea, ...]]]:
    """Return the names of other places and their tiles, as ``load_dev_areas`` does.

    Raises
    ------
    RoadsegError
        If they cannot be used or hold no road.
    """
    found = []
    for place in places:
        areas = load_dev_areas(place, bands=bands, gsd_m=gsd_m, listener=listener, chosen=chosen)
        check_dev_tiles([area.tile for area in areas], None)
        found.append((place_name(place.path).removesuffix(".csv"), areas))
    return found


def collect_pairs(
    data: DataSettings, output: Path, listener: Listener
) -> tuple[list[TilePair], list[TilePair], list[str]]:
    """Return the pairs to train on, those to validate on, and a message for each image that was left out.

    Raises
    ------
    RoadsegError
        If nothing is named, or what is named cannot be used.
    """
    dev = find_tile_pairs(data.home).for_validation() if data.home else []
    if data.labels or data.images:
        images = find_images([*data.images, *data.data])
        cache = data.cache or output.with_name(output.name + ".masks")
        pairs, failed = draw_masks(images, data, cache, listener)
        return pairs, dev, failed
    if not data.data:
        raise TrainingError("there is nothing to train on; give a folder with images/ and masks/, or --labels")
    train, dev_beside = [], []
    for place in data.data:
        pairs, place_dev = find_tile_pairs(place)
        if place_dev and dev:
            raise TrainingError(f"{place} names tiles for validation itself; leave out --dev")
        train += pairs
        dev_beside += place_dev
    if not train:
        names = " and ".join(map(str, data.data))
        raise TrainingError(f"{names} names nothing to train on; add pairs of the split train")
    if len({pair.image.resolve() for pair in train}) < len(train):
        raise TrainingError("the data name an image twice, which would count double; name every folder once")
    return train, dev_beside or dev, []


def open_or_load(
    tiles: Sequence[FileTile], memory_gb: float | None, skip: Callable[[str], None] | None
) -> tuple[list[LabelledTile], str]:
    """Load tiles into memory if they fit, else leave them on disk; return them and, in words, where they are.

    Parameters
    ----------
    tiles
        Tiles on disk.
    memory_gb
        Memory they may take; None allows half of what is free.
    skip
        Called with a message for each damaged file, which is left out; None raises instead.

    Raises
    ------
    SceneError
        If a file is damaged and ``skip`` is None.
    """
    need = sum(tile.grid.window.area * (tile.bands + 2) for tile in tiles)
    room = memory_gb * 1e9 if memory_gb is not None else free_bytes() / 2
    fits, sizes = need <= room, f"{readable_size(need)}; {readable_size(room)} are free for it"
    if not fits and skip is None:
        return list(tiles), f"read from disk as needed ({sizes})"

    def read(tile: FileTile) -> LabelledTile:
        if fits:
            return tile.read_whole()
        for window in square_windows(tile.grid.window):  # to find out whether it can be read
            tile.read(window)
        return tile

    where = "in memory" if fits else "read from disk as needed"
    return _read_all(read, tiles, skip), f"{where} ({sizes})"


def check_dev_tiles(tiles: Sequence[FileTile], skip: Callable[[str], None] | None) -> list[FileTile]:
    """Read dev tiles from end to end before hours are spent, and return those that can be read.

    Raises
    ------
    SceneError
        If a file is damaged and ``skip`` is None.
    TrainingError
        If there are tiles, but no road in them to score against.
    """

    def has_road(tile: FileTile) -> tuple[FileTile, bool]:
        windows = square_windows(tile.grid.window)
        roads = [bool((tile.read(window)[1] == 1).any()) for window in windows]
        return tile, any(roads)

    found = _read_all(has_road, tiles, skip)
    if tiles and not any(road for _, road in found):
        raise TrainingError("the dev tiles hold no road to score against; choose other ones")
    return [tile for tile, _ in found]


def _require_road(areas: Sequence[DevArea]) -> None:
    if not any(area.road_px((0.0,) * area.tile.bands) for area in areas):
        raise TrainingError(
            "the ground kept for validation holds no road to score against; "
            "choose another --seed, or a larger --dev-fraction"
        )


def _check_apart(data: DataSettings, pairs: Sequence[TilePair], dev_pairs: Sequence[TilePair]) -> None:
    if data.dev_fraction and dev_pairs:
        raise TrainingError("the data name dev tiles already; leave out --dev-fraction")
    both = {pair.image.resolve() for pair in pairs} & {pair.image.resolve() for pair in dev_pairs}
    if both:
        raise TrainingError(
            f"trained on and for validation at once: {shortened(sorted(map(str, both)), 3)}; keep them apart"
        )


def _dataset(tiles: Sequence[LabelledTile], data: DataSettings, settings: TrainSettings) -> TileDataset:
    try:
        return TileDataset(tiles, crop=settings.crop, road_share=data.road_share)
    except TrainingError as error:
        if not data.dev_fraction:
            raise
        smaller = "--dev-fraction" if data.dev_split == "files" else "--dev-fraction, --dev-block or --crop"
        raise TrainingError(
            "what is left beside the ground kept for validation, and the margin of a crop around it, does not hold "
            f"both road and ground without road; choose a smaller {smaller}"
        ) from error


def _read_all(
    read: Callable[[FileTile], Result], tiles: Sequence[FileTile], skip: Callable[[str], None] | None
) -> list[Result]:
    """Read tiles, several at a time; report a damaged one and leave it out, or raise its error without ``skip``."""

    def attempt(tile: FileTile) -> Result | RoadsegError:
        try:
            return read(tile)
        except RoadsegError as error:
            return error

    results: list[Result] = []
    with ThreadPoolExecutor(_READERS) as pool:
        for result in list(pool.map(attempt, tiles)):
            if not isinstance(result, RoadsegError):
                results.append(result)
            elif skip is None:
                raise result
            else:
                skip(str(result))
    return results


def _bands_of(tiles: Sequence[FileTile]) -> str:
    """Return which bands are used, in words; empty if all are."""
    choices = sorted({(tile.settings.bands or (), tile.image_bands) for tile in tiles})
    if all(total <= len(set(bands)) for bands, total in choices):
        return ""
    return "; bands " + " or ".join(f"{','.join(map(str, bands))} of {total}" for bands, total in choices)


def _names(data: DataSettings) -> tuple[str, str]:
    """Return the training data and the dev data in a few words."""
    name = f"scenes with roads of {data.labels.name}" if data.labels else " and ".join(map(place_name, data.data))
    if data.dev_fraction:
        return name, f"{100 * data.dev_fraction:g} % of {name}, whole {data.dev_split}"
    return name, place_name(data.home) if data.home else f"{name}, split dev"
