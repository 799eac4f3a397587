"""From the name of a model to an engine that runs it.

On a GPU that is PyTorch. On a CPU all engines give the same probabilities to within a grey level; ``"auto"`` takes the
one that was measured to be fastest among those installed: OpenVINO, then PyTorch, where the processor computes in
bfloat16, and ONNX Runtime, then OpenVINO, where it does not.
"""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from roadseg.errors import DeviceError, ModelError
from roadseg.model.card import ModelCard, find_model
from roadseg.model.device import asked_device, choose_device, choose_devices, cpu_precision, may_have_gpu
from roadseg.prediction.engines.engine import Engine, LoadedModel
from roadseg.prediction.engines.group import EngineGroup
from roadseg.settings import EngineName, EngineSettings

_PACKAGES: dict[EngineName, tuple[str, ...]] = {
    "torch": ("torch",),
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
}

_FASTEST: dict[str, tuple[EngineName, ...]] = {
    "bfloat16": ("openvino", "torch"),
    "float32": ("onnx", "openvino", "torch"),
    "float16": ("torch",),
}
"""Engines for a CPU by number format, the fastest one first."""


def load(model: str | None, settings: EngineSettings) -> LoadedModel:
    """Load a model onto a device.

    Parameters
    ----------
    model
        Path of a model file, ``.safetensors`` or ``.onnx``, or name of a bundled model; None takes the default model.
    settings
        Engine, device, number format and batch size; a device of "auto" is that of ``ROADSEG_DEVICE``, if it is set.

    Raises
    ------
    ModelError, DeviceError
        If there is no such model or device, or the engine asked for is not installed.
    """
    path = find_model(model)
    settings = replace(settings, device=asked_device(settings.device))
    engine = choose_engine(settings, is_onnx=path.suffix.lower() == ".onnx")
    return _by_torch(path, settings) if engine == "torch" else _by_graph(path, engine, settings)


def choose_engine(settings: EngineSettings, *, is_onnx: bool = False) -> EngineName:
    """Return the engine to use; ``is_onnx`` says that the model is an ONNX file, which PyTorch does not read.

    Raises
    ------
    DeviceError
        If the engine asked for is not installed, or none that fits is.
    """
    wanted = settings.engine
    if wanted != "auto":
        if is_onnx and wanted == "torch":
            raise DeviceError(
                "PyTorch does not read .onnx files; use --engine onnx or openvino, or the .safetensors file"
            )
        if not is_installed(wanted):
            raise DeviceError(f"the engine {wanted} is not installed; pip install '{_requirement(wanted)}' adds it")
        return wanted
    if not is_onnx and is_installed("torch") and _wants_gpu(settings):
        return "torch"
    fastest_first = _FASTEST[cpu_precision(settings.precision)]
    if settings.precision == "auto":
        fastest_first += _FASTEST["float32"]  # where none of the others is installed
    for engine in fastest_first:
        if is_installed(engine) and not (is_onnx and engine == "torch"):
            return engine
    raise DeviceError("no engine is installed; pip install torch, or 'roadseg[onnx]' or 'roadseg[openvino]'")


def is_installed(engine: EngineName) -> bool:
    """Whether the packages of an engine are there, without importing them."""
    return all(find_spec(package) is not None for package in _PACKAGES[engine])


def _requirement(engine: EngineName) -> str:
    return "torch" if engine == "torch" else f"roadseg[{engine}]"


def _wants_gpu(settings: EngineSettings) -> bool:
    """Whether the device is a GPU; on "auto" PyTorch is only asked where there may be one."""
    if settings.device != "auto":
        return settings.device != "cpu"
    return may_have_gpu() and choose_device("auto")[0].type != "cpu"


def _by_torch(path: Path, settings: EngineSettings) -> LoadedModel:
    from roadseg.model.weights import load_model
    from roadseg.prediction.engines.torch import TorchEngine

    model, card = load_model(path)
    devices, why = choose_devices(settings.device)
    engines = [
        TorchEngine(
            model, card.mean, card.std, replace(settings, device=one), temperature=card.temperature, bias=card.bias
        )
        for one in devices
    ]
    return LoadedModel(engines[0] if len(engines) == 1 else EngineGroup(engines, why), card, path)


def _by_graph(path: Path, name: EngineName, settings: EngineSettings) -> LoadedModel:
    graph, card = _graph(path)
    engine: Engine
    if name == "onnx":
        from roadseg.prediction.engines.onnx import OnnxEngine

        engine = OnnxEngine(graph, settings)
    else:
        from roadseg.prediction.engines.openvino import OpenVinoEngine

        engine = OpenVinoEngine(graph, settings)
    return LoadedModel(engine, card, path)


def _graph(path: Path) -> tuple[bytes, ModelCard]:
    """Return the ONNX graph of a model file, serialized, and its card."""
    from roadseg.model.onnx_graph import build_onnx, read_onnx_card
    from roadseg.model.stored_weights import read_weights

    if path.suffix.lower() != ".onnx":
        weights, card = read_weights(path)
        return build_onnx(weights, card).SerializeToString(), card
    try:
        return path.read_bytes(), read_onnx_card(path)
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror}); check the path") from error
