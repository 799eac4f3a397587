"""The history of a run: when it is scored, what is noted, how long it waits for a better score."""

import pytest
import torch

from roadseg.settings import TrainSettings
from roadseg.training.history import TrainingHistory

WEIGHTS = {"w": torch.zeros(2)}


def scored(history: TrainingHistory, step: int, value: float) -> None:
    history.add_row(step, 0.5, 0.1, 9.0)
    history.add_scores(step, {"relaxed_f1": value}, WEIGHTS)


def test_scores_come_evenly_and_not_at_the_end() -> None:
    history = TrainingHistory(TrainSettings(steps=10, evaluations=4))
    assert [step for step in range(11) if history.evaluation_due(step)] == [3, 5, 8]
    history.add_row(5, 0.5, 0.1, 9.0)
    assert history.evaluation_due(5)
    history.add_scores(5, {"relaxed_f1": 0.7}, WEIGHTS)
    assert not history.evaluation_due(5)


@pytest.mark.parametrize(("steps", "evaluations"), [(4600, 4), (300, 7), (7, 4), (7, 7), (5, 9), (10, 1)])
def test_there_are_as_many_scores_as_asked_for_with_the_last_one(steps: int, evaluations: int) -> None:
    history = TrainingHistory(TrainSettings(steps=steps, evaluations=evaluations))
    assert sum(map(history.evaluation_due, range(steps + 1))) + 1 == min(evaluations, steps)


def test_a_step_has_one_row() -> None:
    history = TrainingHistory(TrainSettings(steps=10))
    history.add_row(1, 0.9, 0.1, 9.0)
    scored(history, 1, 0.3)
    assert history.rows == [{"step": 1, "loss": 0.9, "learning_rate": 0.1, "crops_per_s": 9.0, "relaxed_f1": 0.3}]


def test_patience_keeps_a_copy_of_the_best_and_ends() -> None:
    history, weights = TrainingHistory(TrainSettings(steps=10, patience=2)), {"w": torch.ones(2)}
    history.add_row(1, 0.5, 0.1, 9.0)
    history.add_scores(1, {"relaxed_f1": 0.6}, weights)
    weights["w"] += 1
    for step, value in ((2, 0.5), (3, 0.6)):
        assert not history.stops_early
        scored(history, step, value)
    assert history.stops_early
    assert history.best is not None
    assert history.best[:2] == (0.6, 1)
    assert history.best[2]["w"].tolist() == [1, 1]


def test_comes_back_from_what_a_checkpoint_says() -> None:
    settings = TrainSettings(steps=10, patience=2)
    history, other = TrainingHistory(settings), TrainingHistory(settings)
    scored(history, 1, 0.6)
    scored(history, 2, 0.5)
    other.restore({**history.metadata(), "step": 2}, dict(WEIGHTS))
    assert other.metadata() == history.metadata()
    assert other.best is not None
    assert torch.equal(other.best[2]["w"], WEIGHTS["w"])
    scored(other, 3, 0.4)
    assert other.stops_early


def test_without_patience_nothing_is_kept() -> None:
    history = TrainingHistory(TrainSettings(steps=10))
    for step in range(1, 9):
        scored(history, step, 0.1)
    assert not history.stops_early
    assert history.best is None
