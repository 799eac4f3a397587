"""The command line does what it says, says what went wrong in one sentence, and exits with the right status."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from commands import roadseg, start_roadseg
from worlds import METRES, NORTH_UP, ROTATED, names_in, picture, read_band, write_raster


@pytest.fixture
def ask(say, model_file):
    """Return a function that predicts with a tiny model."""
    return lambda *arguments, **options: say("predict", "--model", model_file, *arguments, **options)


TORCH = ["--engine", "torch", "--precision", "float32"]
"""The engine and number format of the first line on stderr, whatever else is installed."""


# What works


def test_one_scene_gives_the_files_asked_for_and_says_what_was_chosen(draw, ask):
    scene = draw(90, 130)
    said = ask(scene, "-o", "roads.tif", "--mask", "mask.tif", "--preview", "roads.png", *TORCH)
    assert (said.status, said.stdout) == (0, "")
    assert names_in() == ["mask.tif", "roads.png", "roads.tif"]
    first = said.stderr.splitlines()[0]
    assert first.startswith(f"roadseg: {scene}: 130 × 90 px of 1 m used as they are, bands 1,2,3; model tiny; device")
    assert "float32, batches of" in first
    with rasterio.open("roads.tif") as file:
        assert file.tags()["ROADSEG_MODEL"] == "tiny"
        assert file.tags()["ROADSEG_COMMAND"].startswith("roadseg")
        assert file.read(1).std() > 1


def test_json_is_one_line_per_scene_on_stdout(draw, ask):
    a, b = draw(70, 90, "a.tif"), draw(80, 60, "b.tif", seed=1)
    said = ask(a, b, "-o", "roads", "--json")
    found = [json.loads(line) for line in said.stdout.splitlines()]
    assert [line["scene"] for line in found] == [str(a), str(b)]
    assert found[0]["outputs"] == {"raster": "roads/a.tif"}
    assert {"megapixels", "seconds", "device", "road_fraction"} <= set(found[0])
    assert "2 of 2 scenes done" in said.stderr
    assert names_in("roads") == ["a.tif", "b.tif"]


def test_quiet_says_nothing(draw, ask):
    said = ask(draw(70, 90), "-o", "roads.tif", "--quiet")
    assert (said.status, said.stdout, said.stderr) == (0, "", "")


def test_a_list_from_stdin_and_patterns(draw, ask):
    a, b = draw(70, 90, "a.tif"), draw(80, 60, "b.tif")
    assert ask("-", "-o", "listed", stdin=f"{a}\n\n  {b}  \n").status == 0
    assert ask(a.with_name("?.tif"), "-o", "found").status == 0
    assert names_in("listed") == names_in("found") == ["a.tif", "b.tif"]


@pytest.mark.parametrize("output", ["roads/", "there"])
def test_one_scene_into_a_folder(draw, ask, output):
    Path("there").mkdir()
    assert ask(draw(70, 90), "-o", output).status == 0
    assert names_in(output) == ["scene.tif"]


def test_every_setting_reaches_its_place(draw, ask):
    scene = draw(90, 130, bands=4, transform=NORTH_UP @ Affine.scale(1.7))
    said = ask(
        scene,
        "-o",
        "roads.tif",
        "--bands",
        "4,3,2",
        "--range",
        "10,200",
        "--gsd",
        "2",
        "--overlap",
        "20",
        "--block",
        "300",
        "--threshold",
        "0.3",
        "--dtype",
        "float32",
        "--grid",
        "model",
        "--batch",
        "2",
        "--precision",
        "float32",
        "--device",
        "cpu",
        "--engine",
        "torch",
    )
    assert said.status == 0
    for words in (
        "bands 4,3,2",
        "of 2 m read at 1 m (× 2.000)",
        "every 44 px",
        "device cpu (as asked), float32, batches of 2",
    ):
        assert words in said.stderr
    with rasterio.open("roads.tif") as file:
        assert (file.shape, file.dtypes) == ((180, 260), ("float32",))
        assert file.tags()["ROADSEG_THRESHOLD"] == "0.3"


def test_a_rectangle_is_cut_out_exactly(draw, ask):
    ask(draw(90, 130, transform=NORTH_UP), "-o", "part.tif", "--bbox", "236800,901160,236840,901200")
    with rasterio.open("part.tif") as file:
        assert tuple(file.bounds) == (236_800, 901_160, 236_840, 901_200)


def test_info_tells_about_rasters_models_and_results(draw, say, ask, model_file):
    scene = draw(90, 130)
    ask(scene, "-o", "roads.tif")
    assert "130" in say("info", scene).stdout
    assert "ROADSEG_MODEL" in say("info", "roads.tif").stdout
    told = say("info", model_file).stdout
    total = int(re.findall(r"([\d,]+) parameters", told)[-1].replace(",", ""))
    assert "ResUNet, width 2, 3 bands" in told
    assert "encoder1.conv1" in told
    assert 5_000 < total < 20_000
    assert say("info").status == 0
    assert say("info", "compct").stderr.startswith("roadseg: error: there is no model file compct; ")
    for words in ("compact", "--model", "standard"), ("--model", "standard"):
        refused = say("info", *words)
        assert refused.status == 2
        assert refused.stderr == "roadseg: --model is what a raster is compared with; name a raster, or leave it out\n"


@pytest.mark.parametrize("command", [[], ["predict"], ["info"]])
def test_help_has_examples(say, command):
    said = say(*command, "--help")
    assert said.status == 0
    assert not command or f"roadseg {command[0]}" in said.stdout


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scene.tif"], "--output"),
        (["-o", "roads.tif"], "scenes"),
        (["s.tif", "-o", "r.tif", "--bands", ""], "--bands is empty"),
        (["s.tif", "-o", "r.tif", "--bands", "1,x,3"], "--bands must be a list of numbers"),
        (["s.tif", "-o", "r.tif", "--range", "7"], "--range must be 2 numbers"),
        (["s.tif", "-o", "r.tif", "--range", "7,7"], "lower number first"),
        (["s.tif", "-o", "r.tif", "--range", "nan,7"], "--range must be"),
        (["s.tif", "-o", "r.tif", "--range", "0,inf"], "--range must be"),
        (["s.tif", "-o", "r.tif", "--bbox", "1,2,3"], "--bbox must be 4 numbers"),
        (["s.tif", "-o", "r.tif", "--bbox", "5,2,3,4"], "xmin < xmax"),
        (["s.tif", "-o", "r.tif", "--bbox=-inf,2,inf,4"], "--bbox must be"),
        (["s.tif", "-o", "r.tif", "--gsd", "0"], "--gsd"),
        (["s.tif", "-o", "r.tif", "--gsd", "nan"], "--gsd"),
        (["s.tif", "-o", "r.tif", "--gsd", "inf"], "--gsd"),
        (["s.tif", "-o", "r.tif", "--threshold", "1.5"], "--threshold"),
        (["s.tif", "-o", "r.tif", "--threshold", "nan"], "--threshold"),
        (["s.tif", "-o", "r.tif", "--overlap", "224"], "--overlap"),
        (["s.tif", "-o", "r.tif", "--block", "100"], "--block"),
        (["s.tif", "-o", "r.tif", "--batch", "0"], "--batch"),
        (["s.tif", "-o", "r.tif", "--dtype", "int16"], "--dtype"),
        (["s.tif", "-o", "r.tif", "--grid", "mine"], "--grid"),
        (["s.tif", "-o", "r.tif", "--precision", "int8"], "--precision"),
        (["s.tif", "-o", "-", "--json"], "both write to stdout"),
        (["a.tif", "b.tif", "-o", "-"], "takes one scene"),
        (["s.tif", "-o", "r.tif", "--fast"], "--fast"),
    ],
)
def test_wrong_usage_is_status_2(say, arguments, words):
    said = say("predict", *arguments)
    assert said.status == 2
    assert words in said.stderr
    assert "Traceback" not in said.stderr
    assert said.stdout == ""
    assert names_in() == []


# Bad input


def bad_scenes(folder):
    """Write every kind of scene that cannot be used."""
    write_raster(folder / "two.tif", picture(20, 30, bands=2).astype(np.uint8))
    write_raster(folder / "coarse.tif", picture(20, 30).astype(np.uint8), transform=NORTH_UP @ Affine.scale(10))
    good = write_raster(
        folder / "good.tif", picture(200, 130).astype(np.uint8), tiled=True, blockxsize=64, blockysize=64
    )
    (folder / "cut.tif").write_bytes(good.read_bytes()[:9000])
    (folder / "text.tif").write_text("just some words\n", "utf-8")
    profile = {"count": 3, "height": 20, "width": 30, "crs": METRES, "transform": ROTATED}
    with rasterio.open(folder / "complex.tif", "w", driver="GTiff", dtype="complex64", **profile) as file:
        file.write(np.ones((3, 20, 30), "complex64"))


@pytest.mark.parametrize(
    ("scene", "options", "sentence"),
    [
        ("none.tif", [], r"none.tif does not exist; check the path"),
        (".", [], r"is a folder; name its images, for example .*\*\.tif"),
        ("text.tif", [], r"is not a raster that GDAL can open"),
        ("cut.tif", [], r"cannot be read at row 0, column 0 .*damaged or out of reach"),
        ("complex.tif", [], r"complex numbers; make amplitudes"),
        ("two.tif", [], r"wants 3 bands and .* offers 2; choose 3 with --bands"),
        ("good.tif", ["--bands", "0"], r"has no band 0: it has 3; choose with --bands"),
        ("good.tif", ["--bands", "1,2"], r"wants 3 bands"),
        ("coarse.tif", [], r"pixels of 10 m, too coarse .*--gsd"),
        ("good.tif", ["--bbox", "0,0,1,1"], r"lies outside"),
        ("good.tif", ["--aoi", "none.gpkg"], r"none.gpkg"),
        ("good.tif", ["--device", "gpu"], r"no device 'gpu'; choose auto"),
        ("good.tif", ["--model", "compakt"], r"no model file compakt; give .* bundled model \("),
        ("good.tif", ["--overlap", "100"], r"less than 64"),
        ("good.tif", ["--mask", "roads.tif"], r"named twice"),
        ("good.tif", ["--mask", "none/mask.tif"], r"folder none does not exist; create it first"),
        ("*.jp2", [], r"nothing matches the pattern"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(ask, tmp_path, scene, options, sentence):
    bad_scenes(tmp_path)
    said = ask(tmp_path / scene, "-o", "roads.tif", *options)
    assert said.status == 1
    assert re.search(sentence, said.error), said.error
    assert said.stdout == ""
    assert names_in() == []


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("none/roads.tif", r"folder none does not exist; create it first"),
        ("old.tif", r"old.tif exists; choose another name or add --overwrite"),
        ("roads.png", r"roads.png would hold another format than its name says; give it the extension .tif, or none"),
    ],
)
def test_outputs_that_cannot_be_are_refused_and_nothing_is_replaced(ask, draw, output, sentence):
    scene = draw(70, 90)
    Path("old.tif").write_text("old", "utf-8")
    assert re.search(sentence, ask(scene, "-o", output).error)
    assert names_in() == ["old.tif"]
    assert Path("old.tif").read_text("utf-8") == "old"
    before = scene.read_bytes()
    assert "is also the input" in ask(scene, "-o", scene, "--overwrite").error
    assert scene.read_bytes() == before


def test_a_folder_that_cannot_be_made(ask, draw):
    Path("file").write_text("old", "utf-8")
    assert (
        "cannot create the folder file (it is a file)"
        in ask(draw(70, 90, "a.tif"), draw(70, 90, "b.tif"), "-o", "file").error
    )
    assert names_in() == ["file"]


@pytest.mark.parametrize("damage", ["truncated", "text", "newer", "bands", "flipped"])
def test_damaged_models_are_told_by_what_is_wrong(say, draw, model_file, damage):
    data, scene = model_file.read_bytes(), draw(70, 90)
    changed, sentence = {
        "truncated": (data[:-100], "is truncated"),
        "text": (b"words" * 99, "is not a safetensors file"),
        "newer": (data.replace(b'\\"format\\": 1', b'\\"format\\": 9'), "install a newer roadseg"),
        "bands": (data.replace(b'\\"bands\\": 3', b'\\"bands\\": 4'), "another form"),
        "flipped": (data[:-1] + bytes([data[-1] ^ 1]), r"are damaged"),
    }[damage]
    assert changed != data
    Path("bad.safetensors").write_bytes(changed)
    said = say("predict", scene, "-o", "out/", "--model", "bad.safetensors")
    assert said.status == 1
    assert sentence in said.error
    assert names_in() == ["bad.safetensors"]


def test_a_device_that_is_not_there(ask, draw, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert re.search(
        r"no CUDA device is available.*use --device cpu", ask(draw(70, 90), "-o", "r.tif", "--device", "cuda").error
    )
    assert names_in() == []


def test_a_bad_scene_among_good_ones(ask, draw, tmp_path):
    bad_scenes(tmp_path)
    for quiet in ([], ["--quiet"]):
        said = ask(
            draw(70, 90, "a.tif"),
            tmp_path / "text.tif",
            draw(80, 60, "c.tif"),
            "-o",
            "roads",
            "--json",
            "--overwrite",
            *quiet,
        )
        assert said.status == 1
        assert len(said.stdout.splitlines()) == 2
        assert "not a raster that GDAL can open" in said.stderr
        assert "1 of 3 scenes failed: " in said.stderr.splitlines()[-1]
        assert names_in("roads") == ["a.tif", "c.tif"]


def test_folders_made_for_scenes_that_all_fail_are_removed(ask, tmp_path):
    bad_scenes(tmp_path)
    (tmp_path / "masks").mkdir()
    scenes = tmp_path / "text.tif", tmp_path / "none.tif"
    said = ask(*scenes, "-o", "new/roads", "--mask", "masks/deep", "--summary", "summary.json")
    assert said.status == 1
    assert said.error.startswith("2 of 2 scenes failed: ")
    assert names_in() == ["summary.json"]


def test_very_verbose_shows_where(ask, tmp_path):
    said = ask(tmp_path / "none.tif", "-o", "r.tif", "-vv")
    assert said.status == 1
    assert "Traceback" in said.stderr
    assert said.stderr.splitlines()[-1].startswith("roadseg: error: ")


def test_an_error_without_words_is_named(ask, draw, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr("roadseg.predict.predict_scene", exhausted)
    assert ask(draw(70, 90), "-o", "r.tif").error.startswith("there is not enough memory; close other programs, ")


def test_a_bug_is_one_sentence_with_status_70(ask, draw, monkeypatch):
    def wrong(*_, **__):
        raise ValueError("shapes (3,) and (4,)\ndo not match")

    monkeypatch.setattr("roadseg.predict.predict_scene", wrong)
    said = ask(draw(70, 90), "-o", "r.tif")
    assert said.status == 70
    sentence = "ValueError: shapes (3,) and (4,) do not match; please report it with what -vv prints"
    assert said.stderr.splitlines()[-1] == f"roadseg: this is a bug in roadseg: {sentence}"
    assert "Traceback" not in said.stderr
    assert "in wrong" in ask(draw(70, 90), "-o", "r.tif", "-vv").stderr


# In processes of their own


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Write a scene of 3 × 4 small blocks."""
    values = picture(700, 900).astype(np.uint8)
    return write_raster(tmp_path_factory.mktemp("large") / "large.tif", values, transform=NORTH_UP)


