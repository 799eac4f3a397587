"""What repair and geometry cost, on a made-up town of the density of a dense scene.

    pytest -m benchmark -s tests/benchmarks/bench_network_repair.py

Curved roads 6 to 12 px wide with gaps and rough rims; half of the traced edges are spurs. The tracing before
is not counted. ``ROADSEG_BENCHMARK_MPX`` sets the size (16).
"""

import os
import time

import cv2
import measuring
import numpy as np
import pytest

from roadseg.network.centrelines import centrelines
from roadseg.network.clean import Cleaning
from roadseg.network.edges import degrees
from roadseg.network.geometry import to_ground
from roadseg.network.ground import Ground
from roadseg.network.repair import Limits, repair

MPX = float(os.environ.get("ROADSEG_BENCHMARK_MPX", "16"))


def town(side, seed=1):
    """Draw levels: roads at 200, a gap in every other one, grain along the rims."""
    rng, levels = np.random.default_rng(seed), np.zeros((side, side), np.uint8)
    for _ in range(round(48 * side * side / 1e6)):
        turn, place = rng.uniform(0, 2 * np.pi), rng.uniform(0, side, 2)
        turns = turn + np.cumsum(np.full(round(rng.uniform(10, 40)), rng.normal(0, 0.03)))
        way = np.rint(place + np.cumsum(8 * np.stack([np.cos(turns), np.sin(turns)], axis=1), axis=0)).astype(np.int32)
        cv2.polylines(levels, [way], isClosed=False, color=200, thickness=int(rng.integers(6, 12)))
        for middle in way[rng.integers(0, len(way), rng.poisson(0.5))]:
            cv2.circle(levels, tuple(middle.tolist()), 9, 0, -1)
    grain = cv2.resize(rng.random((side // 3, side // 3), dtype=np.float32), (side, side))
    return np.clip(cv2.blur(levels, (3, 3)) + 130 * (grain - 0.55), 0, 254).astype(np.uint8)


@pytest.mark.benchmark
def test_repair_and_geometry_per_megapixel():
    cv2.setNumThreads(1)
    levels = town(round((MPX * 1e6) ** 0.5))

    def read(window):
        return levels[window.row : window.row + window.height, window.col : window.col + window.width]

    pixels = centrelines(read, *levels.shape, cleaning=Cleaning(100, 70, 60, 60))
    runs = []
    for _ in range(measuring.ROUNDS):
        start = time.process_time()
        graph = repair(pixels, Limits(level=100), sample=lambda at: levels[at[:, 0], at[:, 1]])
        middle = time.process_time()
        network = to_ground(graph, Ground())
        runs.append((middle - start, time.process_time() - middle))
    ends = int((degrees(pixels) == 1).sum())
    rows = [["", "edges", "pixels", "dead ends", "edges after", "bridges", "repair ms", "geometry ms"]]
    least = np.min(runs, axis=0) * 1000 / MPX
    counts = (len(pixels.ends), len(pixels.places), ends, len(network), int(network.inferred.sum()))
    rows.append(["per Mpx", *(count / MPX for count in counts), *least.tolist()])
    measuring.show(f"Repair and geometry, {MPX:.0f} Mpx, processor time, best of {measuring.ROUNDS}", rows)
