"""The README: short, true, and runnable."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import roadseg

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
LINES = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
COMMANDS = [
    part.strip()
    for line in LINES
    for part in re.split(r"\||&&|;", line.replace(".venv/bin/", ""))
    if part.strip().startswith("roadseg ")
]
FILES = sorted(set(re.findall(r"(?<![\w/])(?:tests|sample_data|\.ci|\.github)/[\w/.]+\w", README)))


def test_is_at_most_200_lines() -> None:
    assert len(README.splitlines()) <= 200


def test_main_job_runs(tmp_path: Path) -> None:
    line = re.search(r"<!-- main job -->\n```sh\n(.*)\n```", README)
    assert line
    environment, install, job = line.group(1).split(" && ")
    assert environment == "python3 -m venv .venv"
    assert install.startswith(".venv/bin/pip install -c .ci/constraints.txt ")
    job = job.removeprefix(".venv/bin/")
    shutil.copytree(ROOT / "sample_data", tmp_path / "sample_data")
    words = [sys.executable, "-m", *shlex.split(job)]
    subprocess.run(words, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=300)
    assert {"roads.tif", "roads.gpkg", "roads.png"} <= {path.name for path in tmp_path.iterdir()}


def test_windows_gets_the_same_job() -> None:
    unix = re.search(r"<!-- main job -->\n```sh\n(.*)\n```", README)
    windows = re.search(r"```bat\n(.*?)```", README, re.DOTALL)
    assert unix
    assert windows
    commands = [line.replace("\\", "/").replace("/Scripts/", "/bin/") for line in windows.group(1).splitlines()]
    assert commands == unix.group(1).replace("python3", "py").split(" && ")


def test_the_pictures_come_first_and_are_small() -> None:
    pictures = re.findall(r"!\[[\w ]+\]\((\S+)\)", README)
    assert README.index(pictures[2]) < README.index("## Install")
    assert all(0 < (ROOT / path).stat().st_size < 100_000 for path in pictures)


def test_links_within_the_project_lead_somewhere() -> None:
    for path, heading in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", README):
        text = (ROOT / path).read_text("utf-8") if heading and path else README
        assert (ROOT / path).exists()
        titles = re.findall(r"^#+ (.*)", text, re.MULTILINE)
        assert not heading or heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_python_runs_and_prints_one_figure(tmp_path: Path) -> None:
    block = re.search(r"<!-- python -->\n```python\n(.*?)```", README, re.DOTALL)
    assert block
    shutil.copytree(ROOT / "sample_data", tmp_path / "sample_data")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-W", "error", "-c", block.group(1)]
    done = subprocess.run(words, check=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert 0.3 < float(done.stdout) <= 1
    assert done.stderr == ""
    assert {"roads.tif", "mask.tif", "roads.gpkg"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_python_passes_a_strict_type_checker(tmp_path: Path) -> None:
    block = re.search(r"<!-- python -->\n```python\n(.*?)```", README, re.DOTALL)
    assert block
    code = tmp_path / "code.py"
    further = ["roads.table()", "roads.to_networkx()", 'vectorize("roads.tif", as_="polygons").areas.polygons']
    code.write_text(block.group(1) + "\n".join(further), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_model_of_ones_own_is_as_good_as_promised(tmp_path: Path) -> None:
    line = re.search(r"^roadseg train --images sample_data/.*$", README, re.MULTILINE)
    promised = re.search(r"relaxed\s+F1 above (0\.\d+)", README)
    assert line
    assert promised
    shutil.copytree(ROOT / "sample_data", tmp_path / "sample_data")
    words = [sys.executable, "-m", *shlex.split(line.group(0)), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, check=True, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, timeout=900)
    assert json.loads(done.stdout)["dev"]["relaxed_f1"] > float(promised.group(1))


def test_test_command_is_there_for_ci() -> None:
    found = re.search(r"<!-- test command -->\n```sh\n(.*)\n```", README)
    assert found
    assert found.group(1).endswith("pytest -n auto")


@pytest.mark.parametrize("verb", sorted({shlex.split(command)[1] for command in COMMANDS}))
def test_options_in_the_readme_exist(verb: str) -> None:
    text = roadseg(verb, "--help").stdout
    for command in COMMANDS:
        words = shlex.split(command)
        if words[1] == verb:
            for option in (word for word in words if re.match(r"--?[a-z]", word)):
                assert re.search(rf"(^|[\s,]){re.escape(option)}\b", text), command


@pytest.mark.parametrize("path", FILES)
def test_files_in_the_readme_exist(path: str) -> None:
    assert (ROOT / path).exists()
