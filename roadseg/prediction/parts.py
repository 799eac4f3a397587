"""One of several processes that predict the blocks of a scene; none of them writes an output.

Each begins with the blocks of its own part and then does what others have not begun (``own_and_others``). So the blocks
of a process that was killed, or was never started, are done by the others. Blocks that live processes work on are left
to them, and what is missing in the end to the command without a part.
"""

import itertools
from collections.abc import Iterator

from roadseg.files.parts import PartCounts, Share, own_and_others
from roadseg.files.states import check_unchanged
from roadseg.prediction.engines.engine import Engine
from roadseg.prediction.pipeline import map_blocks
from roadseg.prediction.plan import ScenePlan
from roadseg.prediction.prepare import PreparedScene
from roadseg.progress import Listener
from roadseg.raster.partial import Partial
from roadseg.raster.scene import Scene
from roadseg.windows import PlannedBlock, Window


def predict_part(
    scene: Scene,
    prepared: PreparedScene,
    engine: Engine,
    part: tuple[int, int],
    shared: tuple[Partial, Share],
    listener: Listener,
) -> PartCounts:
    """Predict the blocks that no other process has finished or works on.

    Parameters
    ----------
    scene, prepared, engine
        The scene, its plan, and the model on its device.
    part
        Index of the part, from 0, and the number of parts.
    shared
        From ``shared_partial``.
    listener
        Callbacks for messages and for megapixels finished.

    Raises
    ------
    RoadsegError
        If the scene cannot be read or has changed, or a block cannot be written; finished blocks are kept.
    """
    plan, (partial, share) = prepared.plan, shared
    before = sum(partial.has(plan.predicted, block.core) for block in plan.blocks)
    listener.start(plan.area_model.area / 1e6, 0)
    todo = _free_blocks(plan, part, shared, listener)
    map_blocks(scene, plan, engine, partial, todo, listener, on_stored=lambda core: share.release(_name(core)))
    check_unchanged(prepared.states, shared=True)
    missing = sum(not partial.has(plan.predicted, block.core) for block in plan.blocks)
    if not missing:
        partial.mark_complete()
    return PartCounts(len(plan.blocks), before, missing)


def _free_blocks(
    plan: ScenePlan, part: tuple[int, int], shared: tuple[Partial, Share], listener: Listener
) -> Iterator[PlannedBlock]:
    """Yield blocks as this process claims them; those that are finished count as progress."""
    partial, share = shared
    for block in itertools.chain(*own_and_others(plan.blocks, *part)):
        name = _name(block.core)
        if not partial.has(plan.predicted, block.core) and share.claim(name):
            if not partial.has(plan.predicted, block.core):  # another process may have finished it just before
                yield block
                continue
            share.release(name)
        if partial.has(plan.predicted, block.core):
            listener.advance(block.core.area / 1e6)


def _name(core: Window) -> str:
    return f"{core.row}_{core.col}_{core.height}_{core.width}"
