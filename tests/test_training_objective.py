"""The losses: equal to their formulas, blind to the void, made of sums that add."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.morphology import skeletonize

from roadseg.settings import TrainSettings
from roadseg.training.objective import loss_from_sums, loss_sums, skeleton, without_missing

PLAIN = TrainSettings(dice_weight=0.0)
KINDS = [
    replace(PLAIN, loss="mse"),
    PLAIN,
    replace(PLAIN, dice_weight=0.7),
    replace(PLAIN, loss="focal"),
    replace(PLAIN, cldice_weight=0.5),
]


def loss(logits: torch.Tensor, labels: torch.Tensor, settings: TrainSettings) -> torch.Tensor:
    return loss_from_sums(loss_sums(logits, labels, settings), settings)


def example() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 5, 7, generator=generator)
    labels = (torch.rand(2, 5, 7, generator=generator) > 0.6).to(torch.uint8)
    labels[0, :2] = 255
    return logits, labels


def test_losses_equal_their_formulas() -> None:
    logits, labels = example()
    known = labels.numpy() != 255
    p = 1 / (1 + np.exp(-logits.numpy()[:, 0][known].astype(np.float64)))
    t = labels.numpy()[known] == 1
    right = np.where(t, p, 1 - p)
    dice = 1 - (2 * p[t].sum() + 1) / (p.sum() + t.sum() + 1)
    formulas = [np.mean((p - t) ** 2), -np.mean(np.log(right)), -np.mean(np.log(right)) + 0.7 * dice]
    formulas.append(-np.mean((1 - right) ** 2 * np.log(right)))
    for settings, expected in zip(KINDS[:4], formulas, strict=True):
        assert float(loss(logits, labels, settings)) == pytest.approx(expected, rel=1e-5)


def test_a_teacher_softens_what_a_pixel_ought_to_be() -> None:
    logits, labels = example()
    teacher_probability = torch.rand(labels.shape, generator=torch.Generator().manual_seed(1))
    known = labels.numpy() != 255
    p = 1 / (1 + np.exp(-logits.numpy()[:, 0][known].astype(np.float64)))
    t = 0.75 * (labels.numpy()[known] == 1) + 0.25 * teacher_probability.numpy()[known]
    for loss_name, formula in (
        ("bce", -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))),
        ("mse", np.mean((p - t) ** 2)),
    ):
        settings = replace(PLAIN, loss=loss_name, teacher_weight=0.25)
        assert float(
            loss_from_sums(loss_sums(logits, labels, settings, teacher_probability), settings)
        ) == pytest.approx(formula, rel=1e-5)


@pytest.mark.parametrize("settings", KINDS)
def test_void_pixels_change_nothing(settings: TrainSettings) -> None:
    logits, labels = example()
    changed = logits.clone()
    changed[0, 0, :2] = 50
    assert torch.equal(loss(logits, labels, settings), loss(changed, labels, settings))


@pytest.mark.parametrize("settings", KINDS)
def test_nothing_but_void_is_harmless(settings: TrainSettings) -> None:
    logits = torch.randn(1, 1, 4, 4, requires_grad=True)
    value = loss(logits, torch.full((1, 4, 4), 255, dtype=torch.uint8), settings)
    value.backward()
    assert float(value.detach()) == 0
    assert torch.count_nonzero(logits.grad) == 0


@pytest.mark.parametrize("settings", KINDS)
def test_better_answers_cost_less(settings: TrainSettings) -> None:
    labels = torch.zeros(1, 6, 6, dtype=torch.uint8)
    labels[0, 2:4] = 1
    right = (labels.float() * 2 - 1).unsqueeze(1)
    costs = [float(loss(right * sure, labels, settings)) for sure in (-3, 0, 3, 6)]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > costs[-1] + 0.1


@pytest.mark.parametrize("settings", KINDS)
def test_sums_of_parts_add_to_the_loss_of_the_whole(settings: TrainSettings) -> None:
    logits, labels = example()
    parts = [loss_sums(logits[i : i + 1], labels[i : i + 1], settings) for i in range(2)]
    assert float(loss_from_sums(parts[0] + parts[1], settings)) == pytest.approx(float(loss(logits, labels, settings)))


def test_soft_skeleton_is_thin_and_keeps_to_the_middle() -> None:
    mask = torch.zeros(1, 30, 41)
    mask[0, 10:17] = 1
    found = skeleton(mask)[0, :, 5:-5]
    thin = torch.from_numpy(skeletonize(mask[0].numpy() > 0))[:, 5:-5]
    assert torch.equal(found > 0.5, thin)


def test_a_cut_road_costs_more_cldice_than_a_thinner_one() -> None:
    labels = torch.zeros(1, 24, 40, dtype=torch.uint8)
    labels[0, 8:15] = 1
    cut, thinner = (labels.float().unsqueeze(1) * 12 - 6 for _ in range(2))
    cut[..., 16:24] = -6
    thinner[..., 8, :] = thinner[..., 14, :] = -6
    settings = replace(PLAIN, cldice_weight=1.0)

    def line_loss(logits: torch.Tensor) -> float:
        return float(loss(logits, labels, settings) - loss(logits, labels, PLAIN))

    assert line_loss(cut) > 2 * line_loss(thinner)


def test_only_roads_far_from_any_label_are_taken_for_missing_ones() -> None:
    labels = torch.zeros(1, 60, 60, dtype=torch.uint8)
    labels[0, 30, :20] = 1
    labels[0, :5] = 255
    logits = torch.full((1, 1, 60, 60), -3.0)
    logits[0, 0, 30] = logits[0, 0, 55] = 3.0  # a road that is labelled on its left, and one that is not
    found = without_missing(logits, labels)[0]
    assert (found[30, :30] == labels[0, 30, :30]).all()  # near the label
    assert (found[30, 30:] == 255).all()
    assert (found[55] == 255).all()
    changed = found != labels[0]
    assert int(changed.sum()) == 30 + 60
