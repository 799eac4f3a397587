"""Losses on logits, as ratios of sums over the pixels of a batch; void pixels do not count.

A term per pixel (cross-entropy, focal, squared error), and terms on whole roads: soft Dice keeps the rare class from
being ignored, soft clDice rewards centerlines that match. The sums come first, can be added over processes, and are
divided once.
Sources: Milletari et al. 2016 (arXiv:1606.04797, Dice), Lin et al. 2017 (arXiv:1708.02002, focal), Shit et al.
2021 (arXiv:2003.07311, clDice).
"""

import torch
from torch import Tensor
from torch.nn import functional

from roadseg.raster.labelled_scene import VOID
from roadseg.settings import LossName, TrainSettings

_SKELETON_STEPS = 5
"""Erosions until no road is left: half the width of the widest, in pixels."""

_FAR_PX = 10
"""How far from every label a road must be to be taken for one that the labels lack."""


def without_missing(logits: Tensor, labels: Tensor) -> Tensor:
    """Return labels with void where roads seem to be missing: predicted as road, and far from any labelled road.

    Source: bootstrapping of Reed et al. 2014 (arXiv:1412.6596), in its hard form, and for one class only.

    Parameters
    ----------
    logits
        (n, 1, height, width).
    labels
        (n, height, width) uint8: 1 road, 0 not road, 255 void.
    """
    near = (labels == 1).float().unsqueeze(1)
    for side in ((2 * _FAR_PX + 1, 1), (1, 2 * _FAR_PX + 1)):
        near = functional.max_pool2d(near, side, 1, (side[0] // 2, side[1] // 2))
    missing = (labels == 0) & (near.squeeze(1) == 0) & (logits.detach().squeeze(1) > 0)
    return labels.masked_fill(missing, VOID)


def loss_sums(
    logits: Tensor, labels: Tensor, settings: TrainSettings, teacher_probability: Tensor | None = None
) -> Tensor:
    """Return the sums that make up the loss.

    Parameters
    ----------
    logits
        (n, 1, height, width).
    labels
        (n, height, width) uint8: 1 road, 0 not road, 255 void.
    settings
        The loss and its weights.
    teacher_probability
        (n, height, width) float32 probability of road according to a teacher, if there is one.

    Returns
    -------
    (9,) float32: labelled pixels, their loss; overlap, predicted road, labelled road; and for clDice the predicted
    skeleton on labelled road, the predicted skeleton, the labelled skeleton on predicted road, the labelled skeleton.
    """
    known = (labels != VOID).float()
    target = (labels == 1).float()
    logits = logits.squeeze(1).float()
    wanted = target if teacher_probability is None else target.lerp(teacher_probability, settings.teacher_weight)
    each = _each_pixel(logits, wanted, settings.loss, settings.focal_gamma)
    road = torch.sigmoid(logits) * known
    sums = [known.sum(), (each * known).sum(), (road * target).sum(), road.sum(), target.sum()]
    if settings.cldice_weight:
        line, line_target = skeleton(road), skeleton(target)
        sums += [(line * target).sum(), line.sum(), (line_target * road).sum(), line_target.sum()]
    else:
        sums += [logits.new_zeros(())] * 4
    return torch.stack(sums)


def loss_from_sums(sums: Tensor, settings: TrainSettings) -> Tensor:
    """Return the loss that sums make up.

    Returns
    -------
    A scalar; 0 (with a gradient of 0) if every pixel is void.
    """
    known, cost, overlap, predicted, road, line_right, line, road_met, road_line = sums
    loss: Tensor = cost / known.clamp(min=1)
    if settings.dice_weight:
        loss = loss + settings.dice_weight * (1 - (2 * overlap + 1) / (predicted + road + 1))
    if settings.cldice_weight:
        precision, recall = (line_right + 1) / (line + 1), (road_met + 1) / (road_line + 1)
        loss = loss + settings.cldice_weight * (1 - 2 * precision * recall / (precision + recall))
    return loss


def skeleton(road: Tensor) -> Tensor:
    """Thin a soft mask: at every depth, keep what a morphological opening removes.

    Parameters
    ----------
    road
        (n, height, width) in [0, 1].

    Returns
    -------
    The same shape; differentiable.
    """
    depth = road.unsqueeze(1)
    lines = functional.relu(depth - _opened(depth))
    for _ in range(_SKELETON_STEPS):
        depth = _eroded(depth)
        rest = functional.relu(depth - _opened(depth))
        lines = lines + functional.relu(rest - lines * rest)
    return lines.squeeze(1)


def _each_pixel(logits: Tensor, target: Tensor, loss: LossName, gamma: float) -> Tensor:
    if loss == "mse":
        error: Tensor = torch.sigmoid(logits) - target
        return error.square()
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    easy: Tensor = torch.exp(-entropy)
    return entropy if loss == "bce" else entropy * (1 - easy).pow(gamma)


def _eroded(mask: Tensor) -> Tensor:
    """Return the minimum of each pixel and its four neighbours."""
    down = -functional.max_pool2d(-mask, (3, 1), 1, (1, 0))
    across = -functional.max_pool2d(-mask, (1, 3), 1, (0, 1))
    return torch.minimum(down, across)


def _opened(mask: Tensor) -> Tensor:
    return functional.max_pool2d(_eroded(mask), 3, 1, 1)
