"""What the engines that run an exported graph on the CPU share."""

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import DeviceError


def require_cpu(engine: str, device: str) -> None:
    """Raise DeviceError if a device other than the CPU is asked for."""
    if device not in {"auto", "cpu"}:
        raise DeviceError(f"the {engine} engine runs on the CPU, not on {device}; use --engine torch there")


def to_unit_scale(pixels: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return pixels as float32 from 0 to 1; uint8 is divided by 255."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / np.float32(255)
    return pixels.astype(np.float32, copy=False)
