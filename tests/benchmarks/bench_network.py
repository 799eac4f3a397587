"""How much of the time is the network's, and what the blocks cost against a script that holds all in memory.

    pytest -m benchmark -s tests/benchmarks/bench_network.py

The compact network (width 16, random weights: time does not depend on them) on the CPU. The script is
what one would write first: read everything, run the same windows in batches, add up, divide, write. Both run in
turn, each in a process of its own, over the same scene. ``ROADSEG_BENCHMARK_MPX`` sets its size.
"""

import json
import os
import sys
import time
from pathlib import Path

import measuring
import numpy as np
import plain
import pytest
import rasterio
import torch
from numpy.typing import NDArray

from roadseg.model.resunet import ResUNet, normalize
from roadseg.predict import predict_scene
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.settings import EngineSettings, PredictOutputs, PredictSettings

MPX = float(os.environ.get("ROADSEG_BENCHMARK_MPX", "60"))
MEAN, STD = (0.4, 0.4, 0.4), (0.2, 0.2, 0.2)


def network() -> ResUNet:
    """Return the same compact network in every process."""
    torch.manual_seed(7)
    net = ResUNet(width=16)
    with torch.no_grad():
        net.train()(torch.randn(4, 3, 64, 64))
    return net.eval()


def by_roadseg(scene: Path, target: Path) -> dict[str, float]:
    """Predict in blocks; count the time in which the network's processor work goes on."""
    engine = TorchEngine(network(), MEAN, STD, EngineSettings(device="cpu"))
    clock = measuring.Clock()
    with pytest.MonkeyPatch.context() as patch:
        clock.watch(patch, engine, "_forward", "network")
        model = measuring.model(engine, mean=MEAN, std=STD)
        done = predict_scene(str(scene), PredictOutputs(target), model, PredictSettings())
    return {"seconds": done.seconds, "network": clock.wall["network"], "blocks": done.blocks}


def by_script(scene: Path, target: Path) -> dict[str, float]:
    """Predict the way of a plain script, with everything in memory."""
    net, spent = network(), [0.0]

    def answer(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        before = time.perf_counter()
        with torch.inference_mode():
            probability = torch.sigmoid(net(normalize(torch.from_numpy(batch), MEAN, STD)))[:, 0].numpy()
        spent[0] += time.perf_counter() - before
        return probability

    seconds = measuring.plain_script(scene, target, answer, batch_size=4)
    return {"seconds": seconds, "network": spent[0], "blocks": 1}


WAYS = {"roadseg predict": by_roadseg, "plain script": by_script}


@pytest.mark.benchmark
def test_share_of_the_network_and_time_and_memory_against_a_plain_script(tmp_path):
    side = round((MPX * 1e6) ** 0.5)
    scene = measuring.write_scene(tmp_path / "scene.tif", side - 50, side + 50)
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for turn in range(measuring.ROUNDS):
        for way in list(WAYS) if turn % 2 == 0 else reversed(WAYS):
            target = tmp_path / f"{way}.tif"
            target.unlink(missing_ok=True)
            runs[way].append(measuring.in_own_process(__file__, way, scene, target))
    rows: list[tuple[object, ...]] = [("", "seconds", "ms/Mpx", "processor ms/Mpx", "in the network", "peak RSS MB")]
    middle = {way: measuring.median(found) for way, found in runs.items()}
    for way, m in middle.items():
        share = f"{m['network'] / m['seconds']:.1%}"
        rows.append((way, m["seconds"], m["seconds"] / MPX * 1000, m["cpu"] / MPX * 1000, share, m["peak_mb"]))
    ours, theirs = middle.values()
    ratio = {key: ours[key] / theirs[key] for key in ("seconds", "cpu", "peak_mb")}
    rows.append(("ratio", ratio["seconds"], "", ratio["cpu"], "", ratio["peak_mb"]))
    measuring.show(f"Compact network on the CPU, {MPX:.0f} Mpx, medians of {measuring.ROUNDS}", rows)
    with rasterio.open(tmp_path / "roadseg predict.tif") as a, rasterio.open(tmp_path / "plain script.tif") as b:
        inner = ((0, plain.STRIDE), (0, plain.STRIDE))
        assert abs(a.read(1, window=inner).astype(int) - b.read(1, window=inner)).max() <= 1


def main() -> None:
    """Go one way once and print its figures."""
    before = time.process_time()
    figures = WAYS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
    print(json.dumps({**figures, "cpu": time.process_time() - before, "peak_mb": measuring.peak_rss_mb()}))


if __name__ == "__main__":
    main()
