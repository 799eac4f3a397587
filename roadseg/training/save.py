"""Writing a trained model: the file appears whole or not at all, like every output."""

from pathlib import Path

from roadseg.errors import OutputError
from roadseg.files.outputs import behind_links, write_atomically
from roadseg.model.card import ModelCard
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import model_file
from roadseg.settings import WeightType


def save_model(path: Path, model: ResUNet, card: ModelCard, *, dtype: WeightType = "float16") -> ModelCard:
    """Write a model file; a link stays, and the file it leads to is replaced.

    Parameters
    ----------
    path
        Path of the file.
    model, card, dtype
        As for ``model_file``.

    Returns
    -------
    The card as written, with architecture fields and hash filled in.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    data, card = model_file(model, card, dtype=dtype)
    try:
        write_atomically(behind_links(path), data)
    except OSError as error:
        raise OutputError(f"cannot write {path} ({error.strerror}); make room, or choose another place") from error
    return card
