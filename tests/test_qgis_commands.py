"""The QGIS plugin builds commands that the command line understands, and reads its progress."""

import ast
import configparser
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import roadseg

from roadseg.files.targets import GEOTIFF
from roadseg.qgis.commands import ALGORITHMS, RASTERS, VECTORS, arguments, lines_of, output_of, progress_of, with_labels
from roadseg.qgis.install import PLUGIN, install, profiles_folders
from roadseg.roads.files.write import SUFFIXES

BY_NAME = {algorithm.name: algorithm for algorithm in ALGORITHMS}
FOLDER = Path(__file__).parents[1] / "roadseg" / "qgis"


def test_empty_parameters_leave_their_options_out():
    values = {"INPUT": "scene.tif", "OUTPUT": "roads.tif", "MODEL": "", "EXTENT": None, "TTA": False, "MASK": None}
    assert arguments(BY_NAME["predict"], values) == [
        "predict", "-o", "roads.tif", "--overwrite", "--progress", "--", "scene.tif",
    ]  # fmt: skip


def test_every_kind_of_value_becomes_text():
    values = {"INPUT": "-odd.tif", "OUTPUT": "o.tif", "TTA": True, "EXTENT": [1.5, 2.0, 3e6, 4.25], "GSD": 0.25}
    made = arguments(BY_NAME["predict"], values)
    assert made[made.index("--bbox") + 1] == "1.5,2,3000000,4.25"
    assert made[made.index("--gsd") + 1] == "0.25"
    assert "--tta" in made
    assert made[-2:] == ["--", "-odd.tif"]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)
def test_the_command_has_every_option(algorithm):
    text = roadseg(algorithm.name, "--help").stdout
    options = {parameter.option for parameter in algorithm.parameters if parameter.option}
    missing = {option for option in {*options, *algorithm.fixed} if option not in text}
    assert not missing


def test_messages_name_the_parameters_of_the_dialog_instead_of_options():
    predict, vectorize = ALGORITHMS[:2]
    said = "no CUDA device is available; use --device cpu or --bbox-crs, --gsd"
    assert with_labels(predict, said) == said.replace("--device", "“Device”").replace(
        "--gsd", "“Pixel size in metres, for imagery without a CRS”"
    )
    assert with_labels(vectorize, "leave out --as polygons, or --gsd") == "leave out “Roads as” polygons, or --gsd"


def test_progress_is_read_from_bars_that_draw_over_themselves():
    chunks = [b"roadseg: reading\n\r  7%|#", b"    | 1/14\r 50%|#####   | 7/14", b"\rroadseg: 12 roads found"]
    lines = list(lines_of(iter(chunks)))
    assert [progress_of(line) for line in lines] == [None, 7, 50, None]
    assert lines[-1] == "roadseg: 12 roads found"


@pytest.mark.skipif(sys.platform == "win32", reason="processes end at once there")
@pytest.mark.parametrize("obeys", [True, False])
def test_a_silent_command_ends_soon_after_a_cancel_and_is_killed_only_if_it_does_not_obey(obeys):
    code = "import signal, time\n" + ("" if obeys else "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n")
    code += "print('begun', flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        canceled = []
        lines = output_of(process, lambda: bool(canceled))
        assert next(lines) == "begun"
        canceled.append(True)
        began = time.monotonic()
        assert list(lines) == []
    assert time.monotonic() - began < 30  # it would go on for 60
    assert process.returncode == (-signal.SIGTERM if obeys else -signal.SIGKILL)


def test_the_plugin_is_copied_into_a_profile_with_the_command_to_start(tmp_path):
    (target,) = install("default", Path("/opt/bin/roadseg"), profiles=[tmp_path])
    assert target == tmp_path / "default/python/plugins/roadseg_processing"
    assert (target / "executable.txt").read_text("utf-8").strip() == "/opt/bin/roadseg"
    assert {path.name for path in target.iterdir()} >= {"__init__.py", "metadata.txt", "plugin.py", "commands.py"}
    assert not (target / "install.py").exists()


def test_an_unknown_profile_is_refused_with_those_there_are(tmp_path):
    (tmp_path / "work").mkdir()
    with pytest.raises(ValueError, match=r"no QGIS profile home.*has work"):
        install("home", Path("roadseg"), profiles=[tmp_path])
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


def test_the_plugin_imports_qgis_and_nothing_of_the_package():
    for path in FOLDER.glob("*.py"):
        imported = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
        assert not [node.module for node in imported if node.level == 0 and str(node.module).startswith("roadseg")]


@pytest.mark.skipif(sys.platform != "linux", reason="profiles lie elsewhere")
@pytest.mark.parametrize(
    ("there", "made"),
    [
        ([], ["QGIS3", "QGIS4"]),
        (["QGIS3/profiles/default"], ["QGIS3"]),  # what QGIS 4 finds at its first start keeps it from copying this one
        (["QGIS4/profiles/default"], ["QGIS4"]),
        (["QGIS3/profiles/default", "QGIS4/profiles/default"], ["QGIS3", "QGIS4"]),
    ],
)
def test_the_plugin_goes_to_the_versions_of_qgis_that_were_started(tmp_path, monkeypatch, there, made):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for folder in there:
        (tmp_path / "QGIS" / folder).mkdir(parents=True)
    targets = install("default", Path("roadseg"))
    assert targets == [tmp_path / f"QGIS/{version}/profiles/default/python/plugins" / PLUGIN for version in made]
    assert sorted(path.name for path in (tmp_path / "QGIS").iterdir()) == made
    with pytest.raises(ValueError, match=r"there is no QGIS profile work; .*has default; choose one, or create"):
        install("work", Path("roadseg"))
    work = tmp_path / "QGIS" / made[-1] / "profiles/work"
    work.mkdir()
    assert install("work", Path("roadseg")) == [work / "python/plugins" / PLUGIN]


@pytest.mark.skipif(sys.platform != "linux", reason="profiles lie elsewhere")
def test_an_empty_variable_is_no_folder_of_profiles(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert profiles_folders() == [tmp_path / f".local/share/QGIS/{version}/profiles" for version in ("QGIS3", "QGIS4")]


def test_the_metadata_admit_qgis_3_and_4():
    told = configparser.ConfigParser()
    told.read(FOLDER / "metadata.txt", encoding="utf-8")
    general = told["general"]
    assert (general["qgisMinimumVersion"], general["qgisMaximumVersion"]) == ("3.16", "4.99")
    assert general.getboolean("supportsQt6")  # builds of QGIS 3 with Qt 6 ask for it


@pytest.mark.skipif(sys.platform != "linux", reason="profiles lie elsewhere")
def test_the_command_line_installs_the_plugin_in_the_users_profile(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    done = roadseg("qgis", "install")
    assert done.returncode == 0, done.stderr
    target = tmp_path / "QGIS/QGIS3/profiles/default/python/plugins/roadseg_processing"
    assert str(target) in done.stdout
    assert f"qgis_process plugins enable {target.name}\n" in done.stdout
    assert Path((target / "executable.txt").read_text("utf-8").strip()).is_absolute()
    refused = roadseg("qgis", "install", "--profile", "work")
    assert refused.returncode == 1
    assert "there is no QGIS profile work" in refused.stderr


def test_the_endings_that_qgis_offers_are_those_that_are_written():
    assert set(VECTORS) <= {suffix.removeprefix(".") for suffix in SUFFIXES}
    assert set(RASTERS) == {suffix.removeprefix(".") for suffix in GEOTIFF}
