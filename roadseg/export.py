"""Export: a model for other programs, as an ONNX file or as a STAC catalogue item.

``export`` is the public function, with the options of ``roadseg export`` as keywords, and the whole chain: read the
weights, build the graph, check it by running it, write it whole.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import ModelError, OutputError, UsageError
from roadseg.files.lock import locked
from roadseg.files.outputs import as_utf8, write_output
from roadseg.files.targets import check_target
from roadseg.model.card import ModelCard, find_model
from roadseg.model.stac_mlm import mlm_item
from roadseg.model.stored_weights import read_weights
from roadseg.progress import Listener
from roadseg.settings import EngineSettings, ExportOptions, ExportSettings
from roadseg.settings.option import AnyPath, check_keywords, from_options

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

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        return {**asdict(self), "output": str(self.output)}

    def sentence(self) -> str:
        """Return a summary in one line."""
        checked = "" if self.difference is None else f", at most {self.difference:.2g} off in probability"
        opset = f" (opset {self.opset})" if self.opset else ""
        return f"{self.output}: {self.format}{opset}{checked}"


def export(
    model: AnyPath | None,
    output: AnyPath,
    *,
    listener: Listener | None = None,
    **options: Unpack[ExportOptions],
) -> ExportResult:
    """Write a model for other programs.

    Parameters
    ----------
    model
        Model file or name of a bundled model; None takes the default one.
    output
        A ``.onnx`` file for ONNX Runtime, OpenVINO, Deepness and GeoDeep, or a ``.json`` file with a STAC item of the
        Machine Learning Model extension.
    listener
        Callbacks for messages.
    options
        As on the command line, with the same defaults.

    Raises
    ------
    UsageError
        If an option has a value it cannot have.
    ModelError
        If there is no such model, ONNX is not installed, or the exported model gives other probabilities.
    OutputError
        If the output has another ending or cannot be written.
    """
    check_keywords("export", options, ExportOptions)
    settings, listener = from_options(ExportSettings, options), listener or Listener()
    output, path = Path(output), find_model(os.fspath(model) if model is not None else None)
    check_target(output, overwrite=settings.overwrite, inputs=[path])
    with locked([output]):
        check_target(output, overwrite=settings.overwrite, inputs=[path])
        return _export(path, output, settings, listener)


def _export(path: Path, output: Path, settings: ExportSettings, listener: Listener) -> ExportResult:
    """Write the model, as ``export``, while the output is locked."""
    if output.suffix.lower() == ".json":
        if settings.precision != "float32":
            raise UsageError("--precision is that of an ONNX file; leave it out, or write .onnx")
        return _export_item(path, output, listener)
    if output.suffix.lower() != ".onnx":
        raise OutputError(f"{output} ends in neither .onnx nor .json; choose one of these endings")
    if find_spec("onnx") is None:
        raise ModelError("ONNX is not installed; pip install 'roadseg[onnx]' adds it")
    from roadseg.model.onnx_graph import OPSET, build_onnx

    weights, card = read_weights(path)
    graph = build_onnx(weights, card, precision=settings.precision).SerializeToString()
    difference = _difference(graph, path, card)
    if difference is None:
        listener.warn("the exported model was not run: that takes ONNX Runtime and PyTorch")
    elif difference > _TOLERANCE[settings.precision]:
        raise ModelError(
            f"the exported model is off by {difference:.4f} in probability and was not written; please report this"
        )
    write_output(output, graph)
    return ExportResult(output, "ONNX", OPSET, difference)


def _export_item(path: Path, output: Path, listener: Listener) -> ExportResult:
    _, card = read_weights(path)
    if output.with_name(path.name).resolve() != path.resolve():
        listener.report(f"the item refers to {path.name} beside it; copy {path} there")
    data = path.read_bytes()
    item = mlm_item(card, href=path.name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    write_output(output, as_utf8(json.dumps(item, indent=1, ensure_ascii=False)))
    return ExportResult(output, "STAC-MLM")


def _difference(data: bytes, path: Path, card: ModelCard) -> float | None:
    """Return the largest difference in probability on a few windows; None if it cannot be computed here."""
    if find_spec("onnxruntime") is None or find_spec("torch") is None:
        return None
    from roadseg.prediction.engines.choose import load
    from roadseg.prediction.engines.onnx import OnnxEngine

    pixels = _windows(card)
    settings = EngineSettings(device="cpu", precision="float32", batch_size=_CHECKED_WINDOWS, engine="torch")
    exported = next(OnnxEngine(data, settings)([pixels]))
    own = next(load(str(path), settings).engine([pixels]))
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
    mean, std = (np.array(values).reshape(1, -1, 1, 1) for values in (card.mean, card.std))
    pixels: NDArray[np.float32] = np.clip(mean + waves * std, 0, 1).astype(np.float32)
    return pixels
