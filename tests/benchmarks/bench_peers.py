"""``roadseg predict`` as a whole command beside MONAI's sliding windows and a plain script, with the same weights.

    pip install --no-deps monai
    pytest -m benchmark -s tests/benchmarks/bench_peers.py

All run in turn, each in a process of its own, starting and loading included, on one processor and on two. The peers
hold the whole scene in memory, in float32 like their users would, and write a plain GeoTIFF. MONAI is left out
where it is not installed, bfloat16 where the processor lacks it. What differs between the outputs is told, too.
"""

import json
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import measuring
import numpy as np
import pytest
import rasterio

from roadseg.model.card import find_model
from roadseg.model.device import cpu_has_bfloat16
from roadseg.prediction.engines.choose import is_installed

MODEL, SIDE_PX, CORES = "compact", 3000, (1, 2)
BATCH = 4


def by_roadseg(scene: Path, target: Path, engine: str, precision: str) -> None:
    """Run the command."""
    from roadseg.cli import app

    options = ["--model", MODEL, "--engine", engine, "--precision", precision, "--device", "cpu", "-q"]
    app(["predict", str(scene), "-o", str(target), *options], standalone_mode=False)


def by_monai(scene: Path, target: Path, _: str, precision: str) -> None:
    """Predict the scene in one call of MONAI's SlidingWindowInferer; in bfloat16 the weights are converted once."""
    import torch
    from monai.inferers import SlidingWindowInferer

    from roadseg.model.resunet import normalize
    from roadseg.model.weights import load_model

    network, card = load_model(find_model(MODEL))
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    network = network.eval().to(kind, memory_format=torch.channels_last)
    with rasterio.open(scene) as file:
        pixels, grid = torch.from_numpy(file.read())[None], {"crs": file.crs, "transform": file.transform}
    overlap = 1 - measuring.STRIDE / measuring.WINDOW
    windows = SlidingWindowInferer(measuring.WINDOW, sw_batch_size=BATCH, overlap=overlap, mode="gaussian")
    with torch.inference_mode():
        values = normalize(pixels, card.mean, card.std)
        probability = windows(
            values, lambda batch: torch.sigmoid(network(batch.to(kind)).float() / card.temperature + card.bias)
        )
    levels = np.rint(probability[0, 0].numpy() * 254).astype(np.uint8)
    profile = {"driver": "GTiff", "height": levels.shape[0], "width": levels.shape[1], "count": 1, "dtype": "uint8"}
    with rasterio.open(target, "w", tiled=True, compress="deflate", zlevel=1, **profile, **grid) as made:
        made.write(levels, 1)


def by_script(scene: Path, target: Path, *_: str) -> None:
    """Predict the way of a plain script."""
    import torch

    from roadseg.model.resunet import normalize
    from roadseg.model.weights import load_model

    network, card = load_model(find_model(MODEL))
    network.eval()

    def answer(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits = network(normalize(torch.from_numpy(batch), card.mean, card.std))
            return torch.sigmoid(logits / card.temperature + card.bias)[:, 0].numpy()

    measuring.plain_script(scene, target, answer, batch_size=BATCH)


WAYS = {"roadseg": by_roadseg, "MONAI": by_monai, "plain script": by_script}


def runs() -> list[tuple[str, str, str]]:
    """Return what can run here: a way, an engine, a precision."""
    kinds = ["float32", *(["bfloat16"] if cpu_has_bfloat16() else [])]
    found = [("roadseg", "auto", "auto")]
    found += [("roadseg", name, kind) for name in ("openvino", "torch") if is_installed(name) for kind in kinds]
    found += [("MONAI", "", kind) for kind in kinds if find_spec("monai")]
    return [*found, ("plain script", "", "float32")]


@pytest.mark.benchmark
def test_whole_commands_beside_peers(tmp_path):
    scene = measuring.write_scene(tmp_path / "scene.tif", SIDE_PX, SIDE_PX)
    target, exact, mpx = tmp_path / "roads.tif", None, SIDE_PX**2 / 1e6
    allowed = os.sched_getaffinity(0)
    for cores in CORES:
        taken: dict[tuple[str, str, str], list[dict[str, float]]] = {run: [] for run in runs()}
        apart = {}
        for turn in range(measuring.ROUNDS):
            for run in list(taken) if turn % 2 == 0 else reversed(taken):
                target.unlink(missing_ok=True)
                os.sched_setaffinity(0, sorted(allowed)[-cores:])
                try:
                    begun = time.monotonic()
                    figures = measuring.in_own_process(__file__, *run, scene, target)
                    taken[run].append({"wall": time.monotonic() - begun, **figures})
                finally:
                    os.sched_setaffinity(0, allowed)
                with rasterio.open(target) as file:
                    levels = file.read(1)[: -measuring.WINDOW, : -measuring.WINDOW].astype(int)
                exact = levels if exact is None else exact
                apart[run] = float(abs(levels - exact).mean())
        middle = {run: measuring.median(found) for run, found in taken.items()}
        ours = middle["roadseg", "auto", "auto"]["wall"]
        rows: list[tuple[object, ...]] = [
            ("", "precision", "seconds", "s/Mpx", "processor s", "peak MB", "times the first", "mean grey levels apart")
        ]
        for (way, engine, kind), m in middle.items():
            figures = (m["wall"], m["wall"] / mpx, m["cpu"], m["peak_mb"], m["wall"] / ours)
            rows.append((f"{way} {engine}".strip(), kind, *figures, apart[way, engine, kind]))
        measuring.show(f"{MODEL}, {mpx:.1f} Mpx, whole commands on {cores} of the processors", rows)
    assert max(apart.values()) < 2


def main() -> None:
    """Go one way once and print its figures."""
    way, engine, precision, scene, target = sys.argv[1:]
    before = time.process_time()
    WAYS[way](Path(scene), Path(target), engine, precision)
    print(json.dumps({"cpu": time.process_time() - before, "peak_mb": measuring.peak_rss_mb()}))


if __name__ == "__main__":
    main()
