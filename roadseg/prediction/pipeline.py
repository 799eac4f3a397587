"""The blocks of a scene, from pixels to finished files.

Threads read, predict and write at the same time; what is read ahead and not yet written is bounded:

    readers      read 1 │ read 2    │ read 3    │ read 4    │
    engines               predict 1 │ predict 2 │ predict 3 │
    writers                           write 1   │ write 2   │ write 3

Finished blocks are never predicted again: what a stopped run left is skipped.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import SceneError, counted
from roadseg.model.card import MAYBE_ROAD
from roadseg.prediction.block import predict_each
from roadseg.prediction.engines.engine import Engine
from roadseg.prediction.engines.group import on_each
from roadseg.prediction.plan import ScenePlan
from roadseg.prediction.reader import BlockReader
from roadseg.prediction.writer import BlockWriter
from roadseg.progress import Listener
from roadseg.raster.block_file import block_data, block_name
from roadseg.raster.encoding import Product, count_road, encode, threshold_mask
from roadseg.raster.partial import Partial
from roadseg.raster.regrid import RegriddedRaster
from roadseg.raster.scene import Scene
from roadseg.windows import Block, PlannedBlock, Window

KNOWN, ROAD, MAYBE, SURE = "KNOWN", "ROAD", "MAYBE", "SURE"
"""Tags of block files: how many pixels are valid, road (at the threshold), maybe and surely road."""


def predict_blocks(
    scene: Scene,
    plan: ScenePlan,
    engine: Engine,
    partial: Partial,
    listener: Listener,
    finish: Callable[[Block], Block] = lambda block: block,
) -> int:
    """Predict the blocks that are not finished yet.

    Parameters
    ----------
    scene, plan, engine, partial, listener
        As for ``map_blocks``.
    finish
        Called with each predicted block, in other threads; returns what is stored.

    Returns
    -------
    Number of blocks that were finished before.

    Raises
    ------
    SceneError
        If the scene cannot be read; finished blocks are kept.
    """
    blocks = plan.blocks
    todo = [block for block in blocks if not partial.has(plan.predicted, block.core)]
    remaining, total = sum(block.core.area for block in todo) / 1e6, plan.area_model.area / 1e6
    before = len(blocks) - len(todo)
    if before:
        listener.report(f"{before:,} of {counted(len(blocks), 'block')} finished before")
    listener.start(total, total - remaining)
    map_blocks(scene, plan, engine, partial, todo, listener, finish=finish)
    return before


def map_blocks(
    scene: Scene,
    plan: ScenePlan,
    engine: Engine,
    partial: Partial,
    todo: Iterable[PlannedBlock],
    listener: Listener,
    *,
    finish: Callable[[Block], Block] = lambda block: block,
    on_stored: Callable[[Window], None] = lambda _: None,
) -> None:
    """Predict blocks and store them.

    Parameters
    ----------
    scene, plan, engine, partial
        The scene, its plan, the model on its device, and where finished blocks go.
    todo
        Blocks of the plan; asked for one by one, a few ahead of the one that is being stored.
    listener
        Called with megapixels finished.
    finish
        Called with each predicted block, in other threads; returns what is stored.
    on_stored
        Called with the core of each stored block, in another thread.

    Raises
    ------
    SceneError
        If the scene cannot be read; finished blocks are kept.
    """

    def store(block: Block) -> None:
        store_block(partial, plan.predicted, finish(block), plan.threshold, sure_from=plan.sure_from, judged=block)
        on_stored(block.window)

    try:
        _predict(scene, plan, engine, todo, store, listener)
    except SceneError as error:
        if not partial.block_count():
            raise
        raise SceneError(
            f"{error}; the finished blocks are kept: repeat the command if the file comes back unchanged, "
            "or add --overwrite to start again with another"
        ) from error


class _StoppedError(Exception):
    """Another engine has failed, or the run was interrupted."""


def _predict(
    scene: Scene,
    plan: ScenePlan,
    engine: Engine,
    todo: Iterable[PlannedBlock],
    store: Callable[[Block], None],
    listener: Listener,
) -> None:
    counting = threading.Lock()
    with BlockWriter(store) as writer, BlockReader(scene, plan, todo) as blocks:

        def on_rows(count: int) -> None:
            with counting:
                listener.advance(count / 1e6)
            if blocks.stopped:
                raise _StoppedError

        def work(one: Engine) -> None:
            for block in predict_each(blocks, plan.layout, one, plan.stored_as, on_rows):
                writer.put(block)
                del block  # else it would stay in memory until the next one is predicted

        if len(plan.blocks) == 1:
            blocks.wait_for_first()  # while the engine is another scene's; more blocks would take too much memory
        on_each(engine, work, blocks.stop)


def regrid_blocks(scene: Scene, plan: ScenePlan, partial: Partial, listener: Listener) -> None:
    """Resample the finished blocks from the model's grid to the scene's, block by block.

    Parameters
    ----------
    scene, plan, partial
        The scene, its plan, and the finished blocks, to which those of the outputs are added.
    listener
        Callbacks for messages.

    Raises
    ------
    SceneError
        If the scene cannot be read.
    OutputError
        If a block is missing or cannot be written.
    """
    listener.report(f"resampling to the scene's grid, {counted(len(plan.blocks_out), 'block')}")
    for block in _regridded(scene, plan, plan.predicted[0], partial, plan.written):
        store_block(partial, plan.written, block, plan.threshold)
    if plan.uncertainty and plan.spread:
        product = plan.uncertainty[0]
        for block in _regridded(scene, plan, plan.spread, partial, [product]):
            partial.put(product, block.window, encode(block.values, block.valid, product.dtype))


def _regridded(
    scene: Scene, plan: ScenePlan, product: Product, partial: Partial, written: Sequence[Product]
) -> Iterator[Block]:
    """Yield the blocks of the outputs, resampled from a predicted product, that are not written yet."""
    source = join_predicted(plan, partial, product)
    with RegriddedRaster(source, plan.grid_model, plan.area_model, plan.grid_out) as regridded:
        for window in (window for window in plan.blocks_out if not partial.has(written, window)):
            values, valid = regridded.read(window)
            valid &= scene.read_valid(window)
            wanted = plan.area.covers(plan.grid_out, window)
            if wanted is not None:
                valid &= wanted
            yield Block(window, values, valid)


def join_predicted(plan: ScenePlan, partial: Partial, product: Product | None = None) -> Path:
    """Join the blocks on the model's grid, of the probability or another product; return the path of the VRT."""
    cores = [block.core for block in plan.blocks]
    grid = plan.grid_model.cropped(plan.area_model)
    return partial.mosaic(product or plan.predicted[0], cores, grid, plan.area_model, {})


