"""Export: a model for other programs, as an ONNX file or as a STAC catalogue item.

``export`` is the whole chain: read the weights, build the graph, check it by running it, write it whole.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import ModelError, OutputError
from roadseg.files import check_target, write_whole
from roadseg.model.card import ModelCard, find_model
from roadseg.model.stac_mlm import mlm_item
from roadseg.model.stored_weights import read_weights
from roadseg.progress import Listener

if TYPE_CHECKING:
    from roadseg.model.onnx_graph import GraphPrecision

__all__ = ["ExportResult", "export"]

_TOLERANCE = {"float32": 1 / 508, "float16": 4 / 254}
"""How far the exported model may be off: half a grey level of 1/254, and four grey levels in 16 bits."""

_CHECKED_WINDOWS = 2


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Parameters
    ----------
    output
        The file.
    format
        ``"ONNX"`` or ``"STAC-MLM"``.
    opset
        Of an ONNX file; None for a catalogue item.
    difference
        Largest difference in probability from this package's own prediction on the windows it was checked on; None if
        it was not checked, because ONNX Runtime or PyTorch is not installed.
    """

    output: Path
    format: str
    opset: int | None = None
    difference: float | None = None


def export(
    model: str | Path | None,
    output: str | Path,
    *,
    precision: "GraphPrecision" = "float32",
    overwrite: bool = False,
    listener: Listener | None = None,
) -> ExportResult:
    """Write a model for other programs.

    Parameters
    ----------
    model
        Model file or name of a bundled model; None takes the default one.
    output
        A ``.onnx`` file for ONNX Runtime, OpenVINO, Deepness and GeoDeep, or a ``.json`` file with a STAC item of the
        Machine Learning Model extension.
    precision
        Number format of the convolutions in an ONNX file.
    overwrite
        Replace the output if it exists.
    listener
        Receives messages.

    Raises
    ------
    ModelError
        If there is no such model, ONNX is not installed, or the exported model gives other answers.
    OutputError
        If the output has another ending or cannot be written.
    """
    output, listener = Path(output), listener or Listener()
    path = find_model(str(model) if model is not None else None)
    check_target(output, overwrite=overwrite, inputs=[path])
    if output.suffix.lower() == ".json":
        return _export_item(path, output)
    if output.suffix.lower() != ".onnx":
        raise OutputError(f"{output} ends in neither .onnx nor .json; choose one of these endings")
    if find_spec("onnx") is None:
        raise ModelError("ONNX is not installed; pip install 'roadseg[onnx]' adds it")
    from roadseg.model.onnx_graph import OPSET, build_onnx

    weights, card = read_weights(path)
    data = build_onnx(weights, card, precision=precision).SerializeToString()
    difference = _difference(data, path, card)
    if difference is None:
        listener.warn("the exported model was not run: that takes ONNX Runtime and PyTorch")
    elif difference > _TOLERANCE[precision]:
        raise ModelError(
            f"the exported model is off by {difference:.4f} in probability and was not written; please report this"
        )
    _write(output, data)
    return ExportResult(output, "ONNX", OPSET, difference)


def _export_item(path: Path, output: Path) -> ExportResult:
    _, card = read_weights(path)
    data = path.read_bytes()
    item = mlm_item(card, href=path.name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    _write(output, json.dumps(item, indent=1, ensure_ascii=False).encode())
    return ExportResult(output, "STAC-MLM")


def _difference(data: bytes, path: Path, card: ModelCard) -> float | None:
    """Return the largest difference in probability on a few windows; None if it cannot be computed here."""
    if find_spec("onnxruntime") is None or find_spec("torch") is None:
        return None
    from roadseg.prediction.engines.onnx import OnnxEngine
    from roadseg.prediction.engines.torch import TorchEngine

    pixels = _windows(card)
    exported = next(OnnxEngine(data, card)([pixels]))
    own = next(TorchEngine.of_file(path)([pixels]))
    return float(np.abs(exported - own).max())


def _windows(card: ModelCard) -> NDArray[np.float32]:
    """Draw windows with the mean colour and contrast the model expects: smooth shapes, edges and noise."""
    rng, size = np.random.default_rng(0), card.window_px
    rows, cols = np.mgrid[:size, :size] / size
    shape = (_CHECKED_WINDOWS, card.bands, 1, 1)
    phase, speed = rng.uniform(0, 6, shape), rng.uniform(5, 40, shape)
    waves = (
        np.sin(speed * rows + phase) + np.sign(np.cos(speed * cols - phase)) + rng.normal(0, 0.5, (1, 1, size, size))
    )
    colour = [np.array(values).reshape(1, -1, 1, 1) for values in (card.mean, card.std)]
    return np.clip(colour[0] + waves * colour[1], 0, 1).astype(np.float32)


def _write(output: Path, data: bytes) -> None:
    try:
        write_whole(output, data)
    except OSError as error:
        raise OutputError(f"cannot write {output} ({error.strerror}); choose another place") from error
