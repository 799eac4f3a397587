"""What ``bench_peers`` runs beside ``roadseg predict``: scripts as users of these libraries would write them.

    python peers.py MONAI|plain float32|bfloat16 scene.tif roads.tif

Both hold the whole scene in memory, give the same windows to the same network, and write a GeoTIFF of bytes.
"""

import sys
from collections.abc import Callable

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from torch import Tensor

from roadseg.model.card import find_model
from roadseg.model.resunet import normalize
from roadseg.model.weights import load_model

MODEL = "compact"
WINDOW, STRIDE, BATCH = 224, 192, 4


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

    windows = SlidingWindowInferer(WINDOW, sw_batch_size=BATCH, overlap=1 - STRIDE / WINDOW, mode="gaussian")
    return windows(torch.from_numpy(pixels)[None].float(), lambda batch: predict(batch / 255))[0, 0].numpy()


def by_loop(pixels: NDArray[np.uint8], predict: Callable[[Tensor], Tensor]) -> NDArray[np.float32]:
    """Predict an image (3, h, w) window by window, add up, divide."""
    height, width = pixels.shape[1:]
    rows, cols = (-(-max(0, n - WINDOW) // STRIDE) * STRIDE + WINDOW for n in (height, width))
    pixels = np.pad(pixels, ((0, 0), (0, rows - height), (0, cols - width)), mode="reflect")
    total, count = np.zeros((rows, cols), np.float32), np.zeros((rows, cols), np.float32)
    corners = [(r, c) for r in range(0, rows - WINDOW + 1, STRIDE) for c in range(0, cols - WINDOW + 1, STRIDE)]
    for first in range(0, len(corners), BATCH):
        part = corners[first : first + BATCH]
        batch = np.stack([pixels[:, r : r + WINDOW, c : c + WINDOW] for r, c in part])
        for (r, c), window in zip(part, predict(torch.from_numpy(batch))[:, 0].numpy(), strict=True):
            total[r : r + WINDOW, c : c + WINDOW] += window
            count[r : r + WINDOW, c : c + WINDOW] += 1
    return (total / count)[:height, :width]


@torch.inference_mode()
def main() -> None:
    """Predict a scene one way."""
    way, precision, scene, target = sys.argv[1:]
    with rasterio.open(scene) as file:
        pixels, grid = file.read(), {"crs": file.crs, "transform": file.transform}
    probability = (by_monai if way == "MONAI" else by_loop)(pixels, predictor(precision))
    levels = np.rint(probability * 254).astype(np.uint8)
    profile = {"driver": "GTiff", "height": levels.shape[0], "width": levels.shape[1], "count": 1, "dtype": "uint8"}
    with rasterio.open(target, "w", tiled=True, compress="deflate", zlevel=1, **profile, **grid) as made:
        made.write(levels, 1)


if __name__ == "__main__":
    main()
