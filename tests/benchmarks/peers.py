"""What ``bench_peers`` runs beside ``roadseg predict``: scripts as users of these libraries would write them.

    python peers.py MONAI|plain float32|bfloat16 scene.tif roads.tif

Both hold the whole scene in memory, give the same windows to the same network, and write a GeoTIFF of bytes.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plain
import torch
from numpy.typing import NDArray
from torch import Tensor

from roadseg.model.card import find_model
from roadseg.model.resunet import normalize
from roadseg.model.weights import load_model

MODEL = "compact"
BATCH = 4


def predictor(precision: str) -> Callable[[Tensor], Tensor]:
    """Return what maps pixels (n, 3, h, w) to probabilities (n, 1, h, w); weights are converted once."""
    network, card = load_model(find_model(MODEL))
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    network = network.eval().to(kind, memory_format=torch.channels_last)

    def predict(pixels: Tensor) -> Tensor:
        logits = network(normalize(pixels, card.mean, card.std).to(kind)).float()
        return torch.sigmoid(logits / card.temperature + card.bias)

    return predict


def by_monai(pixels: NDArray[np.uint8], predict: Callable[[Tensor], Tensor]) -> NDArray[np.float32]:
    """Predict an image (3, h, w) in one call of MONAI's SlidingWindowInferer."""
    from monai.inferers import SlidingWindowInferer

    overlap = 1 - plain.STRIDE / plain.WINDOW
    windows = SlidingWindowInferer(plain.WINDOW, sw_batch_size=BATCH, overlap=overlap, mode="gaussian")
    return windows(torch.from_numpy(pixels)[None].float(), lambda batch: predict(batch / 255))[0, 0].numpy()


@torch.inference_mode()
def main() -> None:
    """Predict a scene one way."""
    way, precision, scene, target = sys.argv[1:]
    pixels, grid = plain.read_scene(Path(scene))
    predict = predictor(precision)
    if way == "MONAI":
        probability = by_monai(pixels, predict)
    else:
        probability = plain.by_windows(
            pixels, lambda batch: predict(torch.from_numpy(batch))[:, 0].numpy(), batch_size=BATCH
        )
    plain.write_levels(Path(target), probability, grid)


if __name__ == "__main__":
    main()