def store_block(
    partial: Partial,
    products: Sequence[Product],
    block: Block,
    threshold: float,
    *,
    sure_from: float | None = None,
    judged: Block | None = None,
) -> None:
    """Store a block; see ``block_files``."""
    for name, data in block_files(products, block, threshold, sure_from=sure_from, judged=judged):
        partial.put_file(name, *data)


def block_files(
    products: Sequence[Product],
    block: Block,
    threshold: float,
    *,
    sure_from: float | None = None,
    judged: Block | None = None,
) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the names and contents, in parts, of a block's files: the probability, and the mask if there is one.

    Parameters
    ----------
    products
        What is stored; the probability comes first.
    block
        Probabilities (height, width), as bytes or as float32.
    threshold
        Probability from which a pixel is road.
    sure_from
        Probability from which a pixel surely is road, by which recalibration judges how sure the model is; with None
        nothing is counted for it.
    judged
        What one view of several gave, which is judged instead of the block.
    """
    values = _stored(block, products[0])
    if sure_from is None:
        known, road = count_road(values, threshold)
        counts = {KNOWN: known, ROAD: road}
    else:
        known, road, maybe, sure = count_road(values, threshold, MAYBE_ROAD, sure_from)
        if judged is not None and judged is not block:
            _, maybe, sure = count_road(_stored(judged, products[0]), MAYBE_ROAD, sure_from)
        counts = {KNOWN: known, ROAD: road, MAYBE: maybe, SURE: sure}
    for product in products:
        data = threshold_mask(values, threshold) if product.colours else values
        yield block_name(product, block.window), block_data(product, block.window, data, counts)


def _stored(block: Block, product: Product) -> NDArray[Any]:
    """Return the values of a block as a product stores them."""
    return block.values if block.values.dtype == np.uint8 else encode(block.values, block.valid, product.dtype)
