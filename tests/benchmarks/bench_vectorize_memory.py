"""That the centerlines of any raster fit into memory: peak resident memory, a process for each raster.

    pytest -m benchmark -s tests/benchmarks/bench_vectorize_memory.py

The raster repeats one drawing of 2,048 px and lies nowhere. The bound is 0.5 GB, 0.1 GB per worker, 4 bytes per pixel
of line and 1 kB per edge, all processes together. ``ROADSEG_BENCHMARK_SIDE`` sets the raster's side, 30,000 px by
default.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from drawing import DENSE, RURAL, road_probability
from numpy.typing import NDArray

from roadseg.files.workers import WorkerPool
from roadseg.roads.centerlines.extract import centerlines_of
from roadseg.roads.mask.clean import Cleaning
from roadseg.roads.mask.passes import local_passes
from roadseg.roads.mask.store import BlockGrid
from roadseg.windows import Window

SIDE = int(os.environ.get("ROADSEG_BENCHMARK_SIDE", "30000"))
TILE_PX = 2048
BASE_MB, WORKER_MB = 500, 100
CLEANING = Cleaning(high=127, low=76, min_area_px=60, max_hole_px=60)
SCENES = {"dense": DENSE, "rural": RURAL}
RUNS = (("rural", 1), ("dense", 1), ("dense", 2))


class Repeated:
    """One drawing, side by side without end."""

    def __init__(self, per_mpx: float) -> None:
        self.tiles = np.tile(road_probability(TILE_PX, TILE_PX, per_mpx=per_mpx), 3)

    def __call__(self, window: Window) -> NDArray[np.uint8]:
        col = window.col % TILE_PX
        return self.tiles[np.arange(window.row, window.row_stop) % TILE_PX, col : col + window.width]


@pytest.mark.benchmark
def test_peak_memory_is_bounded_by_what_was_found():
    import measuring  # not above: torch alone would take 300 MB of the processes that are measured

    rows: list[tuple[object, ...]] = [
        ("scene", "workers", "Mpx", "pixels", "edges", "peak MB", "bound MB", "CPU ms/Mpx")
    ]
    runs = []
    for scene, workers in RUNS:
        run = measuring.in_own_process(__file__, scene, workers)
        run["bound"] = BASE_MB + WORKER_MB * workers + (4 * run["pixels"] + 1000 * run["edges"]) / 1e6
        counts = [f"{run[key]:,}" for key in ("pixels", "edges")]
        mpx = SIDE * (SIDE + 40) / 1e6
        rows.append((scene, workers, f"{mpx:.0f}", *counts, run["peak_mb"], run["bound"], run["cpu"] / mpx * 1000))
        runs.append(run)
    measuring.show("Centerlines of a large raster, memory of all processes", rows)
    for run in runs:
        assert run["peak_mb"] < run["bound"]


def main() -> None:
    """Trace one raster and print the figures."""
    scene, workers = sys.argv[1], int(sys.argv[2])
    read = Repeated(SCENES[scene])
    before = time.process_time()
    with WorkerPool(read, workers) as pool, local_passes(pool, BlockGrid(SIDE, SIDE + 40, 2048), None) as passes:
        graph = centerlines_of(passes, CLEANING, lambda _: None)
    cpu = time.process_time() - before + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    children = workers * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024 if workers > 1 else 0
    own = Path("/proc/self/status").read_text("utf-8").split("VmHWM:")[1].split()[0]
    peak = int(own) / 1024 + children
    print(json.dumps({"pixels": len(graph.places), "edges": len(graph.ends), "peak_mb": peak, "cpu": cpu}))


if __name__ == "__main__":
    main()
