"""Standard streams that are closed or full, names that would steer a terminal, and Ctrl-C before anything has begun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import roadseg
from road_rasters import draw_t, write_levels

FULL = "roadseg: error: stdout cannot be used (No space left on device); make room"


def shell(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command in which ``roadseg`` is this one."""
    line = command.replace("roadseg ", f"{sys.executable} -m roadseg ", 1)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, capture_output=True, text=True, check=False, timeout=120, env=environment
    )


@pytest.mark.parametrize("command", ["info", "--help", "--version", "train --print-config", "info roads.tif"])
def test_a_full_stdout_is_an_error(tmp_path: Path, command: str) -> None:
    write_levels(tmp_path / "roads.tif", draw_t())
    done = shell(tmp_path, f"roadseg {command} > /dev/full")
    assert (done.returncode, done.stderr.strip()) == (1, FULL)


@pytest.mark.parametrize("option", ["-o o.gpkg --json", "-o - --format GeoJSONSeq -q"])
def test_results_that_stdout_does_not_take_are_an_error(tmp_path: Path, option: str) -> None:
    write_levels(tmp_path / "roads.tif", draw_t())
    done = shell(tmp_path, f"roadseg vectorize roads.tif {option} > /dev/full")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, FULL)
    assert "Traceback" not in done.stderr


def test_closed_streams_do_not_hit_files(tmp_path: Path) -> None:
    """The first file that is opened gets the number of a closed stream: what is printed must not go into it."""
    write_levels(tmp_path / "roads.tif", draw_t())
    done = shell(tmp_path, "roadseg vectorize roads.tif -o whole.geojson")
    assert done.returncode == 0, done.stderr
    for number, closed in enumerate((">&- 2>&-", "<&- >&- 2>&-")):
        done = shell(tmp_path, f"roadseg vectorize roads.tif -o {number}.geojson {closed}")
        assert done.returncode == 0, (closed, done.stderr)
        assert (tmp_path / f"{number}.geojson").read_bytes() == (tmp_path / "whole.geojson").read_bytes()
    assert shell(tmp_path, "roadseg vectorize none.tif -o o.gpkg 2>&-").returncode == 1


def test_json_for_a_closed_stdout_is_an_error(tmp_path: Path) -> None:
    write_levels(tmp_path / "roads.tif", draw_t())
    done = shell(tmp_path, "roadseg info roads.tif >&-")
    assert done.returncode == 1
    assert (
        done.stderr.strip() == "roadseg: error: stdout cannot be used (Bad file descriptor); check it, -vv shows where"
    )
    assert shell(tmp_path, "roadseg info roads.tif | true").stderr == ""


def test_names_and_metadata_do_not_steer_the_terminal(tmp_path: Path) -> None:
    red = "\x1b[31mred\x07\u202e.tif"
    done = roadseg("info", tmp_path / red)
    assert done.returncode == 1
    assert r"\x1b[31mred\x07\u202e.tif does not exist" in done.stderr
    write_levels(tmp_path / red, draw_t(), tags={"ROADSEG_MODEL": "\u202etitle"})
    done = roadseg("info", tmp_path / red)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert r"\u202etitle" in done.stdout
    done = roadseg("vectorize", tmp_path / red, "-o", tmp_path / "o.gpkg")
    assert done.returncode == 0
    assert "\x1b" not in done.stderr
    done = roadseg("vectorize", tmp_path / red, "-o", tmp_path / "p.gpkg", "--json", "-q")
    assert json.loads(done.stdout)["raster"] == str(tmp_path / red)


def test_what_gdal_says_stays_off_stderr(tmp_path: Path) -> None:
    """GDAL warns of this tag, in bytes that are not UTF-8; its callback would raise where nobody can catch it."""
    write_levels(tmp_path / "roads.tif", draw_t())
    data = bytearray((tmp_path / "roads.tif").read_bytes())
    place = data.index(b"WGS 84 / UTM")
    data[place : place + 3] = b"\xff\x00\xfe"
    (tmp_path / "roads.tif").write_bytes(data)
    done = roadseg("vectorize", tmp_path / "roads.tif", "-o", tmp_path / "o.gpkg", "-q")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_message_of_gdal_in_other_bytes_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "a.vrt").write_bytes(b"<VRTDataset rasterXSize='3' \xc8\xff='\xc8'>")
    done = roadseg("info", tmp_path / "a.vrt")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert "is not a raster that GDAL can open" in done.stderr


def test_ctrl_c_during_the_imports_is_one_sentence() -> None:
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'roadseg.cli':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from roadseg.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (130, "roadseg: interrupted; nothing was begun")


def test_ctrl_c_while_the_options_are_read_is_one_sentence(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import roadseg.cli.options as options\n"
        "options.checked = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
        f"sys.argv = ['roadseg', 'vectorize', 'a.tif', '-o', {str(tmp_path / 'o.gpkg')!r}]\n"
        "from roadseg.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (130, "roadseg: interrupted; nothing was begun")


def test_ctrl_c_at_work_is_still_handled_by_the_command(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import roadseg.vectorize\n"
        "roadseg.vectorize.vectorize = lambda *_, **__: os.kill(os.getpid(), signal.SIGINT)\n"
        f"sys.argv = ['roadseg', 'vectorize', 'a.tif', '-o', {str(tmp_path / 'o.gpkg')!r}]\n"
        "from roadseg.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 130
    assert done.stderr.strip().startswith("roadseg: interrupted; the same command ")
