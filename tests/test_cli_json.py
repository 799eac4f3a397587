"""``--json`` of every command: one object on a line, with just the keys that are documented."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from road_rasters import UTM_NORTH_UP, draw_t, write_levels
from training_tiles import make_folder

import roadseg
from roadseg.cli.terminal import JSON_VERSION

TEXT = (Path(__file__).parent.parent / ".github/JSON.md").read_text()
COMMON = {"version", "command", "roadseg"}


def documented(heading: str) -> set[str]:
    """Return the keys of the first table after a heading, or after a line of text."""
    part = TEXT[f"\n{TEXT}".index(f"\n{heading}") :]
    table = re.search(r"\| key \| \|\n\|---\|---\|\n((?:\|.*\n)+)", part)
    assert table
    return {key for row in table[1].splitlines() for key in re.findall(r"`(\w+)`", row.split("|")[1])}


@pytest.fixture
def printed(say):
    """Return a function that runs a command with ``--json`` and returns the object it prints."""

    def run(*arguments):
        said = say(*arguments, "--json")
        assert said.status == 0, said.stderr
        (line,) = said.stdout.splitlines()
        values = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert list(values)[:3] == ["version", "command", "roadseg"]
        assert (values["version"], values["command"]) == (JSON_VERSION, arguments[0])
        assert values["roadseg"] == roadseg.__version__
        return values

    return run


@pytest.fixture
def rasters(tmp_path):
    """Return a raster of probabilities and its mask."""
    road = draw_t()
    truth = write_levels(tmp_path / "t.tif", (road > 0).astype(np.uint8), scale=None, transform=UTM_NORTH_UP)
    return write_levels(tmp_path / "p.tif", road, transform=UTM_NORTH_UP), truth


def test_the_common_keys_are_documented():
    assert documented("# What") == COMMON


def test_predict(printed, draw, model_file):
    options = ["--model", model_file, "--device", "cpu", "--precision", "float32", "--engine", "torch"]
    values = printed("predict", draw(70, 90), "-o", "roads.tif", *options)
    assert set(values) - COMMON == documented("## predict")
    assert (values["device"], values["precision"], values["engine"]) == ("cpu", "float32", "torch")
    assert (values["model"], len(values["model_hash"])) == ("tiny", 64)


def test_vectorize(printed, rasters):
    values = printed("vectorize", rasters[0], "-o", "roads.gpkg")
    assert set(values) - COMMON == documented("## vectorize")
    assert values["roads"] == 3


def test_compare(printed, rasters, say):
    say("vectorize", rasters[0], "-o", "roads.gpkg")
    values = printed("compare", rasters[0], "roads.gpkg", "-o", "changes.gpkg")
    assert set(values) - COMMON == documented("## compare")
    assert values["preview"] is None


def test_evaluate(printed, rasters):
    values = printed("evaluate", *rasters, "--report", "report.html")
    assert set(values) - COMMON == documented("## evaluate")
    assert values["outputs"] == {"report": "report.html"}
    assert values["curves"]


def test_train_and_its_check(printed, tmp_path):
    data, dev = make_folder(tmp_path / "data", ("a", "b")), make_folder(tmp_path / "dev", ("c",))
    common = ["train", data, "-o", "m.safetensors", "--width", 2, "--batch", 2, "--crop", 32, "--steps", 1]
    assert set(printed(*common, "--check")) - COMMON == documented("With `--check`")
    values = printed(*common, "--dev", dev, "--device", "cpu", "--set", "warmup_steps=1")
    assert set(values) - COMMON == documented("## train")
    assert values["dev"]["tiles"] == 1


def test_export(printed, model_file):
    assert set(printed("export", model_file, "-o", "item.json")) - COMMON == documented("## export")


def test_info(printed, draw, model_file):
    scene = draw(70, 90)
    assert set(printed("info")) - COMMON == documented("Without an argument")
    architecture = printed("info", "--width", 64, "--upsample", "nearest")
    model = printed("info", model_file)
    assert set(model) | set(architecture) == documented("Of a model") | COMMON
    assert set(printed("info", scene, "--model", model_file)) - COMMON == documented("Of a raster")
    assert architecture["parameters"] == sum(layer["parameters"] for layer in architecture["layers"]) == 8_220_993
    assert architecture["layers"][0]["output"] == [64, 224, 224]
    assert model["card"]["name"] == "tiny"
