"""``roadseg vectorize`` on the command line: results, sentences, exit statuses."""

import json
import os
import re
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pyogrio
import pytest
import shapely
from commands import Said, roadseg, run_python, start_roadseg
from road_rasters import UTM, UTM_NORTH_UP, bad_rasters, draw_t, write_levels
from worlds import names_in

from roadseg.files import workers as processes
from roadseg.files.worker_process import WorkerProcess
from roadseg.files.workers import map_in_processes
from roadseg.settings import VectorizeSettings

pytestmark = pytest.mark.usefixtures("open_files_stay")


@pytest.fixture
def raster(tmp_path):
    return write_levels(tmp_path / "t.tif", draw_t())


@pytest.fixture
def run(say):
    return lambda *arguments, **options: say("vectorize", *arguments, **options)


def features(path, layer="roads"):
    return pyogrio.read_info(path, layer=layer)["features"]


def test_one_raster_gives_its_files_and_figures(raster, run):
    said = run(raster, "-o", "t.gpkg", "--preview", "t.png")
    assert (said.status, said.stdout, names_in()) == (0, "", ["t.gpkg", "t.png"])
    first, last = said.stderr.splitlines()
    assert first == f"roadseg: {raster}: 210 × 150 px of 1 m used as they are; road from probability 0.5 on (default)"
    assert re.fullmatch(
        r"roadseg: 3 roads, 0\.3 km, 1 junction, 1 component, 0 bridged gaps \(0\.0 km\); 0\.0 Mpx in [\d.]+ s", last
    )
    assert (features("t.gpkg"), features("t.gpkg", "junctions")) == (3, 4)
    assert cv2.imread("t.png").shape == (150, 210, 3)


@pytest.mark.parametrize("option", ["--threshold", "--low"])
def test_thresholds_on_a_mask_are_said_to_change_nothing(run, tmp_path, option):
    mask = write_levels(tmp_path / "mask.tif", (draw_t() > 127).astype(np.uint8), scale=None)
    assert "change nothing" not in run(mask, "-o", "as_it_is.gpkg").stderr
    said = run(mask, "-o", "t.gpkg", option, "0.4")
    assert said.status == 0
    assert f"{mask} is a mask" in said.stderr
    assert "--threshold and --low change nothing" in said.stderr


def test_json_is_one_line_per_raster_in_a_folder(raster, run, tmp_path):
    other = write_levels(tmp_path / "u.tif", draw_t() * 0)
    said = run(raster, other, "-o", "out", "--json", "--quiet")
    assert (said.status, said.stderr, names_in("out")) == (0, "", ["t.gpkg", "u.gpkg"])
    found = [json.loads(line) for line in said.stdout.splitlines()]
    assert [row["roads"] for row in found] == [3, 0]
    assert found[0]["outputs"] == {"vector": "out/t.gpkg"}
    assert {"length_km", "junctions", "components", "inferred_km", "seconds", "megapixels"} <= set(found[0])
    assert run("-", "-o", "listed/", "--format", "FlatGeobuf", stdin=f"{raster}\n").status == 0
    assert names_in("listed") == ["t.fgb"]


