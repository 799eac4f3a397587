"""roadseg among the commands of rasterio."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner  # noqa: TID251

import roadseg

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture
def rio(monkeypatch):
    """Return a function that runs the command that rasterio finds."""
    (name, value), *others = PROJECT["entry-points"]["rasterio.rio_plugins"].items()
    assert not others
    command = EntryPoint(name, value, "rasterio.rio_plugins").load()
    monkeypatch.setattr("sys.argv", ["rio"])
    return lambda *arguments: CliRunner().invoke(command, [str(a) for a in arguments])


def test_options_and_help_reach_roadseg(rio):
    assert rio("--version").stdout == f"roadseg {roadseg.__version__}\n"
    assert "Find the roads of scenes." in rio("predict", "--help").stdout


def test_exit_statuses_are_those_of_roadseg(rio, tmp_path):
    missing = rio("vectorize", tmp_path / "none.tif", "-o", tmp_path / "r.gpkg")
    assert missing.exit_code == 1
    assert missing.stderr.startswith("roadseg: error: ")
    assert rio("vectorize", "--none").exit_code == 2
