"""ResUNet: the neural network of Zhang, Liu and Wang (2018), exactly as published.

A U-Net whose blocks are pre-activation residual units: three encoder levels, a bridge and three
decoder levels, so the input's height and width must be multiples of 8. The model returns
logits; ``torch.sigmoid`` of them is the road probability. Width 64 with 3 bands has 8,220,993
parameters and costs about 69 GFLOP per 224 × 224 window; cost grows with the square of the width.

Source: Z. Zhang, Q. Liu, Y. Wang, "Road Extraction by Deep Residual U-Net", IEEE GRSL 15 (2018),
arXiv:1711.10684.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from roadseg.settings import Upsampling


class ResidualBlock(nn.Module):
    """BN-ReLU-conv3×3-BN-ReLU-conv3×3 plus a 1×1 convolution of the block's input.

    Parameters
    ----------
    channels_in, channels_out
        Numbers of channels.
    stride
        Stride of the first 3×3 convolution and of the shortcut.
    """

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels_in, h, w) to (n, channels_out, h / stride, w / stride)."""
        y = self.conv1(functional.relu(self.norm1(x), inplace=True))
        y = self.conv2(functional.relu(self.norm2(y), inplace=True))
        return y.add_(self.shortcut(x))  # type: ignore[no-any-return]


class StemBlock(nn.Module):
    """The first block: conv3×3-BN-ReLU-conv3×3 plus a 1×1 convolution of the image."""

    def __init__(self, bands: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(bands, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(bands, channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map (n, bands, h, w) to (n, channels, h, w)."""
        y = self.conv2(functional.relu(self.norm(self.conv1(image)), inplace=True))
        return y.add_(self.shortcut(image))  # type: ignore[no-any-return]


class DecoderBlock(nn.Module):
    """Upsample ×2, concatenate the skip connection, residual block."""

    def __init__(self, below: int, skip: int, channels: int, *, upsample: Upsampling) -> None:
        super().__init__()
        self.upsample: Upsampling = upsample
        self.residual = ResidualBlock(below + skip, channels)

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """Map (n, below, h, w) and (n, skip, 2h, 2w) to (n, channels, 2h, 2w)."""
        if self.upsample == "bilinear":
            y = functional.interpolate(below, scale_factor=2, mode="bilinear", align_corners=True)
        else:
            y = functional.interpolate(below, scale_factor=2, mode="nearest")
        return self.residual(torch.cat([y, skip], dim=1))  # type: ignore[no-any-return]


class ResUNet(nn.Module):
    """The deep residual U-Net.

    Parameters
    ----------
    bands
        Image bands.
    width
        Channels of the first level; the others have 2, 4 and 8 times as many. 64 in the paper.
    upsample
        ``"bilinear"`` (with aligned corners, the PyTorch form) or ``"nearest"`` (the Keras form).

    Raises
    ------
    ValueError
        If a number is not positive or ``upsample`` is unknown.
    """

    def __init__(self, *, bands: int = 3, width: int = 64, upsample: Upsampling = "bilinear") -> None:
        super().__init__()
        if bands < 1 or width < 1:
            raise ValueError(f"bands and width must be at least 1, got {bands} and {width}")
        if upsample not in get_args(Upsampling):
            raise ValueError(f"upsample must be one of {get_args(Upsampling)}, got {upsample!r}")
        self.bands, self.width, self.upsample = bands, width, upsample
        self.encoder1 = StemBlock(bands, width)
        self.encoder2 = ResidualBlock(width, 2 * width, stride=2)
        self.encoder3 = ResidualBlock(2 * width, 4 * width, stride=2)
        self.bridge = ResidualBlock(4 * width, 8 * width, stride=2)
        self.decoder3 = DecoderBlock(8 * width, 4 * width, 4 * width, upsample=upsample)
        self.decoder2 = DecoderBlock(4 * width, 2 * width, 2 * width, upsample=upsample)
        self.decoder1 = DecoderBlock(2 * width, width, width, upsample=upsample)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return road logits.

        Parameters
        ----------
        image
            (n, bands, height, width) float, normalized; height and width multiples of 8.

        Returns
        -------
        (n, 1, height, width) logits.
        """
        skip1 = self.encoder1(image)  # (n, w, h, w)
        skip2 = self.encoder2(skip1)  # (n, 2w, h/2, w/2)
        skip3 = self.encoder3(skip2)  # (n, 4w, h/4, w/4)
        y = self.bridge(skip3)  # (n, 8w, h/8, w/8)
        y = self.decoder3(y, skip3)  # (n, 4w, h/4, w/4)
        y = self.decoder2(y, skip2)  # (n, 2w, h/2, w/2)
        y = self.decoder1(y, skip1)  # (n, w, h, w)
        return self.head(y)  # type: ignore[no-any-return]


def parameter_count(model: nn.Module) -> int:
    """Return the number of trainable parameters, without batch-norm statistics."""
    return sum(p.numel() for p in model.parameters())


def normalize(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalize pixels for the model; used by training and prediction alike.

    Parameters
    ----------
    pixels
        (n, bands, height, width), uint8 or float on a 0–1 scale.
    mean, std
        Normalization per band, on the 0–1 scale.

    Returns
    -------
    (n, bands, height, width) float32 with about zero mean and unit variance per band.
    """
    scale = 255.0 if pixels.dtype == torch.uint8 else 1.0
    offset, spread = (_per_band(tuple(n * scale for n in numbers), pixels.device) for numbers in (mean, std))
    return (pixels.float() - offset).div_(spread)


@lru_cache(maxsize=64)  # two for each device
def _per_band(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    """Return numbers on a device, (1, bands, 1, 1); copied again, each batch would wait for the last."""
    with torch.inference_mode(mode=False):  # training uses it, too
        return torch.tensor(numbers).view(1, -1, 1, 1).to(device)


def road_probability(
    model: nn.Module, pixels: Tensor, mean: Sequence[float], std: Sequence[float], *,
    dtype: torch.dtype, temperature: float, bias: float,
) -> Tensor:  # fmt: skip
    """Compute the road probability of pixels; used by prediction and by teachers in training.

    Parameters
    ----------
    model, pixels, mean, std
        A ResUNet, perhaps compiled, on the device of the pixels; the others as for ``normalize``.
    dtype
        Number format of the convolutions.
    temperature, bias
        Calibration: probability = sigmoid(logit / temperature + bias).

    Returns
    -------
    (n, height, width) float32 in [0, 1].
    """
    x = normalize(pixels, mean, std).contiguous(memory_format=torch.channels_last)
    with torch.autocast(pixels.device.type, dtype=dtype, enabled=dtype != torch.float32):
        logits = model(x)
    return torch.sigmoid(logits[:, 0].float() / temperature + bias)  # (n, height, width)
