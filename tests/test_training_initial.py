"""The model that training starts from gives the probabilities that prediction with it gives."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from roadseg.errors import TrainingError
from roadseg.model.card import ModelCard
from roadseg.model.resunet import ResUNet
from roadseg.settings import TrainSettings
from roadseg.training.initial import initial_model
from roadseg.training.save import save_model


def test_the_calibration_becomes_part_of_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = ResUNet(width=4).eval()
    card = ModelCard("start", temperature=0.6, bias=0.8, threshold=0.3)
    save_model(tmp_path / "start.safetensors", network, card, dtype="float32")
    model, found = initial_model(3, TrainSettings(width=4, start=str(tmp_path / "start.safetensors")))
    assert found is not None
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = network(x) / 0.6 + 0.8 - math.log(0.3 / 0.7)
        assert torch.allclose(model.eval()(x), expected, atol=1e-5)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "start.safetensors", ResUNet(width=4), ModelCard("start"))
    settings = TrainSettings(width=4, start=str(tmp_path / "start.safetensors"))
    with pytest.raises(TrainingError, match="has 3 bands, width 4 and bilinear upsampling, the run wants 4, 4"):
        initial_model(4, settings)
    with pytest.raises(TrainingError, match="the run wants 3, 8 and bilinear"):
        initial_model(3, replace(settings, width=8))


def test_random_weights_follow_from_the_seed_and_leave_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, second, other = (initial_model(3, TrainSettings(width=2, seed=seed))[0].head.weight for seed in (1, 1, 2))
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
