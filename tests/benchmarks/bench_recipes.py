"""What the recipe is worth: the published one against the default, parts of it left out, and a plain U-Net.

    pytest -m benchmark -s tests/benchmarks/bench_recipes.py
    ROADSEG_RECIPE_STEPS=3000 ROADSEG_RECIPE_WIDTH=32 pytest -m benchmark -s tests/benchmarks/bench_recipes.py
    ROADSEG_RECIPE_ONLY="default;paper" pytest -m benchmark -s tests/benchmarks/bench_recipes.py

Everyone gets the same steps, batch, crop and tiles, and is scored on the same dev tiles as ``roadseg predict`` would
see them. The default budget is small: it tells what learns fast, not what is best in the end. The plain U-Net has
the ResUNet's levels and channels without its shortcuts, and about its cost.
"""

import os
import time
from dataclasses import replace
from pathlib import Path

import measuring
import pytest
import torch
from shared import tiles as shared_tiles
from torch import Tensor, nn
from torch.nn import functional

from roadseg.model.resunet import ResUNet, parameter_count
from roadseg.prediction.engines import torch as engines
from roadseg.progress import Listener
from roadseg.settings import DataSettings, TrainSettings
from roadseg.training.calibrate import engine_of
from roadseg.training.data.load import load_training_data
from roadseg.training.data.tiles import TileDataset
from roadseg.training.dev_score import DevScore, DevScorer
from roadseg.training.loop import Trainer
from roadseg.training.recipes import DEFAULT, PAPER

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def budget(name: str, default: int) -> int:
    """Return a number from the environment."""
    return int(os.environ.get(f"ROADSEG_RECIPE_{name}", default))


STEPS, WIDTH, BATCH, CROP = budget("STEPS", 300), budget("WIDTH", 8), budget("BATCH", 4), budget("CROP", 128)
PRECISION = os.environ.get("ROADSEG_RECIPE_PRECISION", "bfloat16" if DEVICE == "cuda" else "float32")
ONLY = [name for name in os.environ.get("ROADSEG_RECIPE_ONLY", "").split(";") if name]
TRAIN_TILES, DEV_TILES, SEED = budget("TILES", 24), budget("DEV", 4), budget("SEED", 0)


