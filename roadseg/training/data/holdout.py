"""Dev data held out of the training data: some of the files, or blocks of the ground they show."""

from collections.abc import Sequence
from dataclasses import replace

from roadseg.errors import TrainingError
from roadseg.raster.grid import units_per_metre
from roadseg.raster.labelled_scene import VOID
from roadseg.settings import DataSettings
from roadseg.training.data.file_tiles import DevArea, FileTile, lasting_names
from roadseg.training.data.holdout_blocks import BlockKey, DevBlocks, choose_blocks
from roadseg.training.data.tiles import LabelledTile, MemoryTile
from roadseg.windows import Window, square_windows


def hold_out(
    ready: Sequence[LabelledTile], files: Sequence[FileTile], settings: DataSettings, *, margin_px: int, seed: int
) -> tuple[list[LabelledTile], list[DevArea]]:
    """Hold out a fraction of the data, by blocks of ground or by files.

    Parameters
    ----------
    ready
        Tiles in memory or on disk; in those in memory, held-out pixels are overwritten.
    files
        The same tiles on disk, and perhaps more.
    settings
        ``dev_fraction``, ``dev_split`` and ``dev_block_m``.
    margin_px
        Width of the margin around a block in which labels are not trained on.
    seed
        Seed of the choice.

    Returns
    -------
    The tiles left to train on, and the areas held out.

    Raises
    ------
    TrainingError
        If nothing can be held out.
    """
    by_name = {tile.name: tile for tile in files}
    split = _by_files if settings.dev_split == "files" else _by_blocks
    return split(ready, by_name, settings, margin_px, seed)


def _by_files(
    ready: Sequence[LabelledTile], by_name: dict[str, FileTile], settings: DataSettings, _: int, seed: int
) -> tuple[list[LabelledTile], list[DevArea]]:
    names = lasting_names(list(by_name.values()))
    keys = {tile.name: (names[by_name[tile.name].pair], 0, 0) for tile in ready}
    amounts = {keys[tile.name]: float(tile.shape[0] * tile.shape[1]) for tile in ready}
    if len(amounts) < 2:
        raise TrainingError("there is only one file, so none can be kept for validation; use --dev-split blocks")
    chosen = choose_blocks(amounts, settings.dev_fraction, seed)
    held = [by_name[name] for name, key in keys.items() if key in chosen]
    return [tile for tile in ready if keys[tile.name] not in chosen], [DevArea(one, one.grid.window) for one in held]


def _by_blocks(
    ready: Sequence[LabelledTile], by_name: dict[str, FileTile], settings: DataSettings, margin_px: int, seed: int
) -> tuple[list[LabelledTile], list[DevArea]]:
    layouts = lay_blocks([by_name[tile.name] for tile in ready], settings.dev_block_m, margin_px=margin_px)
    amounts: dict[BlockKey, float] = {}
    for tile, dev_blocks in zip(ready, layouts, strict=True):
        for window in square_windows(Window(0, 0, *tile.shape)):
            for block, count in dev_blocks.count_labelled(tile.read(window)[1] != VOID, window).items():
                amounts[block] = amounts.get(block, 0.0) + count
    if len(amounts) < 2:
        raise TrainingError("the labels fill only one block, so none can be kept; choose a smaller --dev-block")
    blocks = choose_blocks(amounts, settings.dev_fraction, seed)
    layouts = [replace(dev_blocks, blocks=blocks) for dev_blocks in layouts]
    areas = [
        DevArea(replace(by_name[tile.name], dev_blocks=dev_blocks), window)
        for tile, dev_blocks in zip(ready, layouts, strict=True)
        for window in dev_blocks.windows(tile.shape)
    ]
    return [without_dev(tile, dev_blocks) for tile, dev_blocks in zip(ready, layouts, strict=True)], areas


def lay_blocks(tiles: Sequence[FileTile], block_m: float, *, margin_px: int) -> list[DevBlocks]:
    """Lay a grid of blocks over each tile; tiles in one CRS share a grid that is fixed to the ground."""
    steps: dict[str, tuple[float, float]] = {}
    found, names = [], lasting_names(tiles)
    for tile in tiles:
        grid, t = tile.grid, tile.grid.transform
        per_metre = units_per_metre(grid.crs, *(t @ (grid.width / 2, grid.height / 2))) if grid.crs else None
        if per_metre is None:
            scale = tile.settings.gsd_m / block_m
            found.append(DevBlocks(names[tile.pair], (scale, 0.0, 0.0, 0.0, scale, 0.0), margin_px=margin_px))
            continue
        name = str(grid.crs)
        x, y = steps.setdefault(name, (block_m * per_metre[0], block_m * per_metre[1]))
        found.append(DevBlocks(name, (t.a / x, t.b / x, t.c / x, t.d / y, t.e / y, t.f / y), margin_px=margin_px))
    return found


def without_dev(tile: LabelledTile, dev_blocks: DevBlocks) -> LabelledTile:
    """Return a tile without what is held out; one in memory is changed in place."""
    if isinstance(tile, FileTile):
        return replace(tile, dev_blocks=dev_blocks)
    if isinstance(tile, MemoryTile):
        whole = Window(0, 0, *tile.shape)
        tile.label[dev_blocks.with_margin(whole)] = VOID
        tile.valid[dev_blocks.inside(whole)] = False
    return tile
