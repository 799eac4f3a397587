"""A block that is ready to predict: its pixels are read, and it is settled which of its windows are needed.

All of this is the reader's work, so that an engine goes from one block to the next without a pause.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.windows import Block, PlannedBlock, Window, all_valid, is_all_valid


@dataclass(frozen=True)
class PreparedBlock:
    """A block and what to predict of it.

    Parameters
    ----------
    planned
        Its core and windows.
    values
        (bands, extent.height, extent.width) pixels, uint8 or float32 on a 0–1 scale.
    useful
        (core.height, core.width) bool: which pixels are valid and wanted; read-only if all are.
    needed
        (rows, columns of windows) bool: which windows hold a useful pixel.
    """

    planned: PlannedBlock
    values: NDArray[Any]
    useful: NDArray[np.bool_]
    needed: NDArray[np.bool_]

    def window(self, row: int, col: int) -> Window:
        """Return a window by its place in ``needed``."""
        size = self.planned.window_px
        return Window(self.planned.row_starts[row], self.planned.col_starts[col], size, size)


def prepare_block(pixels: Block, planned: PlannedBlock, wanted: NDArray[np.bool_] | None = None) -> PreparedBlock:
    """Settle what to predict of a block.

    Parameters
    ----------
    pixels
        The block's whole extent, (bands, height, width).
    planned
        The block's core and windows.
    wanted
        (core.height, core.width) bool; other pixels come out as nodata. None wants all pixels.
    """
    core = planned.core
    useful = pixels.valid[core.slices(planned.extent)]
    useful = useful & wanted if wanted is not None else useful
    everywhere = is_all_valid(useful)
    useful = all_valid((core.height, core.width)) if everywhere else useful.copy()  # a view would keep the extent's
    needed = np.ones((len(planned.row_starts), len(planned.col_starts)), dtype=np.bool_)
    block = PreparedBlock(planned, pixels.values, useful, needed)
    if not everywhere:
        for row, col in np.ndindex(needed.shape):
            needed[row, col] = useful[block.window(row, col).intersection(core).slices(core)].any()
    return block
