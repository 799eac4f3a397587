"""What is done to a batch of crops before the network sees it, on the device that trains.

Roads have no up: the eight symmetries of the square cost nothing and make eight images of one. Other angles
and scales resample, so only half of the crops are bent; what comes from outside is void. Light, camera and
file format differ between flights: tones, colours, haze, shadows, sharpness, noise and compression vary. Every
number is drawn on the host for the whole batch of all processes, so a step does the same whoever does it,
and goes to the device in one copy. What is linear in the colours is one matrix per crop.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from roadseg.settings import AugmentSettings

VOID = 255

Numbers = NDArray[Any]

_SHARPEN_PX = 1.0
_NOISE_FIELD = 1 << 21

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
    total: int | None = None, crop: int | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Turn, bend and relight crops; the same seed and step do the same.

    Parameters
    ----------
    images
        (n, bands, side, side) uint8.
    labels
        (n, side, side) uint8.
    how
        How much of each.
    seed, step
        What is drawn depends on.
    part, total
        Which of how many crops of the step these are; by default all.
    crop
        Side of the crops to return; by default that of the images. A larger image has the ground around a crop,
        which comes into view where it is bent, see ``margin_px``.

    Returns
    -------
    Images (n, bands, crop, crop) float32 in [0, 1] and labels (n, crop, crop) uint8.
    """
    drawn = _draw(total or len(images), images.shape[1], how.plain, seed, step)
    mine = {name: values[part or slice(None)] for name, values in drawn.items()}
    on_device = _sent(mine, images.device)
    images = images.float().div_(255)
    if how.rotate_deg or how.zoom:
        images, labels = _bend(images, labels, how, on_device, crop or images.shape[-1])
    images, labels = _turn(images, labels, how, on_device)
    if how.blur_px or how.sharpen:
        images = _refocus(images, how, on_device)
    images = _relight(images, how, on_device)
    if how.noise:
        images = _grain(images, how.noise * on_device["noise"], mine["grain"]).clamp_(0, 1)
    return (_compress(images, how.compression * on_device["compression"]) if how.compression else images), labels


def margin_px(how: AugmentSettings, crop: int) -> int:
    """Return how much ground around a crop comes into view when it is bent, in pixels."""
    if not (how.rotate_deg or how.zoom):
        return 0
    angle = math.radians(min(how.rotate_deg, 45.0))
    return math.ceil(crop / 2 * ((math.cos(angle) + math.sin(angle)) * (1 + how.zoom) - 1))


def _draw(count: int, bands: int, plain: float, seed: int, step: int) -> dict[str, Numbers]:
    """Draw what a step needs, whether it is used or not: what one setting does depends on no other."""
    rng = np.random.default_rng([seed, step, 1])
    symmetry = {"turns": rng.integers(4, size=count), "mirrored": rng.integers(2, size=count)}
    light = {name: rng.uniform(-1, 1, size=count) for name in ("gamma", "contrast", "brightness", "hue")}
    light["balance"] = rng.uniform(-1, 1, size=(count, bands))
    bent = (rng.random(count) < 0.5) * rng.uniform(-1, 1, size=(2, count))
    spoilt = (rng.random((2, count)) < 0.5) * rng.random((2, count))
    light |= {name: rng.uniform(-1, 1, size=count) for name in ("exposure", "saturation", "tone")}
    light["white_balance"] = rng.uniform(-1, 1, size=(count, bands))
    light["mixing"] = rng.uniform(-1, 1, size=(count, bands * bands))
    light |= {name: (rng.random(count) < 0.5) * rng.random(count) for name in ("haze", "shadow")}
    grey = 1 - rng.random(count)  # above 0, so that no share of crops means none
    others = {"veil": rng.uniform(0.5, 1, size=count), "tint": rng.uniform(-0.1, 0.1, size=(count, bands))}
    others |= {"edge": np.stack([rng.uniform(-np.pi, np.pi, count), rng.uniform(-0.8, 0.8, count)], 1)}
    others |= {"softness": rng.uniform(0.01, 0.2, size=count), "grain": rng.random(count)}
    others |= {name: (rng.random(count) < 0.5) * rng.random(count) for name in ("noise", "sharpen")}
    others |= {"angle": bent[0], "scale": bent[1], "blur": spoilt[0], "compression": spoilt[1]}
    relit = rng.random(count) >= plain
    light = {name: values * (relit if values.ndim == 1 else relit[:, None]) for name, values in light.items()}
    return {**symmetry, **light, **others, "grey": np.where(relit, grey, 2.0)}


