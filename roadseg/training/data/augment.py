"""What is done to a batch of crops before the network sees it, on the device that trains.

Roads have no up: the eight symmetries of the square cost nothing and make eight images of one. Other angles
and scales resample, so only half of the crops are bent; what comes from outside is void. Light, camera and
file format differ between flights: gamma, contrast, brightness, colour, blur and compression vary. Every
number is drawn on the host for the whole batch of all processes, so a step does the same whoever does it.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from roadseg.settings import AugmentSettings

VOID = 255

_DCT = np.array(
    [
        [math.sqrt((1 if k == 0 else 2) / 8) * math.cos(math.pi * (2 * n + 1) * k / 16) for n in range(8)]
        for k in range(8)
    ]
)
_COARSENESS = np.array(
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
"""Steps that JPEG's example table rounds the frequencies of 8 × 8 pixels to (ITU T.81, table K.1)."""


def augment(
    images: Tensor, labels: Tensor, how: AugmentSettings, *, seed: int, step: int, part: slice | None = None,
    total: int | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Turn, bend and relight crops; the same seed and step do the same.

    Parameters
    ----------
    images
        (n, bands, crop, crop) uint8.
    labels
        (n, crop, crop) uint8.
    how
        How much of each.
    seed, step
        What is drawn depends on.
    part, total
        Which of how many crops of the step these are; by default all.

    Returns
    -------
    Images (n, bands, crop, crop) float32 in [0, 1] and labels (n, crop, crop) uint8.
    """
    drawn = {
        name: values[part or slice(None)]
        for name, values in _draw(total or len(images), images.shape[1], seed, step).items()
    }
    images, labels = _turn(images, labels, how, drawn)
    images = images.float().div_(255)
    if how.rotate_deg or how.zoom:
        images, labels = _bend(images, labels, how, drawn)
    if how.blur_px:
        images = _blur(images, how.blur_px * drawn["blur"], math.ceil(3 * how.blur_px))
    images = _relight(images, how, drawn)
    return (_compress(images, how.compression * drawn["compression"]) if how.compression else images), labels


def _draw(count: int, bands: int, seed: int, step: int) -> dict[str, NDArray[np.float64]]:
    """Draw what a step needs, whether it is used or not: what one setting does depends on no other."""
    rng = np.random.default_rng([seed, step, 1])
    symmetry = {"turns": rng.integers(4, size=count), "mirrored": rng.integers(2, size=count)}
    light = {name: rng.uniform(-1, 1, size=count) for name in ("gamma", "contrast", "brightness", "hue")}
    balance = {"balance": rng.uniform(-1, 1, size=(count, bands))}
    bent = (rng.random(count) < 0.5) * rng.uniform(-1, 1, size=(2, count))
    spoilt = (rng.random((2, count)) < 0.5) * rng.random((2, count))
    others = {"angle": bent[0], "scale": bent[1], "blur": spoilt[0], "compression": spoilt[1]}
    return {**symmetry, **light, **balance, **others}


def _turn(
    images: Tensor, labels: Tensor, how: AugmentSettings, drawn: dict[str, NDArray[np.float64]]
) -> tuple[Tensor, Tensor]:
    turns = drawn["turns"] * how.quarter_turns
    mirrored = drawn["mirrored"] * how.flips
    if not (turns.any() or mirrored.any()):
        return images, labels
    turned, turned_labels = torch.empty_like(images), torch.empty_like(labels)
    for quarter, mirror in {(int(t), int(m)) for t, m in zip(turns, mirrored, strict=True)}:
        chosen = torch.from_numpy(np.flatnonzero((turns == quarter) & (mirrored == mirror))).to(images.device)
        for source, target in ((images, turned), (labels, turned_labels)):
            some = torch.rot90(source.index_select(0, chosen), quarter, (-2, -1))
            target.index_copy_(0, chosen, some.flip(-1) if mirror else some)
    return turned, turned_labels


def _bend(
    images: Tensor, labels: Tensor, how: AugmentSettings, drawn: dict[str, NDArray[np.float64]]
) -> tuple[Tensor, Tensor]:
    """Rotate and scale about the middle; the image goes on mirrored outside, the labels are void there."""
    angle = np.radians(how.rotate_deg) * drawn["angle"]
    shrink = np.exp(-math.log1p(how.zoom) * drawn["scale"])
    cos, sin, zero = np.cos(angle) * shrink, np.sin(angle) * shrink, np.zeros_like(angle)
    matrix = np.stack([np.stack([cos, -sin, zero], 1), np.stack([sin, cos, zero], 1)], 1)
    grid = functional.affine_grid(_like(matrix, images), list(images.shape), align_corners=False)
    bent = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    shifted = (labels.float() + 1).unsqueeze(1)
    found = functional.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    found = found.squeeze(1).round()
    return bent, torch.where(found == 0, float(VOID), found - 1).to(torch.uint8)


def _blur(images: Tensor, sigma_px: NDArray[np.float64], reach: int) -> Tensor:
    count, bands, height, width = images.shape
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * np.square(offsets / np.maximum(sigma_px, 1e-3)[:, None]))
    kernel = np.repeat(kernel / kernel.sum(axis=1, keepdims=True), bands, axis=0)  # (n * bands, 2 * reach + 1)
    weights = _like(kernel, images)
    padded = functional.pad(images, (reach, reach, reach, reach), mode="reflect")
    y = padded.reshape(1, count * bands, height + 2 * reach, width + 2 * reach)
    y = functional.conv2d(y, weights[:, None, :, None], groups=count * bands)
    y = functional.conv2d(y, weights[:, None, None, :], groups=count * bands)
    return y.view(count, bands, height, width)


def _relight(images: Tensor, how: AugmentSettings, drawn: dict[str, NDArray[np.float64]]) -> Tensor:
    """Jitter gamma, contrast, brightness, the balance of the bands and the hue, per crop."""
    if not (how.gamma or how.contrast or how.brightness or how.balance or how.hue_deg):
        return images

    def factors(name: str, spread: float) -> Tensor:
        values = np.exp(spread * drawn[name])
        return _like(values.reshape(len(values), -1, 1, 1), images)

    images = images.clamp(1e-3, 1) ** factors("gamma", how.gamma)
    mean = images.mean(dim=(-2, -1), keepdim=True)
    bright = factors("brightness", how.brightness) * factors("balance", how.balance)
    images = (images - mean) * factors("contrast", how.contrast) + mean * bright
    if how.hue_deg and images.shape[1] == 3:
        images = torch.einsum(
            "nij,njhw->nihw", _like(_hue_turn(np.radians(how.hue_deg) * drawn["hue"]), images), images
        )
    return images.clamp(0, 1)


def _hue_turn(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 3, 3) rotations about the axis of greys."""
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    return np.asarray(cos * np.eye(3) + sin * cross + (1 - cos) / 3)


def _compress(images: Tensor, coarseness: NDArray[np.float64]) -> Tensor:
    """Round the frequencies of 8 × 8 blocks, band by band."""
    count, bands, height, width = images.shape
    basis = _like(_DCT, images)
    steps = _like(np.maximum(coarseness[:, None, None] * _COARSENESS, 1e-2) / 255, images)
    blocks = images.reshape(count, bands, height // 8, 8, width // 8, 8).permute(0, 1, 2, 4, 3, 5)
    waves = basis @ blocks @ basis.T  # (n, bands, rows, cols, 8, 8)
    steps = steps[:, None, None, None]
    blocks = basis.T @ ((waves / steps).round() * steps) @ basis
    return blocks.permute(0, 1, 2, 4, 3, 5).reshape(count, bands, height, width).clamp(0, 1)


def _like(values: NDArray[np.float64], tensor: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(tensor.device, tensor.dtype)
