"""The loss: equal to its formula, blind to the void."""

import numpy as np
import pytest
import torch

from roadseg.training.losses import bce_dice


def example() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 5, 7, generator=generator)
    labels = (torch.rand(2, 5, 7, generator=generator) > 0.6).to(torch.uint8)
    labels[0, :2] = 255
    return logits, labels


def test_equals_the_formula() -> None:
    logits, labels = example()
    known = labels.numpy() != 255
    p = 1 / (1 + np.exp(-logits.numpy()[:, 0][known].astype(np.float64)))
    t = labels.numpy()[known] == 1
    cross_entropy = -np.mean(np.where(t, np.log(p), np.log(1 - p)))
    dice = 1 - (2 * p[t].sum() + 1) / (p.sum() + t.sum() + 1)
    assert float(bce_dice(logits, labels, dice_weight=0.7)) == pytest.approx(cross_entropy + 0.7 * dice, rel=1e-5)


def test_void_pixels_change_nothing() -> None:
    logits, labels = example()
    changed = logits.clone()
    changed[0, 0, :2] = 50
    assert torch.equal(bce_dice(logits, labels), bce_dice(changed, labels))


def test_nothing_but_void_is_harmless() -> None:
    logits = torch.randn(1, 1, 4, 4, requires_grad=True)
    loss = bce_dice(logits, torch.full((1, 4, 4), 255, dtype=torch.uint8))
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.count_nonzero(logits.grad) == 0


def test_better_answers_cost_less() -> None:
    labels = torch.zeros(1, 6, 6, dtype=torch.uint8)
    labels[0, 2:4] = 1
    right = (labels.float() * 2 - 1).unsqueeze(1)
    costs = [float(bce_dice(right * sure, labels)) for sure in (-3, 0, 3, 6)]
    assert costs == sorted(costs, reverse=True)
