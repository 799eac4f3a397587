"""What is known of a training run so far: a table of its steps, and the best weights if it may stop early."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from roadseg.settings import TrainSettings

Row = dict[str, float]

_SCORE = "relaxed_f1"


class TrainingHistory:
    """The history of a run and, with patience, its best averaged weights.

    Parameters
    ----------
    settings
        How long it is, how often it is scored, and how long it waits for a better score.

    Attributes
    ----------
    history
        A row for each step that was noted: step, loss, learning rate, crops in a second, and dev figures where scored.
    best
        Best score, its step, and the weights; None until a run with patience was scored.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings
        self.rows: list[Row] = []
        self.best: tuple[float, int, dict[str, Tensor]] | None = None
        self._without_better = 0

    @property
    def waits_for_better(self) -> bool:
        """Whether a better score is still waited for."""
        return not self.settings.patience or self._without_better < self.settings.patience

    def add_row(self, step: int, loss: float, rate: float, crops_per_s: float) -> None:
        """Add a row, unless there is one of this step."""
        if not self._last(step):
            self.rows.append({"step": step, "loss": loss, "learning_rate": rate, "crops_per_s": crops_per_s})

    def evaluation_due(self, step: int) -> bool:
        """Tell whether this step is one to be scored that has not been."""
        every = max(1, self.settings.steps // self.settings.evaluations)
        done = self._last(step) and _SCORE in self.rows[-1]
        return step % every == 0 and 0 < step < self.settings.steps and not done

    def add_scores(self, step: int, figures: Mapping[str, float], weights: Mapping[str, Tensor]) -> None:
        """Add dev figures to the row of this step; with patience, keep the weights if they are the best yet."""
        self.rows[-1].update(figures)
        if not self.settings.patience:
            return
        score = figures[_SCORE]
        if self.best is None or score > self.best[0]:
            self.best, self._without_better = (score, step, {k: v.clone() for k, v in weights.items()}), 0
        else:
            self._without_better += 1

    def metadata(self) -> dict[str, Any]:
        """Return what a checkpoint says besides the best weights."""
        best = self.best[:2] if self.best else None
        return {"history": self.rows, "best": best, "without_better": self._without_better}

    def restore(self, about: Mapping[str, Any], weights: dict[str, Tensor]) -> None:
        """Take up what ``about`` said, and the best weights."""
        self.rows, self._without_better = about["history"], about["without_better"]
        if about["best"]:
            self.best = (about["best"][0], about["best"][1], weights)

    def _last(self, step: int) -> bool:
        return bool(self.rows) and self.rows[-1]["step"] == step
