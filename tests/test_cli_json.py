"""``--json`` of every command: one object on a line, with just the keys that are documented."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import typer
from road_rasters import UTM_NORTH_UP, draw_t, write_levels
from training_tiles import make_folder
from worlds import NORTH_UP, picture, write_raster

import roadseg
from roadseg.cli import app
from roadseg.cli.terminal import JSON_VERSION

TEXT = (Path(__file__).parent.parent / ".github/JSON.md").read_text("utf-8")
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


DATA, LITTLE = ("data", "--device", "cpu"), ("--width", 2, "--batch", 2, "--crop", 32, "--steps", 1)
PREDICT = ("--device", "cpu", "--precision", "float32", "--engine", "torch")
TRAIN = ("train", *DATA, "-o", "m.safetensors", *LITTLE)
DOCUMENTS = [
    ("## predict", ("predict", "scene.tif", "-o", "roads.tif", "--model", "tiny.safetensors", *PREDICT)),
    ("## vectorize", ("vectorize", "p.tif", "-o", "roads.gpkg")),
    ("## compare", ("compare", "p.tif", "roads.geojson", "-o", "changes.gpkg")),
    ("## evaluate", ("evaluate", "p.tif", "t.tif", "--report", "report.html")),
    ("## adapt", ("adapt", *DATA, "-o", "a.safetensors", "--model", "tiny.safetensors", "--steps", 2, "--anyway")),
    ("## train", (*TRAIN, "--dev", "dev", "--set", "warmup_steps=1")),
    ("With `--check`", (*TRAIN, "--check")),
    ("## export", ("export", "tiny.safetensors", "-o", "item.json")),
    ("Without an argument", ("info",)),
    ("Of a raster", ("info", "scene.tif", "--model", "tiny.safetensors")),
    ("## qgis install", ("qgis", "install")),
]
"""Commands, and where JSON.md documents what they print; a model's card is below."""

VALUES = {
    "## predict": {"device": "cpu", "precision": "float32", "engine": "torch", "model": "tiny", "blocks_missing": 0},
    "## vectorize": {"roads": 3},
    "## compare": {"preview": None},
    "## evaluate": {"outputs": {"report": "report.html"}},
    "## adapt": {"output": "a.safetensors", "steps": 2, "elsewhere_before": None, "elsewhere_after": None},
    "## train": {"finished": True, "steps": 1},
    "## export": {"format": "STAC-MLM"},
    "## qgis install": {"profile": "default"},
}


@pytest.mark.parametrize(("heading", "command"), DOCUMENTS, ids=[" ".join(map(str, c[:2])) for _, c in DOCUMENTS])
def test_a_document_has_just_the_keys_that_are_documented(heading, command, printed, rasters, model_file, monkeypatch):
    rasters[0].rename("p.tif")
    rasters[1].rename("t.tif")
    monkeypatch.setenv("HOME", str(Path.cwd()))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    Path("tiny.safetensors").symlink_to(model_file)
    write_raster(Path("scene.tif"), picture(70, 90).astype(np.uint8), transform=NORTH_UP)
    if heading == "## compare":
        printed("vectorize", "p.tif", "-o", "roads.geojson")
    if "data" in command:
        make_folder(Path("data"), ("a", "b"))
        make_folder(Path("dev"), ("c",))
    values = printed(*command)
    assert set(values) - COMMON == documented(heading)
    wanted = VALUES.get(heading, {})
    assert {key: values[key] for key in wanted} == wanted


def test_every_command_is_documented_and_tried():
    app_command = typer.main.get_command(app)
    commands = {name: app_command.get_command(None, name) for name in app_command.list_commands(None)}
    commands["qgis install"] = commands.pop("qgis").commands["install"]
    assert set(re.findall(r"^## (.*)$", TEXT, re.MULTILINE)) == set(commands)
    tried = [" ".join(map(str, arguments)) for _, arguments in DOCUMENTS]
    for name, command in commands.items():
        assert any(text == name or text.startswith(f"{name} ") for text in tried), name
        assert "--json" in {flag for option in command.params for flag in option.opts}, name


def test_info_of_a_model_and_of_an_architecture(printed, model_file):
    architecture = printed("info", "--width", 64, "--upsample", "nearest")
    model = printed("info", model_file)
    assert set(model) | set(architecture) == documented("Of a model") | COMMON
    assert architecture["parameters"] == sum(layer["parameters"] for layer in architecture["layers"]) == 8_220_993
    assert architecture["layers"][0]["output"] == [64, 224, 224]
    assert model["card"]["name"] == "tiny"
