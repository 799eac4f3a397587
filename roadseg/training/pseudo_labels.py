"""Labels from a model: what it is sure of in scenes that nobody has labelled.

A model that learns from its own sure answers in new imagery, or from those of a larger one, finds more there than it
did: it gets used to the colours, and what it was unsure of takes sides. Between sure road and sure ground nothing is
learned. Sources: Lee 2013 (pseudo-label); Xie et al. 2020 (arXiv:1911.04252).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadseg.raster.labelled_scene import VOID
from roadseg.raster.scene_settings import SceneSettings
from roadseg.settings import AdaptSettings
from roadseg.training.data.labelled_plots import FindLabels
from roadseg.training.dev_prediction import predict_windows
from roadseg.training.original import Original
from roadseg.windows import Window

SURE_ROAD, SURE_GROUND = 0.6, 0.35
"""Probability from which a pixel is road to learn from, and that up to which it is ground; 0.5 is the threshold."""


def labels_from(teacher: Original, settings: AdaptSettings) -> FindLabels:
    """Return a function that labels windows of a scene with what a model is sure of there.

    Parameters
    ----------
    teacher
        The model.
    settings
        Bands, and metres per pixel of scenes that do not say.
    """
    card, engine = teacher.card, teacher.engine()
    bands = settings.bands or (None if card.bands == 3 else tuple(range(1, card.bands + 1)))
    scene = SceneSettings(bands=bands, band_count=card.bands, pixel_m=settings.pixel_m)

    def find(image: Path, windows: Sequence[Window], most: int) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
        for window, probability, valid in predict_windows(image, windows, scene, engine, card, most=most):
            yield window, sure_labels(probability, valid)

    return find


def sure_labels(probability: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return labels (height, width) uint8: 1 sure road, 0 sure ground, 255 whatever lies between or has no data."""
    label = np.full(probability.shape, VOID, np.uint8)
    label[valid & (probability <= SURE_GROUND)] = 0
    label[valid & (probability >= SURE_ROAD)] = 1
    return label
