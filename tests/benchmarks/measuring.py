"""What the benchmarks share: synthetic scenes, runs in processes of their own, tables."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import plain
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.windows import Window as RasterWindow

from roadseg.model.card import ModelCard
from roadseg.prediction.engines.engine import Engine, LoadedModel

CRS = "EPSG:26986"
ROOT = Path(__file__).parents[2]
REAL_TILES = ROOT.parent / "shared/data/massachusetts_roads/dev/images"


ROUNDS = int(os.environ.get("ROADSEG_BENCHMARK_ROUNDS", "3"))
"""How often each figure is measured; tables show medians."""


class IdentityEngine:
    """Gives the first band back as the probability: everything is done but the network."""

    batch_size = 64
    description = library = device = precision = numerics = "benchmark engine"

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[NDArray[np.float32]]:
        """Map (n, bands, h, w) to (n, h, w)."""
        for batch in batches:
            yield first_band(batch)


def first_band(batch: NDArray[np.generic]) -> NDArray[np.float32]:
    """Map (n, bands, h, w) uint8 to (n, h, w) in [0, 1]."""
    return batch[:, 0] * np.float32(1 / 255)


def model(engine: Engine | None = None, **card: Any) -> LoadedModel:
    """Return an engine (the identity by default) with a plain card."""
    return LoadedModel(engine or IdentityEngine(), ModelCard(name="benchmark", **card))


def texture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Draw ground: patches at all scales, hard edges and grain; deflates like a photograph, by about a fifth.

    Returns
    -------
    (3, height, width) uint8.
    """
    rng = np.random.default_rng(seed)
    light = np.full((height, width), 95, dtype=np.float32)
    for cell, strength in ((600, 25), (150, 22), (40, 18), (10, 14), (3, 14)):
        coarse = rng.standard_normal((height // cell + 2, width // cell + 2), dtype=np.float32)
        edge = cv2.INTER_NEAREST if cell == 40 else cv2.INTER_LINEAR
        light += strength * cv2.resize(coarse, (width, height), interpolation=edge)
    bands = []
    for tint in (1.0, 1.04, 0.9):
        grain = rng.standard_normal((height, width), dtype=np.float32)
        bands.append((light * tint + 5 * grain).clip(0, 255).astype(np.uint8))
    return np.stack(bands)


def write_scene(path: Path, height: int, width: int, *, seed: int = 1) -> Path:
    """Write a 3-band deflate GeoTIFF at 1 m, in strips of texture so that any size fits in memory."""
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": 3,
        "dtype": "uint8",
        "crs": CRS,
        "transform": rasterio.Affine(1, 0, 230_000, 0, -1, 900_000),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "photometric": "rgb",
        "interleave": "pixel",
        "num_threads": "all_cpus",
    }
    with rasterio.open(path, "w", **profile) as file:
        for row in range(0, height, 2048):
            strip = texture(min(2048, height - row), width, seed + row)
            file.write(strip, window=RasterWindow(0, row, width, strip.shape[1]))
    return path


def write_repeating(path: Path, tiles: Sequence[Path], height: int, width: int) -> Path:
    """Write a VRT of any size that repeats tiles of one size, in an order that does not repeat soon."""
    with rasterio.open(tiles[0]) as file:
        step = file.height
    rng = np.random.default_rng(5)
    sources = [
        (row, col, tiles[rng.integers(len(tiles))]) for row in range(0, height, step) for col in range(0, width, step)
    ]
    colours = ("Red", "Green", "Blue")
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><ColorInterp>{colours[band - 1]}</ColorInterp>'
        + "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="0">{tile}</SourceFilename><SourceBand>{band}</SourceBand>'
            f'<SourceProperties RasterXSize="{step}" RasterYSize="{step}" DataType="Byte" '
            'BlockXSize="256" BlockYSize="256"/>'
            f'<SrcRect xOff="0" yOff="0" xSize="{min(step, width - col)}" ySize="{min(step, height - row)}"/>'
            f'<DstRect xOff="{col}" yOff="{row}" xSize="{min(step, width - col)}" ySize="{min(step, height - row)}"/>'
            "</SimpleSource>"
            for row, col, tile in sources
        )
        + "</VRTRasterBand>"
        for band in (1, 2, 3)
    )
    path.write_text(
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{CRS}</SRS>'
        f"<GeoTransform>230000,1,0,900000,0,-1</GeoTransform>{bands}</VRTDataset>",
        "utf-8",
    )
    return path


def plain_script(
    scene: Path, target: Path, answer: Callable[[NDArray[np.uint8]], NDArray[np.float32]], *, batch_size: int
) -> float:
    """Predict as one would write it first: read all, run the windows in batches, average, write; return seconds."""
    started = time.monotonic()
    image, grid = plain.read_scene(scene)
    plain.write_levels(target, plain.by_windows(image, answer, batch_size=batch_size), grid)
    return time.monotonic() - started


def in_own_process(script: str, *arguments: object) -> dict[str, Any]:
    """Run a benchmark file as a program and return what it prints last, as JSON."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def median(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def peak_rss_mb() -> float:
    """Return this process's largest resident memory so far, in MB; what it was started from does not count."""
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def machine() -> str:
    """Say what the figures were measured on."""
    cores = len(os.sched_getaffinity(0))
    return f"{cores} core(s), torch {torch.__version__}, GDAL {rasterio.__gdal_version__}"


@dataclass
class Clock:
    """Seconds spent in functions by name: wall, and processor (of the calling thread, or of all threads)."""

    wall: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    cpu: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def watch(self, patch: pytest.MonkeyPatch, owner: Any, name: str, label: str, *, all_threads: bool = False) -> None:
        """Measure every call of ``owner.name`` from now on."""
        function = getattr(owner, name)
        processor = time.process_time if all_threads else time.thread_time

        def timed(*args: Any, **options: Any) -> Any:
            wall, cpu = time.perf_counter(), processor()
            try:
                return function(*args, **options)
            finally:
                self.wall[label] += time.perf_counter() - wall
                self.cpu[label] += processor() - cpu

        patch.setattr(owner, name, timed)


def show(title: str, rows: Sequence[Sequence[object]]) -> None:
    """Print a table whose first row is its head."""
    text = [[_shown(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in text) for i in range(len(text[0]))]
    text.insert(1, ["-" * width for width in widths])
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in text]
    print(f"\n{title} ({machine()})\n" + "\n".join(lines))


def _shown(cell: object) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
