"""Augmentation: image and label stay together, what was not asked for does not happen."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from roadseg.settings import AugmentSettings
from roadseg.training.data.augment import augment, margin_px

NONE = AugmentSettings(flips=False, quarter_turns=False, gamma=0, contrast=0, brightness=0, balance=0)
DEFAULT = AugmentSettings()
ALL = AugmentSettings(
    rotate_deg=30, zoom=0.25, hue_deg=10, blur_px=1.5, compression=1.0, exposure=0.5, white_balance=0.4, mixing=0.2,
    saturation=0.5, grey=0.1, haze=0.5, tone=0.5, shadow=0.5, noise=0.05, sharpen=1.0, plain=0.1,
)  # fmt: skip


def crops(count: int = 16, side: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    labels = (torch.rand(count, side, side, generator=torch.Generator().manual_seed(0)) > 0.7).to(torch.uint8)
    images = (labels * 150 + 50).unsqueeze(1).repeat(1, 3, 1, 1)
    return images, labels


def coloured() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randint(0, 256, (40, 3, 24, 24), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    return images, torch.zeros(40, 24, 24, dtype=torch.uint8)


def test_label_follows_its_image() -> None:
    images, labels = augment(*crops(), DEFAULT, seed=1, step=2)
    for image, label in zip(images, labels, strict=True):
        bright, dark = image[0][label == 1], image[0][label == 0]
        assert bright.min() > dark.max()


def test_label_follows_its_image_when_bent() -> None:
    labels = torch.zeros(40, 48, 48, dtype=torch.uint8)
    labels[:, 20:30, :40] = 1
    images = (labels * 150 + 50).unsqueeze(1).repeat(1, 3, 1, 1)
    bent, moved = augment(images, labels, replace(NONE, rotate_deg=40, zoom=0.25), seed=1, step=2)
    known = moved != 255
    taken = (bent[:, 0] > 125 / 255) == (moved == 1)
    assert taken[known].float().mean() > 0.97
    changed = (moved != labels).flatten(1).any(1)
    assert 5 < int(changed.sum()) < 35
    assert (moved == 255).any()
    assert not (moved[~changed] == 255).any()


def test_turning_by_an_angle_and_enlarging_are_what_they_say() -> None:
    """A bar's moments tell its angle and its area tells the scale."""
    labels = torch.zeros(60, 64, 64, dtype=torch.uint8)
    labels[:, 29:35, 22:42] = 1
    images = labels.unsqueeze(1).repeat(1, 3, 1, 1)
    _, moved = augment(images, labels, replace(NONE, rotate_deg=20, zoom=0.25), seed=0, step=0)
    angles, areas = [], []
    for label in moved.numpy():
        found = cv2.moments(label % 255)
        angles.append(np.degrees(0.5 * np.arctan2(2 * found["mu11"], found["mu20"] - found["mu02"])))
        areas.append((label == 1).sum() / 120)
    assert 10 < max(angles) < 21.5
    assert -21.5 < min(angles) < -10
    assert 1.2 < max(areas) < 1.25**2 * 1.08
    assert 1 / 1.25**2 * 0.92 < min(areas) < 0.85


def test_all_eight_symmetries_occur_and_only_those_asked_for() -> None:
    image = torch.arange(64 * 3, dtype=torch.uint8).reshape(1, 3, 8, 8).repeat(200, 1, 1, 1)
    label = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8).repeat(200, 1, 1)
    for how, count in ((DEFAULT, 8), (replace(DEFAULT, flips=False), 4), (replace(DEFAULT, quarter_turns=False), 2)):
        _, labels = augment(image, label, how, seed=0, step=0)
        assert len({tuple(one.flatten().tolist()) for one in labels}) == count


def test_nothing_asked_for_nothing_done() -> None:
    images, labels = crops()
    same, same_labels = augment(images, labels, NONE, seed=1, step=2)
    assert torch.equal(same, images.float() / 255)
    assert torch.equal(same_labels, labels)


@pytest.mark.parametrize("how", [DEFAULT, ALL])
def test_values_stay_on_the_unit_scale_and_vary(how: AugmentSettings) -> None:
    images, labels = augment(*crops(), how, seed=1, step=2)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.uint8
    assert set(labels.unique().tolist()) <= {0, 1, 255}
    assert 0 <= images.min() <= images.max() <= 1
    assert images.mean(dim=(1, 2, 3)).std() > 0.02


