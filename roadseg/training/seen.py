"""The range of colours among the training crops, for the model card; prediction warns about scenes outside it."""

import numpy as np
import torch

from roadseg.model.likeness import colour_statistics, ranges_of
from roadseg.settings import TrainSettings
from roadseg.training.data.augment import augment, margin_px
from roadseg.training.data.tiles import TileDataset

_BATCHES, _BATCH = 32, 16


def seen_ranges(tiles: TileDataset, settings: TrainSettings) -> dict[str, list[list[float]]]:
    """Return the ranges of colour statistics of augmented crops; see ``roadseg.model.likeness``."""
    augmentation, statistics = settings.augment, []
    margin = margin_px(augmentation, settings.crop)
    for step in range(_BATCHES):
        drawn = torch.from_numpy(tiles.draw(_BATCH, seed=settings.seed, step=step, margin_px=margin).pixels)
        images, _ = augment(
            drawn[:, :-1], drawn[:, -1], augmentation, seed=settings.seed, step=step, crop=settings.crop
        )
        valid = np.ones(images.shape[-2:], np.bool_)
        statistics += [colour_statistics(image, valid) for image in images.numpy()]
    return ranges_of(statistics)
