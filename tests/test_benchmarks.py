"""Every benchmark runs, on inputs so small that its figures mean nothing."""

import contextlib
import importlib
import inspect
import io
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine

FOLDER = Path(__file__).parent / "benchmarks"

TINY = {
    "bench_areas": {"MPX": 0.04, "HEIGHT": 180, "WIDTH": 220, "PATTERN_PX": (320, 720)},
    "bench_compare": {"CROSSINGS": 20},
    "bench_crops": {"LARGE_PX": 500, "PIECE_PX": 250, "TILE_PX": 300, "BATCH": 2, "BATCHES": 1},
    "bench_elsewhere": {},
    "bench_engines": {"WINDOWS": 1, "ROUNDS": 1},
    "bench_adapt": {"STEPS": 1},
    "bench_memory": {
        "RUNS": (("roadseg predict", 250), ("roadseg predict", 300), ("plain script", 250)),
        "LIMIT_MB": 1e6,
        "TILE_PX": 200,
        "TILES": 1,
    },
    "bench_metrics": {"SIDE": 200, "THINNED_SIDE": 200, "EDGES": (60,), "ROAD_KM": 2, "SIDES": (1024, 1024)},
    "bench_network": {"MPX": 0.08},
    "bench_network_quality": {},
    "bench_network_repair": {"MPX": 0.1, "SCENES": 2, "SCENE_PX": 300},
    "bench_peers": {"SIDE_PX": 240, "CORES": (1,), "ONLY": ("roadseg", "plain float32")},
    "bench_pipeline": {"HEIGHT": 300, "WIDTH": 340, "BLOCK_PX": 224, "WINDOWS_MS": (0.1,)},
    "bench_recipes": {"STEPS": 1, "WIDTH": 2, "BATCH": 1, "CROP": 32, "ONLY": ["default", "plain U-Net"]},
    "bench_shift": {"OTHERS": {}},
    "bench_training": {"TILE_PX": 80, "CROP": 48, "BATCH": 2, "BATCHES": 1},
    "bench_vectorize": {"MPX": 0.1},
    "bench_vectorize_command": {"SIDES": (300,)},
    "bench_vectorize_memory": {"SIDE": 300, "TILE_PX": 200, "BASE_MB": 1e6, "RUNS": (("dense", 1),)},
}
"""Constants of each benchmark, made small."""


def test_no_benchmark_is_left_out():
    assert {path.stem for path in FOLDER.glob("bench_*.py")} == set(TINY)


def in_this_process(script, *arguments):
    """Run what a benchmark runs in a process of its own, which would take seconds to start."""
    module, printed = sys.modules[Path(script).stem], io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", [script, *map(str, arguments)])
        module.main()
    return json.loads(printed.getvalue().splitlines()[-1])


def write_tiles(folder):
    """Write two tiles of noise, their masks, and predictions of them."""
    rng, place = np.random.default_rng(0), {"crs": "EPSG:26986", "transform": Affine(1, 0, 2e5, 0, -1, 9e5)}
    for name in ("a", "b"):
        mask = cv2.line(np.zeros((130, 150), np.uint8), (0, 60), (149, 70), 1, 7)
        image = rng.integers(0, 255, (3, *mask.shape), dtype=np.uint8)
        for kind, values in (("images", image), ("masks", mask[None]), ("predictions", 200 * mask[None])):
            path = folder / kind / f"{name}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            with rasterio.open(
                path, "w", driver="GTiff", height=130, width=150, count=len(values), dtype="uint8", **place
            ) as file:
                file.write(values)
    return folder


@pytest.mark.parametrize("name", TINY)
def test_a_benchmark_runs(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    measuring, module = importlib.import_module("measuring"), importlib.import_module(name)
    for constant, value in TINY[name].items():
        assert hasattr(module, constant)
        monkeypatch.setattr(module, constant, value)
    monkeypatch.setattr(measuring, "ROUNDS", 1)
    for owner in (measuring, module):
        monkeypatch.setattr(owner, "in_own_process", in_this_process, raising=False)
    folders = {split: write_tiles(tmp_path / "tiles" / split) for split in ("train", "dev")}
    if name in {"bench_recipes", "bench_network_quality"}:
        monkeypatch.setattr(module, "shared_tiles", folders.get)
    if name == "bench_shift":
        monkeypatch.setattr(module, "tiles", folders.get)
    if name in {"bench_elsewhere", "bench_adapt"}:
        monkeypatch.setattr(module, "folders", lambda: [folders["dev"]])
    monkeypatch.setenv("ROADSEG_PREDICTIONS", str(folders["dev"] / "predictions"))
    threads = cv2.getNumThreads()
    try:
        for number, function in enumerate(benchmarks(module)):
            folder = tmp_path / str(number)
            folder.mkdir()
            fixtures = {"tmp_path": folder, "monkeypatch": monkeypatch, **first_parameters(function)}
            function(**{key: fixtures[key] for key in inspect.signature(function).parameters})
    finally:
        cv2.setNumThreads(threads)


def benchmarks(module):
    """Return the tests of a module."""
    return [value for key, value in vars(module).items() if key.startswith("test_")]


def first_parameters(function):
    """Return the first set of values that a test is parametrized with."""
    marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
    return {mark.args[0]: next(iter(mark.args[1])) for mark in marks}
