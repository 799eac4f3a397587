"""The loop: it learns, it can be killed, and it ends where it would have ended."""

from pathlib import Path

import numpy as np
import pytest
import torch

from roadseg.errors import TrainingError
from roadseg.model.resunet import ResUNet
from roadseg.settings import TrainSettings
from roadseg.training.dataset import Tile, Tiles
from roadseg.training.loop import Step, Trainer, learning_rate_at

SETTINGS = TrainSettings(width=4, steps=8, batch=2, crop=32, warmup_steps=2, checkpoint_minutes=0)


def tiles() -> Tiles:
    """Draw a bright road across dark ground."""
    rng = np.random.default_rng(0)
    label = np.zeros((80, 120), dtype=np.uint8)
    label[30:38] = 1
    image = (60 + 120 * label + rng.integers(0, 40, (3, 80, 120))).astype(np.uint8)
    return Tiles([Tile("drawn", image, label, np.ones(label.shape, dtype=bool))], crop=32)


def trainer(folder: Path, settings: TrainSettings = SETTINGS) -> Trainer:
    torch.manual_seed(0)
    return Trainer(ResUNet(width=settings.width), tiles(), settings, folder / "model.checkpoint")


def test_learns_a_bright_road(tmp_path: Path) -> None:
    losses: list[float] = []
    settings = TrainSettings(width=8, steps=40, batch=4, crop=32, warmup_steps=5, learning_rate=5e-3)
    work = trainer(tmp_path, settings)
    work.run(lambda step: losses.append(step.loss))
    assert losses[-1] < 0.8 * losses[0]
    x = torch.zeros(1, 3, 32, 32)
    assert torch.isfinite(work.averaged()(x)).all()


@pytest.mark.parametrize("stop", [1, 5])
def test_resumed_run_ends_with_the_same_weights(tmp_path: Path, stop: int) -> None:
    class KilledError(Exception):
        pass

    def kill(step: Step) -> None:
        if step.step == stop + 1:
            raise KilledError

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    undisturbed = trainer(tmp_path / "a")
    undisturbed.run()
    killed = trainer(tmp_path / "b")
    with pytest.raises(KilledError):
        killed.run(kill)
    resumed = trainer(tmp_path / "b")
    assert resumed.step == stop
    resumed.run()
    assert resumed.step == undisturbed.step == SETTINGS.steps
    for key, value in undisturbed.average.items():
        assert torch.equal(value, resumed.average[key]), key


def test_other_settings_are_refused(tmp_path: Path) -> None:
    trainer(tmp_path).save()
    with pytest.raises(TrainingError, match="other settings"):
        trainer(tmp_path, TrainSettings(width=4, steps=9, batch=2, crop=32))


def test_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.checkpoint").write_bytes(b"something else")
    with pytest.raises(TrainingError, match="not a checkpoint"):
        trainer(tmp_path)


def test_loss_that_is_no_number_stops_with_the_cure(tmp_path: Path) -> None:
    work = trainer(tmp_path)
    with torch.no_grad():
        work.network.head.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match="smaller --learning-rate"):
        work.run()


def test_learning_rate_warms_up_then_falls_to_zero() -> None:
    settings = TrainSettings(steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate_at(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == 1.0
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] < 1e-3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_blocks_have_the_same_gradients() -> None:
    """Whole-network compilation once lost every gradient below the last upsampling."""
    import copy

    from roadseg.training.loop import _compile_blocks

    torch.manual_seed(0)
    plain = ResUNet(width=8).train()
    compiled = copy.deepcopy(plain)
    _compile_blocks(compiled)
    x = torch.randn(2, 3, 32, 32)
    plain(x).square().mean().backward()
    compiled(x).square().mean().backward()
    for (name, one), other in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-2, atol=1e-5), name
