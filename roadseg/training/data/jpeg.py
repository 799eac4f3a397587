"""JPEG artifacts for augmentation: frequencies of 8 × 8 blocks, rounded to multiples of a step, on the device.

Every band is compressed by itself, like a greyscale file. Both transforms are convolutions: forwards at stride 8, with
a kernel and an output channel per frequency; backwards 1 × 1, with an output channel per pixel of the block,
which ``pixel_shuffle`` puts in its place.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# The orthonormal 8-point DCT-II: row k holds the samples n of frequency k.
_DCT = np.array(
    [
        [math.sqrt((1 if k == 0 else 2) / 8) * math.cos(math.pi * (2 * n + 1) * k / 16) for n in range(8)]
        for k in range(8)
    ]
)
_QUANTIZATION = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
"""JPEG's example quantization table for luminance: the step of each of 8 × 8 frequencies (ITU T.81, table K.1)."""


def compress(images: Tensor, coarseness: Tensor) -> Tensor:
    """Return images as they come back from a JPEG file.

    Parameters
    ----------
    images
        (n, bands, height, width) float32 in [0, 1]; height and width are multiples of 8.
    coarseness
        Factor on the quantization steps, (n, 1, 1, 1); near 0 nothing changes.
    """
    _, bands, height, width = images.shape
    forwards, backwards, table = _dct_kernels(images.device)
    steps = (coarseness.view(-1, 1) * table).clamp_(min=1e-2).div_(255)  # (n, 64)
    steps = steps.repeat_interleave(bands, 0)[:, :, None, None]
    frequencies = functional.conv2d(images.reshape(-1, 1, height, width), forwards, stride=8)
    frequencies = frequencies.div_(steps).round_().mul_(steps)  # (n * bands, 64, height / 8, width / 8)
    return functional.pixel_shuffle(functional.conv2d(frequencies, backwards), 8).view_as(images).clamp_(0, 1)


@lru_cache(maxsize=2)
def _dct_kernels(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return kernels to frequencies, (64, 1, 8, 8), and back, (64, 64, 1, 1), and quantization steps, (64,)."""
    basis = torch.from_numpy(np.einsum("ki,lj->klij", _DCT, _DCT).reshape(64, 64)).to(device, torch.float32)
    return basis.view(64, 1, 8, 8), basis.T[:, :, None, None], torch.from_numpy(_QUANTIZATION).to(device).flatten()
