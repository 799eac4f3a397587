"""One block from pixels to road probability: a pure function of the block and the engine.

Serial, threaded and distributed runs only differ in how they map it over a plan.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import ModelError
from roadseg.prediction.blend import blend
from roadseg.prediction.engines.engine import Engine
from roadseg.windows import Block, PlannedBlock, Window


def predict_block(
    pixels: Block,
    planned: PlannedBlock,
    engine: Engine,
    *,
    wanted: NDArray[np.bool_] | None = None,
    on_rows: Callable[[int], None] = lambda _: None,
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
    on_rows
        Called with the number of pixels finished since the last call.

    Returns
    -------
    The core: (height, width) float32 in [0, 1], and which of its pixels are valid and wanted.

    Raises
    ------
    ModelError
        If the engine returns NaN for one of these pixels.
    """
    core = planned.core
    useful = pixels.valid[core.slices(planned.extent)]
    if wanted is not None:
        useful = useful & wanted
    values = np.empty((core.height, core.width), dtype=np.float32)
    windows = _windows(planned)
    needed = [bool(useful[w.intersection(core).slices(core)].any()) for w in windows]
    chosen = [w for w, need in zip(windows, needed, strict=True) if need]
    batches = engine(_batches(pixels, planned.extent, chosen, engine.batch_size))
    predicted = (window for batch in batches for window in batch)
    for part, rows in blend((next(predicted) if need else None for need in needed), planned):
        _check_numbers(rows, useful[part.slices(core)])
        values[part.slices(core)] = rows
        on_rows(part.area)
    return Block(core, values, useful)


def _windows(planned: PlannedBlock) -> list[Window]:
    size = planned.window_px
    return [Window(row, col, size, size) for row in planned.row_starts for col in planned.col_starts]


def _batches(pixels: Block, extent: Window, windows: list[Window], size: int) -> Iterator[NDArray[np.generic]]:
    """Yield the pixels of windows, up to ``size`` at a time, as (n, bands, window_px, window_px)."""
    for first in range(0, len(windows), size):
        yield np.stack([pixels.values[:, *window.slices(extent)] for window in windows[first : first + size]])


def _check_numbers(probability: NDArray[np.float32], useful: NDArray[np.bool_]) -> None:
    """Raise ModelError for NaN in a useful pixel, which would pass for nodata in the output."""
    if np.isnan(probability.min()) and np.isnan(probability[useful]).any():  # the minimum of NaN and others is NaN
        raise ModelError(
            "the model returned NaN for valid pixels: its numbers overflow in this number format; "
            "use --precision float32, and another model if that does not help"
        )
