"""What a network sees while it trains, in a few numbers for its card."""

import numpy as np
import torch

from roadseg.model.likeness import facts_of, ranges_of
from roadseg.settings import TrainSettings
from roadseg.training.augment import augment, margin_px
from roadseg.training.dataset import Tiles

_BATCHES, _BATCH = 32, 16


def seen_by(tiles: Tiles, settings: TrainSettings) -> dict[str, list[list[float]]]:
    """Return between which values 98 of 100 crops lie, as augmentation leaves them: see ``roadseg.model.likeness``."""
    how, facts = settings.augment, []
    margin = margin_px(how, settings.crop)
    for step in range(_BATCHES):
        drawn = torch.from_numpy(tiles.draw(_BATCH, seed=settings.seed, step=step, margin_px=margin).pixels)
        images, _ = augment(drawn[:, :-1], drawn[:, -1], how, seed=settings.seed, step=step, crop=settings.crop)
        known = np.ones(images.shape[-2:], np.bool_)
        facts += [facts_of(image, known) for image in images.numpy()]
    return ranges_of(facts)
