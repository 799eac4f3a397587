"""Killed at any moment, run at once, or with a disk that fills up: nothing is lost, and nothing is wrong at exit 0."""

import hashlib
import json
import shutil
import time
from pathlib import Path
from random import Random

import numpy as np
import pyogrio
import pytest
from campaign import states_in
from inputs import ADAPT, PREDICT, TRAIN
from preloaded import Outcome, Preloaded
from worlds import NORTH_UP, picture, write_raster

COMMANDS = {
    "predict": (["predict", "scene.tif", "--model", "m.safetensors", "-o", "o.tif", "--vector", "o.gpkg",
                 "--preview", "o.png", "--mask", "k.tif", *PREDICT], ("o.tif", "o.gpkg", "o.png", "k.tif")),
    "views": (["predict", "scene.tif", "--model", "m.safetensors", "-o", "o.tif", "--scales", "1,0.63", "--style",
               "--uncertainty", "u.tif", *PREDICT], ("o.tif", "u.tif", "o.qml")),
    "vectorize": (["vectorize", "roads.tif", "-o", "o.gpkg", "--preview", "o.png", "-q"], ("o.gpkg", "o.png")),
    "train": (["train", "data.csv", "-o", "o.safetensors", *TRAIN], ("o.safetensors",)),
    "compare": (["compare", "roads.gpkg", "truth.gpkg", "-o", "o.gpkg", "--preview", "o.png", "-q"],
                ("o.gpkg", "o.png")),
    "evaluate": (["evaluate", "roads.tif", "truth.tif", "--report", "o.html", "--errors", "o.tif", "-q"],
                 ("o.html", "o.tif")),
    "adapt": (["adapt", "data.csv", "-o", "o.safetensors", *ADAPT], ("o.safetensors",)),
    "export": (["export", "m.safetensors", "-o", "o.json", "-q"], ("o.json",)),
}  # fmt: skip
"""Commands by verb, and what they write."""


