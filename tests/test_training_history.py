"""The record of a run: when it is scored, what is noted, how long it waits for a better score."""

import torch

from roadseg.settings import TrainSettings
from roadseg.training.history import Record

WEIGHTS = {"w": torch.zeros(2)}


def scored(record: Record, step: int, value: float) -> None:
    record.note(step, 0.5, 0.1, 9.0)
    record.judge(step, {"relaxed_f1": value}, WEIGHTS)


def test_scores_come_evenly_and_not_at_the_end() -> None:
    record = Record(TrainSettings(steps=10, evaluations=4))
    assert [step for step in range(11) if record.evaluates_at(step)] == [2, 4, 6, 8]
    record.note(4, 0.5, 0.1, 9.0)
    assert record.evaluates_at(4)
    record.judge(4, {"relaxed_f1": 0.7}, WEIGHTS)
    assert not record.evaluates_at(4)


def test_a_step_has_one_row() -> None:
    record = Record(TrainSettings(steps=10))
    record.note(1, 0.9, 0.1, 9.0)
    scored(record, 1, 0.3)
    assert record.history == [{"step": 1, "loss": 0.9, "learning_rate": 0.1, "crops_per_s": 9.0, "relaxed_f1": 0.3}]


def test_patience_keeps_a_copy_of_the_best_and_ends() -> None:
    record, weights = Record(TrainSettings(steps=10, patience=2)), {"w": torch.ones(2)}
    record.note(1, 0.5, 0.1, 9.0)
    record.judge(1, {"relaxed_f1": 0.6}, weights)
    weights["w"] += 1
    for step, value in ((2, 0.5), (3, 0.6)):
        assert record.patient
        scored(record, step, value)
    assert not record.patient
    assert record.best is not None
    assert record.best[:2] == (0.6, 1)
    assert record.best[2]["w"].tolist() == [1, 1]


def test_comes_back_from_what_a_checkpoint_says() -> None:
    settings = TrainSettings(steps=10, patience=2)
    record, other = Record(settings), Record(settings)
    scored(record, 1, 0.6)
    scored(record, 2, 0.5)
    other.restore(record.about(), dict(WEIGHTS))
    assert other.about() == record.about()
    assert other.best is not None
    assert torch.equal(other.best[2]["w"], WEIGHTS["w"])
    scored(other, 3, 0.4)
    assert not other.patient


def test_without_patience_nothing_is_kept() -> None:
    record = Record(TrainSettings(steps=10))
    for step in range(1, 9):
        scored(record, step, 0.1)
    assert record.patient
    assert record.best is None
