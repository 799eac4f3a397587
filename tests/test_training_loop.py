"""The loop: it learns, it can be killed, and it ends where it would have ended."""

import math
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_runs import SETTINGS, tiles, trainer

from roadseg.errors import DeviceError, TrainingError
from roadseg.model.resunet import ResUNet
from roadseg.progress import Listener
from roadseg.settings import OptimizerName, Precision, TrainSettings
from roadseg.training import checkpoint
from roadseg.training.data.tiles import MemoryTile, TileDataset
from roadseg.training.loop import Step, Trainer
from roadseg.training.optimizer import learning_rate_at
from roadseg.training.recipes import PAPER


class KilledError(Exception):
    """Stands for whatever ends a process."""


def kill_at(number: int) -> Any:
    def on_step(step: Step) -> None:
        if step.step == number:
            raise KilledError

    return on_step


def assert_same_weights(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> None:
    for key, value in one.items():
        assert torch.equal(value, other[key]), key


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "adamw", "loss": "focal", "cldice_weight": 0.5}, {"optimizer": "sgd", "momentum": 0.9}],
)
def test_learns_a_bright_road(tmp_path: Path, changes: dict[str, Any]) -> None:
    losses: list[float] = []
    settings = replace(SETTINGS, steps=30, batch=3, learning_rate=2e-2, checkpoint_minutes=9, **changes)
    settings = replace(settings, learning_rate=0.1) if settings.optimizer == "sgd" else settings
    work = trainer(tmp_path, settings)
    work.run(lambda step: losses.append(step.loss))
    assert losses[-1] < 0.8 * losses[0]
    assert torch.isfinite(work.averaged()(torch.zeros(1, 3, 32, 32))).all()