class PlainUNet(nn.Module):
    """Two convolutions a level, max pooling, the same upsampling and concatenation as the ResUNet."""

    def __init__(self, *, bands: int, width: int, upsample: str = "bilinear") -> None:
        super().__init__()
        self.bands, self.width, self.upsample = bands, width, upsample
        sizes = [width, 2 * width, 4 * width, 8 * width]
        self.down = nn.ModuleList(self._block(a, b) for a, b in zip([bands, *sizes[:-1]], sizes, strict=True))
        self.up = nn.ModuleList(self._block(3 * size, size) for size in reversed(sizes[:-1]))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return road logits."""
        y, skips = image, []
        for level, block in enumerate(self.down):
            y = block(functional.max_pool2d(y, 2) if level else y)
            skips.append(y)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            y = functional.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True)
            y = block(torch.cat([y, skip], dim=1))
        return self.head(y)

    @staticmethod
    def _block(channels_in: int, channels_out: int) -> nn.Sequential:
        convolutions = (
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
        )
        norms = nn.BatchNorm2d(channels_out), nn.BatchNorm2d(channels_out)
        return nn.Sequential(convolutions[0], norms[0], nn.ReLU(), convolutions[1], norms[1], nn.ReLU())


def giga_operations(network: nn.Module, side: int = 224) -> float:
    """Count what the convolutions of one window cost, in 10⁹ floating-point operations."""
    total = 0

    def count(conv: nn.Conv2d, _: object, out: Tensor) -> None:
        nonlocal total
        total += 2 * out.numel() * conv.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        network.eval()(torch.zeros(1, network.bands, side, side))
    for hook in hooks:
        hook.remove()
    return total / 1e9


def train_and_score(
    kind: type, settings: TrainSettings, tiles: TileDataset, scorer: DevScorer, folder: Path, patch: pytest.MonkeyPatch
) -> tuple[DevScore, float]:
    """Train a network and return its dev score and the seconds it took."""
    if kind is not ResUNet:
        patch.setattr(engines, "for_prediction", lambda network: network)
    torch.manual_seed(settings.seed)
    trainer = Trainer(kind(bands=3, width=settings.width, upsample="bilinear").to(DEVICE), tiles, settings, folder)
    started = time.process_time() if DEVICE == "cpu" else time.monotonic()
    trainer.run()
    seconds = (time.process_time() if DEVICE == "cpu" else time.monotonic()) - started
    return scorer.score(engine_of(trainer.result(), trainer.mean, trainer.std)), seconds


def listing(folder: Path, count: int, split: str) -> str:
    """Return lines of a CSV file that name so many tiles of a folder, evenly spread."""
    images = sorted((folder / "images").iterdir())
    some = images[:: max(1, len(images) // count)][:count]
    return "".join(f"{image},{folder / 'masks' / image.name},{split}\n" for image in some)


@pytest.mark.benchmark
def test_recipes_and_networks(tmp_path, monkeypatch):
    common = {"width": WIDTH, "steps": STEPS, "batch": BATCH, "crop": CROP, "seed": SEED, "checkpoint_minutes": 1e9}
    common["precision"] = PRECISION
    default, paper = replace(DEFAULT, **common), replace(PAPER, **common)
    still = replace(PAPER.augment)
    geometry = replace(default.augment, rotate_deg=20.0, zoom=0.25)
    camera = replace(default.augment, hue_deg=5.0, blur_px=0.7, compression=0.5)
    table = [
        ("default", ResUNet, default),
        ("paper", ResUNet, paper),
        ("paper, but AdamW", ResUNet, replace(paper, optimizer="adamw")),
        ("AdamW", ResUNet, replace(default, optimizer="adamw")),
        ("half the learning rate", ResUNet, replace(default, learning_rate=default.learning_rate / 2)),
        ("twice the learning rate", ResUNet, replace(default, learning_rate=default.learning_rate * 2)),
        ("no augmentation", ResUNet, replace(default, augment=still)),
        ("with angles and scales", ResUNet, replace(default, augment=geometry)),
        ("with hue, blur, compression", ResUNet, replace(default, augment=camera)),
        ("no Dice", ResUNet, replace(default, dice_weight=0.0)),
        ("with clDice", ResUNet, replace(default, cldice_weight=0.5)),
        ("last weights, not averaged", ResUNet, replace(default, average_decay=0.0)),
        ("plain U-Net", PlainUNet, default),
    ]
    data, dev = shared_tiles("train"), shared_tiles("dev")
    listed = tmp_path / "tiles.csv"
    listed.write_text(
        "image,mask,split\n" + listing(data, TRAIN_TILES, "train") + listing(dev, DEV_TILES, "dev"), "utf-8"
    )
    found = load_training_data(DataSettings((listed,)), tmp_path / "m", TrainSettings(crop=CROP), Listener())
    scorer = DevScorer(found.dev)
    rows = [("recipe", "parameters", "GFLOP a window", "break-even", "relaxed F1", "best IoU", "seconds of training")]
    for number, (name, kind, settings) in enumerate(row for row in table if not ONLY or row[0] in ONLY):
        network = kind(bands=3, width=WIDTH, upsample="bilinear")
        folder = tmp_path / str(number)
        folder.mkdir()
        with monkeypatch.context() as patch:
            score, seconds = train_and_score(kind, settings, found.tiles, scorer, folder, patch)
        cost = parameter_count(network), round(giga_operations(network), 2)
        rows.append((name, *cost, *(f"{v:.4f}" for v in (score.break_even, score.relaxed_f1, score.best_iou)), seconds))
        print("\t".join(map(str, rows[-1])), flush=True)
    work = f"{STEPS} steps of {BATCH} crops of {CROP} px, width {WIDTH}, seed {SEED}"
    measuring.show(f"{work}, {len(found.tiles.tiles)} tiles, {score.tiles} dev tiles", rows)
