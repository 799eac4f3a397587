"""What road polygons cost, against the polygons GDAL makes of the same mask.

    pytest -m benchmark -s tests/benchmarks/bench_areas.py

Curved roads of 6 to 12 px with ragged edges, about a tenth of the scene, repeated over it with a grid of avenues that
joins all. Each way runs in a process of its own. ``ROADSEG_BENCHMARK_MPX`` sets the scene's size.
"""

import json
import os
import sys
import time

import cv2
import measuring
import numpy as np
import pytest
import rasterio.features
import shapely
from numpy.typing import NDArray

from roadseg.files.workers import WorkerPool
from roadseg.raster.ground import Ground
from roadseg.roads.areas.polygons import areas_to_ground, road_areas
from roadseg.roads.mask.passes import local_passes
from roadseg.roads.mask.store import BlockGrid
from roadseg.windows import Window

MPX = float(os.environ.get("ROADSEG_BENCHMARK_MPX", "60"))
HEIGHT, WIDTH = round((MPX * 1e6) ** 0.5) - 50, round((MPX * 1e6) ** 0.5) + 50

PATTERN_PX = 1700, 2100


def pattern(height: int, width: int) -> NDArray[np.uint8]:
    """Draw curved roads with ragged edges, and an avenue each way."""
    rng = np.random.default_rng(1)
    canvas = np.zeros((height, width), np.float32)
    for _ in range(round(height * width / 1e6 * 38)):
        turn = np.cumsum(rng.normal(0, 0.12, 20)) + rng.uniform(0, 6.3)
        line = rng.uniform(0, 1, 2) * (width, height) + np.cumsum(
            np.stack([np.cos(turn), np.sin(turn)], 1) * 12, axis=0
        )
        cv2.polylines(canvas, [np.rint(line * 16).astype(np.int32)], False, 1, int(rng.integers(6, 13)), cv2.LINE_8, 4)
    canvas[300:309], canvas[:, 700:711] = 1, 1
    grain = cv2.GaussianBlur(rng.normal(0, 1, canvas.shape).astype(np.float32), (0, 0), 1.2)
    return (cv2.GaussianBlur(canvas, (0, 0), 1.5) + 0.25 * grain > 0.5).astype(np.uint8)


class Repeated:
    """A mask of any size, made from a pattern when it is read."""

    def __init__(self) -> None:
        self.pattern = pattern(*PATTERN_PX)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return (window.height, window.width) uint8."""
        rows = np.arange(window.row, window.row_stop) % self.pattern.shape[0]
        cols = np.arange(window.col, window.col_stop) % self.pattern.shape[1]
        return self.pattern[rows][:, cols]


def by_roadseg(mask: Repeated, simplify_px: float) -> NDArray[np.object_]:
    """Trace the mask in blocks."""
    with WorkerPool(None, 1) as pool, local_passes(pool, BlockGrid(HEIGHT, WIDTH, 2048), None) as passes:
        return areas_to_ground(road_areas(passes, mask, simplify_px=simplify_px), Ground()).polygons


def by_gdal(mask: Repeated, connectivity: int) -> NDArray[np.object_]:
    """Polygonize the whole mask at once."""
    whole = mask.read(Window(0, 0, HEIGHT, WIDTH))
    found = rasterio.features.shapes(whole, mask=whole == 1, connectivity=connectivity)
    return np.array([shapely.geometry.shape(shape) for shape, _ in found], dtype=object)


WAYS = {
    "roadseg, pixel edges": lambda mask: by_roadseg(mask, 0.0),
    "roadseg, 0.5 px": lambda mask: by_roadseg(mask, 0.5),
    "roadseg, 1 px": lambda mask: by_roadseg(mask, 1.0),
    "GDAL, 4 neighbours": lambda mask: by_gdal(mask, 4),
    "GDAL, 8 neighbours": lambda mask: by_gdal(mask, 8),
}


@pytest.mark.benchmark
def test_time_and_memory_of_road_polygons():
    head = (
        "",
        "processor ms/Mpx",
        "peak RSS MB",
        "of it before",
        "polygons",
        "holes",
        "vertices/Mpx",
        "invalid",
        "area, % of mask",
    )
    rows: list[tuple[object, ...]] = [head]
    for way in WAYS:
        runs = [measuring.in_own_process(__file__, way) for _ in range(measuring.ROUNDS)]
        rows.append((way, *measuring.median(runs).values()))
    measuring.show(f"Road polygons of {HEIGHT} × {WIDTH} px, medians of {measuring.ROUNDS}", rows)


def main() -> None:
    """Go one way once and print its figures."""
    mask = Repeated()
    memory = measuring.peak_rss_mb()
    before = time.process_time()
    polygons = WAYS[sys.argv[1]](mask)
    cpu, peak = time.process_time() - before, measuring.peak_rss_mb()
    road = sum(int(mask.read(Window(row, 0, 1, WIDTH)).sum()) for row in range(HEIGHT))
    figures = {
        "cpu": cpu / MPX * 1000,
        "peak": peak,
        "before": memory,
        "polygons": len(polygons),
        "holes": int(shapely.get_num_interior_rings(polygons).sum()),
        "vertices": float(shapely.get_num_coordinates(polygons).sum() / MPX),
        "invalid": int((~shapely.is_valid(polygons)).sum()),
        "area": 100 * float(shapely.area(polygons).sum()) / road,
    }
    print(json.dumps({key: float(value) for key, value in figures.items()}))


if __name__ == "__main__":
    main()
