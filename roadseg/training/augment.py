"""What is done to a batch of crops before the network sees it, on the device that trains.

Roads have no up: the eight symmetries of the square cost nothing and make eight images of one.
Light and camera differ between flights: brightness, contrast and colour balance are jittered.
"""

import numpy as np
import torch
from torch import Tensor


def augment(images: Tensor, labels: Tensor, *, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Turn, mirror and relight crops; the same seed and step do the same.

    Parameters
    ----------
    images
        (n, bands, crop, crop) uint8.
    labels
        (n, crop, crop) uint8.

    Returns
    -------
    Images (n, bands, crop, crop) float32 in [0, 1] and labels (n, crop, crop) uint8.
    """
    rng = np.random.default_rng([seed, step, 1])
    pairs = [
        _symmetry(image, label, quarter_turns=int(turns), mirrored=bool(mirror))
        for image, label, turns, mirror in zip(
            images, labels, rng.integers(4, size=len(images)), rng.integers(2, size=len(images)), strict=True
        )
    ]
    turned = torch.stack([image for image, _ in pairs])
    return _relight(turned.float() / 255, rng), torch.stack([label for _, label in pairs])


def _symmetry(image: Tensor, label: Tensor, *, quarter_turns: int, mirrored: bool) -> tuple[Tensor, Tensor]:
    image, label = torch.rot90(image, quarter_turns, (-2, -1)), torch.rot90(label, quarter_turns, (-2, -1))
    return (image.flip(-1), label.flip(-1)) if mirrored else (image, label)


def _relight(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Jitter gamma, contrast, brightness and the balance of the bands, per crop."""
    count, bands = images.shape[:2]

    def factors(spread: float, channels: int = 1) -> Tensor:
        drawn = np.exp(rng.uniform(-spread, spread, size=(count, channels, 1, 1)))
        return torch.as_tensor(drawn, dtype=images.dtype, device=images.device)

    images = images.clamp(1e-3, 1) ** factors(0.3)
    mean = images.mean(dim=(-2, -1), keepdim=True)
    images = (images - mean) * factors(0.25) + mean * factors(0.2) * factors(0.06, bands)
    return images.clamp(0, 1)
