"""How fast the engines run the bundled model on this CPU, each against PyTorch in float32 in the same run.

    pytest -m benchmark -s tests/benchmarks/bench_engines.py

Every round gives each engine the same windows in turn, so that a machine whose speed drifts slows all of them; the
ratio is the median over rounds. Processor time, so that other work counts less; threads as ``OMP_NUM_THREADS`` says.
"""

import statistics
import time

import measuring
import numpy as np
import pytest

from roadseg.files.processors import thread_count
from roadseg.model.device import cpu_has_bfloat16
from roadseg.prediction.engines.choose import is_installed, load
from roadseg.settings import EngineSettings

MODEL, WINDOWS, ROUNDS = "compact", 12, 7
KINDS = [("torch", "float32"), ("torch", "bfloat16"), ("onnx", "float32"), ("openvino", "float32"),
         ("openvino", "bfloat16")]  # fmt: skip


def engines():
    """Return the engines that can run here, by name."""
    usable = [(e, p) for e, p in KINDS if is_installed(e) and (p == "float32" or cpu_has_bfloat16())]
    return {f"{e} {p}": load(MODEL, EngineSettings("cpu", p, engine=e)).engine for e, p in usable}


@pytest.mark.benchmark
def test_engines():
    size = load(MODEL, EngineSettings("cpu")).card.window_px
    pixels = [measuring.texture(size, size, seed)[None] for seed in range(WINDOWS)]
    found, seconds, answers = engines(), {}, {}
    for turn in range(ROUNDS + 1):  # the first one warms up
        for name, engine in found.items():
            started = time.process_time()
            answers[name] = np.concatenate(list(engine(iter(pixels))))
            if turn:
                seconds.setdefault(name, []).append(time.process_time() - started)
    base, exact = seconds["torch float32"], answers["torch float32"]
    rows = [("engine", "ms per window", "speed", "largest difference in grey levels")]
    for name, times in seconds.items():
        ratio = statistics.median(b / t for b, t in zip(base, times, strict=True))
        levels = float(np.abs(answers[name] - exact).max()) * 254
        rows.append((name, 1e3 * statistics.median(times) / WINDOWS, ratio, levels))
    measuring.show(f"{MODEL}, {WINDOWS} windows of {size} px, {thread_count()} thread(s)", rows)
    assert all(row[3] < 1 for row in rows[1:] if row[0].endswith("float32"))
