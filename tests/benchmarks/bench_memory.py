"""That memory does not grow with the scene: peak resident memory, a process for each size.

    pytest -m benchmark -s tests/benchmarks/bench_memory.py

The scenes are VRTs that repeat a few tiles: synthetic ones, or with ``ROADSEG_BENCHMARK_TILES=real`` the
imagery beside the repository. The engine is cheap; all else is as always, up to the finished COG.
"""

import json
import os
import sys
import time
from pathlib import Path

import measuring
import pytest

from roadseg.cli.memory import keep_freed_memory
from roadseg.predict import predict_scene
from roadseg.settings import PredictOutputs, PredictSettings

RUNS = (("roadseg predict", 12_000), ("roadseg predict", 40_000), ("plain script", 12_000))
LIMIT_MB = 2048
TILE_PX, TILES = 1500, 8


def tiles(folder: Path) -> list[Path]:
    """Return the tiles to repeat."""
    if os.environ.get("ROADSEG_BENCHMARK_TILES") != "real":
        return [measuring.write_scene(folder / f"tile{i}.tif", TILE_PX, TILE_PX, seed=i) for i in range(TILES)]
    real = sorted(measuring.REAL_TILES.glob("*.tif"))
    if not real:
        pytest.skip(f"no imagery in {measuring.REAL_TILES}")
    return real


@pytest.mark.benchmark
def test_peak_memory_of_a_small_and_a_large_scene(tmp_path):
    sources = tiles(tmp_path)
    rows: list[tuple[object, ...]] = [("", "scene", "Mpx", "peak RSS MB", "ms/Mpx", "processor ms/Mpx")]
    peaks = []
    for way, size in RUNS:
        scene = measuring.write_repeating(tmp_path / f"{size}.vrt", sources, size, size)
        target = tmp_path / "roads.tif"
        run = measuring.in_own_process(__file__, way, scene, target)
        target.unlink()
        mpx = size * size / 1e6
        peaks.append(run["peak_mb"])
        figures = (f"{mpx:.0f}", run["peak_mb"], run["seconds"] / mpx * 1000, run["cpu"] / mpx * 1000)
        rows.append((way, f"{size:,} × {size:,}", *figures))
    measuring.show(f"Memory, {len(sources)} tiles, cheap engine: large / small {peaks[1] / peaks[0]:.3f}", rows)
    assert max(peaks[:2]) < LIMIT_MB
    assert peaks[1] < 1.2 * peaks[0]


def main() -> None:
    """Predict one scene one way and print its figures."""
    way, scene, target = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if way == "plain script":
        seconds = measuring.plain_script(Path(scene), target, measuring.first_band, batch_size=4)
    else:
        keep_freed_memory()  # as the command does
        seconds = predict_scene(scene, PredictOutputs(target), measuring.model(), PredictSettings()).seconds
    print(json.dumps({"seconds": seconds, "cpu": time.process_time(), "peak_mb": measuring.peak_rss_mb()}))


if __name__ == "__main__":
    main()
