"""Prediction as one would write it first: read all, run the windows in batches, average, write. Needs no torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

WINDOW, STRIDE = 224, 192

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def read_scene(path: Path) -> tuple[Bytes, dict[str, Any]]:
    """Return all pixels of a scene, (bands, height, width), and its CRS and transform."""
    with rasterio.open(path) as file:
        return file.read(), {"crs": file.crs, "transform": file.transform}


def by_windows(image: Bytes, answer: Callable[[Bytes], Floats], *, batch_size: int) -> Floats:
    """Map an image (bands, height, width) to probabilities: windows (n, bands, h, w) to (n, h, w), averaged."""
    height, width = image.shape[1:]
    rows, cols = (-(-max(0, n - WINDOW) // STRIDE) * STRIDE + WINDOW for n in (height, width))
    image = np.pad(image, ((0, 0), (0, rows - height), (0, cols - width)), mode="reflect")
    total, weight = np.zeros((rows, cols), np.float32), np.zeros((rows, cols), np.float32)
    corners = [(r, c) for r in range(0, rows - WINDOW + 1, STRIDE) for c in range(0, cols - WINDOW + 1, STRIDE)]
    for first in range(0, len(corners), batch_size):
        part = corners[first : first + batch_size]
        windows = answer(np.stack([image[:, r : r + WINDOW, c : c + WINDOW] for r, c in part]))
        for (r, c), window in zip(part, windows, strict=True):
            total[r : r + WINDOW, c : c + WINDOW] += window
            weight[r : r + WINDOW, c : c + WINDOW] += 1
    return (total / weight)[:height, :width]


def write_levels(path: Path, probability: Floats, grid: dict[str, Any]) -> None:
    """Write probabilities (height, width) as a GeoTIFF of bytes."""
    levels = np.rint(probability * 254).astype(np.uint8)
    profile = {"driver": "GTiff", "height": levels.shape[0], "width": levels.shape[1], "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", tiled=True, compress="deflate", zlevel=1, **profile, **grid) as file:
        file.write(levels, 1)
