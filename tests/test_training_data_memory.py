"""Memory: how much there is, how much a step takes, and what is said where that is too much."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from training_runs import SETTINGS, trainer
from training_tiles import make_folder

from roadseg.model.resunet import ResUNet
from roadseg.progress import Listener
from roadseg.settings import DataSettings, TrainSettings
from roadseg.training.data import memory
from roadseg.training.data.check import check_training_data

CPU = torch.device("cpu")


def test_free_memory_is_between_a_megabyte_and_a_petabyte() -> None:
    assert 1e6 < memory.free_bytes() < 1e15


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (39, "0.039 kB"),
        (39e3, "39 kB"),
        (8.3e6, "8.3 MB"),
        (9.999e8, "1 GB"),
        (4 << 30, "4.3 GB"),
        (9.96e9, "10 GB"),
        (1.9e12, "1,900 GB"),
    ],
)
def test_sizes_are_said_as_people_do(size: float, text: str) -> None:
    assert memory.readable_size(size) == text


@pytest.mark.parametrize("width", [8, 64])
def test_a_step_keeps_as_much_as_is_said(width: int) -> None:
    """Nothing is computed: tensors on the device ``meta`` have a size and no values."""
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with torch.device("meta"):
        model, images = ResUNet(width=width), torch.empty(2, 3, 64, 64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(images)
        functional.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits))
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    counted = sum(storage.nbytes() for key, storage in kept.items() if key not in weights)
    assert counted / (images[:, 0].numel() * width) == pytest.approx(memory.KEPT_BYTES, rel=0.05)


@pytest.mark.parametrize(("crop", "fits"), [(224, True), (448, False)])
def test_a_batch_must_fit_into_the_memory_of_a_cpu(monkeypatch: pytest.MonkeyPatch, crop: int, fits: bool) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 4 << 30)
    said = memory.lacking_memory(TrainSettings(crop=crop), CPU)
    too_little = "a step takes at least 9.1 GB of memory, and there are 4.3 GB for cpu; free some, or "
    assert said == ("" if fits else too_little + "train with a smaller --crop, --batch or --width")


def test_a_step_that_cannot_fit_is_an_obstacle_and_a_run_warns_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    data = DataSettings((make_folder(tmp_path / "data", ("a", "b")),), memory_gb=1.0)
    found = check_training_data(
        data, tmp_path / "m", TrainSettings(crop=32), device="cpu", sheet=tmp_path / "s.png", listener=Listener()
    )
    assert [text.partition(";")[2] for text in found.obstacles] == [
        " free some, or train with a smaller --crop, --batch or --width"
    ]
    said: list[str] = []
    trainer(tmp_path, SETTINGS, listener=Listener(warn=said.append)).run()
    assert "train with a smaller --crop" in said[0]
