"""Recalibration: probabilities are raised in scenes where the model is unsure of the roads it finds.

Of the pixels that may be road to a model (0.3), a share surely is: a fifth at home, which is on the tiles it was
calibrated with, as its card says from which probability a pixel surely is road (0.980 and 0.988 for the bundled ones);
and a tenth of that or less in places unlike them. There the model does find roads, but below 0.5:

    share that is sure, of that at home    0.05 and less   …   0.3 and more
    becomes 0.5                                     0.17   …   0.50
    becomes 0.25                                    0.12   …   0.25

This can be told only when all blocks are predicted. They hold what the model said; where it has to be raised, blocks
are stored once more, and the outputs are made of those. So it is the same for the whole scene, whoever predicted its
blocks, and 0.5 remains the threshold of everything that reads the outputs. The numbers were chosen with the bundled
models in five places and on the dev tiles (tests/benchmarks/README.md).
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import counted
from roadseg.files.processors import processor_count
from roadseg.prediction.pipeline import KNOWN, MAYBE, SURE, store_block
from roadseg.prediction.plan import ScenePlan
from roadseg.progress import Listener
from roadseg.raster.encoding import LEVELS, NODATA, Product
from roadseg.raster.partial import Partial
from roadseg.windows import Block, PlannedBlock

_LEAST, _MOST = 0.05, 0.3
"""Where the share, divided by that at home, makes most of a difference, and where it makes none."""
_LOWEST = 0.17
"""The probability that becomes 0.5 where the model is least sure."""
_STEEPER, _STEEPEST = 5, 3
"""By how much logits below 0 are multiplied as the model gets less sure, and at most: ground without road stays near 0,
where ``vectorize`` expects it as it looks for weak roads and for gaps to bridge."""
_FAR_BELOW = 0.3
"""Where this or less becomes 0.5, roads should be looked at before they are used."""
_MOST_THREADS = 4
"""Each holds a block several times."""
_STRIP_ROWS = 64
_DOUBT = 0.0005
"""As many of all pixels are counted as roads as sure as at home: where hardly any road is found, little can be told."""
_FEWEST_PX = 100
"""With fewer pixels of road, some 15 m, nothing can be told."""


def recalibrate(scene: str, plan: ScenePlan, partial: Partial, listener: Listener) -> ScenePlan:
    """Settle which probability of a predicted scene becomes 0.5, and store its blocks accordingly.

    Parameters
    ----------
    scene
        Its name, for messages.
    plan, partial
        The plan of the scene, and its finished blocks.
    listener
        Told what was settled.

    Returns
    -------
    The plan of the outputs, with ``half``; the finished blocks themselves stay as they are.

    Raises
    ------
    OutputError
        If a block is missing or damaged, or cannot be written.
    """
    home = plan.sure_at_home
    if home is None:
        return plan
    cores = [block.core for block in plan.blocks]
    known, maybe, sure = partial.totals(plan.predicted[0], cores, KNOWN, MAYBE, SURE)
    half = becomes_half_in((known, maybe, sure), home.share)
    if half is None:
        listener.report("the model finds too few roads to tell how sure it is of them; probabilities stay as they are")
        return plan
    shares = f"of the roads it finds here ({100 * sure / maybe:.0f} %; {100 * home.share:.0f} % in imagery it knows)"
    if half == 0.5:
        listener.report(f"the model is sure of enough {shares}; probabilities stay as they are")
        return plan
    raising = f"so probabilities are raised: {half:g} becomes 0.5"
    if half > _FAR_BELOW:
        listener.report(f"the model is sure of fewer {shares}, {raising}")
    else:
        listener.warn(
            f"{scene}: the model is sure of few {shares}, {raising}; "
            "check the roads before use, or adapt the model (roadseg adapt; with --teacher standard it needs no labels)"
        )
    raised = replace(
        plan,
        predicted=tuple(map(_raised_product, plan.predicted)),
        rasters=plan.rasters if plan.regrids else tuple((_raised_product(one), path) for one, path in plan.rasters),
        half=half,
    )
    _raise_blocks(plan, raised, partial, listener)
    return raised


def becomes_half_in(counts: Sequence[int], at_home: float) -> float | None:
    """Return the probability that becomes 0.5 in a scene, None if the model finds too few roads to tell.

    Parameters
    ----------
    counts
        How many of its pixels are valid, how many of these may be road, and how many surely are.
    at_home
        The share of these that surely is road at home.
    """
    known, maybe, sure = counts
    doubt = _DOUBT * known
    return None if maybe < _FEWEST_PX else becomes_half((sure + doubt * at_home) / (maybe + doubt), at_home)


def becomes_half(share: float, at_home: float) -> float:
    """Return the probability that becomes 0.5 where a model is sure of a share of its roads."""
    unsure = min(max((_MOST - share / at_home) / (_MOST - _LEAST), 0), 1) if at_home else 0
    return round(1 / (1 + math.exp(-unsure * math.log(_LOWEST / (1 - _LOWEST)))), 3)


def recalibrated(block: Block, half: float) -> Block:
    """Return a block of probabilities, stored as bytes or not, in which ``half`` has become 0.5."""
    values = block.values
    if values.dtype == np.uint8:
        levels = np.rint(_raised(np.arange(LEVELS + 1) / LEVELS, half) * LEVELS)
        values = np.append(levels, NODATA).astype(np.uint8)[values]
    else:
        values = np.empty_like(values)
        for row in range(0, len(values), _STRIP_ROWS):  # what is in between takes many times the memory
            strip = slice(row, row + _STRIP_ROWS)
            values[strip] = _raised(block.values[strip], half)
    return Block(block.window, values, block.valid)


def _raised(probability: NDArray[Any], half: float) -> NDArray[Any]:
    """Add to the logit of probabilities what makes 0.5 of ``half``, then multiply logits below 0."""
    road, ground = probability * (1 - half), (1 - probability) * half
    unsure = math.log(half / (1 - half)) / math.log(_LOWEST / (1 - _LOWEST))
    power = np.where(road < ground, min(1 + _STEEPER * unsure, _STEEPEST), 1)
    return np.asarray(road**power / (road**power + ground**power))


def _raised_product(product: Product) -> Product:
    return replace(product, name=f"raised_{product.name}")


def _raise_blocks(plan: ScenePlan, raised: ScenePlan, partial: Partial, listener: Listener) -> None:
    """Store the blocks of a plan as those of the raised one, unless they are there already."""

    def work(planned: PlannedBlock) -> None:
        block = recalibrated(partial.read(plan.predicted[0], planned.core), raised.half)
        store_block(partial, raised.predicted, block, plan.threshold)

    todo = [block for block in plan.blocks if not partial.has(raised.predicted, block.core)]
    listener.report(f"raising the probabilities, {counted(len(todo), 'block')}")
    with ThreadPoolExecutor(min(_MOST_THREADS, processor_count()), "roadseg-raise") as pool:
        for _ in pool.map(work, todo):
            pass
