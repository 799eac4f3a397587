"""Prediction with OpenVINO on the CPU: the fastest engine there, in bfloat16 where the processor has it.

Runs the graph that ``roadseg.model.onnx_graph`` writes: pixels on a 0–1 scale in, calibrated probabilities out. Windows
are computed one after the other by all threads; the next ones are gathered and the last ones blended meanwhile.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import DeviceError
from roadseg.model.device import cpu_has_bfloat16, thread_count
from roadseg.prediction.engines.graph import (
    damaged_graphs_refused,
    probability_of_road,
    require_cpu,
    to_unit_scale,
)
from roadseg.prediction.engines.symmetries import mean_over_symmetries
from roadseg.settings import EngineSettings, Precision

Array = NDArray[np.float32]

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEngine:
    """A road model in OpenVINO.

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
        If another device or precision than this engine offers is asked for, or OpenVINO is not installed.
    ModelError
        If the graph cannot be loaded.
    """

    library, device = "openvino", "cpu"

    def __init__(self, graph: bytes, settings: EngineSettings | None = None) -> None:
        settings = settings or EngineSettings()
        require_cpu("openvino", settings.device)
        precision = settings.precision
        if precision == "auto":
            precision = "bfloat16" if cpu_has_bfloat16() else "float32"
        if precision not in _HINTS:
            raise DeviceError(f"the openvino engine has no {precision} on a CPU; use float32 or bfloat16")
        threads = thread_count()
        self._model = _compiled(graph, _HINTS[precision], threads)
        self._symmetric = settings.tta
        self.precision: Precision = precision
        self.batch_size = settings.batch_size or 1
        self.description = f"OpenVINO on the CPU, {precision}, {threads} thread(s), batches of {self.batch_size}"
        self.numerics = f"openvino cpu {precision}{' symmetric' if self._symmetric else ''}"

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[Array]:
        """Map batches (n, bands, h, w), uint8 or float32 on a 0–1 scale, to (n, h, w) float32 in [0, 1]."""
        if self._symmetric:
            request = self._model.create_infer_request()
            for batch in batches:
                yield mean_over_symmetries(lambda part: self._infer(request, part), to_unit_scale(batch))
        else:
            yield from self._one_ahead(batches)

    def _one_ahead(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[Array]:
        """Start each batch before the one in front of it is handed out; two requests take turns."""
        idle, busy = [self._model.create_infer_request() for _ in range(2)], []
        for batch in batches:
            request, windows = idle.pop(), to_unit_scale(batch)
            with damaged_graphs_refused():
                request.start_async({"image": windows}, share_inputs=False)
            busy.append((request, windows))
            if len(busy) == 2:
                idle.append(busy[0][0])
                yield _answer(*busy.pop(0))
        for request, windows in busy:
            yield _answer(request, windows)

    def _infer(self, request: Any, windows: Array) -> Array:
        with damaged_graphs_refused():
            request.start_async({"image": windows}, share_inputs=False)
        return _answer(request, windows)


def _answer(request: Any, windows: Array) -> Array:
    """Wait for a request and return its probability of road, (n, h, w) float32."""
    with damaged_graphs_refused():
        request.wait()
        return probability_of_road(request.get_output_tensor(0).data, windows).copy()


@cache
def _core() -> Any:
    """Return OpenVINO's runtime, one for the whole process.

    Each runtime gives the thread a stack for signals of its own and takes it away again when it goes: of two, the one
    that goes last would leave a stack that the other one freed, and the next Ctrl-C would end Python by SIGSEGV.
    """
    try:
        import openvino
    except ImportError as error:
        raise DeviceError("OpenVINO is not installed; pip install 'roadseg[openvino]' adds it") from error
    return openvino.Core()


def _compiled(graph: bytes, precision: str, threads: int) -> Any:
    core = _core()
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    with damaged_graphs_refused():
        return core.compile_model(core.read_model(graph), "CPU", settings)
