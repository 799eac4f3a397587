"""From settings to tiles that crops can be drawn from: found, checked, split, held in memory or read as needed."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from roadseg.errors import RoadsegError, TrainingError
from roadseg.progress import Listener, counted
from roadseg.raster.files import some
from roadseg.raster.roads import windows
from roadseg.settings import DataSettings, DevFolder
from roadseg.tiles.keep import keep_aside
from roadseg.tiles.look import brought_to, common_gsd, gsd_range_of, look_at
from roadseg.tiles.masks import draw_masks
from roadseg.tiles.memory import free_bytes
from roadseg.tiles.pairs import Pair, find_images, find_pairs
from roadseg.tiles.source import DevArea, FileTile
from roadseg.training.dataset import Source, Tiles

Result = TypeVar("Result")

_SCAN_PX = 2048
_READERS = 4


@dataclass(frozen=True)
class TrainingData:
    """What there is to train on and to validate on.

    Parameters
    ----------
    tiles
        To draw crops from.
    dev
        Never trained on.
    gsd_m
        Metres per pixel of all of them.
    gsd_range_m
        Metres per pixel of the training images as they are, the finest and the coarsest, if they tell.
    about
        What was found, in a few words.
    name, dev_name
        Of the data, for the card.
    """

    tiles: Tiles
    dev: tuple[DevArea, ...]
    gsd_m: float
    gsd_range_m: tuple[float, float] | None
    about: str
    name: str
    dev_name: str


def load(
    settings: DataSettings, *, crop: int, gsd_m: float | None, seed: int, beside: Path, listener: Listener
) -> TrainingData:
    """Find training data, check them, keep some for validation, and hold them ready.

    Parameters
    ----------
    settings
        What to take.
    crop
        Side of a crop in pixels.
    gsd_m
        Metres per pixel to train at; None takes what all tiles share.
    seed
        Chooses what is kept for validation.
    beside
        The output; masks made of vectors are kept beside it.
    listener
        Hears what was found and left out.

    Raises
    ------
    RoadsegError
        If the data cannot be used.
    """
    pairs, dev_pairs, failed = gather(settings, beside, listener)
    skip = listener.warn if settings.skip_unreadable else None
    for sentence in failed:
        listener.warn(sentence)
    found = look_at(pairs, settings, listener, skip)
    gsd, gsd_range = common_gsd(found, gsd_m), gsd_range_of(found)
    found = brought_to(found, gsd_m)
    if settings.dev_fraction and dev_pairs:
        raise TrainingError("validation data are named and asked for as a fraction; choose --dev or --dev-fraction")
    both = {pair.image.resolve() for pair in pairs} & {pair.image.resolve() for pair in dev_pairs}
    if both:
        raise TrainingError(
            f"trained on and for validation at once: {some(sorted(map(str, both)), 3)}; keep them apart"
        )
    dev = brought_to(look_at(dev_pairs, settings, listener, skip), gsd)
    areas = [DevArea(tile, tile.grid.window) for tile in readable(dev, skip)]
    ready, where = held(found, settings.memory_gb, skip)
    if settings.dev_fraction:
        ready, areas = keep_aside(ready, found, settings, margin_px=crop, seed=seed)
    try:
        tiles = Tiles(ready, crop=crop, road_share=settings.road_share)
    except TrainingError as error:
        if not settings.dev_fraction:
            raise
        raise TrainingError(
            f"what is left beside the ground kept for validation cannot be trained on ({error}); "
            "choose a smaller --dev-fraction or --dev-block"
        ) from error
    area, number = counted(len(areas), "area"), counted(len(tiles.tiles), "training tile")
    kept = f"{area} kept for validation" if settings.dev_fraction else counted(len(areas), "dev tile")
    about = f"{number} {where}, {100 * tiles.road_fraction:.1f} % road; {kept}{_bands_of(found)}"
    return TrainingData(tiles, tuple(areas), gsd, gsd_range, about, *_names(settings))


def load_dev(
    place: Path, *, bands: int, gsd_m: float, listener: Listener, chosen: tuple[int, ...] | None = None,
    pixel_m: float | None = None,
) -> tuple[DevArea, ...]:  # fmt: skip
    """Return the tiles of a folder or CSV file as a model with so many bands would see them.

    Which bands are ``chosen``, else the colours of three and the first of any other number. Tiles without a CRS have
    pixels of ``pixel_m``, else those of the model.

    Raises
    ------
    RoadsegError
        If they cannot be used.
    """
    pairs = find_pairs(place)
    taken = chosen or (None if bands == 3 else tuple(range(1, bands + 1)))
    looked = look_at(pairs.dev or pairs.train, DataSettings(bands=taken), listener, None, trains=False)
    areas = brought_to([tile if tile.pixel_m else _sized(tile, pixel_m) for tile in looked], gsd_m)
    odd = next((tile for tile in areas if tile.bands != bands), None)
    if odd:
        raise TrainingError(
            f"{odd.name} gives {counted(odd.bands, 'band')}, the model wants {bands}; choose them with --bands"
        )
    return tuple(DevArea(tile, tile.grid.window) for tile in areas)


def load_domains(
    places: Sequence[DevFolder], *, bands: int, gsd_m: float, listener: Listener, chosen: tuple[int, ...] | None = None
) -> list[tuple[str, tuple[DevArea, ...]]]:
    """Return the names of other places and their tiles, as ``load_dev`` does.

    Raises
    ------
    RoadsegError
        If they cannot be used or hold no road.
    """
    found = []
    for place in places:
        areas = load_dev(place.path, bands=bands, gsd_m=gsd_m, listener=listener, chosen=chosen, pixel_m=place.pixel_m)
        readable([area.tile for area in areas], None)
        found.append((place.path.stem, areas))
    return found


def gather(settings: DataSettings, beside: Path, listener: Listener) -> tuple[list[Pair], list[Pair], list[str]]:
    """Return the pairs to train on, those for validation, and what is wrong with images left out.

    Raises
    ------
    RoadsegError
        If nothing is named, or what is named cannot be used.
    """
    dev = find_pairs(settings.dev).train if settings.dev else []
    if settings.labels or settings.images:
        images = find_images([*settings.images, *([settings.data] if settings.data else [])])
        cache = settings.cache or beside.with_name(beside.name + ".masks")
        pairs, failed = draw_masks(images, settings, cache, listener)
        return pairs, dev, failed
    if settings.data is None:
        raise TrainingError("there is nothing to train on; give a folder with images/ and masks/, or --labels")
    found = [(place, find_pairs(place)) for place in (settings.data, *settings.more)]
    named = next((place for place, pairs in found if pairs.dev), None)
    if named and dev:
        raise TrainingError(f"{named} names tiles for validation itself; leave out --dev")
    train = [pair for _, pairs in found for pair in pairs.train]
    if len({pair.image.resolve() for pair in train}) < len(train):
        raise TrainingError("the data name an image twice, which would count double; name every folder once")
    return train, [pair for _, pairs in found for pair in pairs.dev] or dev, []


def held(
    tiles: Sequence[FileTile], memory_gb: float | None, skip: Callable[[str], None] | None
) -> tuple[list[Source], str]:
    """Read tiles into memory if they fit there, and say where they are.

    Parameters
    ----------
    tiles
        On disk.
    memory_gb
        What they may take; None takes half of what is free.
    skip
        Gets a sentence about each damaged file; None stops there.

    Raises
    ------
    SceneError
        If a file is damaged and is not to be skipped.
    """
    need = sum(tile.grid.window.area * (tile.bands + 2) for tile in tiles)
    room = memory_gb * 1e9 if memory_gb is not None else free_bytes() / 2
    fits, sizes = need <= room, f"{need / 1e9:.2g} GB, {room / 1e9:.2g} GB are free for it"
    if not fits and skip is None:
        return list(tiles), f"read from their files as needed (they take {sizes})"

    def read(tile: FileTile) -> Source:
        return tile.whole() if fits else _read_through(tile)

    return _each(read, tiles, skip), f"{'in memory' if fits else 'read from their files as needed'} (they take {sizes})"


def readable(dev: Sequence[FileTile], skip: Callable[[str], None] | None) -> list[FileTile]:
    """Read validation tiles from end to end before hours are spent, and return those that can be.

    Raises
    ------
    SceneError
        If a file is damaged and is not to be skipped.
    TrainingError
        If there are tiles, but no road in them to score against.
    """

    def read(tile: FileTile) -> tuple[FileTile, bool]:
        parts = [bool((tile.read(part)[1] == 1).any()) for part in windows(tile.grid.window, _SCAN_PX)]
        return tile, any(parts)

    found = _each(read, dev, skip)
    if dev and not any(road for _, road in found):
        raise TrainingError("the dev tiles hold no road to score against; choose other ones")
    return [tile for tile, _ in found]


def _each(
    read: Callable[[FileTile], Result], tiles: Sequence[FileTile], skip: Callable[[str], None] | None
) -> list[Result]:
    """Read tiles, several at a time; one that is damaged is told of and left out, or raised where none may be."""

    def tried(tile: FileTile) -> Result | RoadsegError:
        try:
            return read(tile)
        except RoadsegError as error:
            return error

    ready: list[Result] = []
    with ThreadPoolExecutor(_READERS) as pool:
        for one in list(pool.map(tried, tiles)):
            if not isinstance(one, RoadsegError):
                ready.append(one)
            elif skip is None:
                raise one
            else:
                skip(str(one))
    return ready


def _sized(tile: FileTile, pixel_m: float | None) -> FileTile:
    """Return a tile whose pixels have a size that its file does not tell."""
    return replace(tile, pixel_m=pixel_m, settings=replace(tile.settings, pixel_m=pixel_m))


def _read_through(tile: FileTile) -> FileTile:
    """Read a tile block by block, to find out whether it can be read."""
    for window in windows(tile.grid.window, _SCAN_PX):
        tile.read(window)
    return tile


def _bands_of(tiles: Sequence[FileTile]) -> str:
    """Say which bands are used, if some are not."""
    kinds = sorted({(tile.settings.bands or (), tile.band_total) for tile in tiles})
    if all(total <= len(set(bands)) for bands, total in kinds):
        return ""
    return "; bands " + " or ".join(f"{','.join(map(str, bands))} of {total}" for bands, total in kinds)


def _names(settings: DataSettings) -> tuple[str, str]:
    """Say in words what is trained and validated on."""
    data = " and ".join(place.name for place in (settings.data, *settings.more) if place)
    if settings.labels:
        data = f"scenes with roads of {settings.labels.name}"
    if settings.dev_fraction:
        return data, f"{100 * settings.dev_fraction:g} % of {data}, whole {settings.dev_split}"
    return data, settings.dev.name if settings.dev else f"{data}, split dev"
