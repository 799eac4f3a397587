"""The model that a run starts from."""

from roadseg.errors import TrainingError, counted
from roadseg.model.card import ModelCard, find_model
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import load_model
from roadseg.settings import TrainSettings


def initial_model(bands: int, settings: TrainSettings) -> tuple[ResUNet, ModelCard | None]:
    """Return the model to start from and its card; random weights have none.

    Raises
    ------
    ModelError, TrainingError
        If the model to start from is missing or has another architecture.
    """
    if settings.start is None:
        return ResUNet(bands=bands, width=settings.width, upsample=settings.upsample), None
    model, card = load_model(find_model(settings.start))
    form, wanted = (card.bands, card.width, card.upsample), (bands, settings.width, settings.upsample)
    if form != wanted:
        raise TrainingError(
            f"{settings.start} has {counted(form[0], 'band')}, width {form[1]} and {form[2]} upsampling, the run wants "
            f"{wanted[0]}, {wanted[1]} and {wanted[2]}; choose --width and --upsample to match"
        )
    return model, card
