"""One block from pixels to road probability: a pure function of the block and the engine.

Serial, threaded and distributed runs are only different ways to map it over a plan.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

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
        The block.
    engine
        Turns batches of windows into probabilities.
    wanted
        (core.height, core.width) bool; other pixels are of no interest and come out as not known.
    on_rows
        Told the number of pixels finished, now and then.

    Returns
    -------
    The core, (height, width) float32 in [0, 1], and which of its pixels are known and wanted.
    """
    core = planned.core
    useful = pixels.valid[core.slices(planned.extent)]
    if wanted is not None:
        useful = useful & wanted
    values = np.empty((core.height, core.width), dtype=np.float32)
    windows = _windows(planned)
    needed = [bool(useful[w.intersection(core).slices(core)].any()) for w in windows]
    chosen = [w for w, need in zip(windows, needed, strict=True) if need]
    results = iter(engine(_batches(pixels, planned.extent, chosen, engine.batch_size)))
    flat = (window for batch in results for window in batch)
    for part, rows in blend((next(flat) if need else None for need in needed), planned):
        values[part.slices(core)] = rows
        on_rows(part.area)
    return Block(core, values, useful)


def _windows(planned: PlannedBlock) -> list[Window]:
    size = planned.window_px
    return [Window(row, col, size, size) for row in planned.row_starts for col in planned.col_starts]


def _batches(pixels: Block, extent: Window, windows: list[Window], size: int) -> Iterator[NDArray[np.generic]]:
    for first in range(0, len(windows), size):
        yield np.stack([pixels.values[:, *window.slices(extent)] for window in windows[first : first + size]])
