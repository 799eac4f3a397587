"""Small training runs for tests: a network of width 4, eight steps, one drawn tile."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from roadseg.model.resunet import ResUNet
from roadseg.settings import TrainSettings
from roadseg.training.data.tiles import MemoryTile, TileDataset
from roadseg.training.loop import Trainer

SETTINGS = TrainSettings(width=4, steps=8, batch=2, crop=32, warmup_steps=2, checkpoint_minutes=0, precision="float32")


def tiles() -> TileDataset:
    """Draw a bright road across dark ground."""
    rng = np.random.default_rng(0)
    label = np.zeros((80, 120), dtype=np.uint8)
    label[30:38] = 1
    image = (60 + 120 * label + rng.integers(0, 40, (3, 80, 120))).astype(np.uint8)
    return TileDataset([MemoryTile("drawn", image, label, np.ones(label.shape, dtype=bool))], crop=32)


def trainer(folder: Path, settings: TrainSettings = SETTINGS, *, device: str = "cpu", **options: Any) -> Trainer:
    """Set up a training run of the same random weights each time."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    return Trainer(ResUNet(width=settings.width).to(device), tiles(), settings, folder, **options)
