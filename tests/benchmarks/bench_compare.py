"""How long ``roadseg compare`` takes on two town maps, and how much memory it needs.

    pytest -m benchmark -s tests/benchmarks/bench_compare.py

Streets between jittered crossings 120 m apart; each side lacks one edge in twenty, and the map lies 4 m off.
"""

import json
import sys
import time
from pathlib import Path

import measuring
import numpy as np
import pyogrio
import pytest
import shapely

from roadseg.compare import compare

CROSSINGS = 324
"""Along each side of the town: 324 make 200,000 edges."""

BLOCK_M = 120.0
LOST = 0.05


def write_town(path: Path, shift_m: float, seed: int) -> int:
    """Write a town's streets as a GeoPackage; return their number."""
    corners = np.arange(CROSSINGS) * BLOCK_M
    places = np.stack(np.meshgrid(corners, corners), axis=-1)
    places += np.random.default_rng(7).uniform(-15, 15, places.shape) + shift_m + (500_000, 5_300_000)
    across = np.stack([places[:, :-1], places[:, 1:]], axis=2).reshape(-1, 2, 2)
    down = np.stack([places[:-1], places[1:]], axis=2).reshape(-1, 2, 2)
    edges = np.concatenate([across, down])
    kept = edges[np.random.default_rng(seed).random(len(edges)) > LOST]
    wkb, number = shapely.to_wkb(shapely.linestrings(kept)), np.arange(len(kept))
    options = {"geometry_type": "LineString", "crs": "EPSG:32632", "driver": "GPKG", "layer": "roads"}
    pyogrio.raw.write(path, wkb, [number], ["number"], **options)
    return len(kept)


@pytest.mark.benchmark
def test_time_and_memory_of_a_comparison(tmp_path: Path) -> None:
    """Print processor time and peak memory."""
    edges = [write_town(tmp_path / "roads.gpkg", 0.0, 1), write_town(tmp_path / "map.gpkg", 2.8, 2)]
    took = measuring.in_own_process(__file__, tmp_path)
    rows = [("edges", "processor s", "peak RSS MB", "missing"), (edges[0], *took.values())]
    measuring.show(f"{edges[0]:,} roads compared with {edges[1]:,} of a map", rows)
    assert 0 < took["missing"] < 2 * LOST * edges[0]


def main() -> None:
    """Compare the towns and print what it took."""
    folder, started = Path(sys.argv[1]), time.process_time()
    result = compare(folder / "roads.gpkg", folder / "map.gpkg", folder / "changes.gpkg", osm=folder / "osm.geojson")
    seconds = time.process_time() - started
    print(json.dumps({"cpu": seconds, "peak": measuring.peak_rss_mb(), "missing": result.missing_from_map}))


if __name__ == "__main__":
    main()