@pytest.fixture
def folder(tmp_path, large, model_file):
    """Return a folder with the scene and a model, from which the same command is the same everywhere."""
    return prepared(tmp_path / "work", large, model_file)


def prepared(folder, scene, model):
    folder.mkdir()
    shutil.copy2(scene, folder / "scene.tif")
    shutil.copy2(model, folder / "tiny.safetensors")
    return folder


COMMAND = [
    "predict",
    "scene.tif",
    "-o",
    "roads.tif",
    "--mask",
    "mask.tif",
    "--model",
    "tiny.safetensors",
    "--block",
    "224",
    "--overlap",
    "16",
    "--device",
    "cpu",
    "--batch",
    "4",
]


def results(folder):
    return {name: (folder / name).read_bytes() for name in ("roads.tif", "mask.tif")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, large, model_file):
    """Return the results of a run that nobody disturbed, and how long it worked after its first word."""
    folder = prepared(tmp_path_factory.mktemp("undisturbed") / "work", large, model_file)
    process = start_roadseg(folder, *COMMAND)
    said, began = process.stderr.readline(), time.monotonic()
    process.communicate(timeout=300)
    assert process.returncode == 0, said
    return results(folder), time.monotonic() - began


def kill_at_random_moments(folder, undisturbed, times, seed):
    """Kill the command until it was killed this often at work, beginning anew when it was done; then let it finish."""
    expected, seconds = undisturbed
    chance, stopped = random.Random(seed), 0
    for _ in range(5 * times):
        if stopped == times:
            break
        process = start_roadseg(folder, *COMMAND)
        process.stderr.readline()
        time.sleep(chance.uniform(0, 0.9 * seconds))
        process.kill()
        process.communicate(timeout=300)
        if (folder / "roads.tif").exists() and not (folder / "roads.tif.partial").exists():
            assert results(folder) == expected
            for name in expected:
                (folder / name).unlink()
        else:
            stopped += 1
    done = roadseg(*COMMAND, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert results(folder) == expected
    names = {path.name for path in folder.iterdir()}
    assert names == {"scene.tif", "tiny.safetensors", "roads.tif", "mask.tif"}
    assert stopped == times


def wait_for(path, process, patience_s=60):
    """Wait until a file is there."""
    latest = time.monotonic() + patience_s
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < latest, path
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_a_second_run_on_the_same_output_says_who_works_on_it_and_stops(folder, undisturbed):
    first = start_roadseg(folder, *COMMAND)
    wait_for(folder / "mask.tif.lock", first)
    first.send_signal(signal.SIGSTOP)
    second = roadseg(*COMMAND, cwd=folder)
    assert second.returncode == 1
    assert f"error: roads.tif is being written by process {first.pid} on " in second.stderr
    other_raster = [word.replace("roads.tif", "other.tif") for word in COMMAND]
    assert "mask.tif is being written by" in roadseg(*other_raster, cwd=folder).stderr
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=300)
    assert first.returncode == 0
    assert results(folder) == undisturbed[0]
    assert {path.name for path in folder.iterdir()} == {"scene.tif", "tiny.safetensors", "roads.tif", "mask.tif"}


