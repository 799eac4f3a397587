"""How fast everything but the network is, so that a GPU is not kept waiting.

    pytest -m benchmark -s tests/benchmarks/bench_pipeline.py

A 3-band deflate GeoTIFF of 147 megapixels goes through ``predict`` with an engine that hands the first band
back. That is harder on the writer than roads are: the answer is as rough as the photograph. Reading,
blending and storing overlap, so the parts add up to more than the whole. Freed memory is kept, as the command does; the
first run, which has to fetch it, is the slowest.

Then it goes through the blocks alone with an engine that takes as long as a fast GPU would, 0.17 ms per window, and
blends by itself. The blocks should take as long as their slowest stage, and the engine never wait if it is that one.
"""

import statistics
import time

import measuring
import numpy as np
import pytest
import rasterio

from roadseg import predict
from roadseg.cli.memory import keep_freed_memory
from roadseg.prediction import block, pipeline
from roadseg.prediction.reader import BlockReader
from roadseg.raster.encoding import dequantize
from roadseg.raster.scene import Scene
from roadseg.settings import PredictOutputs, PredictSettings
from roadseg.windows import Block

HEIGHT, WIDTH = 12_000, 12_288
TARGET_MS = 15
BLOCK_PX = 2048
WINDOWS_MS = (0.17, 2.0)

WHOLE = f"end to end (target {TARGET_MS})"
PARTS = (
    (Scene, "read", "read", False),
    (block, "_predict", "windows, blend, quantize", False),
    (pipeline, "store_block", "store", False),
    (predict, "write_rasters", "COG with overviews", True),
    (predict, "predict_scene", WHOLE, True),
)


@pytest.mark.benchmark
def test_milliseconds_per_megapixel_without_the_network(tmp_path):
    scene = measuring.write_scene(tmp_path / "scene.tif", HEIGHT, WIDTH)
    target = tmp_path / "roads.tif"
    keep_freed_memory()
    clocks = []
    for _ in range(measuring.ROUNDS):
        clock = measuring.Clock()
        with pytest.MonkeyPatch.context() as patch:
            for owner, name, label, all_threads in PARTS:
                clock.watch(patch, owner, name, label, all_threads=all_threads)
            predict.predict_scene(
                str(scene), PredictOutputs(target), measuring.model(), PredictSettings(overwrite=True)
            )
        clocks.append(clock)
    per_mpx = 1000 / (HEIGHT * WIDTH / 1e6)
    rows: list[tuple[object, ...]] = [("part", "wall ms/Mpx", "from – to", "processor ms/Mpx")]
    for *_, label, _ in PARTS:
        wall = [clock.wall[label] * per_mpx for clock in clocks]
        cpu = statistics.median(clock.cpu[label] for clock in clocks) * per_mpx
        rows.append((label, statistics.median(wall), f"{min(wall):.1f} – {max(wall):.1f}", cpu))
    measuring.show(f"Everything but the network, {HEIGHT * WIDTH / 1e6:.0f} Mpx, {len(clocks)} runs", rows)
    with rasterio.open(scene) as image, rasterio.open(target) as roads:
        place = ((HEIGHT // 2, HEIGHT // 2 + 100), (WIDTH // 2, WIDTH // 2 + 110))
        probability, _ = dequantize(roads.read(1, window=place))
        assert abs(probability - image.read(1, window=place) / 255).max() <= 0.5 / 254 + 1e-6


class Waiting(measuring.IdentityEngine):
    """Takes a fixed time per window and gives back the first band; counts how long it works, and waits for blocks."""

    def __init__(self, window_ms):
        self.window_ms, self.busy_s, self.waits_s = window_ms, 0.0, []

    def predict_blocks(self, blocks, layout, dtype, on_rows):
        """Yield the cores of blocks."""
        blocks = iter(blocks)
        while True:
            started = time.perf_counter()
            prepared = next(blocks, None)
            if prepared is None:
                return
            begun = time.perf_counter()
            self.waits_s.append(begun - started)
            planned = prepared.planned
            time.sleep(prepared.needed.sum() * self.window_ms / 1e3)
            first = prepared.values[0][planned.core.slices(planned.extent)]
            done = Block(planned.core, np.minimum(first, 254), prepared.useful)
            self.busy_s += time.perf_counter() - begun
            on_rows(planned.core.area)
            yield done


@pytest.mark.benchmark
def test_blocks_take_as_long_as_their_slowest_stage(tmp_path):
    scene = measuring.write_scene(tmp_path / "scene.tif", HEIGHT, WIDTH)
    rows: list[tuple[object, ...]] = [
        (
            "ms per window",
            "wall s",
            "engine s",
            "read s",
            "store s",
            "wall / slowest",
            "wait for first s",
            "for others s",
        )
    ]
    threads = []

    def noted(reader, *args, **options):
        made(reader, *args, **options)
        threads.append(reader.threads)

    made = BlockReader.__init__
    for window_ms in WINDOWS_MS:
        for _ in range(measuring.ROUNDS):
            engine, clock = Waiting(window_ms), measuring.Clock()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(BlockReader, "__init__", noted)
                clock.watch(patch, Scene, "read", "read")
                clock.watch(patch, pipeline, "store_block", "store")
                clock.watch(patch, predict, "predict_views", "blocks")
                predict.predict_scene(
                    str(scene),
                    PredictOutputs(tmp_path / "roads.tif"),
                    measuring.model(engine),
                    PredictSettings(overwrite=True, block_px=BLOCK_PX),
                )
            read, store = (clock.wall[name] / threads[-1] for name in ("read", "store"))
            wall, first, others = clock.wall["blocks"], engine.waits_s[0], sum(engine.waits_s[1:])
            ratio = wall / max(read, store, engine.busy_s)
            rows.append((window_ms, wall, engine.busy_s, read, store, ratio, first, others))
    measuring.show(f"Blocks of {BLOCK_PX} px, {threads[-1]} reader(s), {HEIGHT * WIDTH / 1e6:.0f} Mpx", rows)
