"""What repair and geometry cost, on a made-up scene of roads that cross at random.

    pytest -m benchmark -s tests/benchmarks/bench_network_repair.py

48 curved roads per Mpx, 6 to 11 px wide and 80 to 320 px long, every other one with a gap on average, under grain
that roughens their rims. The table says how many edges, pixels and dead ends tracing finds; the tracing itself is
not counted. ``ROADSEG_BENCHMARK_MPX`` sets the size (16). The second table puts such scenes side by side and shows
the memory of a process of its own; ``ROADSEG_BENCHMARK_SCENES`` sets how many (36).
"""

import json
import os
import sys
import time

import cv2
import measuring
import numpy as np
import pytest

from roadseg.files.workers import WorkerPool
from roadseg.raster.ground import Ground
from roadseg.roads.centerlines.extract import centerlines_of
from roadseg.roads.centerlines.geometry import to_ground
from roadseg.roads.mask.clean import Cleaning
from roadseg.roads.mask.passes import local_passes
from roadseg.roads.mask.store import BlockGrid
from roadseg.roads.pixel_graph import PixelGraph
from roadseg.roads.repair.edges import degrees
from roadseg.roads.repair.repair import RepairLimits, repair

MPX = float(os.environ.get("ROADSEG_BENCHMARK_MPX", "16"))
SCENE_PX = 2000
SCENES = int(os.environ.get("ROADSEG_BENCHMARK_SCENES", "36"))


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


def traced(levels):
    def read(window):
        return levels[window.row : window.row + window.height, window.col : window.col + window.width]

    with WorkerPool(read, 1) as pool, local_passes(pool, BlockGrid(*levels.shape, 2048), None) as passes:
        return centerlines_of(passes, Cleaning(100, 70, 60, 60), lambda _: None)


def side_by_side(graph, side, count):
    """Repeat a graph in rows of ten."""
    shift = np.stack(np.divmod(np.arange(count), 10), axis=1) * side
    first = np.arange(count) * len(graph.places)
    columns = ("at_border", "area", "level", "inferred", "areal")
    return PixelGraph(
        nodes=np.concatenate([graph.nodes + off for off in shift]),
        ends=np.concatenate([graph.ends + i * len(graph.nodes) for i in range(count)]),
        starts=np.append((graph.starts[:-1] + first[:, None]).ravel(), count * len(graph.places)),
        places=np.concatenate([graph.places + off.astype(np.int32) for off in shift]),
        **{name: np.tile(getattr(graph, name), count) for name in columns},
    )


@pytest.mark.benchmark
def test_repair_and_geometry_per_megapixel():
    cv2.setNumThreads(1)
    levels = town(round((MPX * 1e6) ** 0.5))
    pixels = traced(levels)
    runs = []
    for _ in range(measuring.ROUNDS):
        start = time.process_time()
        graph = repair(pixels, RepairLimits(road_level=100), levels_at=lambda at: levels[at[:, 0], at[:, 1]])
        middle = time.process_time()
        network = to_ground(graph, Ground())
        runs.append((middle - start, time.process_time() - middle))
    ends = int((degrees(pixels) == 1).sum())
    rows = [["", "edges", "pixels", "dead ends", "edges after", "gaps", "repair ms", "geometry ms"]]
    least = np.min(runs, axis=0) * 1000 / MPX
    counts = (len(pixels.ends), len(pixels.places), ends, len(network), int(network.inferred.sum()))
    rows.append(["per Mpx", *(count / MPX for count in counts), *least.tolist()])
    measuring.show(f"Repair and geometry, {MPX:.0f} Mpx, processor time, best of {measuring.ROUNDS}", rows)


@pytest.mark.benchmark
def test_memory_of_repair_and_geometry():
    """The target of the whole chain is 600 MB, 4 B per skeleton pixel and 1 kB per edge."""
    found = measuring.in_own_process(__file__, SCENES)
    target = 600 + 4e-6 * found["pixels"] + 1e-3 * found["edges"]
    rows = [["edges", "pixels", "input MB", "peak MB", "target MB", "seconds"]]
    rows.append([*(found[name] for name in ("edges", "pixels", "input", "peak")), target, found["seconds"]])
    measuring.show(f"Repair and geometry of {SCENES} scenes of 4 Mpx", rows)


def main():
    """Repair scenes side by side and print the figures."""
    count = int(sys.argv[1])
    cv2.setNumThreads(1)
    levels = town(SCENE_PX)
    pixels = side_by_side(traced(levels), SCENE_PX, count)
    before, start = measuring.peak_rss_mb(), time.process_time()
    sizes = {"edges": len(pixels.ends), "pixels": len(pixels.places), "input": before}
    limits = RepairLimits(road_level=100)
    graph = repair(pixels, limits, levels_at=lambda at: levels[at[:, 0] % SCENE_PX, at[:, 1] % SCENE_PX])
    to_ground(graph, Ground())
    print(json.dumps({**sizes, "peak": measuring.peak_rss_mb(), "seconds": time.process_time() - start}))


if __name__ == "__main__":
    main()
