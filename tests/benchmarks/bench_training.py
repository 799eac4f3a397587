"""How fast crops are drawn and changed, so that a GPU is not kept waiting.

    pytest -m benchmark -s tests/benchmarks/bench_training.py

What a core draws in a second, times the threads that draw ahead, bounds what any device can train on. The changes
are made by the device that trains; here on the processor, for comparing them with each other.
"""

import time
from dataclasses import replace

import measuring
import numpy as np
import pytest
import torch

from roadseg.settings import AugmentSettings
from roadseg.training.data.augment import augment
from roadseg.training.data.tiles import MemoryTile, TileDataset

TILE_PX, CROP, BATCH, BATCHES = 1500, 224, 16, 12
STILL = AugmentSettings(flips=False, quarter_turns=False, gamma=0, contrast=0, brightness=0, balance=0)
KINDS = {
    "none": STILL,
    "default": AugmentSettings(),
    "flips and turns": replace(STILL, flips=True, quarter_turns=True),
    "light": replace(AugmentSettings(), flips=False, quarter_turns=False),
    "angles and scales": replace(STILL, rotate_deg=20.0, zoom=0.25),
    "hue": replace(STILL, hue_deg=5.0),
    "blur": replace(STILL, blur_px=0.7),
    "compression": replace(STILL, compression=0.5),
    "colours": replace(STILL, gamma=0.5, exposure=0.5, white_balance=0.35, mixing=0.1, saturation=0.5, grey=0.1),
    "haze, tone, shadow, noise": replace(STILL, haze=0.5, tone=0.6, shadow=0.5, noise=0.07),
    "sharpening": replace(STILL, sharpen=1.5),
}


def drawn() -> TileDataset:
    """Draw four tiles of 1500 × 1500 px."""
    rng, tiles = np.random.default_rng(0), []
    for seed in range(4):
        label = (rng.random((TILE_PX, TILE_PX)) < 0.05).astype(np.uint8)
        tiles.append(
            MemoryTile(str(seed), measuring.texture(TILE_PX, TILE_PX, seed), label, np.ones(label.shape, np.bool_))
        )
    return TileDataset(tiles, crop=CROP)


@pytest.mark.benchmark
def test_crops_a_second():
    tiles = drawn()
    rows = [("what", "crops a second of one core")]
    started = time.process_time()
    for step in range(BATCHES):
        pixels = tiles.draw(BATCH, seed=0, step=step).pixels
    images, labels = torch.from_numpy(pixels[:, :-1]), torch.from_numpy(pixels[:, -1])
    rows.append(("draw", BATCH * BATCHES / (time.process_time() - started)))
    for name, how in KINDS.items():
        started = time.process_time()
        for step in range(4):
            augment(images, labels, how, seed=0, step=step)
        rows.append((f"augment: {name}", BATCH * 4 / (time.process_time() - started)))
    measuring.show(f"Crops of {CROP} px", rows)
