"""One block from pixels to road probability: a pure function of the block and the engine.

Serial, threaded and distributed runs only differ in how they map it over a plan.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import ModelError
from roadseg.prediction.blend import blend
from roadseg.prediction.engines.engine import Engine, StreamingEngine
from roadseg.prediction.prepared_block import PreparedBlock, prepare_block
from roadseg.raster.encoding import quantize
from roadseg.settings import PixelType
from roadseg.windows import Block, Plan, PlannedBlock

NAN = (
    "the model returned NaN for valid pixels: its numbers overflow in this number format; "
    "use --precision float32, and another model if that does not help"
)
"""Message of the error where ``has_nan``."""

OnRows = Callable[[int], None]
"""Called with the number of pixels finished since the last call."""


def predict_block(
    pixels: Block,
    planned: PlannedBlock,
    engine: Engine,
    *,
    wanted: NDArray[np.bool_] | None = None,
    dtype: PixelType = "float32",
    on_rows: OnRows = lambda _: None,
) -> Block:
    """Predict the core of a block.

    Parameters
    ----------
    pixels
        The block's whole extent, (bands, height, width).
    planned
        The block's core and windows.
    engine
        Maps batches of windows to probabilities.
    wanted
        (core.height, core.width) bool; other pixels come out as nodata. None wants all pixels.
    dtype
        What to return: probabilities, or the bytes they are stored as.
    on_rows
        Called with the number of pixels finished since the last call.

    Returns
    -------
    The core: (height, width) float32 in [0, 1] or uint8 of ``quantize``, and which pixels are valid and wanted.

    Raises
    ------
    ModelError
        If the engine returns NaN for one of these pixels.
    """
    return _predict(prepare_block(pixels, planned, wanted), engine, dtype, on_rows)


def predict_each(
    blocks: Iterable[PreparedBlock], layout: Plan, engine: Engine, dtype: PixelType, on_rows: OnRows = lambda _: None
) -> Iterator[Block]:
    """Yield the predicted cores of the blocks of a plan, in order, with the values that ``predict_block`` gives.

    An engine that blends on its device takes all of them as one stream, unless windows overlap by more than half.
    """
    if isinstance(engine, StreamingEngine) and layout.window_px <= 2 * layout.stride_px:
        yield from engine.predict_blocks(blocks, layout, dtype, on_rows)
        return
    for block in blocks:
        done = _predict(block, engine, dtype, on_rows)
        del block  # else it would stay in memory while the next one is awaited
        yield done
        del done


def _predict(block: PreparedBlock, engine: Engine, dtype: PixelType, on_rows: OnRows) -> Block:
    core = block.planned.core
    values = np.empty((core.height, core.width), dtype=dtype)
    predicted = (window for batch in engine(_batches(block, engine.batch_size)) for window in batch)
    for part, rows in blend((next(predicted) if need else None for need in block.needed.flat), block.planned):
        place = part.slices(core)
        if has_nan(rows, block.useful[place]):
            raise ModelError(NAN)
        values[place] = quantize(rows, block.useful[place]) if dtype == "uint8" else rows
        on_rows(part.area)
    return Block(core, values, block.useful)


def _batches(block: PreparedBlock, size: int) -> Iterator[NDArray[np.generic]]:
    """Yield the pixels of the needed windows, up to ``size`` at a time, as (n, bands, window_px, window_px)."""
    windows, extent = [block.window(row, col) for row, col in np.argwhere(block.needed)], block.planned.extent
    for first in range(0, len(windows), size):
        yield np.stack([block.values[:, *window.slices(extent)] for window in windows[first : first + size]])


def has_nan(probability: NDArray[np.float32], useful: NDArray[np.bool_]) -> bool:
    """Return whether a useful pixel is NaN, which would pass for nodata in the output."""
    # The minimum of NaN and other numbers is NaN.
    return bool(np.isnan(probability.min()) and np.isnan(probability[useful]).any())