@pytest.mark.parametrize("width", [1, 3, 8, 12, 15, 16, 17])
def test_steps_of_any_width_leave_the_process_alive(tmp_path: Path, width: int) -> None:
    """Some memory layouts let narrow networks write beyond their memory, so it is another process that tries."""
    program = f"""
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from training_runs import SETTINGS, trainer
work = trainer(Path(sys.argv[1]), replace(SETTINGS, width={width}, steps=3, batch=4))
work.run()
print(work.loss)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert math.isfinite(float(done.stdout))


@pytest.mark.parametrize(
    ("stop", "changes"),
    [
        (1, {}),
        (5, {"optimizer": "adamw"}),
        (5, {"optimizer": "sgd", "momentum": 0.9, "pool": 3, "average_decay": 0.0}),
    ],
)
def test_resumed_run_ends_with_the_same_weights(tmp_path: Path, stop: int, changes: dict[str, Any]) -> None:
    settings = replace(SETTINGS, **changes)
    undisturbed = trainer(tmp_path / "a", settings)
    undisturbed.run()
    killed = trainer(tmp_path / "b", settings)
    with pytest.raises(KilledError):
        killed.run(kill_at(stop + 1))
    resumed = trainer(tmp_path / "b", settings)
    assert resumed.step == stop
    resumed.run()
    assert resumed.step == undisturbed.step == settings.steps
    assert_same_weights(undisturbed.average.weights, resumed.average.weights)
    assert_same_weights(undisturbed.model.state_dict(), resumed.model.state_dict())
    assert resumed.loss == undisturbed.loss
    assert [row["loss"] for row in resumed.history.rows] == [row["loss"] for row in undisturbed.history.rows]


def test_leaves_off_in_time_and_goes_on(tmp_path: Path) -> None:
    whole, parts = trainer(tmp_path / "a"), trainer(tmp_path / "b")
    whole.run()
    rounds = 0
    while not parts.finished:
        parts = trainer(tmp_path / "b")
        parts.run(until=time.monotonic())  # one step each
        rounds += 1
    assert rounds == SETTINGS.steps
    assert_same_weights(whole.average.weights, parts.average.weights)


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    trainer(tmp_path).save()
    with pytest.raises(TrainingError, match=r"other settings or data \(steps\).*--overwrite"):
        trainer(tmp_path, replace(SETTINGS, steps=9))
    assert trainer(tmp_path, replace(SETTINGS, checkpoint_minutes=7, minutes=1)).step == 0


def test_checkpoint_of_other_tiles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        trainer(tmp_path).run(kill_at(3))
    (tile,) = tiles().tiles
    assert isinstance(tile, MemoryTile)
    wider = TileDataset([replace(tile, label=tile.label | np.roll(tile.label, 1, axis=0))], crop=32)
    torch.manual_seed(0)
    with pytest.raises(TrainingError, match=r"other settings or data \(training data\)"):
        Trainer(ResUNet(width=SETTINGS.width), wider, SETTINGS, tmp_path)


def test_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-3-1-of-1.safetensors").write_bytes(b"something else")
    with pytest.raises(TrainingError, match="not a checkpoint"):
        trainer(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "low"},
        {"loss": None},
        {"history": 7},
        {"history": [{"step": 1}, {"step": 1}]},
        {"history": [{"step": 4000}]},
        {"history": [{"loss": 1}]},
        {"history": ["step"]},
        {"history": [{"step": 1, "loss": "low"}]},
        {"history": [{"step": "1"}, 7]},
        {"best": [1]},
        {"best": [0.5, 3]},
        {"without_better": None},
        {"settings": None},
        {"network.head.bias": torch.zeros(2)},
        {"network.head.bias": None},
        {"average.head.bias": torch.zeros(2)},
        {"average.head.bias": None},
        {"optimizer.x.step": torch.zeros(())},
        {"optimizer.0": torch.zeros(())},
        {"optimizer.0.exp_avg": torch.zeros(2)},
        {"optimizer.0.momentum_buffer": None},
        {"optimizer.900.exp_avg": torch.zeros(2)},
        {"optimizer.2.momentum_buffer": torch.zeros(3)},
    ],
    ids=str,
)
def test_a_checkpoint_with_other_content_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(KilledError):
        trainer(tmp_path).run(kill_at(2))
    found = checkpoint.read_checkpoint(tmp_path)
    assert found
    ((name, value),) = change.items()
    tensors, metadata = dict(found.tensors), dict(found.metadata)
    (tensors if "." in name else metadata)[name] = value
    found.path.unlink()
    checkpoint.write_checkpoint(tmp_path, {k: v for k, v in tensors.items() if v is not None}, metadata)
    with pytest.raises(TrainingError, match=r"is damaged \(.*\); move it away"):
        trainer(tmp_path)


def test_full_disk_keeps_the_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    write = checkpoint.write_atomically  # type: ignore[attr-defined]

    def full(path: Path, data: bytes) -> None:
        if path.name != "checkpoint-3.safetensors":
            raise OSError(28, "No space left on device")
        write(path, data)

    undisturbed = trainer(tmp_path / "a")
    undisturbed.run()
    monkeypatch.setattr(checkpoint, "write_atomically", full)
    trainer(tmp_path / "b", listener=Listener(warn=warnings.append)).run()
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["checkpoint-3.safetensors"]
    assert "No space left" in warnings[0]
    assert "there is none yet" in warnings[0]
    assert "the one of step 3 is kept" in warnings[-1]
    monkeypatch.undo()
    resumed = trainer(tmp_path / "b")
    assert resumed.step == 3
    resumed.run()
    assert_same_weights(undisturbed.average.weights, resumed.average.weights)


def test_checkpoint_has_the_file_mode_that_the_umask_asks_for(tmp_path: Path) -> None:
    trainer(tmp_path).save()
    (file,) = tmp_path.iterdir()
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_checkpoint_that_an_earlier_version_named_is_resumed(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        trainer(tmp_path).run(kill_at(4))
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / "checkpoint-3-1-of-1.safetensors")
    resumed = trainer(tmp_path)
    assert resumed.step == 3
    resumed.run()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-8.safetensors"]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.filterwarnings("ignore:.*no-op:UserWarning")
def test_step_count_of_a_resumed_optimizer_stays_on_the_cpu(tmp_path: Path, optimizer: OptimizerName) -> None:
    """On a device it would be fetched for every parameter in every step; the meta device shows what goes where."""
    settings = replace(SETTINGS, optimizer=optimizer)
    with pytest.raises(KilledError):
        trainer(tmp_path, settings).run(kill_at(3))
    model = ResUNet(width=settings.width).to("meta")
    resumed = Trainer(model, tiles(), settings, tmp_path)
    assert resumed.step == 2
    devices: dict[str, set[str]] = {}
    for state in resumed.optimizer.state.values():
        for name, value in state.items():
            devices.setdefault(name, set()).add(value.device.type)
    assert devices.pop("step") == {"cpu"}
    assert set().union(*devices.values()) == {"meta"}


@pytest.mark.parametrize("at", [0, 3])
def test_loss_that_is_no_number_stops_with_the_cure(tmp_path: Path, at: int) -> None:
    work = trainer(tmp_path)

    def spoil(step: Step) -> None:
        if step.step == at:
            with torch.no_grad():
                work.model.head.bias.fill_(float("nan"))

    spoil(Step(0, 0.0, 0.0))
    with pytest.raises(TrainingError, match=rf"at step {at}; .*smaller --learning-rate"):
        work.run(spoil)
    assert len(list(tmp_path.glob("checkpoint-*.safetensors"))) == bool(at)
    if at:  # it was spoiled before it was written
        with pytest.raises(TrainingError, match="holds numbers that are not finite; move it away"):
            checkpoint.read_checkpoint(tmp_path)


def test_too_little_memory_takes_the_batch_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With batch statistics out of the way the parts add up to the same gradient."""
    settings, said = replace(SETTINGS, batch=4, dice_weight=0.0, steps=20), []
    gradients = []
    for parts in (1, 4):
        work = trainer(tmp_path / str(parts), settings, listener=Listener(warn=said.append))
        work.model.eval()
        forward = ResUNet.forward

        def small(self: ResUNet, x: torch.Tensor, most: int = 4 // parts, forward: Any = forward) -> torch.Tensor:
            if len(x) > most:
                raise torch.OutOfMemoryError if len(x) == 4 else RuntimeError("DefaultCPUAllocator: can't allocate")
            return forward(self, x)

        monkeypatch.setattr(ResUNet, "forward", small)
        batch = tiles().draw(4, seed=0, step=0)
        labels = torch.from_numpy(batch.labels)
        labels[0, :20] = 255
        loss = work.forward_backward(torch.from_numpy(batch.images).float() / 255, labels)
        gradients.append((float(loss), work.model.bridge.conv1.weight.grad))
        monkeypatch.undo()
        assert work.forward_backward.parts == parts
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-5)
    assert torch.allclose(gradients[0][1], gradients[1][1], rtol=1e-3, atol=1e-7)
    assert "split into 4 parts" in said[-1]


