"""One of several processes that predict the blocks of a scene; none of them writes an output.

Each begins with the blocks of its own part and then does what others have not begun, from the end of their parts on,
where they come last:

    part 1/3   1 2 3 4   then  8 7 6 5  12 11 10 9
    part 2/3   5 6 7 8   then  12 11 10 9  4 3 2 1

So the blocks of a process that was killed, or was never started, are done by the others. Blocks that live processes
work on are left to them, and what is missing in the end to the command without a part.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from roadseg.errors import OutputError, SceneError, shortened
from roadseg.files.lock import locked
from roadseg.files.parts import PATIENCE_S, Share, check_unshared, joined
from roadseg.prediction.engines.engine import Engine
from roadseg.prediction.fingerprint import changed_files
from roadseg.prediction.pipeline import map_blocks
from roadseg.prediction.plan import ScenePlan
from roadseg.prediction.prepare import PreparedScene
from roadseg.progress import Listener
from roadseg.raster.partial import Partial, partial_folder
from roadseg.raster.scene import Scene
from roadseg.settings import PredictOutputs
from roadseg.windows import PlannedBlock, Window

Item = TypeVar("Item")


@dataclass(frozen=True)
class PartCounts:
    """Numbers of blocks: of the scene, finished before, and missing at the end."""

    blocks: int
    before: int
    missing: int


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
    changed = changed_files(prepared.states)
    if changed:
        raise SceneError(
            f"{shortened(changed, 3)} changed while it was read; stop the other parts and repeat all with --overwrite"
        )
    missing = sum(not partial.has(plan.predicted, block.core) for block in plan.blocks)
    if not missing:
        partial.mark_complete()
    return PartCounts(len(plan.blocks), before, missing)


@contextmanager
def shared_partial(
    outputs: PredictOutputs, prepared: PreparedScene, *, start_over: bool
) -> Iterator[tuple[Partial, Share]]:
    """Context manager that joins the processes at work on an output; on exit nothing stays if none finished a block.

    Raises
    ------
    OutputError
        If a run that will publish works on the output, or there are blocks of other inputs or settings.
    """
    folder, fingerprint = partial_folder(outputs.raster), prepared.fingerprint

    def alone() -> None:
        check_unshared(outputs.raster, folder)

    with ExitStack() as stack:
        with locked(outputs.paths(), PATIENCE_S):
            common = Partial(outputs.raster, fingerprint, start_over=start_over, check_lock=alone)
            stack.callback(_leave, common, outputs)
            share = stack.enter_context(joined(folder))
        yield Partial(outputs.raster, fingerprint, check_lock=share.check), share


def own_and_others(items: Sequence[Item], index: int, count: int) -> tuple[list[Item], list[Item]]:
    """Return the items of a part, and those of the others in the order in which it helps them."""
    bounds = [round(len(items) * part / count) for part in range(count + 1)]
    shares = [list(items[start:stop]) for start, stop in itertools.pairwise(bounds)]
    others = [item for share in (*shares[index + 1 :], *shares[:index]) for item in reversed(share)]
    return shares[index], others


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


def _leave(partial: Partial, outputs: PredictOutputs) -> None:
    if not partial.block_count():
        with suppress(OutputError), locked(outputs.paths(), PATIENCE_S), partial:
            pass


def _name(core: Window) -> str:
    return f"{core.row}_{core.col}_{core.height}_{core.width}"
