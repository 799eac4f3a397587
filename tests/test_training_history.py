"""The record of a run: when it is scored, what is noted, how long it waits for a better score."""

import torch

from roadseg.settings import TrainSettings
from roadseg.training.history import TrainingHistory

WEIGHTS = {"w": torch.zeros(2)}


def scored(record: TrainingHistory, step: int, value: float) -> None:
    record.add_row(step, 0.5, 0.1, 9.0)
    record.add_scores(step, {"relaxed_f1": value}, WEIGHTS)


def test_scores_come_evenly_and_not_at_the_end() -> None:
    record = TrainingHistory(TrainSettings(steps=10, evaluations=4))
    assert [step for step in range(11) if record.evaluation_due(step)] == [2, 4, 6, 8]
    record.add_row(4, 0.5, 0.1, 9.0)
    assert record.evaluation_due(4)
    record.add_scores(4, {"relaxed_f1": 0.7}, WEIGHTS)
    assert not record.evaluation_due(4)


def test_a_step_has_one_row() -> None:
    record = TrainingHistory(TrainSettings(steps=10))
    record.add_row(1, 0.9, 0.1, 9.0)
    scored(record, 1, 0.3)
    assert record.rows == [{"step": 1, "loss": 0.9, "learning_rate": 0.1, "crops_per_s": 9.0, "relaxed_f1": 0.3}]


def test_patience_keeps_a_copy_of_the_best_and_ends() -> None:
    record, weights = TrainingHistory(TrainSettings(steps=10, patience=2)), {"w": torch.ones(2)}
    record.add_row(1, 0.5, 0.1, 9.0)
    record.add_scores(1, {"relaxed_f1": 0.6}, weights)
    weights["w"] += 1
    for step, value in ((2, 0.5), (3, 0.6)):
        assert record.waits_for_better
        scored(record, step, value)
    assert not record.waits_for_better
    assert record.best is not None
    assert record.best[:2] == (0.6, 1)
    assert record.best[2]["w"].tolist() == [1, 1]


def test_comes_back_from_what_a_checkpoint_says() -> None:
    settings = TrainSettings(steps=10, patience=2)
    record, other = TrainingHistory(settings), TrainingHistory(settings)
    scored(record, 1, 0.6)
    scored(record, 2, 0.5)
    other.restore(record.metadata(), dict(WEIGHTS))
    assert other.metadata() == record.metadata()
    assert other.best is not None
    assert torch.equal(other.best[2]["w"], WEIGHTS["w"])
    scored(other, 3, 0.4)
    assert not other.waits_for_better


def test_without_patience_nothing_is_kept() -> None:
    record = TrainingHistory(TrainSettings(steps=10))
    for step in range(1, 9):
        scored(record, step, 0.1)
    assert record.waits_for_better
    assert record.best is None
