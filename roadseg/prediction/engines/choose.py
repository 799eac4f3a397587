"""From the name of a model to an engine that runs it."""

from roadseg.model.card import find_model
from roadseg.prediction.engines.engine import LoadedModel
from roadseg.settings import EngineSettings


def load(model: str | None, settings: EngineSettings) -> LoadedModel:
    """Load a model onto a device.

    Parameters
    ----------
    model
        Path of a model file or name of a bundled model; None takes the default model.
    settings
        Device, number format and batch size.

    Raises
    ------
    ModelError, DeviceError
        If there is no such model or device.
    """
    from roadseg.model.weights import load_model
    from roadseg.prediction.engines.torch import TorchEngine

    network, card = load_model(find_model(model))
    engine = TorchEngine(network, card.mean, card.std, settings, temperature=card.temperature, bias=card.bias)
    return LoadedModel(engine, card)
