"""``roadseg predict`` as a whole command beside MONAI's sliding windows and a plain script, with the same weights.

    pip install --no-deps monai
    pytest -m benchmark -s tests/benchmarks/bench_peers.py

All run in turn, each in a process of its own, starting and loading included, with one thread on one processor and two
on two; ``peers`` has the scripts. MONAI is left out where it is not installed, bfloat16 where the processor lacks it.
What differs between the outputs is told, too.
"""

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import measuring
import peers
import plain
import pytest
import rasterio

from roadseg.model.device import cpu_has_bfloat16
from roadseg.prediction.engines.choose import is_installed

SIDE_PX, CORES = 3000, (1, 2)
ONLY: tuple[str, ...] = ()
"""Names of the runs to make; empty makes all."""


def commands() -> dict[str, list[str]]:
    """Return what can run here by name, without the paths of the scene and the output."""
    kinds = ["float32", *(["bfloat16"] if cpu_has_bfloat16() else [])]
    ours = [
        sys.executable,
        "-m",
        "roadseg",
        "predict",
        "--model",
        peers.MODEL,
        "--device",
        "cpu",
        "--no-recalibrate",
        "-q",
    ]
    found = {"roadseg": ours}
    for engine in ("openvino", "onnx", "torch"):
        for kind in kinds if is_installed(engine) else []:
            if (engine, kind) != ("onnx", "bfloat16"):
                found[f"roadseg {engine} {kind}"] = [*ours, "--engine", engine, "--precision", kind]
    for way in ("MONAI", "plain"):
        for kind in kinds if way == "plain" or find_spec("monai") else []:
            found[f"{way} {kind}"] = [sys.executable, peers.__file__, way, kind]
    return {name: words for name, words in found.items() if not ONLY or name in ONLY}


def run(command: list[str], scene: Path, target: Path, cores: int) -> dict[str, float]:
    """Run a command on so many processors; return seconds, processor seconds and peak memory."""
    target.unlink(missing_ok=True)
    paths = [str(scene), *(["-o"] if "predict" in command else []), str(target)]
    path = os.pathsep.join([str(measuring.ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(cores)}
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[-cores:])
    try:
        begun = time.monotonic()
        process = subprocess.Popen([*command, *paths], env=env, stderr=subprocess.PIPE)
        words = process.stderr.read() if process.stderr else b""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        taken = time.monotonic() - begun
    finally:
        os.sched_setaffinity(0, allowed)
        if process.stderr:
            process.stderr.close()
    assert process.returncode == 0, words.decode()
    return {"wall": taken, "cpu": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}


@pytest.mark.benchmark
def test_whole_commands_beside_peers(tmp_path):
    scene = measuring.write_scene(tmp_path / "scene.tif", SIDE_PX, SIDE_PX)
    target, mpx, exact = tmp_path / "roads.tif", SIDE_PX**2 / 1e6, None
    for cores in CORES:
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in commands()}
        apart: dict[str, float] = {}
        for turn in range(measuring.ROUNDS):
            for name, command in list(commands().items())[:: 1 if turn % 2 == 0 else -1]:
                taken[name].append(run(command, scene, target, cores))
                with rasterio.open(target) as file:
                    levels = file.read(1)[: -plain.WINDOW, : -plain.WINDOW].astype(int)
                exact = levels if exact is None else exact
                apart[name] = float(abs(levels - exact).mean())
        middle = {name: measuring.median(found) for name, found in taken.items()}
        first = next(iter(middle.values()))["wall"]
        rows: list[tuple[object, ...]] = [
            ("", "seconds", "s/Mpx", "processor s", "peak MB", "times the first", "mean grey levels from the first")
        ]
        for name, m in middle.items():
            rows.append((name, m["wall"], m["wall"] / mpx, m["cpu"], m["peak_mb"], m["wall"] / first, apart[name]))
        measuring.show(f"{peers.MODEL}, {mpx:.1f} Mpx, whole commands with {cores} thread(s)", rows)
        assert max(apart.values()) < 2
