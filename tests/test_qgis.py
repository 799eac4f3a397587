"""The plugin in a real, headless QGIS: ``qgis_process`` finds the algorithms and runs them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio

from roadseg.qgis.install import PLUGIN, install

# Debian's wrapper script passes an option that qgis_process refuses, so the program behind it comes first.
QGIS = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "sample_data"

KINDS = ("Vector", "Raster")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(QGIS is None, reason="QGIS is not installed")]


@pytest.fixture
def scene(tmp_path):
    """Return a copy of the sample scene: QGIS writes statistics beside the rasters it opens."""
    return Path(shutil.copy(SAMPLE / "scene.tif", tmp_path))


@pytest.fixture(scope="module")
def qgis(tmp_path_factory):
    """Return a function that runs qgis_process in a home folder of its own, with the plugin installed there."""
    home = tmp_path_factory.mktemp("home")
    command = home / "roadseg"
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m roadseg "$@"\n', "utf-8")
    command.chmod(0o755)
    install("default", command, profiles=[home / f"share/QGIS/{version}/profiles" for version in ("QGIS3", "QGIS4")])
    runtime = home / "runtime"
    runtime.mkdir(mode=0o700)
    places = {"HOME": home, "XDG_DATA_HOME": home / "share", "XDG_CONFIG_HOME": home, "XDG_RUNTIME_DIR": runtime}
    # QGIS embeds the system's Python; a virtual environment on the PATH or a PYTHONPATH would mislead it.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    own = {"PATH": os.defpath, "QT_QPA_PLATFORM": "offscreen", **{key: str(path) for key, path in places.items()}}
    environment = {**inherited, **own}

    def run(*arguments):
        found = subprocess.run(
            [QGIS, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        return found.returncode, found.stdout + found.stderr

    _, text = run("plugins", "enable", PLUGIN)
    assert "roadseg" in text
    for settings in home.glob("share/QGIS/QGIS?/profiles/default/QGIS/QGIS?.ini"):  # a user who likes other formats
        with settings.open("a", encoding="utf-8") as file:
            file.write(
                "\n[Processing]\n" + "".join(f"Configuration\\DefaultOutput{kind}LayerExt=1\n" for kind in KINDS)
            )
    return run


def test_the_algorithms_are_listed(qgis):
    _, text = qgis("list")
    assert all(f"roadseg:{name}" in text for name in ("predict", "vectorize", "evaluate", "compare"))


def test_predict_reprojects_the_extent_and_writes_raster_and_network(qgis, scene, tmp_path):
    status, text = qgis(
        "run", "roadseg:predict", f"--INPUT={scene}", f"--OUTPUT={tmp_path / 'roads.tif'}",
        f"--VECTOR={tmp_path / 'roads.gpkg'}", "--EXTENT=171100,171700,902000,902500 [EPSG:26986]",
    )  # fmt: skip
    assert status == 0, text
    with rasterio.open(tmp_path / "roads.tif") as raster:
        assert (raster.width, raster.height) == (600, 500)
    assert (tmp_path / "roads.gpkg").exists()
    assert "ResourceWarning" not in text


def test_temporary_outputs_have_formats_that_roadseg_writes_whatever_the_user_likes_elsewhere(qgis, scene):
    status, text = qgis(
        "run", "roadseg:predict", f"--INPUT={scene}", "--OUTPUT=TEMPORARY_OUTPUT", "--VECTOR=TEMPORARY_OUTPUT",
        "--EXTENT=171100,171700,902000,902500 [EPSG:26986]",
    )  # fmt: skip
    assert status == 0, text
    assert all(f"/{name}" in text for name in ("OUTPUT.tif", "VECTOR.gpkg"))


def test_an_error_reaches_the_user_as_the_one_sentence(qgis, scene, tmp_path):
    status, text = qgis("run", "roadseg:vectorize", f"--INPUT={scene}", f"--OUTPUT={tmp_path / 'r.gpkg'}")
    assert status != 0
    assert "ERROR" in text
    assert "scene.tif" in text
    assert "Traceback" not in text
    assert not (tmp_path / "r.gpkg").exists()
    out = f"--OUTPUT={tmp_path / 'p.tif'}"
    status, text = qgis("run", "roadseg:predict", f"--INPUT={scene}", "--THRESHOLD=7", out)
    assert status != 0
    assert "“Threshold (0 to 1)” must be from 0 to 1, not 7" in text
