"""A teacher tells what roadseg predict would, of crops in a run."""

import numpy as np
import pytest
import torch

from roadseg.model.card import ModelCard
from roadseg.model.resunet import ResUNet
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.settings import EngineSettings, TrainSettings
from roadseg.training.save import save_model
from roadseg.training.teacher import Teacher, load_teacher

CARD = ModelCard("t", mean=(0.3, 0.4, 0.5), std=(0.1, 0.2, 0.3), temperature=1.7, bias=-0.2)
CPU = torch.device("cpu")


def make_model():
    torch.manual_seed(0)
    made = ResUNet(bands=3, width=2, upsample="bilinear")
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
    return made


def test_tells_what_an_engine_with_its_card_predicts():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 24), dtype=np.uint8)
    settings = EngineSettings("cpu", "float32")
    calibration = {"temperature": CARD.temperature, "bias": CARD.bias}
    engine = TorchEngine(make_model().eval(), CARD.mean, CARD.std, settings, **calibration)
    teacher = Teacher(make_model(), CARD, device=CPU, precision="float32")
    told = teacher(torch.from_numpy(pixels).float() / 255)
    assert torch.allclose(told, torch.from_numpy(next(engine([pixels]))), atol=1e-5)
    assert told.std() > 1e-3
    assert not told.requires_grad


@pytest.mark.parametrize("gsd_m", [0.9, 1.1])
def test_about_the_same_ground_resolution_will_do(tmp_path, gsd_m):
    path = tmp_path / "t.safetensors"
    save_model(path, make_model(), CARD)
    found = load_teacher(TrainSettings(teacher=str(path), precision="float32"), bands=3, gsd_m=gsd_m, device=CPU)
    assert found is not None
    assert found.card.name == "t"


def test_no_teacher_is_asked_for():
    assert load_teacher(TrainSettings(), bands=3, gsd_m=1.0, device=CPU) is None
