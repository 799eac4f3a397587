"""Recalibration: probabilities are raised in scenes where the model is unsure of the roads it finds.

Of the pixels that are road to a model (0.5), a share is surely road (0.9): more than half at home, which is on the
tiles it was calibrated with, and as little as a third of that in places unlike them. There the model does find roads,
but below 0.5:

    share that is sure, of that at home     0.4 and less   …   0.8 and more
    becomes 0.5                                     0.15   …   0.50

Some windows all over the scene are predicted before the first block. What follows from them is the same for the whole
scene, so blocks stay independent of each other, and 0.5 remains the threshold of everything that reads the output.
The numbers were chosen with the bundled models in five places and on the dev tiles (tests/benchmarks/README.md).
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.prediction.engines.engine import Engine
from roadseg.prediction.engines.group import engines_of, turn_of
from roadseg.prediction.plan import ScenePlan
from roadseg.raster.encoding import LEVELS, NODATA, quantize, sure_share
from roadseg.raster.scene import Scene
from roadseg.windows import Block, Window

_LEAST, _MOST = 0.4, 0.8
"""Where the share, divided by that at home, makes most of a difference, and where it makes none."""
_LOWEST = 0.15
"""The probability that becomes 0.5 where the model is least sure."""

_WINDOWS_PER_SIDE = 6
_FEWEST_PX = 100
"""With fewer pixels of road, some 15 m, nothing can be told."""


def sure_share_in(scene: Scene, plan: ScenePlan, engine: Engine) -> float | None:
    """Return the share of road pixels that the model is sure of, in windows all over a scene; None if few are road.

    Raises
    ------
    SceneError
        If the scene cannot be read there.
    """
    one = engines_of(engine)[0]
    blocks = [block for block in map(scene.read, _windows(plan)) if block.valid.any()]
    counts = np.zeros(NODATA + 1, np.int64)
    with turn_of(one):
        for block, probability in zip(blocks, _answers(one, blocks), strict=True):
            counts += np.bincount(quantize(probability, block.valid).ravel(), minlength=len(counts))
    return sure_share(counts, fewest=_FEWEST_PX)


def becomes_half(share: float | None, at_home: float) -> float:
    """Return the probability that becomes 0.5 where a model is sure of a share of its roads; None for too few."""
    if share is None or not at_home:
        return 0.5
    unsure = min(max((_MOST - share / at_home) / (_MOST - _LEAST), 0), 1)
    return 1 / (1 + math.exp(-unsure * math.log(_LOWEST / (1 - _LOWEST))))


def recalibrated(block: Block, half: float) -> Block:
    """Return a block of probabilities, stored as bytes or not, in which ``half`` has become 0.5."""
    if half == 0.5:
        return block
    values = block.values
    if values.dtype == np.uint8:
        levels = np.rint(_raised(np.arange(LEVELS + 1) / LEVELS, half) * LEVELS)
        values = np.append(levels, NODATA).astype(np.uint8)[values]
    else:
        values = _raised(values, half).astype(np.float32, copy=False)
    return Block(block.window, values, block.valid)


def _raised(probability: NDArray[Any], half: float) -> NDArray[Any]:
    """Add to the logit of probabilities what makes 0.5 of ``half``."""
    return probability * (1 - half) / (probability * (1 - half) + (1 - probability) * half)


def _windows(plan: ScenePlan) -> list[Window]:
    """Return windows all over the area of a plan, on the model's grid."""
    area, size = plan.area_model, plan.layout.window_px
    rows, cols = (
        np.unique(np.linspace(first, max(first, stop - size), min(_WINDOWS_PER_SIDE, -(-(stop - first) // size))))
        for first, stop in ((area.row, area.row_stop), (area.col, area.col_stop))
    )
    return [Window(round(row), round(col), size, size) for row in rows for col in cols]


def _answers(engine: Engine, blocks: list[Block]) -> Iterator[NDArray[np.float32]]:
    """Yield the probability of each block, one window large."""
    size = engine.batch_size
    batches = (blocks[first : first + size] for first in range(0, len(blocks), size))
    for answer in engine(np.stack([block.values for block in batch]) for batch in batches):
        yield from answer