def fresh(inputs: Path, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    return Path(shutil.copytree(inputs, place))


def rows_of(path: Path) -> str:
    """Return a hash of the rows of all layers of a GeoPackage, whose pages and dates may differ."""
    digest = hashlib.sha256()
    for layer, kind in sorted(pyogrio.list_layers(path).tolist(), key=str):
        if kind is None:  # the styles, with a date
            continue
        _, _, shapes, fields = pyogrio.raw.read(path, layer=layer)
        digest.update(repr((layer, list(shapes), [list(map(str, field)) for field in fields])).encode())
    return digest.hexdigest()


def content(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Return the outputs by name: the rows of GeoPackages, the size of what holds a date, a hash of the rest."""
    found = {}
    for name in names:
        data = (folder / name).read_bytes()
        if name.endswith(".gpkg"):
            found[name] = rows_of(folder / name)
        else:
            dated = name.endswith((".safetensors", ".html"))
            found[name] = str(len(data)) if dated else hashlib.sha256(data).hexdigest()
    return found


@pytest.fixture(scope="session")
def whole(inputs: Path, tmp_path_factory: pytest.TempPathFactory, preloaded: Preloaded) -> dict[str, dict[str, str]]:
    """Return what undisturbed commands write."""
    found = {}
    for verb, (command, outputs) in COMMANDS.items():
        folder = fresh(inputs, tmp_path_factory.mktemp("whole") / verb)
        assert preloaded.run(command, folder).status == 0
        found[verb] = content(folder, outputs)
    return found


def assert_finished(verb: str, folder: Path, before: set[str], whole: dict[str, dict[str, str]]) -> None:
    """Check that the outputs are those of an undisturbed run, and that nothing else is new."""
    outputs = COMMANDS[verb][1]
    assert content(folder, outputs) == whole[verb]
    runs = {name for name in states_in(folder) if name.startswith("o.run/")}
    assert set(states_in(folder)) - runs == before | set(outputs)


def repeat(command: list[str], folder: Path, preloaded: Preloaded) -> Outcome:
    """Run a command again; the lock of a run that was killed before it had written it lasts for five seconds."""
    again = preloaded.run(command, folder)
    if "which has just begun" in again.stderr:
        time.sleep(5.5)
        again = preloaded.run(command, folder)
    return again


def kill_and_repeat(verb: str, number: int, inputs: Path, folder: Path, preloaded: Preloaded, whole: dict) -> None:
    """Kill a command at a random moment, once or twice, then repeat it to the end."""
    random = Random(f"kill {verb} {number}")
    command, outputs = COMMANDS[verb]
    folder = fresh(inputs, folder)
    before = set(states_in(folder))
    for _ in range(random.choice((1, 1, 2))):
        killed = preloaded.run(command, folder, kill_after_s=random.uniform(0.02, 0.6))
        if killed.status != -9:
            assert killed.status == 0 or "--overwrite" in killed.stderr, killed.stderr  # or killed after the outputs
            break
    if not all((folder / name).exists() for name in outputs):
        again = repeat(command, folder, preloaded)
        published = [name for name in outputs if (folder / name).exists()]
        if again.status == 1 and "add --overwrite" in again.stderr:  # killed between two outputs, or after them
            assert published, again.stderr
            again = repeat([*command, "--overwrite"], folder, preloaded)
        assert again.status == 0, (number, again.stderr)
    elif verb in {"vectorize", "compare"}:  # killed after the outputs, before its folder was removed
        assert repeat([*command, "--overwrite"], folder, preloaded).status == 0
    elif (folder / "o.tif.partial").exists():
        assert repeat(command, folder, preloaded).status == 0
    locks = {name for name in states_in(folder) if name.endswith(".lock")}
    if locks:  # killed after the outputs: the lock of a process that is gone
        assert repeat([*command, "--overwrite"], folder, preloaded).status == 0
    assert_finished(verb, folder, before, whole)


SLOWER = "adapt"
"""Takes a second and more: killed once in the default run, and no more."""

QUICK = tuple(verb for verb in COMMANDS if verb != SLOWER)
KILLED = ("predict", "views", "vectorize", "train", "compare", "adapt")


@pytest.mark.parametrize("verb", KILLED)
def test_killed_runs_are_repeated_to_the_same_outputs(verb, inputs, tmp_path, preloaded, whole):
    for number in range(1 if verb == SLOWER else 2):
        kill_and_repeat(verb, number, inputs, tmp_path / "case", preloaded, whole)


@pytest.mark.slow
@pytest.mark.parametrize("verb", KILLED)
def test_many_killed_runs(verb, inputs, tmp_path, preloaded, whole):
    for number in range(100, 140):
        kill_and_repeat(verb, number, inputs, tmp_path / "case", preloaded, whole)


def kill_parts_and_finish(number: int, inputs: Path, folder: Path, preloaded: Preloaded) -> None:
    """Kill two parts, run a third one to its end; the command without a part makes the outputs of one run."""
    random = Random(f"parts {number}")
    command, outputs = COMMANDS["predict"]
    folder, alone = fresh(inputs, folder), fresh(inputs, folder.with_name("alone"))
    for place in (folder, alone):
        pixels = picture(300, 410, seed=number).astype(np.uint8)  # 2 × 2 blocks
        write_raster(place / "scene.tif", pixels, transform=NORTH_UP)
    assert preloaded.run(command, alone).status == 0
    before = set(states_in(folder))
    parts = [[*command, "--part", f"{part}/3"] for part in (1, 2, 3)]
    killed = preloaded.run_together(parts[:2], folder, apart_s=0.1, kill_after_s=random.uniform(0.05, 0.6))
    assert {outcome.status for outcome in killed} <= {0, -9}, killed
    assert preloaded.run(parts[2], folder).status == 0
    last = preloaded.run(command, folder)
    assert last.status == 0, last.stderr
    assert content(folder, outputs) == content(alone, outputs)
    assert set(states_in(folder)) == before | set(outputs)


def test_killed_parts_are_taken_over(inputs, tmp_path, preloaded):
    kill_parts_and_finish(0, inputs, tmp_path / "case", preloaded)


@pytest.mark.slow
def test_many_killed_parts(inputs, tmp_path, preloaded):
    for number in range(100, 130):
        kill_parts_and_finish(number, inputs, tmp_path / "case", preloaded)


SCENES = ["predict", "--scenes", "scenes.csv", "-o", "out", "--summary", "s.json", "--model", "m.safetensors", *PREDICT]
"""Two scenes, which overlap in time."""


def check_scenes(folder: Path, whole: dict[str, str], before: set[str]) -> None:
    """Check the outputs of a list of scenes, and its summary."""
    assert content(folder, ("out/first.tif", "out/second.tif")) == whole
    assert set(states_in(folder)) == before | {"out/", "out/first.tif", "out/second.tif", "s.json"}
    summary = json.loads((folder / "s.json").read_text("utf-8"))
    assert summary["done"] + summary["skipped"] == 2


@pytest.fixture(scope="session")
def whole_scenes(inputs: Path, tmp_path_factory: pytest.TempPathFactory, preloaded: Preloaded) -> dict[str, str]:
    """Return what an undisturbed run over a list of scenes writes."""
    folder = fresh(inputs, tmp_path_factory.mktemp("scenes") / "whole")
    assert preloaded.run(SCENES, folder).status == 0
    return content(folder, ("out/first.tif", "out/second.tif"))


@pytest.mark.parametrize(
    "kills", [pytest.param(range(1)), pytest.param(range(100, 130), marks=pytest.mark.slow)], ids=["one", "many"]
)
def test_a_killed_list_of_scenes_goes_on(kills, inputs, tmp_path, preloaded, whole_scenes):
    for number in kills:
        folder = fresh(inputs, tmp_path / "case")
        before = set(states_in(folder))
        killed = preloaded.run(SCENES, folder, kill_after_s=Random(f"kill scenes {number}").uniform(0.05, 0.8))
        assert killed.status in {0, -9}, killed.stderr
        again = preloaded.run(SCENES, folder)
        assert again.status == 0, (number, again.stderr)
        check_scenes(folder, whole_scenes, before)


@pytest.mark.parametrize(
    "groups", [pytest.param(range(1)), pytest.param(range(100, 110), marks=pytest.mark.slow)], ids=["one", "many"]
)
def test_lists_of_scenes_at_once_do_not_disturb_each_other(groups, inputs, tmp_path, preloaded, whole_scenes):
    for number in groups:
        folder = fresh(inputs, tmp_path / "case")
        before = set(states_in(folder))
        apart_s = Random(f"scenes at once {number}").uniform(0, 0.4)
        outcomes = preloaded.run_together([SCENES] * 2, folder, apart_s=apart_s)
        assert {outcome.status for outcome in outcomes} <= {0, 1}, outcomes
        for line in "".join(outcome.stderr for outcome in outcomes).splitlines():
            assert "is being written by" in line or "of 2 scenes failed" in line or "--overwrite" in line, line
        assert preloaded.run(SCENES, folder).status == 0
        check_scenes(folder, whole_scenes, before)


def run_group(verb: str, number: int, inputs: Path, folder: Path, preloaded: Preloaded, whole: dict) -> None:
    """Run a command several times at once: one run finishes, the others say so, or that the output exists."""
    random = Random(f"group {verb} {number}")
    folder = fresh(inputs, folder)
    before = set(states_in(folder))
    count, apart_s = random.choice((2, 3)), random.choice((0, 0.02, 0.1, 0.3))
    outcomes = preloaded.run_together([COMMANDS[verb][0]] * count, folder, apart_s=apart_s)
    assert sorted(outcome.status for outcome in outcomes) == [0] + [1] * (count - 1), outcomes
    for outcome in outcomes:
        if outcome.status:
            assert (
                "is being written by" in outcome.stderr
                or "--overwrite" in outcome.stderr
                or ("has just begun" in outcome.stderr)
            )
            assert len(outcome.stderr.splitlines()) == 1
    assert_finished(verb, folder, before, whole)


@pytest.mark.parametrize("verb", QUICK)
def test_runs_at_once_do_not_disturb_each_other(verb, inputs, tmp_path, preloaded, whole):
    run_group(verb, 0, inputs, tmp_path / "case", preloaded, whole)


@pytest.mark.slow
@pytest.mark.parametrize("verb", COMMANDS)
def test_many_runs_at_once(verb, inputs, tmp_path, preloaded, whole):
    for number in range(100, 109):
        run_group(verb, number, inputs, tmp_path / "case", preloaded, whole)


def fill_disk(verb: str, kib: int, inputs: Path, folder: Path, preloaded: Preloaded, whole: dict) -> int:
    """Run a command on a disk that takes so much of a file; return its status."""
    folder = fresh(inputs, folder)
    before = states_in(folder)
    outcome = preloaded.run(COMMANDS[verb][0], folder, file_bytes=kib * 1024)
    lines = outcome.stderr.splitlines()
    assert outcome.status in {0, 1}, (kib, outcome.stderr)
    if outcome.status == 0:
        assert_finished(verb, folder, set(before), whole)
        return 0
    assert len(lines) == 1, (kib, outcome.stderr)
    assert lines[0].startswith("roadseg: error: "), lines
    assert "not recognized" not in lines[0], lines  # what GDAL says of its own half-written file is no help
    after = {
        name: state for name, state in states_in(folder).items() if not name.startswith(("o.tif.partial", "o.run/"))
    }
    assert after == before, kib
    again = preloaded.run(COMMANDS[verb][0], folder)  # there is room again
    assert again.status == 0, (kib, again.stderr)
    assert_finished(verb, folder, set(before), whole)
    return 1


@pytest.mark.parametrize("verb", QUICK)
def test_a_full_disk_is_one_sentence_and_loses_nothing(verb, inputs, tmp_path, preloaded, whole):
    statuses = [fill_disk(verb, kib, inputs, tmp_path / "case", preloaded, whole) for kib in (1, 20)]
    assert statuses[0] == 1


def test_a_mask_that_a_full_disk_cut_short_is_not_kept(inputs, tmp_path, preloaded):
    folder = fresh(inputs, tmp_path / "case")
    before = set(states_in(folder))
    labels = ["--images", "scene.tif", "--labels", "roads.geojson", "--road-width", "6", "--cache", "o.masks"]
    command = ["train", *labels, "-o", "o", "--check", "-q"]
    full = preloaded.run(command, folder, file_bytes=1024)
    assert full.status == 1
    assert len(full.stderr.splitlines()) == 1, full.stderr
    assert "(No space left on device); make room or choose another --cache" in full.stderr
    assert set(states_in(folder)) == before
    assert preloaded.run(command, folder).status == 0


@pytest.mark.slow
@pytest.mark.parametrize("verb", COMMANDS)
def test_disks_of_many_sizes(verb, inputs, tmp_path, preloaded, whole):
    for kib in (1, 2, 3, 5, 7, 12, 30, 60, 100, 200, 100_000):
        fill_disk(verb, kib, inputs, tmp_path / "case", preloaded, whole)