def test_stops_early_with_the_best_weights(tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=20, evaluations=10, patience=2)
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    seen = []

    def evaluate() -> dict[str, float]:
        seen.append(work.step)
        if work.step == 4:
            best.update({k: v.clone() for k, v in work.average.weights.items()})
        return {"relaxed_f1": next(scores)}

    best: dict[str, torch.Tensor] = {}
    work = trainer(tmp_path, settings)
    with pytest.raises(KilledError):
        work.run(kill_at(7), evaluate=evaluate)
    work = trainer(tmp_path, settings)
    work.run(evaluate=evaluate)
    assert (work.step, seen, work.finished) == (8, [2, 4, 6, 8], True)
    assert_same_weights(best, work.result().state_dict())


@pytest.mark.parametrize(
    ("moment", "saved", "evaluated"),
    [("between", 4, [2, 4, 6]), ("evaluating", 4, [2, 4, 4, 6]), ("mid-step", None, [2, 4, 2, 4, 6])],
)
def test_an_interrupted_run_saves_what_is_whole_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, saved: int | None, evaluated: list[int]
) -> None:
    settings, seen = replace(SETTINGS, evaluations=4, patience=9, checkpoint_minutes=9), []

    def evaluate() -> dict[str, float]:
        seen.append(work.step)
        stop("evaluating")
        return {"relaxed_f1": 1 / work.step}

    def stop(here: str) -> None:
        if (work.step, moment) == (4, here):
            raise KeyboardInterrupt

    work = trainer(tmp_path / "b", settings)
    step = work.optimizer.step
    monkeypatch.setattr(work.optimizer, "step", lambda: (stop("mid-step"), step()))
    with pytest.raises(KeyboardInterrupt):
        work.run(lambda _: stop("between"), evaluate=evaluate)
    assert work.saved == saved
    moment, work = "past", trainer(tmp_path / "b", settings)
    assert work.step == (saved or 0)
    work.run(evaluate=evaluate)
    assert seen == evaluated
    resumed, work = work, trainer(tmp_path / "a", settings)
    work.run(evaluate=evaluate)
    assert_same_weights(work.result().state_dict(), resumed.result().state_dict())
    assert [row.get("relaxed_f1") for row in work.history.rows] == [
        row.get("relaxed_f1") for row in resumed.history.rows
    ]