def _sent(drawn: dict[str, Numbers], device: torch.device) -> dict[str, Tensor]:
    """Send numbers to a device in one copy; those of one per crop come as (n, 1, 1, 1), others as (n, k)."""
    parts = [values.reshape(len(values), -1) for values in drawn.values()]
    together = torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))
    together = (together.pin_memory() if device.type == "cuda" else together).to(device, non_blocking=True)
    columns = torch.split(together, [part.shape[1] for part in parts], dim=1)
    return {
        name: column[:, :, None, None] if values.ndim == 1 else column
        for (name, values), column in zip(drawn.items(), columns, strict=True)
    }


def _turn(images: Tensor, labels: Tensor, how: AugmentSettings, drawn: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Turn by quarters and mirror: each symmetry is made of a transposition and two flips."""
    turns, mirrored = drawn["turns"] * how.quarter_turns, drawn["mirrored"] * how.flips
    if how.quarter_turns:
        odd, upside = turns.remainder(2) == 1, (turns == 1) | (turns == 2)
        images, labels = _where(odd, images.mT.contiguous(), images, labels.mT.contiguous(), labels)
        images, labels = _where(upside, images.flip(-2), images, labels.flip(-2), labels)
    if how.quarter_turns or how.flips:
        sideways = (turns >= 2) ^ (mirrored == 1)
        images, labels = _where(sideways, images.flip(-1), images, labels.flip(-1), labels)
    return images, labels


def _where(which: Tensor, image: Tensor, other: Tensor, label: Tensor, other_label: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(which, image, other), torch.where(which[:, 0], label, other_label)


def _bend(
    images: Tensor, labels: Tensor, how: AugmentSettings, drawn: dict[str, Tensor], crop: int
) -> tuple[Tensor, Tensor]:
    """Rotate and scale about the middle; the image goes on mirrored outside, the labels are void there."""
    angle = math.radians(how.rotate_deg) * drawn["angle"].flatten()
    shrink = torch.exp(-math.log1p(how.zoom) * drawn["scale"].flatten()) * (crop / images.shape[-1])
    cos, sin, zero = angle.cos() * shrink, angle.sin() * shrink, torch.zeros_like(angle)
    matrix = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3)
    size = [len(images), images.shape[1], crop, crop]
    grid = functional.affine_grid(matrix, size, align_corners=False)
    bent = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    shifted = (labels.float() + 1).unsqueeze(1)
    found = functional.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    found = found.squeeze(1).round()
    return bent, torch.where(found == 0, float(VOID), found - 1).to(torch.uint8)


def _refocus(images: Tensor, how: AugmentSettings, drawn: dict[str, Tensor]) -> Tensor:
    """Blur some crops, and sharpen others by what a blur would take away."""
    blur = how.blur_px * drawn["blur"]
    strength = torch.where(blur > 0, 1.0, -how.sharpen * drawn["sharpen"])
    reach = math.ceil(3 * max(how.blur_px, _SHARPEN_PX if how.sharpen else 0))
    smooth = _blur(images, torch.where(blur > 0, blur, _SHARPEN_PX).flatten(), reach)
    return images.lerp(smooth, strength).clamp_(0, 1)


def _blur(images: Tensor, sigma_px: Tensor, reach: int) -> Tensor:
    count, bands, height, width = images.shape
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma_px.clamp(min=1e-3)[:, None]).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(bands, 0)  # (n * bands, 2 * reach + 1)
    padded = functional.pad(images, (reach, reach, reach, reach), mode="reflect")
    y = padded.reshape(1, count * bands, height + 2 * reach, width + 2 * reach)
    y = functional.conv2d(y, kernel[:, None, :, None], groups=count * bands)
    y = functional.conv2d(y, kernel[:, None, None, :], groups=count * bands)
    return y.view(count, bands, height, width)


def _relight(images: Tensor, how: AugmentSettings, drawn: dict[str, Tensor]) -> Tensor:
    """Change tones and colours, per crop."""
    if how.gamma:
        images = images.clamp(1e-3, 1) ** torch.exp(how.gamma * drawn["gamma"])
    matrix, shift = _colours(images.mean(dim=(-2, -1)), how, drawn)
    if matrix is not None:
        images = torch.baddbmm(shift, matrix, images.flatten(2)).view_as(images)
    if how.gamma or matrix is not None:
        images = images.clamp(0, 1)
    if how.tone:
        bend = how.tone * drawn["tone"]
        images = images - bend * (images * (1 - images) * (1 - 2 * images))
    if how.shadow:
        images = images * (1 - how.shadow * drawn["shadow"] * _shaded(images.shape[-1], drawn))
    return images


def _colours(mean: Tensor, how: AugmentSettings, drawn: dict[str, Tensor]) -> tuple[Tensor | None, Tensor]:
    """Put all that is linear in the colours into one step.

    Parameters
    ----------
    mean
        (n, bands) of each crop.

    Returns
    -------
    What the bands of a pixel are multiplied by, (n, bands, bands), None if nothing changes; and what is added to them,
    (n, bands, 1).
    """
    count, bands = mean.shape
    one = torch.eye(bands, device=mean.device).expand(count, bands, bands)
    matrix, shift = one, torch.zeros_like(mean)[..., None]
    if how.contrast or how.brightness or how.balance:
        contrast = torch.exp(how.contrast * drawn["contrast"][:, 0])
        light = torch.exp(how.brightness * drawn["brightness"].flatten(1) + how.balance * drawn["balance"])
        matrix, shift = one * contrast, mean[..., None] * (light[..., None] - contrast)
    later = []
    if how.hue_deg and bands == 3:
        later.append(_hue_turn(math.radians(how.hue_deg) * drawn["hue"][:, 0]))
    if how.exposure or how.white_balance:
        gains = torch.exp(how.exposure * drawn["exposure"].flatten(1) + how.white_balance * drawn["white_balance"])
        later.append(one * gains[..., None])
    if how.mixing:
        mixed = how.mixing * drawn["mixing"].view(count, bands, bands) * (1 - one)
        later.append(one + mixed - one * mixed.sum(2, keepdim=True))  # greys stay
    for factor in later:
        matrix, shift = factor @ matrix, factor @ shift
    if how.haze:
        haze = how.haze * drawn["haze"][:, 0]
        veil = (drawn["veil"].flatten(1) + drawn["tint"])[..., None]
        matrix, shift = (1 - haze) * matrix, (1 - haze) * shift + haze * veil
    if how.saturation or how.grey:
        colour = torch.exp(how.saturation * drawn["saturation"][:, 0]) * (drawn["grey"][:, 0] > how.grey)
        factor = colour * one + (1 - colour) / bands
        matrix, shift = factor @ matrix, factor @ shift
    return (None if matrix is one else matrix), shift


def _hue_turn(angle: Tensor) -> Tensor:
    """Return (n, 3, 3) rotations about the axis of greys; angle (n, 1, 1)."""
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]).to(angle.device) / math.sqrt(3)
    cos, sin = angle.cos(), angle.sin()
    return cos * torch.eye(3, device=angle.device) + sin * cross + (1 - cos) / 3


def _shaded(side: int, drawn: dict[str, Tensor]) -> Tensor:
    """Return how deep each pixel lies in the shadow beyond a line, (n, 1, side, side) from 0 to 1."""
    angle, distance = (drawn["edge"][:, k, None, None, None] for k in range(2))
    along = torch.linspace(-1, 1, side, device=angle.device)
    across = along[:, None] * angle.sin() + along * angle.cos()  # (n, 1, side, side)
    return torch.sigmoid((across - distance) / drawn["softness"])


def _grain(images: Tensor, deviation: Tensor, where: Numbers) -> Tensor:
    """Add noise cut from one long field at a place of each crop's own: drawing it again would take longer."""
    need = images[0].numel()
    field = _field(max(_NOISE_FIELD, 2 * need), images.device)
    first = (where * (len(field) - need)).astype(int).tolist()
    noise = torch.stack([field[start : start + need] for start in first]).view_as(images)
    return torch.addcmul(images, noise, deviation)


@lru_cache(maxsize=2)
def _field(length: int, device: torch.device) -> Tensor:
    return torch.randn(length, generator=torch.Generator().manual_seed(0)).to(device)


def _compress(images: Tensor, coarseness: Tensor) -> Tensor:
    """Round the frequencies of 8 × 8 blocks, band by band."""
    _, bands, height, width = images.shape
    forth, back, table = _waves(images.device)
    steps = (coarseness.view(-1, 1) * table).clamp_(min=1e-2).div_(255)  # (n, 64)
    steps = steps.repeat_interleave(bands, 0)[:, :, None, None]
    waves = functional.conv2d(images.reshape(-1, 1, height, width), forth, stride=8)  # (n * bands, 64, rows, cols)
    waves = waves.div_(steps).round_().mul_(steps)
    return functional.pixel_shuffle(functional.conv2d(waves, back), 8).view_as(images).clamp_(0, 1)


@lru_cache(maxsize=2)
def _waves(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return kernels to 64 frequencies, (64, 1, 8, 8), and back, (64, 64, 1, 1), and the steps of rounding, (64,)."""
    basis = torch.from_numpy(np.einsum("ki,lj->klij", _DCT, _DCT).reshape(64, 64)).to(device, torch.float32)
    return basis.view(64, 1, 8, 8), basis.T[:, :, None, None], torch.from_numpy(_COARSENESS).to(device).flatten()
