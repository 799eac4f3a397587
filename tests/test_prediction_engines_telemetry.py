"""ONNX Runtime and OpenVINO write no identifier of the machine and prepare no reports of its use."""

from pathlib import Path

import pytest
from commands import roadseg

SWITCHES = ("CI", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
"""Variables that would switch reports off by themselves, or move their folder."""


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_predictions_leave_nothing_in_the_home_folder(draw, engine, model_file, monkeypatch, tmp_path):
    home: Path = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)
    done = roadseg("predict", draw(60, 70), "-o", tmp_path / "roads.tif", "--model", model_file, "--engine", engine)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "roads.tif").exists()
    assert list(home.rglob("*")) == []
