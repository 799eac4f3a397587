"""What it takes to start: seconds of whole commands that have next to nothing to do.

    pytest -m benchmark -s tests/benchmarks/bench_start.py

A scene and a raster of roads of 245 × 245 px, each command in a process of its own. Python compiles the modules in a
run before, as pip does when it installs them; where nothing may be written beside them, each start takes 0.1 s more.
"""

import os
import subprocess
import sys
import time

import bench_vectorize_command
import drawing
import measuring
import pytest

SIDE = 245
COMMANDS = {
    "--help": ("--help",),
    "info compact": ("info", "compact"),
    "vectorize": ("vectorize", "{roads}", "-o", "{out}.gpkg"),
    "predict, OpenVINO": ("predict", "{scene}", "-o", "{out}.tif", "--engine", "openvino"),
    "predict, ONNX Runtime": ("predict", "{scene}", "-o", "{out}.tif", "--engine", "onnx"),
    "predict, PyTorch": ("predict", "{scene}", "-o", "{out}.tif", "--engine", "torch"),
}


@pytest.mark.benchmark
def test_starting_takes_little(tmp_path):
    paths = {
        "scene": measuring.write_scene(tmp_path / "scene.tif", SIDE, SIDE),
        "roads": bench_vectorize_command.write_roads(tmp_path / "roads.tif", SIDE, per_mpx=drawing.DENSE),
    }
    rows: list[tuple[object, ...]] = [("", "seconds", "processor seconds")]
    for name, words in COMMANDS.items():
        runs = []
        for number in range(1 + measuring.ROUNDS):
            out = tmp_path / f"{len(rows)}_{number}"
            runs.append(run(tmp_path / "bytecode", *(word.format(out=out, **paths) for word in words)))
        figures = measuring.median(runs[1:])
        rows.append((name, figures["seconds"], figures["cpu"]))
    measuring.show("Starting", rows)


def run(bytecode, *words):
    """Run a command; return what it takes, with Python's own start."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env |= {"PYTHONPYCACHEPREFIX": str(bytecode), "PYTHONPATH": str(measuring.ROOT)}
    started, before = time.monotonic(), os.times()
    done = subprocess.run([sys.executable, "-m", "roadseg", *words], env=env, capture_output=True, check=False)
    seconds, used = time.monotonic() - started, os.times()
    assert done.returncode == 0, done.stderr.decode()
    cpu = used.children_user + used.children_system - before.children_user - before.children_system
    return {"seconds": seconds, "cpu": cpu}
