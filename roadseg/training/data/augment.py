"""Augmentation of a batch of crops, on the device that trains.

Roads look the same from every side: the eight symmetries of the square are free and make eight images of one.
Other angles and scales need resampling, so only half of the crops get them; labels from outside the image
are void. Light, camera and file format differ between flights, so tones, colours, haze, shadows, sharpness,
noise and compression vary. Random numbers are drawn on the host for the crops of all processes, so a
step does not depend on the number of processes; they go to the device in one copy.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from roadseg.model.device import send
from roadseg.raster.labelled_scene import VOID
from roadseg.settings import AugmentSettings
from roadseg.training.data.jpeg import compress

Numbers = NDArray[Any]

_SHARPEN_PX = 1.0
"""Standard deviation of the blur that unsharp masking subtracts."""

_NOISE_FIELD = 1 << 21
"""Length of the noise that crops take theirs from; see ``_add_noise``."""


def augment(
    images: Tensor, labels: Tensor, settings: AugmentSettings, *, seed: int, step: int, part: slice | None = None,
    total: int | None = None, crop: int | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Change crops at random in geometry, sharpness, light and noise; the same seed and step give the same result.

    Parameters
    ----------
    images
        (n, bands, side, side) uint8.
    labels
        (n, side, side) uint8.
    settings
        Strength of each change.
    seed, step
        Seed of the run and number of the step, which determine the random numbers.
    part, total
        Slice of the step's crops that these are, and the number of all of them; by default these are all.
    crop
        Side of the crops to return; by default that of the images. Larger images hold the ground around a crop,
        which rotation and zoom bring into view, see ``margin_px``.

    Returns
    -------
    Images (n, bands, crop, crop) float32 in [0, 1] and labels (n, crop, crop) uint8.
    """
    of_step = _draw(total or len(images), images.shape[1], settings.plain, seed, step)
    drawn = {name: values[part or slice(None)] for name, values in of_step.items()}
    on_device = _to_device(drawn, images.device)
    images = images.float().div_(255)
    if settings.rotate_deg or settings.zoom:
        images, labels = _rotate_and_zoom(images, labels, settings, on_device, crop or images.shape[-1])
    images, labels = _turn_and_flip(images, labels, settings, on_device)
    if settings.blur_px or settings.sharpen:
        images = _blur_or_sharpen(images, settings, on_device)
    images = _relight(images, settings, on_device)
    if settings.noise:
        images = _add_noise(images, settings.noise * on_device["noise"], drawn["grain"]).clamp_(0, 1)
    if settings.compression:
        images = compress(images, settings.compression * on_device["compression"])
    return images, labels


def margin_px(settings: AugmentSettings, crop: int) -> int:
    """Return the width of the ground around a crop that rotation and zoom can bring into view, in pixels."""
    if not (settings.rotate_deg or settings.zoom):
        return 0
    # The bounding box of a square turned by an angle is cos + sin times as wide, most of all at 45 degrees.
    angle = math.radians(min(settings.rotate_deg, 45.0))
    return math.ceil(crop / 2 * ((math.cos(angle) + math.sin(angle)) * (1 + settings.zoom) - 1))


