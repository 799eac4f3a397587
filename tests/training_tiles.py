"""Training data drawn for tests: folders of small tiles with one bright road each."""

from pathlib import Path

import numpy as np
from affine import Affine
from worlds import write_raster

ONE_METRE = Affine(1, 0, 230_000, 0, -1, 900_000)


def make_folder(folder: Path, names: tuple[str, ...]) -> Path:
    """Make a folder of ``images/`` and ``masks/`` with a tile of each name."""
    for side in ("images", "masks"):
        (folder / side).mkdir(parents=True)
    for seed, name in enumerate(names):
        write_tile(folder, name, seed)
    return folder


def write_tile(folder: Path, name: str, seed: int = 0, *, transform: Affine = ONE_METRE) -> None:
    """Write an image of 70 × 110 px with one bright road, whose place depends on the seed, and its mask."""
    label = np.zeros((1, 70, 110), dtype=np.uint8)
    label[0, :, 20 + 20 * seed : 27 + 20 * seed] = 1
    noise = np.random.default_rng(seed).integers(0, 50, (3, 70, 110))
    image = (40 + 130 * label + noise).astype(np.uint8)
    write_raster(folder / "images" / f"{name}.tif", image, transform=transform)
    write_raster(folder / "masks" / f"{name}.tif", label, transform=transform, nodata=255)
