"""How fast everything but the network is, so that a GPU is not kept waiting.

    pytest -m benchmark -s tests/benchmarks/bench_pipeline.py

A 3-band deflate GeoTIFF of 147 megapixels goes through ``predict`` with an engine that hands the first band
back. That is harder on the writer than roads are: the answer is as rough as the photograph. Reading,
blending and storing overlap, so the parts add up to more than the whole.
"""

import statistics

import measuring
import pytest
import rasterio

from roadseg import predict
from roadseg.prediction import outputs, pipeline
from roadseg.raster.encoding import dequantize
from roadseg.raster.scene import Scene
from roadseg.settings import PredictOutputs, PredictSettings

HEIGHT, WIDTH = 12_000, 12_288
TARGET_MS = 40

WHOLE = f"end to end (target {TARGET_MS})"
PARTS = (
    (Scene, "read", "read", False),
    (pipeline, "predict_block", "windows and blend", False),
    (pipeline, "_store", "quantize and store", False),
    (outputs, "write_cog", "COG with overviews", True),
    (predict, "predict", WHOLE, True),
)


@pytest.mark.benchmark
def test_milliseconds_per_megapixel_without_the_network(tmp_path):
    scene = measuring.write_scene(tmp_path / "scene.tif", HEIGHT, WIDTH)
    target = tmp_path / "roads.tif"
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