def _draw(count: int, bands: int, plain: float, seed: int, step: int) -> dict[str, Numbers]:
    """Draw the random numbers of a step, needed or not, so that no setting changes what another one does.

    Numbers are (count,) or (count, k). Many are 0 for half of the crops, which keep that property unchanged;
    in a share ``plain`` of the crops light and colours stay as they are. The order of the draws is part
    of the result: new ones go to the end of a group, never in between.
    """
    rng = np.random.default_rng([seed, step, 1])
    symmetry = {"turns": rng.integers(4, size=count), "mirrored": rng.integers(2, size=count)}
    light = {name: rng.uniform(-1, 1, size=count) for name in ("gamma", "contrast", "brightness", "hue")}
    light["balance"] = rng.uniform(-1, 1, size=(count, bands))
    angle, scale = (rng.random(count) < 0.5) * rng.uniform(-1, 1, size=(2, count))  # the same half of the crops
    blur, compression = (rng.random((2, count)) < 0.5) * rng.random((2, count))  # a half of its own each
    light |= {name: rng.uniform(-1, 1, size=count) for name in ("exposure", "saturation", "tone")}
    light["white_balance"] = rng.uniform(-1, 1, size=(count, bands))
    light["mixing"] = rng.uniform(-1, 1, size=(count, bands * bands))
    light |= {name: (rng.random(count) < 0.5) * rng.random(count) for name in ("haze", "shadow")}
    grey = 1 - rng.random(count)  # above 0, so that no share of crops means none
    others = {"veil": rng.uniform(0.5, 1, size=count), "tint": rng.uniform(-0.1, 0.1, size=(count, bands))}
    others |= {"edge": np.stack([rng.uniform(-np.pi, np.pi, count), rng.uniform(-0.8, 0.8, count)], 1)}
    others |= {"softness": rng.uniform(0.01, 0.2, size=count), "grain": rng.random(count)}
    others |= {name: (rng.random(count) < 0.5) * rng.random(count) for name in ("noise", "sharpen")}
    others |= {"angle": angle, "scale": scale, "blur": blur, "compression": compression}
    relit = rng.random(count) >= plain
    light = {name: values * (relit if values.ndim == 1 else relit[:, None]) for name, values in light.items()}
    # A crop turns grey where this number is at most the share of grey crops, which 2 never is.
    return {**symmetry, **light, **others, "grey": np.where(relit, grey, 2.0)}


def _to_device(drawn: dict[str, Numbers], device: torch.device) -> dict[str, Tensor]:
    """Copy numbers to a device at once; (n,) becomes (n, 1, 1, 1), ready for images, (n, k) keeps its shape."""
    parts = [values.reshape(len(values), -1) for values in drawn.values()]
    together = torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))
    columns = torch.split(send(together, device), [part.shape[1] for part in parts], dim=1)
    return {
        name: column[:, :, None, None] if values.ndim == 1 else column
        for (name, values), column in zip(drawn.items(), columns, strict=True)
    }


