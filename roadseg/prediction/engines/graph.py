"""What the engines that run an exported graph on the CPU share."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import DeviceError, ModelError, RoadsegError, one_line


def require_cpu(engine: str, device: str) -> None:
    """Raise DeviceError if a device other than the CPU is asked for."""
    if device not in {"auto", "cpu"}:
        raise DeviceError(f"the {engine} engine runs on the CPU, not on {device}; use --engine torch there")


def switch_off_telemetry() -> None:
    """Keep ONNX Runtime and OpenVINO from identifying the machine and reporting its use; called before their import.

    ONNX Runtime respects a variable, which a user may set to 0. OpenVINO does without its package for reports where
    that cannot be imported.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def to_unit_scale(pixels: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return pixels as float32 from 0 to 1; uint8 is divided by 255."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / np.float32(255)
    return pixels.astype(np.float32, copy=False)


@contextmanager
def damaged_graphs_refused() -> Iterator[None]:
    """Context manager in which a graph is loaded or run: whatever a library raises about it becomes one sentence.

    Raises
    ------
    ModelError
        If the graph cannot be loaded or run, for instance because its file is damaged.
    """
    try:
        yield
    except (RoadsegError, MemoryError):
        raise
    except Exception as error:  # the libraries' errors have no common ancestor but this one
        raise ModelError(
            f"the ONNX model cannot be run ({one_line(error)}); export it again with roadseg export"
        ) from error


def probability_of_road(answer: NDArray[Any], windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the second channel of what a graph answers, (n, h, w) float32, for windows (n, bands, h, w).

    Raises
    ------
    ModelError
        If the answer has another shape or number format.
    """
    expected = (len(windows), 2, *windows.shape[2:])
    if answer.shape != expected or answer.dtype != np.float32:
        raise ModelError(
            f"the ONNX model answers {list(answer.shape)} {answer.dtype} instead of {list(expected)} float32; export "
            f"it again with roadseg export"
        )
    return answer[:, 1]
