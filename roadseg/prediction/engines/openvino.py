"""Prediction with OpenVINO on the CPU: the fastest engine there, in bfloat16 where the processor has it.

Runs the graph that ``roadseg.model.onnx_graph`` writes: pixels on a 0–1 scale in, calibrated probabilities out. Several
windows are computed at a time, each by few threads: they need not wait for each other, which is faster than all threads
on one window, and much faster on processors that are busy otherwise. The next windows are gathered and the last ones
blended meanwhile.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import DeviceError, counted
from roadseg.files.processors import thread_count
from roadseg.model.device import cpu_precision
from roadseg.prediction.engines.graph import (
    damaged_graphs_refused,
    probability_of_road,
    require_cpu,
    switch_off_telemetry,
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
        precision = cpu_precision(settings.precision)
        if precision not in _HINTS:
            raise DeviceError(f"the openvino engine has no {precision} on a CPU; use float32 or bfloat16")
        threads = thread_count()
        self._model = _compiled(graph, _HINTS[precision], threads)
        self._requests = self._model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") + 1  # one waits, ready to start
        self.tta = settings.tta
        self.precision: Precision = precision
        self.batch_size = settings.batch_size or 1
        self.description = (
            f"OpenVINO on the CPU, {precision}, {counted(threads, 'thread')}, batches of {self.batch_size}"
        )
        self.numerics = f"openvino cpu {precision}{' symmetric' if self.tta else ''}"

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[Array]:
        """Map batches (n, bands, h, w), uint8 or float32 on a 0–1 scale, to (n, h, w) float32 in [0, 1]."""
        windows = (to_unit_scale(batch) for batch in batches)
        yield from mean_over_symmetries(self._answers, windows) if self.tta else self._answers(windows)

    def _answers(self, batches: Iterable[Array]) -> Iterator[Array]:
        """Keep as many batches in work as there are streams before the first one is handed out."""
        _core()  # refuses processes forked since
        idle: list[Any] = [self._model.create_infer_request() for _ in range(self._requests)]
        busy: deque[tuple[Any, Array]] = deque()
        for windows in batches:
            request = idle.pop()
            with damaged_graphs_refused():
                request.start_async({"image": windows}, share_inputs=False)
            busy.append((request, windows))
            if not idle:
                idle.append(busy[0][0])
                yield _answer(*busy.popleft())
        for request, windows in busy:
            yield _answer(request, windows)


def _answer(request: Any, windows: Array) -> Array:
    """Wait for a request and return its probability of road, (n, h, w) float32."""
    with damaged_graphs_refused():
        request.wait()
        return probability_of_road(request.get_output_tensor(0).data, windows).copy()


_CORES: dict[int, Any] = {}
"""OpenVINO's runtime, by the process that started it."""


def _core() -> Any:
    """Return OpenVINO's runtime, one for the whole process.

    Each runtime gives the thread a stack for signals of its own and takes it away again when it goes: of two, the one
    that goes last would leave a stack that the other one freed, and the next Ctrl-C would end Python by SIGSEGV.
    A forked process has a copy without its threads, which would be waited for without end.
    """
    own = os.getpid()
    if own in _CORES:
        return _CORES[own]
    if _CORES:
        raise DeviceError(
            "OpenVINO cannot be used in a process forked from one that used it; start processes with spawn instead of "
            "fork, or choose --engine torch"
        )
    switch_off_telemetry()
    try:
        import openvino
    except ImportError as error:
        raise DeviceError("OpenVINO is not installed; pip install 'roadseg[openvino]' adds it") from error
    return _CORES.setdefault(own, openvino.Core())


def _compiled(graph: bytes, precision: str, threads: int) -> Any:
    core = _core()
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "THROUGHPUT",
    }
    with damaged_graphs_refused():
        return core.compile_model(core.read_model(graph), "CPU", settings)