def test_history_holds_the_dev_figures_at_their_step(tmp_path: Path) -> None:
    work = trainer(tmp_path)
    work.run(evaluate=lambda: {"relaxed_f1": 0.25})
    assert [row["step"] for row in work.history.rows] == list(range(1, 9))
    assert [row["step"] for row in work.history.rows if "relaxed_f1" in row] == [2, 4, 6]


def test_learning_rate_warms_up_then_falls_to_zero() -> None:
    settings = TrainSettings(steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate_at(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == 1.0
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] < 1e-3


def test_flat_learning_rate_cools_down_in_the_last_quarter() -> None:
    settings = TrainSettings(steps=100, warmup_steps=10, learning_rate=1.0, schedule="flat")
    rates = [learning_rate_at(step, settings) for step in range(100)]
    assert rates[9:75] == [1.0] * 66
    assert rates[75:] == pytest.approx([(100 - step) / 25 for step in range(75, 100)])


def test_learning_rate_of_the_paper_drops_every_twenty_epochs() -> None:
    epoch = 30_000 // 8
    steps = [0, 20 * epoch - 1, 20 * epoch, 40 * epoch - 1, 40 * epoch, 50 * epoch - 1]
    rates = [learning_rate_at(step, PAPER) for step in steps]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])
    assert PAPER.steps == 50 * epoch


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_narrow_numbers_train_to_about_the_same_and_go_on(tmp_path: Path, precision: Precision) -> None:
    whole, narrow = trainer(tmp_path / "a"), replace(SETTINGS, precision=precision)
    whole.run()
    with pytest.raises(KilledError):
        trainer(tmp_path / "b", narrow).run(kill_at(5))
    resumed = trainer(tmp_path / "b", narrow)
    assert resumed.scaler.is_enabled() == (precision == "float16")
    resumed.run()
    assert resumed.loss == pytest.approx(whole.loss, rel=0.02)


def test_a_tile_that_cannot_be_read_stops_the_run_with_its_own_words(tmp_path: Path) -> None:
    work = trainer(tmp_path)

    def broken(*_: Any, **__: Any) -> Any:
        raise TrainingError("the disk is gone")

    work.tiles.crops = broken  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="the disk is gone"):
        work.run()


@pytest.mark.parametrize("place", ["roadseg.training.loop.augment", "roadseg.training.loop.normalize"])
def test_too_little_memory_beside_the_network_has_a_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(place, exhausted)
    with pytest.raises(
        DeviceError, match=r"cpu has too little memory .* free some, or train with a smaller --batch or --crop"
    ):
        trainer(tmp_path).run()