@pytest.mark.parametrize("how", [DEFAULT, ALL])
def test_same_step_does_the_same_whole_or_in_parts(how: AugmentSettings) -> None:
    images, labels = crops()
    first, again, other = (augment(images, labels, how, seed=1, step=step)[0] for step in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    part = augment(images[8:12], labels[8:12], how, seed=1, step=5, part=slice(8, 12), total=16)[0]
    assert torch.allclose(part, first[8:12], atol=1e-6)


def test_one_setting_does_not_disturb_another() -> None:
    plain = augment(*crops(), replace(NONE, gamma=0.3), seed=1, step=2)[0]
    with_flips = augment(*crops(), replace(NONE, gamma=0.3, flips=True), seed=1, step=2)[0]
    either = [
        torch.allclose(one, other) or torch.allclose(one.flip(-1), other)
        for one, other in zip(plain, with_flips, strict=True)
    ]
    assert all(either)


def test_hue_turns_colours_but_leaves_greys() -> None:
    images, labels = coloured()
    how = replace(NONE, hue_deg=20)
    turned = augment(images // 2 + 60, labels, how, seed=1, step=2)[0]
    assert (turned - (images // 2 + 60) / 255).abs().max() > 0.03
    assert torch.allclose(turned.mean(1), (images // 2 + 60).float().mean(1) / 255, atol=1e-5)
    grey = crops()[0]
    assert torch.allclose(augment(grey, crops()[1], how, seed=1, step=2)[0], grey / 255, atol=1e-5)


def test_blur_smooths_half_of_the_crops_and_keeps_their_brightness() -> None:
    images, labels = coloured()
    blurred = augment(images, labels, replace(NONE, blur_px=2.0), seed=1, step=2)[0]
    shares = blurred.std(dim=(1, 2, 3)) / (images / 255).std(dim=(1, 2, 3))
    assert 10 < int(((blurred - images / 255).abs() < 1e-6).flatten(1).all(1).sum()) < 30
    assert 0.05 < shares.min() < 0.3
    assert shares.max() == pytest.approx(1)
    assert torch.allclose(blurred.mean(dim=(1, 2, 3)), images.float().mean(dim=(1, 2, 3)) / 255, atol=0.01)


def test_a_blur_may_be_wider_than_a_crop() -> None:
    images, labels = crops(side=16)
    blurred, _ = augment(images, labels, replace(NONE, blur_px=30), seed=0, step=0)
    assert blurred.var((-2, -1)).mean() < 0.6 * (images / 255).var((-2, -1)).mean()


def test_compression_makes_errors_of_the_size_jpeg_makes() -> None:
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.integers(0, 256, (64, 64)).astype(np.uint8), (0, 0), 1.2)
    _, data = cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 50])
    error = np.abs(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE).astype(int) - smooth).mean()
    images = torch.from_numpy(smooth).repeat(200, 3, 1, 1)
    noisy = augment(
        images, torch.zeros(200, 64, 64, dtype=torch.uint8), replace(NONE, compression=1.0), seed=0, step=0
    )[0]
    errors = (noisy * 255 - images).abs().mean(dim=(1, 2, 3))
    assert 0.8 * error < errors.max() < 1.1 * error
    assert 60 < int((errors < 0.05).sum()) < 140


@pytest.mark.parametrize(
    ("setting", "value", "changed"),
    [
        ("exposure", 0.5, "all"),
        ("white_balance", 0.4, "all"),
        ("mixing", 0.2, "all"),
        ("saturation", 0.5, "all"),
        ("tone", 0.8, "all"),
        ("haze", 0.5, "half"),
        ("shadow", 0.6, "half"),
        ("noise", 0.05, "half"),
        ("sharpen", 1.0, "half"),
        ("grey", 0.5, "half"),
    ],
)
def test_each_change_is_made_to_the_crops_it_is_for_and_to_no_other(setting: str, value: float, changed: str) -> None:
    images, labels = coloured()
    images = images // 4 + 90
    done, same_labels = augment(images, labels, replace(NONE, **{setting: value}), seed=3, step=1)
    touched = int(((done - images / 255).abs() > 1e-3).flatten(1).any(1).sum())
    assert touched == 40 if changed == "all" else 10 < touched < 30
    assert torch.equal(same_labels, labels)


def test_gains_are_gains() -> None:
    """Unlike brightness, they scale the contrast of a band with its mean."""
    images, labels = coloured()
    done = augment(images // 4, labels, replace(NONE, exposure=0.3, white_balance=0.3), seed=1, step=2)[0]
    gains = done.mean((-2, -1)) / (images // 4 / 255).mean((-2, -1))
    assert torch.allclose(done, gains[..., None, None] * (images // 4) / 255, atol=1e-5)
    assert 0.5 < gains.min() < 0.7
    assert 1.4 < gains.max() < 1.85


def test_greys_stay_grey_but_in_another_light() -> None:
    done = augment(*crops(), replace(NONE, mixing=0.3, saturation=0.8, hue_deg=30), seed=1, step=2)[0]
    assert torch.allclose(done, crops()[0] / 255, atol=1e-5)
    images, labels = coloured()
    done = augment(images, labels, replace(NONE, white_balance=0.4, haze=0.5, grey=1.0), seed=1, step=2)[0]
    assert torch.allclose(done[:, 0], done[:, 1], atol=1e-5)
    assert (done - (images / 255).mean(1, keepdim=True)).abs().max() > 0.05


def test_haze_takes_contrast_and_adds_light() -> None:
    images, labels = coloured()
    done = augment(images // 4, labels, replace(NONE, haze=0.6), seed=1, step=2)[0]
    before = images // 4 / 255
    veiled = done.std((-2, -1)) < 0.99 * before.std((-2, -1))
    assert (done.mean((-2, -1)) > before.mean((-2, -1)))[veiled].all()
    assert (done.std((-2, -1)) / before.std((-2, -1))).min() < 0.6


def test_shadow_has_a_lit_side_and_a_dark_one() -> None:
    images = torch.full((40, 3, 64, 64), 200, dtype=torch.uint8)
    done = augment(images, torch.zeros(40, 64, 64, dtype=torch.uint8), replace(NONE, shadow=0.8), seed=1, step=2)[0]
    low, high = done.amin((1, 2, 3)), done.amax((1, 2, 3))
    shaded = low < 0.5
    assert shaded.sum() > 5
    assert (high[shaded] > 200 / 255 * 0.97).float().mean() > 0.7


def test_noise_is_of_the_strength_asked_for_and_differs_from_crop_to_crop() -> None:
    images = torch.full((40, 3, 64, 64), 128, dtype=torch.uint8)
    done = augment(images, torch.zeros(40, 64, 64, dtype=torch.uint8), replace(NONE, noise=0.1), seed=1, step=2)[0]
    deviations = done.std((1, 2, 3))
    assert 0.08 < deviations.max() < 0.103
    first, second = (done[i, 0].flatten() for i in deviations.argsort(descending=True)[:2])
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.1


def test_sharpening_raises_edges() -> None:
    images, labels = crops()
    images = images // 2 + 40
    done = augment(images, labels, replace(NONE, sharpen=2.0), seed=1, step=2)[0]
    shares = done.std((1, 2, 3)) / (images / 255).std((1, 2, 3))
    assert shares.min() > 0.999
    assert shares.max() > 1.2


def test_plain_crops_keep_their_light() -> None:
    images, labels = coloured()
    how = replace(NONE, gamma=0.4, white_balance=0.4, grey=0.3, haze=0.5, shadow=0.5, plain=0.5)
    same = (augment(images, labels, how, seed=1, step=2)[0] - images / 255).abs().flatten(1).amax(1) < 2e-3
    assert 10 < int(same.sum()) < 30
    assert torch.allclose(augment(images, labels, replace(how, plain=1.0), seed=1, step=2)[0], images / 255, atol=4e-3)


def test_ground_around_a_crop_comes_into_view() -> None:
    """With the margin no bent crop is short of labels; without, corners are void."""
    how = replace(NONE, rotate_deg=45, zoom=0.5)
    margin = margin_px(how, 32)
    assert margin_px(NONE, 32) == 0
    for around, void in ((margin, False), (0, True)):
        side = 32 + 2 * around
        images = torch.zeros(40, 3, side, side, dtype=torch.uint8)
        moved = augment(images, torch.ones(40, side, side, dtype=torch.uint8), how, seed=1, step=2, crop=32)
        assert moved[0].shape == (40, 3, 32, 32)
        assert bool((moved[1] == 255).any()) == void


def test_a_crop_with_margin_is_the_crop_where_it_is_not_bent() -> None:
    images, labels = coloured()
    wide = torch.nn.functional.pad(images, (8, 8, 8, 8))
    wide_labels = torch.nn.functional.pad(labels, (8, 8, 8, 8), value=1)
    done, moved = augment(wide, wide_labels, replace(NONE, zoom=0.3), seed=1, step=2, crop=24)
    same = ((done - images / 255).abs() < 1e-4).flatten(1).all(1)
    assert 10 < int(same.sum()) < 30
    assert torch.equal(moved[same], labels[same])