def start_together(folder, undisturbed, chance, count):
    """Start the same command several times at almost the same moment; whoever comes first does the work."""
    processes = []
    for _ in range(count):
        processes.append(start_roadseg(folder, *COMMAND))
        time.sleep(chance.uniform(0, 0.5))
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0] + [1] * (count - 1), said
    refused = [words for words, process in zip(said, processes, strict=True) if process.returncode]
    assert all("is being written by" in words or "exists; choose" in words for words in refused), refused
    assert results(folder) == undisturbed[0]
    names = {"scene.tif", "tiny.safetensors", "roads.tif", "mask.tif"}
    assert {path.name for path in folder.iterdir()} == names


def test_runs_started_together_lose_nothing(folder, undisturbed):
    start_together(folder, undisturbed, random.Random(5), 3)


@pytest.mark.slow
def test_20_groups_started_together_lose_nothing(folder, undisturbed):
    chance = random.Random(6)
    for _ in range(20):
        start_together(folder, undisturbed, chance, chance.choice([2, 2, 3, 4]))
        for name in undisturbed[0]:
            (folder / name).unlink()


def test_kill_minus_9_loses_nothing(folder, undisturbed):
    kill_at_random_moments(folder, undisturbed, 2, seed=1)


@pytest.mark.slow
def test_kill_minus_9_at_20_random_moments_loses_nothing(folder, undisturbed):
    kill_at_random_moments(folder, undisturbed, 20, seed=2)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_ctrl_c_is_status_130_and_the_same_command_goes_on(folder, undisturbed):
    expected, _ = undisturbed
    process = start_roadseg(folder, *COMMAND)
    while process.poll() is None and not list(folder.glob("roads.tif.partial/probability_*.tif")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=300)
    assert (process.returncode, stdout) == (130, "")
    assert "interrupted; the same command resumes from what is finished" in stderr
    assert "Traceback" not in stderr
    assert not (folder / "roads.tif").exists()
    again = roadseg(*COMMAND, "--json", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert {name: read_band(folder / name).tobytes() for name in expected} == {
        name: rasterio.MemoryFile(data).open().read(1).tobytes() for name, data in expected.items()
    }


def test_exit_status_and_streams_of_a_real_process(folder):
    good = roadseg(*COMMAND, "--json", "--quiet", cwd=folder)
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)["outputs"] == {"raster": "roads.tif", "mask": "mask.tif"}
    again = roadseg(*COMMAND, cwd=folder)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "roadseg: error: roads.tif exists; choose another name or add --overwrite\n"
    assert roadseg("predict", "scene.tif", cwd=folder).returncode == 2
    assert roadseg("--version").stdout.startswith("roadseg ")


