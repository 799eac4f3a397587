"""Dev tiles in a run, scored by all its processes together: some of them during training, all at the end."""

from collections.abc import Callable, Mapping, Sequence

import torch

from roadseg.errors import counted
from roadseg.model.card import ModelCard
from roadseg.training.calibrate import engine_of
from roadseg.training.data.file_tiles import DevArea
from roadseg.training.dev_score import DevScore, DevScorer
from roadseg.training.distributed import ProcessGroup
from roadseg.training.loop import Trainer


def dev_scorer(
    areas: Sequence[DevArea], processes: ProcessGroup, device: torch.device, *, card: ModelCard | None = None
) -> DevScorer:
    """Return a scorer of dev tiles: each process predicts its share, and their counts are added.

    The ``card`` says how a finished model reads tiles; without one windows and resolution are those of training.
    """
    return DevScorer(
        areas,
        share=slice(processes.rank, None, processes.size),
        total=lambda counts: processes.sum_counts(counts, device),
        card=card,
    )


def describe_dev(areas: Sequence[DevArea], name: str, start: ModelCard | None) -> str:
    """Return a card's description of the dev tiles; a ``start`` model may have been trained on them before."""
    untouched = "" if start else ", never trained on"
    return f"{counted(len(areas), 'tile')} of {name}, on which calibration and threshold were chosen{untouched}"


def dev_evaluation(
    trainer: Trainer, areas: Sequence[DevArea], on_score: Callable[[DevScore], None]
) -> Callable[[], Mapping[str, float]]:
    """Return a function that scores the averaged weights on evenly chosen dev tiles."""
    chosen = areas[:: -(-len(areas) // trainer.settings.dev_tiles)]
    scorer = dev_scorer(chosen, trainer.processes, trainer.device)

    def evaluate() -> Mapping[str, float]:
        score = scorer.score(engine_of(trainer.averaged(), trainer.mean, trainer.std))
        on_score(score)
        return score.figures()

    return evaluate