def test_many_rasters_are_shared_among_processes_and_told_in_their_order(run, tmp_path, monkeypatch):
    """The files, the messages and the lines of JSON are those of one process; a bad raster stops no other."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    rasters = [write_levels(tmp_path / f"{name}.tif", draw_t()) for name in "abcdefgh"]
    write_levels(rasters[1], draw_t() * 0)
    rasters[4].write_bytes(b"no raster")
    told, shared = {}, []
    monkeypatch.setattr(
        processes, "map_in_processes", lambda *given: shared.append(given[2]) or map_in_processes(*given)
    )
    for workers in (1, 2):
        said = run(*rasters, "-o", f"out{workers}/", "--workers", workers, "--json")
        told[workers] = [re.sub(r"[\d.]+ s$|out\d", "", line) for line in said.stderr.splitlines()]
        told[workers] += [{**json.loads(line), "seconds": 0, "outputs": 0} for line in said.stdout.splitlines()]
        assert said.status == 1
    assert shared == [2]
    assert told[1] == told[2]
    assert "1 of 8 rasters failed" in said.stderr
    assert [row["roads"] for row in told[2] if isinstance(row, dict)] == [3, 0, 3, 3, 3, 3, 3]
    assert names_in("out2") == [f"{name}.gpkg" for name in "abcdfgh"]
    assert all(Path("out1", name).read_bytes() == Path("out2", name).read_bytes() for name in names_in("out1"))


@pytest.mark.parametrize(("asked", "early"), [(1, []), (2, ["roadseg.vectorize"]), (3, ["roadseg.vectorize"])])
def test_workers_are_started_before_this_process_has_imported_what_it_needs(run, raster, monkeypatch, asked, early):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    made = []
    monkeypatch.setattr(processes, "WorkerProcess", lambda module="": made.append(module) or WorkerProcess(module))
    assert run(raster, "-o", "r.gpkg", "--workers", asked).status == 0
    assert made == early
    assert not processes._early


def test_two_runs_into_one_geopackage_lose_no_layer(raster, tmp_path):
    """The first one is stopped in the middle, where both would have copied the same layers before."""
    target = tmp_path / "roads.gpkg"
    assert roadseg("vectorize", raster, "-o", target).returncode == 0
    first = start_roadseg(tmp_path, "vectorize", raster, "-o", target, "--layer", "first")
    while not target.with_name("roads.gpkg.lock").exists():
        assert first.poll() is None
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)
    second = roadseg("vectorize", raster, "-o", target, "--layer", "second")
    assert second.returncode == 1
    assert f"roads.gpkg is being written by process {first.pid} on " in second.stderr
    first.send_signal(signal.SIGCONT)
    assert first.communicate(timeout=60)[1]
    assert first.returncode == 0
    assert roadseg("vectorize", raster, "-o", target, "--layer", "second").returncode == 0
    assert [features(target, layer) for layer in ("roads", "first", "second")] == [3, 3, 3]
    assert names_in(tmp_path) == ["roads.gpkg", "t.tif"]


@pytest.mark.slow
def test_20_pairs_into_one_geopackage_lose_no_layer(raster, tmp_path):
    layers, target = ["roads"], tmp_path / "roads.gpkg"
    assert roadseg("vectorize", raster, "-o", target).returncode == 0
    for pair in range(20):
        names = [f"a{pair}", f"b{pair}"]
        both = [start_roadseg(tmp_path, "vectorize", raster, "-o", target, "--layer", name) for name in names]
        said = [process.communicate(timeout=120)[1] for process in both]
        for name, process, words in zip(names, both, said, strict=True):
            assert process.returncode == 0 or "is being written by" in words
            layers += [name] * (process.returncode == 0)
        assert all(features(target, layer) == 3 for layer in layers)
    assert len(layers) >= 21


@pytest.mark.parametrize(
    ("options", "features_in"),
    [
        ([], lambda text: [json.loads(line) for line in text.splitlines()]),
        (["--format", "GeoJSON"], lambda text: json.loads(text)["features"]),
    ],
    ids=["GeoJSONSeq", "GeoJSON"],
)
def test_stdout_carries_nothing_but_features(raster, options, features_in):
    done = roadseg("vectorize", raster, "-o", "-", *options)
    assert done.returncode == 0
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in features_in(done.stdout)]
    assert [shape.geom_type for shape in shapes] == ["LineString"] * 3
    assert "3 roads" in done.stderr


def test_every_setting_reaches_its_place(run, monkeypatch, tmp_path):
    seen = []

    def stop(path, outputs, settings, **_):
        seen.append((path, outputs, settings))
        raise KeyboardInterrupt

    monkeypatch.setattr("roadseg.vectorize.vectorize_raster", stop)
    said = run(
        "x.tif", "-o", "o.fgb", "--threshold", 0.6, "--low", 0.2, "--min-length", 7, "--spur", 8, "--bridge", 9,
        "--keep-junctions", "--simplify", 1, "--min-area", 11, "--max-hole", 12, "--gsd", 0.5, "--dst-crs", "EPSG:3857",
        "--layer", "mine", "--workers", 2, "--block", 999, "--junctions", "j.fgb", "--preview", "p.png",
        "--image", "i.tif", "--format", "FlatGeobuf", "--overwrite",
    )  # fmt: skip
    ((path, outputs, settings),) = seen
    assert settings == VectorizeSettings(
        threshold=0.6, low_threshold=0.2, min_area_m2=11, max_hole_m2=12, min_length_m=7, spur_m=8, bridge_m=9,
        merge_junctions=False, simplify_m=1, pixel_m=0.5, crs="EPSG:3857", block_px=999, workers=2, overwrite=True,
    )  # fmt: skip
    paths = [str(path) for path in (outputs.vector, outputs.junctions, outputs.preview, outputs.image)]
    assert paths == ["o.fgb", "j.fgb", "p.png", "i.tif"]
    assert (str(path), outputs.format, outputs.layer) == ("x.tif", "FlatGeobuf", "mine")
    assert (said.status, said.stderr) == (
        130,
        "\nroadseg: interrupted; the same command starts over; nothing half-finished is left\n",
    )
    run("x.tif", "-o", "o.fgb", "--as", "polygons")
    assert seen[1][2] == VectorizeSettings(geometry="polygons")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["r.tif"], "--output"),
        (["-o", "r.gpkg"], "rasters"),
        (["r.tif", "-o", "r.gpkg", "--threshold", "2"], "--threshold"),
        (["r.tif", "-o", "r.gpkg", "--threshold", "0"], "--threshold must be from 0.001 to 1, not 0"),
        (["r.tif", "-o", "r.gpkg", "--bridge", "-1"], "--bridge"),
        (["r.tif", "-o", "r.gpkg", "--min-length", "nan"], "--min-length"),
        (["r.tif", "-o", "r.gpkg", "--workers", "0"], "--workers"),
        (["r.tif", "-o", "r.gpkg", "--as", "dots"], "--as"),
        (["r.tif", "-o", "r.gpkg", "--format", "KML"], "--format"),
        (["r.tif", "-o", "r.gpkg", "--image", "i.tif"], "--image is the background of --preview"),
        (["r.tif", "-o", "r.gpkg", "--as", "polygons", "--junctions", "j.gpkg"], "--junctions belong to lines"),
        (["r.tif", "-o", "-", "--json"], "both write to stdout"),
        (["r.tif", "-o", "-", "--format", "GeoPackage"], "-o - writes GeoJSONSeq or GeoJSON, not GeoPackage"),
        (["a.tif", "b.tif", "-o", "-"], "-o - takes one raster"),
    ],
)
def test_wrong_usage_is_status_2(run, arguments, words):
    said = run(*arguments)
    assert said.status == 2
    assert words.lower() in said.stderr.lower()  # typer 0.22 writes arguments in capitals
    assert (said.stdout, names_in()) == ("", [])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.tif", "does not exist"),
        ("rgb.tif", "roadseg predict makes roads of it"),
        ("grey.tif", "grey values but no scale"),
        ("float.tif", "not probabilities from 0 to 1"),
        ("*.jp2", "nothing matches the pattern"),
    ],
)
def test_bad_input_is_one_sentence_and_status_1(run, tmp_path, name, words):
    bad_rasters(tmp_path)
    said = run(tmp_path / name, "-o", "o.gpkg")
    assert isinstance(said, Said)
    assert said.status == 1
    assert words in said.error
    assert (said.stdout, names_in()) == ("", [])


def test_a_bad_raster_among_good_ones(run, tmp_path):
    bad_rasters(tmp_path)
    said = run(tmp_path / "good.tif", tmp_path / "rgb.tif", "-o", "out", "--json")
    assert said.status == 1
    assert len(said.stdout.splitlines()) == 1
    assert said.stderr.splitlines()[-1] == f"roadseg: error: 1 of 2 rasters failed: {tmp_path / 'rgb.tif'}"
    assert names_in("out") == ["good.gpkg"]


def test_a_folder_made_for_rasters_that_all_fail_is_removed(run, tmp_path):
    bad_rasters(tmp_path)
    said = run(tmp_path / "rgb.tif", tmp_path / "none.tif", "-o", "new/out/")
    assert (said.status, names_in()) == (1, [])


def test_libraries_that_are_not_needed_are_not_loaded(raster, tmp_path):
    code = (
        "import sys\n"
        f"sys.argv = ['roadseg', 'vectorize', {str(raster)!r}, '-o', {str(tmp_path / 'o.gpkg')!r}, '-q']\n"
        "from roadseg.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print(end.code)\n"
        "print(sorted({'torch', 'scipy', 'tqdm', 'ssl'} & set(sys.modules)))"
    )
    assert run_python(code).splitlines() == ["0", "[]"]


def test_ctrl_c_leaves_nothing(tmp_path):
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.uniform(0, 254, (3000, 3000)).astype(np.float32), (0, 0), 4)
    write_levels(
        tmp_path / "noise.tif", np.where(noise > 127, 250, 0).astype(np.uint8), transform=UTM_NORTH_UP, crs=UTM
    )
    process = start_roadseg(tmp_path, "vectorize", "noise.tif", "-o", "o.gpkg", "--block", "256")
    while process.poll() is None and not list(tmp_path.glob(".o.gpkg-*/[!l]*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=300)
    assert (process.returncode, stdout) == (130, "")
    assert "interrupted; the same command starts over; nothing half-finished is left" in stderr
    assert "Traceback" not in stderr
    assert [path.name for path in Path(tmp_path).iterdir()] == ["noise.tif"]