def _turn_and_flip(
    images: Tensor, labels: Tensor, settings: AugmentSettings, drawn: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Turn by quarters and flip: every symmetry is a transposition, a vertical and a horizontal flip, or some of them.

    quarter turns (counter-clockwise)    0    1    2    3
    transpose                            no   yes  no   yes
    flip vertically                      no   yes  yes  no
    flip horizontally                    no   no   yes  yes   (the opposite where the crop is mirrored, too)
    """
    turns, mirrored = drawn["turns"] * settings.quarter_turns, drawn["mirrored"] * settings.flips
    if settings.quarter_turns:
        odd, upside = turns.remainder(2) == 1, (turns == 1) | (turns == 2)
        images, labels = _where(odd, images.mT.contiguous(), images, labels.mT.contiguous(), labels)
        images, labels = _where(upside, images.flip(-2), images, labels.flip(-2), labels)
    if settings.quarter_turns or settings.flips:
        sideways = (turns >= 2) ^ (mirrored == 1)
        images, labels = _where(sideways, images.flip(-1), images, labels.flip(-1), labels)
    return images, labels


def _where(which: Tensor, image: Tensor, other: Tensor, label: Tensor, other_label: Tensor) -> tuple[Tensor, Tensor]:
    """Choose between two versions of images and of labels per crop; ``which`` is (n, 1, 1, 1) bool."""
    return torch.where(which, image, other), torch.where(which[:, 0], label, other_label)


def _rotate_and_zoom(
    images: Tensor, labels: Tensor, settings: AugmentSettings, drawn: dict[str, Tensor], crop: int
) -> tuple[Tensor, Tensor]:
    """Rotate and scale about the centre; outside, images are reflected and labels are void."""
    angle = math.radians(settings.rotate_deg) * drawn["angle"].flatten()
    # ``affine_grid`` works in coordinates from -1 to 1 over input and output, whatever their sizes.
    shrink = torch.exp(-math.log1p(settings.zoom) * drawn["scale"].flatten()) * (crop / images.shape[-1])
    cos, sin, zero = angle.cos() * shrink, angle.sin() * shrink, torch.zeros_like(angle)
    matrix = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3)
    size = [len(images), images.shape[1], crop, crop]
    grid = functional.affine_grid(matrix, size, align_corners=False)
    images = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    # Labels are sampled as label + 1: the 0 that pads them is then no label, and becomes void.
    padded = functional.grid_sample(
        (labels.float() + 1).unsqueeze(1), grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    padded = padded.squeeze(1).round()
    return images, torch.where(padded == 0, float(VOID), padded - 1).to(torch.uint8)


def _blur_or_sharpen(images: Tensor, settings: AugmentSettings, drawn: dict[str, Tensor]) -> Tensor:
    """Blur some crops, and sharpen others by unsharp masking, which extrapolates away from a blurred image."""
    blur = settings.blur_px * drawn["blur"]
    strength = torch.where(blur > 0, 1.0, -settings.sharpen * drawn["sharpen"])
    reach = math.ceil(3 * max(settings.blur_px, _SHARPEN_PX if settings.sharpen else 0))
    reach = min(reach, images.shape[-1] - 1)  # as far as a crop can be reflected
    smooth = _blur(images, torch.where(blur > 0, blur, _SHARPEN_PX).flatten(), reach)
    return images.lerp(smooth, strength).clamp_(0, 1)


def _blur(images: Tensor, sigma_px: Tensor, reach: int) -> Tensor:
    """Blur each crop with a Gaussian of its own; sigma (n,), kernels end at ``reach`` pixels."""
    count, bands, height, width = images.shape
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma_px.clamp(min=1e-3)[:, None]).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(bands, 0)  # (n * bands, 2 * reach + 1)
    padded = functional.pad(images, (reach, reach, reach, reach), mode="reflect")
    # One grouped convolution for the batch: every band of every crop is a channel with a kernel of its own.
    y = padded.reshape(1, count * bands, height + 2 * reach, width + 2 * reach)
    y = functional.conv2d(y, kernel[:, None, :, None], groups=count * bands)
    y = functional.conv2d(y, kernel[:, None, None, :], groups=count * bands)
    return y.view(count, bands, height, width)


def _relight(images: Tensor, settings: AugmentSettings, drawn: dict[str, Tensor]) -> Tensor:
    """Change tones and colours of each crop."""
    if settings.gamma:
        images = images.clamp(1e-3, 1) ** torch.exp(settings.gamma * drawn["gamma"])
    matrix, shift = _colour_matrix(images.mean(dim=(-2, -1)), settings, drawn)
    if matrix is not None:
        images = torch.baddbmm(shift, matrix, images.flatten(2)).view_as(images)
    if settings.gamma or matrix is not None:
        images = images.clamp(0, 1)
    if settings.tone:
        # An S-shaped tone curve, or its opposite; black, middle grey and white stay.
        bend = settings.tone * drawn["tone"]
        images = images - bend * (images * (1 - images) * (1 - 2 * images))
    if settings.shadow:
        images = images * (1 - settings.shadow * drawn["shadow"] * _shadow_depth(images.shape[-1], drawn))
    return images


def _colour_matrix(mean: Tensor, settings: AugmentSettings, drawn: dict[str, Tensor]) -> tuple[Tensor | None, Tensor]:
    """Combine all changes that are linear in the colours: a pixel p becomes ``matrix @ p + shift``.

    Parameters
    ----------
    mean
        (n, bands) mean colour of each crop, around which contrast changes.
    settings, drawn
        Strength of each change, and the random numbers.

    Returns
    -------
    Matrices (n, bands, bands), None if nothing changes, and shifts (n, bands, 1).
    """
    count, bands = mean.shape
    one = torch.eye(bands, device=mean.device).expand(count, bands, bands)
    matrix, shift = one, torch.zeros_like(mean)[..., None]
    if settings.contrast or settings.brightness or settings.balance:
        contrast = torch.exp(settings.contrast * drawn["contrast"][:, 0])
        light = torch.exp(settings.brightness * drawn["brightness"].flatten(1) + settings.balance * drawn["balance"])
        matrix, shift = one * contrast, mean[..., None] * (light[..., None] - contrast)
    factors = []
    if settings.hue_deg and bands == 3:
        factors.append(_hue_rotation(math.radians(settings.hue_deg) * drawn["hue"][:, 0]))
    if settings.exposure or settings.white_balance:
        gains = torch.exp(
            settings.exposure * drawn["exposure"].flatten(1) + settings.white_balance * drawn["white_balance"]
        )
        factors.append(one * gains[..., None])
    if settings.mixing:
        mixed = settings.mixing * drawn["mixing"].view(count, bands, bands) * (1 - one)
        factors.append(one + mixed - one * mixed.sum(2, keepdim=True))  # rows add up to 1, so greys stay
    for factor in factors:
        matrix, shift = factor @ matrix, factor @ shift
    if settings.haze:
        haze = settings.haze * drawn["haze"][:, 0]
        veil = (drawn["veil"].flatten(1) + drawn["tint"])[..., None]
        matrix, shift = (1 - haze) * matrix, (1 - haze) * shift + haze * veil
    if settings.saturation or settings.grey:  # between the pixel and the mean of its bands
        colour = torch.exp(settings.saturation * drawn["saturation"][:, 0]) * (drawn["grey"][:, 0] > settings.grey)
        factor = colour * one + (1 - colour) / bands
        matrix, shift = factor @ matrix, factor @ shift
    return (None if matrix is one else matrix), shift


def _hue_rotation(angle: Tensor) -> Tensor:
    """Return rotations about the grey axis by angles (n, 1, 1), (n, 3, 3), with Rodrigues' formula."""
    cos, sin = angle.cos(), angle.sin()
    return cos * torch.eye(3, device=angle.device) + sin * _grey_axis(angle.device) + (1 - cos) / 3


@lru_cache(maxsize=2)
def _grey_axis(device: torch.device) -> Tensor:
    """Return the matrix of the cross product with the unit vector of greys; copied again, each step would wait."""
    return torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]).to(device) / math.sqrt(3)


