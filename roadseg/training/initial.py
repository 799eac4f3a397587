"""The model that a run starts from."""

import math

import torch

from roadseg.errors import TrainingError, counted
from roadseg.model.card import ModelCard, find_model
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import load_model
from roadseg.settings import TrainSettings


def initial_model(bands: int, settings: TrainSettings) -> tuple[ResUNet, ModelCard | None]:
    """Return the model to start from and its card; random weights, which follow from the seed, have none.

    The calibration of a model becomes part of its weights, so that training continues from the probabilities it gives.

    Raises
    ------
    ModelError, TrainingError
        If the model to start from is missing or has another architecture.
    """
    if settings.start is None:
        with torch.random.fork_rng(devices=()):  # the caller's random numbers stay as they are
            torch.manual_seed(settings.seed)
            return ResUNet(bands=bands, width=settings.width, upsample=settings.upsample), None
    model, card = load_model(find_model(settings.start))
    form, wanted = (card.bands, card.width, card.upsample), (bands, settings.width, settings.upsample)
    if form != wanted:
        raise TrainingError(
            f"{settings.start} has {counted(form[0], 'band')}, width {form[1]} and {form[2]} upsampling, the run wants "
            f"{wanted[0]}, {wanted[1]} and {wanted[2]}; choose --bands, --width and --upsample to match"
        )
    fold_calibration(model, card)
    return model, card


def fold_calibration(model: ResUNet, card: ModelCard) -> None:
    """Change the last convolution so that the model's own logits are calibrated, with the threshold at 0."""
    threshold = min(max(card.threshold, 1e-3), 1 - 1e-3)
    with torch.no_grad():
        model.head.weight /= card.temperature
        bias = model.head.bias
        if bias is not None:
            bias.copy_(bias / card.temperature + card.bias - math.log(threshold / (1 - threshold)))
