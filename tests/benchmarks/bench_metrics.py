"""What scoring costs: the relaxed curve, clDice, networks, and the memory of a whole evaluation.

    pytest -m benchmark -s tests/benchmarks/bench_metrics.py

Networks are crooked grids of streets of 110 m, a tenth of them missing and all shifted by 1 m in the
prediction, and one winding road. Times are of the processor.
"""

import json
import sys
import time

import cv2
import measuring
import numpy as np
import pytest
import rasterio
from affine import Affine

from roadseg.evaluate import evaluate
from roadseg.metrics.apls import apls, apls_score
from roadseg.metrics.cldice import thin
from roadseg.metrics.graph import road_graph
from roadseg.metrics.lines import compare_lines, line_score
from roadseg.metrics.pixels import count_pixels
from roadseg.metrics.topo import topo, topo_score

pytestmark = pytest.mark.benchmark

SIDE, THINNED_SIDE = 10_000, 3_000
EDGES, ROAD_KM = (500, 10_000, 200_000), 900
SIDES = (8192, 16384)  # both hold more than the cache of GDAL may


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


def winding_road(length_km):
    """A road with a vertex every 10 m."""
    x = np.arange(0, 1000 * length_km + 1, 10.0)
    return [np.stack([x, 300 * np.sin(x / 2000)], axis=1)]


def timed(work, *arguments, **options):
    start = time.process_time()
    result = work(*arguments, **options)
    return time.process_time() - start, result


@pytest.mark.parametrize("neighbourhood", ["square", "disk"])
def test_the_relaxed_curve(neighbourhood):
    cv2.setNumThreads(1)
    probability, label = world(SIDE, SIDE)
    seconds, counts = timed(count_pixels, probability, label, slack_px=3, neighbourhood=neighbourhood)
    assert counts.pixels.sum() == SIDE**2
    rate = f"{seconds * 1e9 / SIDE**2:.2f} ms/Mpx"
    print(f"\nrelaxed curve, 256 thresholds, {neighbourhood}: {rate}, {label.mean():.1%} road")


def test_thinning():
    _, label = world(THINNED_SIDE, THINNED_SIDE)
    seconds, _ = timed(thin, label)
    print(f"\nthinning for clDice: {seconds * 1e9 / THINNED_SIDE**2:.1f} ms/Mpx, {label.mean():.1%} road")


def test_networks():
    networks = {f"grid of {edges:,} edges": streets(edges) for edges in EDGES}
    networks[f"one road of {ROAD_KM} km"] = winding_road(ROAD_KM)
    rows = [("network", "edges", "lines s", "APLS s", "TOPO s", "quality", "APLS", "TOPO F1")]
    for name, lines in networks.items():
        kept = np.random.default_rng(1).random(len(lines)) < 0.9
        truth = road_graph(lines)
        prediction = road_graph([line + 1.0 for line, keep in zip(lines, kept, strict=True) if keep])
        compared, near = timed(compare_lines, truth, prediction)
        followed, paths = timed(apls, truth, prediction)
        walked, walks = timed(topo, truth, prediction)
        scores = line_score(near).quality, apls_score(paths), topo_score(walks).f1
        seconds = (compared, followed, walked)
        rows.append((name, len(truth.edges), *(f"{s:.2f}" for s in seconds), *(f"{s:.4f}" for s in scores)))
        assert sum(seconds) < 180
    measuring.show("Network scores", rows)


def test_memory_does_not_grow_with_the_raster(tmp_path):
    """A truth and a prediction of 67 and of 268 megapixels, each evaluated in a process of its own."""
    tile, label = world(1024, 1024)
    peaks = {}
    for side in SIDES:
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
        run = measuring.in_own_process(__file__, tmp_path / "p.tif", tmp_path / "t.tif")
        peaks[side] = run["peak_mb"]
        rate = run["seconds"] / side**2 * 1e9
        print(f"\nevaluate {side**2 / 1e6:.0f} Mpx: peak {peaks[side]:.0f} MiB, {rate:.1f} ms/Mpx")
    assert peaks[SIDES[1]] - peaks[SIDES[0]] < 100


def main():
    """Evaluate one pair of rasters and print the figures."""
    before = time.process_time()
    evaluate(sys.argv[1], sys.argv[2])
    print(json.dumps({"seconds": time.process_time() - before, "peak_mb": measuring.peak_rss_mb()}))


if __name__ == "__main__":
    main()
