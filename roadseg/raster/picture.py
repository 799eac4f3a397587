"""Pictures for people: the scene with the roads over it."""

from pathlib import Path

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray

from roadseg.errors import OutputError
from roadseg.raster.files import open_raster
from roadseg.raster.output import dequantize, write_whole

PREVIEW_PX = 2000
"""Longest side of a preview."""

_ROAD_COLOUR = (255, 210, 0)


def preview_size(height: int, width: int) -> tuple[int, int]:
    """Return the height and width of a preview of a raster."""
    shrink = max(1.0, max(height, width) / PREVIEW_PX)
    return max(1, round(height / shrink)), max(1, round(width / shrink))


def read_reduced(path: Path, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read a probability raster at another size: probability and validity, (height, width) each."""
    with open_raster(path) as file:
        return dequantize(file.read(1, out_shape=(height, width), resampling=rasterio.enums.Resampling.average))


def overlay(rgb: NDArray[np.uint8], probability: NDArray[np.float32], *, threshold: float) -> NDArray[np.uint8]:
    """Lay roads over a picture.

    Parameters
    ----------
    rgb
        (3, height, width) uint8.
    probability
        (height, width) float32 in [0, 1].
    threshold
        Where the colour is at its fullest; it fades out at a quarter of it, so that roads stay
        visible when many pixels become one.

    Returns
    -------
    (3, height, width) uint8.
    """
    low = threshold / 4
    strength = ((probability - low) / max(threshold - low, 1e-6)).clip(0, 1) * 0.85
    colour = np.array(_ROAD_COLOUR, dtype=np.float32)[:, None, None]
    grey: NDArray[np.float32] = rgb.mean(axis=0, keepdims=True) * 0.5 + rgb * 0.5
    mixed = np.rint(grey * (1 - strength) + colour * strength)
    return np.asarray(mixed, dtype=np.uint8)


def write_picture(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write (3, height, width) uint8 as a PNG.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    _, png = cv2.imencode(".png", np.ascontiguousarray(rgb[::-1].transpose(1, 2, 0)))
    try:
        write_whole(path, png.tobytes())
    except OSError as error:
        raise OutputError(f"cannot write {path} ({error.strerror}); choose another place") from error
