"""Knowledge distillation: a trained model whose probabilities soften the labels that a smaller one learns from.

Labels are certain even where the imagery is not; the probabilities of a larger model say more about a crop than its
mask, and average out errors of single masks. Source: Hinton, Vinyals, Dean 2015 (arXiv:1503.02531).
"""

import torch
from torch import Tensor

from roadseg.errors import TrainingError, counted
from roadseg.model.card import ModelCard, find_model
from roadseg.model.resunet import ResUNet, road_probability
from roadseg.model.weights import load_model
from roadseg.settings import Precision, TrainSettings

_SAME_GSD = 0.15
"""Largest difference in ground resolution, the same within which prediction does not resample a scene."""


class Teacher:
    """Returns the probability of road in crops, calibrated as its card says.

    Parameters
    ----------
    model, card
        A trained model and its card.
    device, precision
        Device and number format to compute in.
    """

    def __init__(self, model: ResUNet, card: ModelCard, *, device: torch.device, precision: Precision) -> None:
        self.model = model.eval().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.card, self.dtype = card, getattr(torch, precision)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Map images (n, bands, height, width) float32 in [0, 1] to probabilities (n, height, width) float32."""
        card = self.card
        return road_probability(
            self.model, images, card.mean, card.std, dtype=self.dtype, temperature=card.temperature, bias=card.bias
        )


def load_teacher(settings: TrainSettings, *, bands: int, gsd_m: float, device: torch.device) -> Teacher | None:
    """Return the teacher that the settings name, None if they name none.

    Raises
    ------
    ModelError, TrainingError
        If it is missing, or has other bands or another ground resolution than the run.
    """
    if settings.teacher is None:
        return None
    wanted = settings.teacher
    model, card = load_model(find_model(wanted))
    if card.bands != bands:
        raise TrainingError(
            f"the teacher {wanted} needs {counted(card.bands, 'band')}, the run has {bands}; choose them with --bands"
        )
    if abs(card.gsd_m / gsd_m - 1) > _SAME_GSD:
        raise TrainingError(
            f"the teacher {wanted} reads pixels of {card.gsd_m:g} m, the run has {gsd_m:g} m; train at "
            f"--gsd {card.gsd_m:g} or choose another teacher"
        )
    return Teacher(model, card, device=device, precision=settings.precision)
