"""Every benchmark runs, on inputs so small that its figures mean nothing."""

import contextlib
import importlib
import inspect
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import call, create_autospec

import cv2
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from roadseg.model.weights import load_model

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
    "bench_start": {"COMMANDS": {"--help": ("--help",), "info": ("info",)}},
    "bench_training": {"TILE_PX": 80, "CROP": 48, "BATCH": 2, "BATCHES": 1},
    "bench_vectorize": {"MPX": 0.1},
    "bench_vectorize_command": {"SIDES": (300,), "FILES": 2, "SMALL_PX": 200},
    "bench_vectorize_memory": {"SIDE": 300, "TILE_PX": 200, "BASE_MB": 1e6, "RUNS": (("dense", 1),)},
}
"""Constants of each benchmark, made small."""


def test_no_benchmark_is_left_out():
    assert {path.stem for path in FOLDER.glob("bench_*.py")} == set(TINY)

    programs = {path.stem for path in FOLDER.glob("*.py") if "def main()" in path.read_text("utf-8")} - set(TINY)
    models = {"widen_model", "train_models", "snapshot_model", "average_models", "bundle_model"}
    assert programs == {*models, "peers"}  # bench_peers runs it


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
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # compiling takes sknw longer than these sizes do
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


ADAPT = "--folder dev --tiles 3 0 --labels lines --drop 0.1 --shift 3 --offset 1 --jitter 0.5 --labels-are exact \
         --minutes 1 --steps 2 --seed 4 --model standard --model-gsd 0.5"
DAMAGE = {"drop": 0.1, "shift_m": 3.0, "offset_m": 1.0, "jitter": 0.5}
ADAPTED = {"labels_are": "exact", "minutes": 1.0, "steps": 2, "model": "standard", "model_gsd": 0.5}
ELSEWHERE = "--model m --every 3 --thresholds 0.1 0.2 --read-at 1 0.5 --scales 1 0.63 --no-recalibrate"
TABLE = {"every": 3, "thresholds": [0.1, 0.2], "scales": [1.0, 0.63], "recalibrate": False}
LINES = {"labels": "lines", "damage": DAMAGE, "options": ADAPTED, "seed": 4}
TAUGHT = "--folder dev --labels teacher --teacher t --minutes 1 --steps 2 --model standard --model-gsd 0.5"
UNDAMAGED = {"drop": 0.0, "shift_m": 0.0, "offset_m": 0.0, "jitter": 0.0}
BY_TEACHER = {
    "labels": "teacher",
    "damage": UNDAMAGED,
    "options": ADAPTED | {"labels_are": "auto", "teacher": "t"},
    "seed": 0,
}

COMMAND_LINES = [
    ("bench_adapt", ADAPT, "measured", [call(Path("dev"), tiles=3, **LINES), call(Path("dev"), tiles=0, **LINES)]),
    ("bench_adapt", TAUGHT, "measured", [call(Path("dev"), tiles=0, **BY_TEACHER)]),
    ("bench_elsewhere", ELSEWHERE, "table", [call("m", read_at=1.0, **TABLE), call("m", read_at=0.5, **TABLE)]),
    ("bench_elsewhere", "--kinds --every 2", "table_of_kinds", [call("compact", every=2)]),
    ("bench_elsewhere", "--sheets to --model m", "draw_sheets", [call("m", Path("to"), every=1)]),
    (
        "bench_shift",
        "--model m --every 3 --only counted --threshold 0.4",
        "table",
        [call("m", every=3, only="counted", threshold=0.4)],
    ),
]
"""Words that give every option, and the calls that they lead to."""


def start(module, words, monkeypatch):
    """Run the program of a benchmark."""
    monkeypatch.setattr(sys, "argv", [module.__file__, *words])
    module.main()


@pytest.mark.parametrize(("name", "words", "function", "calls"), COMMAND_LINES)
def test_a_benchmark_does_what_its_command_line_says(name, words, function, calls, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module(name)
    if name == "bench_adapt":
        monkeypatch.setattr(module, "folders", lambda: [Path("other"), Path("dev")])
    work = create_autospec(getattr(module, function), return_value=["–"] * 8)
    monkeypatch.setattr(module, function, work)
    start(module, words.split(), monkeypatch)
    assert work.mock_calls == calls


@pytest.mark.parametrize("name", ["bench_adapt", "bench_elsewhere", "bench_shift"])
def test_the_head_of_a_benchmark_has_commands_that_work(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module(name)
    names = {"measured", "table", "table_of_kinds", "draw_sheets"} & set(vars(module))
    work = {one: create_autospec(getattr(module, one), return_value=["–"] * 8) for one in names}
    for one in names:
        monkeypatch.setattr(module, one, work[one])
    monkeypatch.setattr(module, "folders", lambda: [Path("moravia_025")], raising=False)
    lines = re.findall(rf"python tests/benchmarks/{name}.py (.*?)(?: {{4,}}#.*)?$", module.__doc__, re.MULTILINE)
    assert len(lines) > 1
    for line in lines:
        start(module, line.split(), monkeypatch)
        assert any(one.called for one in work.values()), line
        for one in work.values():
            one.reset_mock()
    tried = " ".join(words for one, words, *_ in COMMAND_LINES if one == name)
    with pytest.raises(SystemExit):
        start(module, ["--help"], monkeypatch)
    assert set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.MULTILINE)) == set(
        re.findall(r"--[a-z-]+", tried)
    )


def test_the_scripts_that_make_models(tmp_path, monkeypatch, model_file, say):
    """Widen a model, train it until there is a checkpoint, take a snapshot, and prepare that for the package."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def in_this_process(words, **_):
        said = say(*words[3:])
        print(said.stderr, file=sys.stderr)
        return subprocess.CompletedProcess(words, said.status, said.stdout, said.stderr)

    monkeypatch.setattr("subprocess.run", in_this_process)
    tiles, dev, out = write_tiles(tmp_path / "tiles"), write_tiles(tmp_path / "dev"), tmp_path / "out"
    out.mkdir()

    def script(name, *words):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [name, *map(str, words)])
            return importlib.import_module(name).main()

    script("widen_model", model_file, out / "wide.safetensors")
    short = ("steps=2000", "width=4", "batch=1", "crop=32", "precision=float32", "checkpoint_minutes=0")
    settings = [word for setting in short for word in ("--set", setting)]
    chunk = ("standard", tiles, dev, out, "--minutes", 1e-4, "--device", "cpu", *settings)
    assert script("train_models", *chunk, "--small-files") == 3
    assert script("train_models", *chunk) == 3
    script("snapshot_model", out / "standard.run", out / "snapshot.safetensors")
    assert load_model(out / "snapshot.safetensors")[1].recipe["steps_taken"] > 0
    script(
        "average_models",
        out / "mean.safetensors",
        f"{out / 'snapshot.safetensors'}=0.5",
        f"{out / 'wide.safetensors'}=0.5",
    )
    members = [load_model(out / f"{name}.safetensors")[0].state_dict() for name in ("mean", "snapshot", "wide")]
    for mean, *others in zip(*(state.values() for state in members), strict=True):
        torch.testing.assert_close(mean, (others[0] + others[1]) / 2 if mean.is_floating_point() else others[0])
    script("bundle_model", out / "mean.safetensors", "standard", tmp_path, "--data", tiles)
    network, card = load_model(tmp_path / "standard.safetensors")
    assert (network.width, card.name) == (4, "standard")
    assert card.seen
