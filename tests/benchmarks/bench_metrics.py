"""What scoring costs: the relaxed curve, clDice, APLS and TOPO, and the memory of a whole evaluation.

pytest tests/benchmarks/bench_metrics.py -m benchmark -s
"""

import resource
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine

from roadseg.metrics.apls import apls, apls_score
from roadseg.metrics.cldice import thin
from roadseg.metrics.graph import road_graph
from roadseg.metrics.pixels import count_pixels
from roadseg.metrics.topo import topo, topo_score

pytestmark = pytest.mark.benchmark


def world(height, width):
    """Smooth probabilities and a label of curved strips, about a tenth of it road."""
    rng = np.random.default_rng(0)
    field = cv2.resize(rng.random((height // 32, width // 32), dtype=np.float32), (width, height), interpolation=2)
    label = (np.abs(field - 0.5) < 0.05).astype(np.uint8)
    noise = rng.integers(0, 40, (height, width), dtype=np.uint8)
    probability = cv2.add(cv2.GaussianBlur(label * np.uint8(200), (0, 0), 2), noise)
    return probability, label


def streets(edges, seed=0):
    """A crooked grid of streets with about so many edges."""
    side = round((edges / 2) ** 0.5)
    rng = np.random.default_rng(seed)
    corner = np.stack(np.meshgrid(np.arange(side + 1), np.arange(side + 1)), axis=-1) * 110.0
    corner = corner + rng.normal(0, 9, corner.shape)
    across = [corner[r, c : c + 2] for r in range(side + 1) for c in range(side)]
    return [*across, *[corner[r : r + 2, c] for r in range(side) for c in range(side + 1)]]


def timed(work, *arguments, **options):
    start = time.perf_counter()
    result = work(*arguments, **options)
    return time.perf_counter() - start, result


@pytest.mark.parametrize("neighbourhood", ["square", "disk"])
def test_the_relaxed_curve_on_100_megapixels(neighbourhood):
    cv2.setNumThreads(1)
    probability, label = world(10_000, 10_000)
    seconds, counts = timed(count_pixels, probability, label, slack_px=3, neighbourhood=neighbourhood)
    assert counts.pixels.sum() == 10_000**2
    print(f"\nrelaxed curve, 256 thresholds, {neighbourhood}: {seconds * 10:.2f} ms/Mpx, {label.mean():.1%} road")


def test_thinning():
    _, label = world(3000, 3000)
    seconds, _ = timed(thin, label)
    print(f"\nthinning for clDice: {seconds / 9 * 1000:.1f} ms/Mpx, {label.mean():.1%} road")


@pytest.mark.parametrize(("edges", "limit_s"), [(500, 1.0), (10_000, 120.0)])
def test_networks(edges, limit_s):
    lines = streets(edges)
    kept = np.random.default_rng(1).random(len(lines)) < 0.9
    truth = road_graph(lines)
    prediction = road_graph([line + 1.0 for line, keep in zip(lines, kept, strict=True) if keep])
    seconds, result = timed(apls, truth, prediction)
    walked, counts = timed(topo, truth, prediction)
    print(
        f"\n{len(truth.edges)} and {len(prediction.edges)} edges: APLS {apls_score(result):.4f} in {seconds:.2f} s, "
        f"TOPO F1 {topo_score(counts).f1:.4f} in {walked:.2f} s"
    )
    assert seconds <= limit_s


def test_memory_does_not_grow_with_the_raster(tmp_path):
    """A truth and a prediction of 16 and of 256 megapixels, each evaluated in a process of its own."""
    tile, label = world(1024, 1024)
    peaks = {}
    for side in (4096, 16384):
        for name, values, scale in (("p.tif", tile, 1 / 254), ("t.tif", label, 1.0)):
            options = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "zlevel": 1}
            with rasterio.open(
                tmp_path / name, "w", driver="GTiff", height=side, width=side, count=1, dtype="uint8", nodata=255,
                crs="EPSG:32619", transform=Affine(1, 0, 3e5, 0, -1, 4.6e6), **options,
            ) as file:  # fmt: skip
                file.scales = (scale,)
                for row in range(0, side, 1024):
                    for col in range(0, side, 1024):
                        file.write(values, 1, window=((row, row + 1024), (col, col + 1024)))
        code = (
            "import resource, sys; from roadseg.cli import app\n"
            f"app(['evaluate', '{tmp_path}/p.tif', '{tmp_path}/t.tif', '-q'], standalone_mode=False)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        peaks[side] = int(done.stdout.splitlines()[-1]) / 1024
        seconds = time.perf_counter() - start
        print(f"\nevaluate {side**2 / 1e6:.0f} Mpx: peak {peaks[side]:.0f} MiB, {seconds / side**2 * 1e9:.1f} ms/Mpx")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss > 0
    assert peaks[16384] - peaks[4096] < 100
