"""Prediction with ONNX Runtime on the CPU: float32, faster than PyTorch there, and a fraction of its size.

Runs the graph that ``roadseg.model.onnx_graph`` writes: pixels on a 0–1 scale in, calibrated probabilities out.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import DeviceError, counted
from roadseg.files.processors import thread_count
from roadseg.prediction.engines.graph import (
    damaged_graphs_refused,
    probability_of_road,
    require_cpu,
    switch_off_telemetry,
    to_unit_scale,
)
from roadseg.prediction.engines.side_by_side import SideBySide
from roadseg.prediction.engines.symmetries import mean_over_symmetries
from roadseg.settings import EngineSettings, Precision

Array = NDArray[np.float32]


class OnnxEngine:
    """A road model in ONNX Runtime.

    Parameters
    ----------
    graph
        The ONNX model, serialized.
    settings
        Device, precision, batch size and test-time augmentation.

    Attributes
    ----------
    batch_size, description, library, device, precision, numerics
        See ``Engine``.

    Raises
    ------
    DeviceError
        If another device or precision than this engine offers is asked for, or ONNX Runtime is not installed.
    ModelError
        If the graph cannot be loaded.
    """

    library, device = "onnx", "cpu"
    precision: Precision = "float32"

    def __init__(self, graph: bytes, settings: EngineSettings | None = None) -> None:
        settings = settings or EngineSettings()
        require_cpu("onnx", settings.device)
        if settings.precision not in {"auto", "float32"}:
            raise DeviceError(f"the onnx engine computes in float32, not {settings.precision}; use another --engine")
        self._side_by_side = SideBySide()
        self._session = _session(graph, self._side_by_side.threads)
        self.tta = settings.tta
        self.batch_size = settings.batch_size or 1
        self.description = (
            f"ONNX Runtime on the CPU, float32, {counted(thread_count(), 'thread')}, batches of {self.batch_size}"
        )
        self.numerics = f"onnxruntime cpu float32{' symmetric' if self.tta else ''}"

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[Array]:
        """Map batches (n, bands, h, w), uint8 or float32 on a 0–1 scale, to (n, h, w) float32 in [0, 1]."""
        windows = (to_unit_scale(batch) for batch in batches)
        yield from mean_over_symmetries(self._answers, windows) if self.tta else self._answers(windows)

    def _answers(self, batches: Iterable[Array]) -> Iterator[Array]:
        return self._side_by_side(self._predict, batches)

    def _predict(self, windows: Array) -> Array:
        starts = range(0, len(windows), self.batch_size)
        answers = [self._run(windows[start : start + self.batch_size]) for start in starts]
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    def _run(self, windows: Array) -> Array:
        with damaged_graphs_refused():
            return probability_of_road(self._session.run(None, {"image": windows})[0], windows)


def _session(graph: bytes, threads: int) -> Any:
    switch_off_telemetry()
    try:
        import onnxruntime
    except ImportError as error:
        raise DeviceError("ONNX Runtime is not installed; pip install 'roadseg[onnx]' adds it") from error
    onnxruntime.disable_telemetry_events()  # on Windows the variable is not read
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # its errors are raised as well
    with damaged_graphs_refused():
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
