"""Augmentation: image and label stay together, light changes, nothing else does."""

import torch

from roadseg.training.augment import augment


def crops() -> tuple[torch.Tensor, torch.Tensor]:
    labels = (torch.rand(16, 24, 24, generator=torch.Generator().manual_seed(0)) > 0.7).to(torch.uint8)
    images = (labels * 150 + 50).unsqueeze(1).repeat(1, 3, 1, 1)
    return images, labels


def test_label_follows_its_image() -> None:
    images, labels = augment(*crops(), seed=1, step=2)
    for image, label in zip(images, labels, strict=True):
        bright, dark = image[0][label == 1], image[0][label == 0]
        assert bright.min() > dark.max()


def test_all_eight_symmetries_occur() -> None:
    image = torch.arange(64 * 3, dtype=torch.uint8).reshape(1, 3, 8, 8).repeat(200, 1, 1, 1)
    label = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8).repeat(200, 1, 1)
    _, labels = augment(image, label, seed=0, step=0)
    assert len({tuple(one.flatten().tolist()) for one in labels}) == 8


def test_values_stay_on_the_unit_scale_and_vary() -> None:
    images, _ = augment(*crops(), seed=1, step=2)
    assert images.dtype == torch.float32
    assert 0 <= images.min() <= images.max() <= 1
    means = images.mean(dim=(1, 2, 3))
    assert means.std() > 0.02


def test_same_step_does_the_same() -> None:
    first, again, other = (augment(*crops(), seed=1, step=step)[0] for step in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