def _shadow_depth(side: int, drawn: dict[str, Tensor]) -> Tensor:
    """Return the depth of a shadow that begins at a random straight edge, (n, 1, side, side) from 0 to 1."""
    angle, distance = (drawn["edge"][:, k, None, None, None] for k in range(2))
    along = torch.linspace(-1, 1, side, device=angle.device)
    across = along[:, None] * angle.sin() + along * angle.cos()  # (n, 1, side, side)
    return torch.sigmoid((across - distance) / drawn["softness"])


def _add_noise(images: Tensor, deviation: Tensor, position: Numbers) -> Tensor:
    """Add Gaussian noise: each crop takes a piece of one long row of noise, which is faster than drawing it.

    Parameters
    ----------
    images
        (n, bands, height, width) float32.
    deviation
        (n, 1, 1, 1) standard deviation.
    position
        (n,) where in the row the piece begins, from 0 to 1.
    """
    need = images[0].numel()
    row = _noise_row(max(_NOISE_FIELD, 2 * need), images.device)
    first = (position * (len(row) - need)).astype(int).tolist()
    noise = torch.stack([row[start : start + need] for start in first]).view_as(images)
    return torch.addcmul(images, noise, deviation)


@lru_cache(maxsize=2)
def _noise_row(length: int, device: torch.device) -> Tensor:
    return torch.randn(length, generator=torch.Generator().manual_seed(0)).to(device)
