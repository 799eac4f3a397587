"""The wheel and the sdist hold what they should, and the versions that are promised are the ones that are tested."""

import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import roadseg

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build both distributions with the backend that pip uses, offline."""
    pytest.importorskip("hatchling", reason="building needs hatchling (pip install -e '.[test]')")
    from hatchling.builders.sdist import SdistBuilder
    from hatchling.builders.wheel import WheelBuilder

    folder = tmp_path_factory.mktemp("dist")
    return [Path(next(builder(str(ROOT)).build(directory=str(folder)))) for builder in (WheelBuilder, SdistBuilder)]


def test_the_wheel_holds_models_types_and_licences(built):
    wheel, _ = built
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        metadata = file.read(f"roadseg-{roadseg.__version__}.dist-info/METADATA").decode()
    assert {"roadseg/py.typed", "roadseg/model/bundled/compact.safetensors", "roadseg/cli/__init__.py"} <= names
    info = f"roadseg-{roadseg.__version__}.dist-info/licenses"
    assert {f"{info}/LICENSE", f"{info}/NOTICE"} <= names
    assert {name.split("/")[0] for name in names} == {"roadseg", f"roadseg-{roadseg.__version__}.dist-info"}
    assert "License-Expression: Apache-2.0" in metadata
    assert wheel.stat().st_size < (25e6 if any("resunet.safetensors" in name for name in names) else 8e6)


def test_links_of_the_description_work_on_a_package_index(built):
    wheel, _ = built
    with zipfile.ZipFile(wheel) as file:
        metadata = file.read(f"roadseg-{roadseg.__version__}.dist-info/METADATA").decode()
    home, readme = PROJECT["urls"]["Homepage"], (ROOT / "README.md").read_text("utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", metadata.partition("\n\n")[2])
    assert len(links) == len(re.findall(r"\]\(([^)\s]+)\)", readme))
    assert all(link.startswith("https://") for link in links)
    for part, folder in ((f"{home}/raw/main/", "sample_data/"), (f"{home}/blob/main/", "")):
        places = [link.removeprefix(part).partition("#")[0] for link in links if link.startswith(part)]
        assert places
        assert all(place.startswith(folder) and (ROOT / place).is_file() for place in places)


def test_the_wheel_holds_the_plugins_of_qgis_and_rasterio(built):
    wheel, _ = built
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        entries = file.read(f"roadseg-{roadseg.__version__}.dist-info/entry_points.txt").decode()
    plugin = {path.name for path in (ROOT / "roadseg/qgis").iterdir() if path.is_file()}
    assert {"plugin.py", "metadata.txt", "probability.qml", "mask.qml"} <= plugin
    assert {f"roadseg/qgis/{name}" for name in plugin} <= names
    assert "[console_scripts]\nroadseg = {}\n".format(PROJECT["scripts"]["roadseg"]) in entries
    assert "[rasterio.rio_plugins]\nroadseg = roadseg.cli.rio:roadseg\n" in entries


def test_the_conda_recipe_asks_for_what_the_wheel_asks_for():
    recipe = (ROOT / ".github/packaging/recipe.yaml").read_text("utf-8")
    named = {"isal": "python-isal", "opencv-python-headless": "py-opencv", "torch": "pytorch"}
    wanted = dict(requirement.split(">=") for requirement in PROJECT["dependencies"])
    listed = dict(re.findall(r"^    - ([\w-]+) >=([\d.]+)$", recipe.partition("  run:\n")[2], re.MULTILINE))
    assert set(listed) == {named.get(name, name) for name in wanted}
    for name, version in wanted.items():
        assert version.startswith(listed[named.get(name, name)]), name
    assert f'version: "{roadseg.__version__}"' in recipe
    assert f'python_min: "{PROJECT["requires-python"].removeprefix(">=")}"' in recipe
    assert f"license: {PROJECT['license']}\n" in recipe
    for script in PROJECT["scripts"].items():
        assert "      - {} = {}\n".format(*script) in recipe


def test_changelog_and_citation_name_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^## (.*)$", changelog, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    released = re.fullmatch(r"\[([\d.]+)\] - (\d{4}-\d\d-\d\d)", headings[1])
    assert released, headings[1]
    assert released[1] == roadseg.__version__
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {released[1]}\ndate-released: {released[2]}\n" in citation


def test_the_image_is_built_from_what_is_there():
    text = (ROOT / ".github/packaging/Dockerfile").read_text("utf-8")
    python = re.search(r"^FROM python:(3\.\d+)-slim$", text, re.MULTILINE)
    assert python
    assert f"Programming Language :: Python :: {python[1]}" in PROJECT["classifiers"]
    assert all((ROOT / path).exists() for path in re.findall(r"/src/([\w./]*\w)", text))
    (extra,) = re.findall(r"/src\[(\w+)\]", text)
    assert extra in PROJECT["optional-dependencies"]
    assert "ENTRYPOINT" in text


def test_the_sdist_holds_what_the_tests_need(built):
    _, sdist = built
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    needed = {"tests/worlds.py", "sample_data/scene.tif", ".ci/run", ".github/CONTRIBUTING.md", "README.md", "NOTICE"}
    needed |= {".github/packaging/recipe.yaml", ".github/JSON.md", "sample_data/readme_scene.jpg"}
    assert needed <= names
    assert not {name for name in names if "__pycache__" in name or name.startswith((".git/", "tests/benchmarks/runs"))}


def test_pinned_versions_are_within_the_promised_ranges():
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.]+)$", (ROOT / ".ci/constraints.txt").read_text("utf-8"), re.MULTILINE))
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
    for requirement in wanted:
        name, lowest = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
        assert tuple(map(int, pinned[name].split("."))) >= tuple(map(int, lowest.split("."))), name


def test_the_citation_names_this_version():
    assert f"\nversion: {roadseg.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
