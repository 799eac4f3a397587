"""Writing a trained model: the file appears whole or not at all, like every output, and hours of work are kept."""

import shutil
import tempfile
from pathlib import Path

from roadseg.errors import OutputError
from roadseg.files.outputs import behind_links, write_atomically
from roadseg.model.card import ModelCard
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import model_file
from roadseg.settings import WeightType


def save_model(
    path: Path,
    model: ResUNet,
    card: ModelCard,
    *,
    dtype: WeightType = "float16",
    cure: str = "make room, or choose another place",
) -> ModelCard:
    """Write a model file; a link stays, and the file it leads to is replaced.

    If it cannot be written, the model goes into the folder for temporary files instead, often on another disk.

    Parameters
    ----------
    path
        Path of the file.
    model, card, dtype
        As for ``model_file``.
    cure
        What to do if it cannot be written there, either, for the message.

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
        kept = _keep(path.name, data)
        cure = f"the model is kept as {kept}; move it where there is room" if kept else cure
        raise OutputError(f"cannot write {path} ({error.strerror}); {cure}") from error
    return card


def _keep(name: str, data: bytes) -> Path | None:
    """Write a file into a new folder for temporary files and return its path; None if it cannot be written."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="roadseg-"))
    except OSError:
        return None
    try:
        write_atomically(folder / name, data)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return folder / name