def test_stdout_carries_nothing_but_the_geotiff(folder):
    done = roadseg(*COMMAND[:2], "-o", "-", *COMMAND[6:], cwd=folder, text=False)
    assert done.returncode == 0
    with rasterio.MemoryFile(done.stdout).open() as file:
        assert file.shape == (700, 900)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert sorted(path.name for path in folder.iterdir()) == ["scene.tif", "tiny.safetensors"]


def test_gdal_reads_stdout_as_the_readme_says(folder):
    command = [sys.executable, "-m", "roadseg", *COMMAND[:2], "-o", "-", *COMMAND[6:]]
    reader = "import rasterio; print(rasterio.open('/vsistdin?buffer_limit=-1').shape)"
    assert "'/vsistdin?buffer_limit=-1'" in Path(__file__).parents[1].joinpath("README.md").read_text("utf-8")
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as writing:
        done = subprocess.run(
            [sys.executable, "-c", reader], stdin=writing.stdout, capture_output=True, text=True, check=False
        )
    assert done.stdout.strip() == "(700, 900)", done.stderr


def test_a_reader_that_goes_away_is_no_traceback(folder):
    command = " ".join([sys.executable, "-m", "roadseg", *COMMAND[:2], "-o", "-", *COMMAND[6:]])
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -c 9 > /dev/null; echo ${{PIPESTATUS[0]}}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert done.stdout.strip() in {"1", "141"}


@pytest.mark.parametrize("words", [["info", "compact"], ["--help"]])
def test_a_reader_that_has_seen_enough_is_no_error_to_speak_of(words):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        command = [sys.executable, "-m", "roadseg", *words]
        done = subprocess.run(command, check=False, stdout=closed, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"")
