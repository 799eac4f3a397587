"""The history of a training run: smoothed loss, a table of its steps, and the best weights if it may stop early."""

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from roadseg.errors import TrainingError
from roadseg.settings import TrainSettings

HistoryRow = dict[str, float]

_SCORE = "relaxed_f1"
_LAST_WEIGHT = 0.02
_ROWS = 500


class BestWeights(NamedTuple):
    """The averaged weights that scored best in a run, by name, with their score and their step."""

    score: float
    step: int
    weights: dict[str, Tensor]


class SmoothedLoss:
    """An exponential moving average of the losses, which stay on the device until they are read.

    Attributes
    ----------
    value
        The average as last read, NaN before the first reading.
    """

    def __init__(self) -> None:
        self.value = math.nan
        self._unread: list[Tensor] = []

    def add(self, loss: Tensor) -> None:
        """Add the loss of a step, a scalar, without waiting for the device."""
        self._unread.append(loss)

    def read(self, step: int) -> None:
        """Fetch the losses of all steps before this one.

        Raises
        ------
        TrainingError
            If one of them is NaN or infinite.
        """
        losses = torch.stack(self._unread).tolist() if self._unread else []
        self._unread.clear()
        for number, loss in enumerate(losses, step - len(losses)):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} at step {number}; start again with --overwrite and a smaller --learning-rate"
                )
            self.value = loss if math.isnan(self.value) else (1 - _LAST_WEIGHT) * self.value + _LAST_WEIGHT * loss


class TrainingHistory:
    """The table of a run and, with early stopping, its best averaged weights.

    Parameters
    ----------
    settings
        Length of the run, number of evaluations, and patience.

    Attributes
    ----------
    rows
        One for each recorded step: step, loss, learning rate, crops per second, and dev figures where it was evaluated.
    best
        The weights that scored best; None without patience and before the first evaluation.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings
        self.rows: list[HistoryRow] = []
        self.best: BestWeights | None = None
        self._since_best = 0

    @property
    def stops_early(self) -> bool:
        """Whether as many evaluations as ``patience`` allows brought no better score."""
        return bool(self.settings.patience) and self._since_best >= self.settings.patience

    def add_row(self, step: int, loss: float, rate: float, crops_per_s: float) -> None:
        """Record a step, once."""
        if not self._ends_with(step):
            self.rows.append({"step": step, "loss": loss, "learning_rate": rate, "crops_per_s": crops_per_s})

    def row_due(self, step: int, read_every: int) -> bool:
        """Return whether a step gets a row, the loss being read at every so many: about 500 of them and the last."""
        every = read_every * max(1, -(-self.settings.steps // (_ROWS * read_every)))
        return step % every == 0 or step >= self.settings.steps

    def evaluation_due(self, step: int) -> bool:
        """Return whether this step is to be evaluated and has not been; the last step is left to the end of the run."""
        before, now = ((n * self.settings.evaluations) // self.settings.steps for n in (step - 1, step))
        done = self._ends_with(step) and _SCORE in self.rows[-1]
        return before < now and 0 < step < self.settings.steps and not done

    def add_scores(self, step: int, figures: Mapping[str, float], weights: Mapping[str, Tensor]) -> None:
        """Add dev figures to the last row; with patience, keep a copy of the weights that scored best."""
        self.rows[-1].update(figures)
        if not self.settings.patience:
            return
        score = figures[_SCORE]
        if self.best is None or score > self.best.score:
            self.best = BestWeights(score, step, {name: value.clone() for name, value in weights.items()})
            self._since_best = 0
        else:
            self._since_best += 1

    def add_final_scores(self, figures: Mapping[str, float]) -> None:
        """Add the dev figures of the finished model to the last row, if there is one."""
        if self.rows:
            self.rows[-1].update(figures)

    def metadata(self) -> dict[str, Any]:
        """Return everything but the best weights, for a checkpoint."""
        best = self.best[:2] if self.best else None
        return {"history": self.rows, "best": best, "without_better": self._since_best}

    def restore(self, metadata: Mapping[str, Any], best_weights: dict[str, Tensor]) -> None:
        """Continue from the metadata and the best weights of a checkpoint.

        Raises
        ------
        LookupError, TypeError, ValueError
            If the metadata are of another form.
        """
        self.rows = [{str(name): float(value) for name, value in row.items()} for row in metadata["history"]]
        steps = [-1.0, *(row["step"] for row in self.rows), int(metadata["step"]) + 0.5]
        if not all(before < after for before, after in itertools.pairwise(steps)):
            raise ValueError("its history is not in the order of steps")
        self._since_best = int(metadata["without_better"])
        if metadata["best"]:
            score, step = metadata["best"]
            self.best = BestWeights(float(score), int(step), best_weights)

    def _ends_with(self, step: int) -> bool:
        return bool(self.rows) and self.rows[-1]["step"] == step
