"""Losses on logits; void pixels count nowhere.

Cross-entropy treats every pixel alike and gives usable probabilities; soft Dice looks at the
overlap of the whole batch and keeps the rare class from being ignored. Their sum is the default.
Sources: Milletari et al. 2016 (arXiv:1606.04797) for Dice on probabilities.
"""

import torch
from torch import Tensor
from torch.nn import functional


def bce_dice(logits: Tensor, labels: Tensor, *, dice_weight: float = 1.0) -> Tensor:
    """Binary cross-entropy plus soft Dice loss.

    Parameters
    ----------
    logits
        (n, 1, height, width).
    labels
        (n, height, width) uint8: 1 road, 0 not road, 255 void.
    dice_weight
        Weight of the Dice term.

    Returns
    -------
    A scalar; 0 (with a gradient of 0) if every pixel is void.
    """
    known = (labels != 255).float()
    target = (labels == 1).float()
    logits = logits.squeeze(1).float()
    count = known.sum().clamp(min=1)
    bce = (functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * known).sum() / count
    road = torch.sigmoid(logits) * known
    overlap = (road * target).sum()
    dice = 1 - (2 * overlap + 1) / (road.sum() + target.sum() + 1)
    return bce + dice_weight * dice
