"""Dev tiles in a run: scored by all its processes together, in part on the way and all at the end."""

from collections.abc import Callable, Mapping, Sequence

import torch

from roadseg.model.card import ModelCard
from roadseg.progress import counted
from roadseg.training.calibrate import engine_of
from roadseg.training.data.file_tiles import DevArea
from roadseg.training.dev_score import DevScore, Jury
from roadseg.training.distributed import ProcessGroup
from roadseg.training.loop import Trainer


def jury_of(areas: Sequence[DevArea], processes: ProcessGroup, device: torch.device, *, window_px: int = 224) -> Jury:
    """Return a scorer of dev tiles: each process predicts its share, and their counts are added."""
    return Jury(
        areas,
        share=slice(processes.rank, None, processes.size),
        total=lambda counts: processes.sum_counts(counts, device),
        window_px=window_px,
    )


def describe_dev(areas: Sequence[DevArea], name: str, start: ModelCard | None) -> str:
    """Return what a card says about the tiles its figures were measured on; ``start`` may have been trained on them."""
    untouched = "" if start else ", never trained on"
    return f"{counted(len(areas), 'tile')} of {name}, on which calibration and threshold were chosen{untouched}"


def dev_evaluation(
    trainer: Trainer, areas: Sequence[DevArea], on_score: Callable[[DevScore], None]
) -> Callable[[], Mapping[str, float]]:
    """Return a function that scores the averaged weights on evenly chosen dev tiles."""
    chosen = areas[:: -(-len(areas) // trainer.settings.dev_tiles)]
    jury = jury_of(chosen, trainer.processes, trainer.device)

    def evaluate() -> Mapping[str, float]:
        score = jury.score(engine_of(trainer.averaged(), trainer.mean, trainer.std))
        on_score(score)
        return score.figures()

    return evaluate
