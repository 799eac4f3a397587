"""What ``roadseg vectorize`` costs from GeoTIFF to GeoPackage: time per megapixel, and memory at two sizes.

    pytest -m benchmark -s tests/benchmarks/bench_vectorize_command.py

Synthetic probability, dense (9 % road) and rural (under 1 %), each run in a process of its own.
``ROADSEG_BENCHMARK_SIDES`` lists the sides of the rasters in pixels, such as ``10000,30000``;
``ROADSEG_BENCHMARK_WORKERS`` the numbers of workers; ``ROADSEG_BENCHMARK_FILES`` is the number of dense rasters of
1,500 px in one command.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import drawing
import measuring
import pytest
import rasterio
from rasterio.windows import Window as RasterWindow

SIDES = [int(side) for side in os.environ.get("ROADSEG_BENCHMARK_SIDES", "4000,8000").split(",")]
WORKERS = [int(count) for count in os.environ.get("ROADSEG_BENCHMARK_WORKERS", "1").split(",")]
FILES = int(os.environ.get("ROADSEG_BENCHMARK_FILES", "50"))
SMALL_PX = 1500
LAND = {"dense": drawing.DENSE, "rural": drawing.RURAL}
_TILE_PX = 5000


def write_roads(path: Path, side: int, *, per_mpx: float) -> Path:
    """Write a road probability raster as ``roadseg predict`` would, tile by tile."""
    profile = {
        "driver": "GTiff", "height": side, "width": side, "count": 1, "dtype": "uint8", "crs": measuring.CRS,
        "transform": rasterio.Affine(1, 0, 230_000, 0, -1, 900_000), "tiled": True, "blockxsize": 512,
        "blockysize": 512, "compress": "deflate", "nodata": 255, "bigtiff": "if_safer",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.scales = (1 / 254,)
        for row in range(0, side, _TILE_PX):
            for col in range(0, side, _TILE_PX):
                height, width = min(_TILE_PX, side - row), min(_TILE_PX, side - col)
                values = drawing.road_probability(height, width, per_mpx=per_mpx, seed=1 + row + col // _TILE_PX)
                file.write(values, 1, window=RasterWindow(col, row, width, height))
    return path


@pytest.mark.benchmark
@pytest.mark.parametrize("land", LAND)
def test_time_and_memory_from_raster_to_package(tmp_path, land):
    rows: list[tuple[object, ...]] = [
        ("", "workers", "ms/Mpx", "processor ms/Mpx", "largest process MB", "roads", "file MB")
    ]
    for side in SIDES:
        raster = write_roads(tmp_path / f"{side}.tif", side, per_mpx=LAND[land])
        for workers in WORKERS:
            run = measuring.in_own_process(__file__, raster, tmp_path / "roads.gpkg", workers)
            mpx = side * side / 1e6
            rates = run["seconds"] / mpx * 1000, run["cpu"] / mpx * 1000
            size = f"{side:,} × {side:,}"
            rows.append((size, workers, *rates, run["peak_mb"], run["roads"], run["file_mb"]))
        raster.unlink()
    measuring.show(f"GeoTIFF to GeoPackage, {land}", rows)


@pytest.mark.benchmark
def test_time_for_many_small_rasters(tmp_path):
    """Each becomes a package in a folder."""
    for number in range(FILES):
        write_roads(tmp_path / f"{number:03}.tif", SMALL_PX, per_mpx=LAND["dense"])
    runs = [measuring.in_own_process(__file__, tmp_path / "*.tif", f"{tmp_path}/roads/", n) for n in WORKERS]
    rows = [(n, run["seconds"], run["cpu"], run["peak_mb"]) for n, run in zip(WORKERS, runs, strict=True)]
    header = ("workers", "s", "processor s", "largest process MB")
    measuring.show(f"{FILES} rasters of {SMALL_PX}² px", [header, *rows])


def main() -> None:
    """Run the command once and print its figures; starting Python is part of them."""
    raster, target, workers = sys.argv[1:]
    words = ["vectorize", raster, "-o", target, "--workers", workers, "--overwrite", "--quiet", "--json"]
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "roadseg", *words], check=True, stdout=subprocess.PIPE)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {
        "seconds": time.monotonic() - started,
        "cpu": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1024,
        "roads": sum(json.loads(line)["roads"] for line in done.stdout.splitlines()),
        "file_mb": sum(file.stat().st_size for file in [Path(target), *Path(target).glob("*")]) / 1e6,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
