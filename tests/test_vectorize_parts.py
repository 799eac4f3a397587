"""Several processes share the blocks of a road network, and the file is that of one."""

import json
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import roadseg, start_roadseg
from road_rasters import UTM_NORTH_UP, write_levels
from worlds import names_in

import roadseg.roads.mask.shared_passes as passes
from roadseg.errors import OutputError, SceneError, UsageError
from roadseg.files.lock import locked
from roadseg.files.parts import joined
from roadseg.progress import Listener
from roadseg.raster.partial import is_complete, partial_folder
from roadseg.vectorize import vectorize

pytestmark = pytest.mark.usefixtures("open_files_stay")

HEIGHT, WIDTH, BLOCKS = 260, 330, 20
STEPS = "roads", "holes", "filled", "lines", "traced"


def winding(seed, height=HEIGHT, width=WIDTH):
    """Draw winding roads with crumbs, holes and nodata, many of them across the borders of blocks."""
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), 5)
    fine = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), 1.5)
    road = 160 - 700 * np.abs(field) + 60 * fine
    levels = road.clip(0, 254).astype(np.uint8)
    levels[cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), 6) > 0.13] = 255
    return levels


def run(raster, output, part=None, listener=None, **options):
    """Vectorize in blocks of 64 px, with small limits."""
    of_lines = {} if options.get("as_") == "polygons" else {"min_length": 10}
    wanted = {"block": 64, "min_area": 30, "max_hole": 40, **of_lines, **options}
    return vectorize(raster, output, listener=listener, **wanted, **({"part": part} if part else {}))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Return a raster, and the file that one process makes of it."""
    folder = tmp_path_factory.mktemp("drawn")
    raster = write_levels(folder / "levels.tif", winding(1))
    run(raster, folder / "whole.gpkg")
    return raster, (folder / "whole.gpkg").read_bytes()


@pytest.fixture
def raster(drawn, tmp_path):
    return Path(shutil.copy(drawn[0], tmp_path / "levels.tif"))


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "roads.gpkg"


@pytest.fixture
def whole(drawn):
    """Return the file of one process."""
    return drawn[1]


def finished(out, step):
    return sum(path.name.startswith(f"{step}_") for path in partial_folder(out).glob("*_*_*_*_*.npz"))


# Equal to one process


@pytest.mark.parametrize("count", [1, 2, 3])
def test_parts_at_once_and_then_the_command_without_them_give_the_bytes_of_one_run(raster, whole, out, count):
    """Threads stand for processes: each has its own locks, and shares nothing else but the folder."""
    with ThreadPoolExecutor(count) as threads:
        results = list(threads.map(lambda index: run(raster, out, f"{index + 1}/{count}"), range(count)))
    assert names_in(out.parent) == ["roads.gpkg.partial"]
    for done in results:
        assert (done.outputs, done.roads, done.length_km, done.junctions, done.blocks) == ({}, None, None, None, BLOCKS)
        assert done.to_dict()["roads"] is None
    assert is_complete(out)
    assert all(finished(out, step) == BLOCKS for step in STEPS if step != "filled")
    assert 0 < finished(out, "filled") < BLOCKS  # so the world has such holes
    done = run(raster, out)
    assert (done.blocks, done.blocks_resumed, done.blocks_missing) == (BLOCKS, BLOCKS, 0)
    assert len(done.roads) > 30
    assert out.read_bytes() == whole
    assert names_in(out.parent) == ["roads.gpkg"]


@pytest.mark.parametrize("seed", range(2, 6))
def test_any_raster_in_any_blocks(tmp_path, out, seed):
    """Rasters of any size, blocks that the border cuts, with and without a low threshold, minimum area or holes."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(70, 300, 2)
    raster = write_levels(tmp_path / "levels.tif", winding(seed, height, width))
    options = {"block": int(rng.integers(64, 150)), "min_area": int(rng.choice([0, 50])), "max_hole": 50 * seed}
    run(raster, tmp_path / "whole.gpkg", **options)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda part: run(raster, out, part, **options), ["1/2", "2/2"]))
    run(raster, out, **options)
    assert out.read_bytes() == (tmp_path / "whole.gpkg").read_bytes()


@pytest.mark.parametrize("simplify", [0, None, 2])
def test_areas_are_shared_too(raster, tmp_path, out, simplify):
    options = {"as_": "polygons", "simplify": simplify}
    run(raster, tmp_path / "areas.gpkg", **options)
    with pytest.raises(StoppedError):
        run(raster, out, "2/3", stopping(2 * BLOCKS + 5), **options)
    assert 0 < finished(out, "corners") < BLOCKS
    with pytest.raises(OutputError, match="left by a run that differs in its geometry"):
        run(raster, out)
    assert run(raster, out, "1/3", **options).blocks_missing == 0
    assert run(raster, out, **options).blocks_resumed == BLOCKS
    assert out.read_bytes() == (tmp_path / "areas.gpkg").read_bytes()


def test_a_mosaic_is_shared_like_one_raster(tmp_path, raster, whole, out):
    levels, tiles = winding(1), []
    for row, col in np.ndindex(2, 2):
        tile = levels[row * 130 : row * 130 + 130, col * 165 : col * 165 + 165]
        place = UTM_NORTH_UP.translation(col * 165, row * 130)
        tiles.append(write_levels(tmp_path / f"{row}{col}.tif", tile, transform=UTM_NORTH_UP @ place))
    for part in ("1/2", "2/2", None):
        done = run(tiles, out, part)
    assert done.blocks_resumed == BLOCKS
    assert out.read_bytes() == whole


def test_an_empty_raster_is_shared_too(tmp_path, out):
    raster = write_levels(tmp_path / "empty.tif", np.zeros((200, 150), np.uint8))
    run(raster, tmp_path / "whole.gpkg")
    assert run(raster, out, "1/1").blocks_missing == 0
    assert run(raster, out).blocks_resumed == 6
    assert out.read_bytes() == (tmp_path / "whole.gpkg").read_bytes()


def test_repairs_and_outputs_may_be_chosen_at_the_end(raster, tmp_path, out):
    run(raster, tmp_path / "whole.fgb", bridge=0, crs="EPSG:4326")
    run(raster, out.with_suffix(".fgb"), "1/1")
    assert run(raster, out.with_suffix(".fgb"), bridge=0, crs="EPSG:4326").blocks_resumed == BLOCKS
    assert out.with_suffix(".fgb").read_bytes() == (tmp_path / "whole.fgb").read_bytes()


# What is stopped, and what others do


class StoppedError(Exception):
    """Ends a part in the middle."""


def stopping(after):
    """Return a listener that ends a run when so many blocks are finished."""
    left = [after]

    def advance(_):
        left[0] -= 1
        if left[0] < 0:
            raise StoppedError

    return Listener(advance=advance)


@pytest.mark.parametrize("after", [0, 3, BLOCKS + 4, 2 * BLOCKS + 5, 3 * BLOCKS + 9])
def test_what_a_stopped_part_has_finished_is_not_done_again(raster, whole, out, after, monkeypatch):
    with pytest.raises(StoppedError):
        run(raster, out, "2/3", stopping(after))
    blocks = {path: path.stat().st_mtime_ns for path in partial_folder(out).glob("*.npz")}
    assert len(blocks) > after
    assert not list(partial_folder(out).glob("*.lock"))
    if after % 2:
        assert run(raster, out, "1/3").blocks_missing == 0
        assert {path: path.stat().st_mtime_ns for path in blocks} == blocks
    run(raster, out)
    assert out.read_bytes() == whole


@contextmanager
def at_work(out, raster, *names, after=3):
    """Be a process that works on blocks, while the first blocks of the raster are finished."""
    with pytest.raises(StoppedError):
        run(raster, out, "1/3", stopping(after))
    with joined(partial_folder(out)) as share:
        assert all(share.claim(name) for name in names)
        yield share


LAST = "195_264_65_66"
"""The last block."""


def test_a_part_waits_for_blocks_that_another_works_on(raster, whole, out, monkeypatch):
    monkeypatch.setattr(passes, "_SILENT_S", 0.05)
    said = []
    with at_work(out, raster, f"holes_{LAST}") as share, ThreadPoolExecutor(1) as thread:
        part = thread.submit(run, raster, out, "2/3", Listener(report=said.append))
        patience = time.monotonic() + 30
        while "waiting for 1 block that other parts work on" not in said:
            assert not part.done()
            assert time.monotonic() < patience
            time.sleep(0.01)
        assert finished(out, "holes") == BLOCKS - 1
        assert not finished(out, "lines")
        share.release(f"holes_{LAST}")
        assert part.result().blocks_missing == 0
    run(raster, out)
    assert out.read_bytes() == whole


def test_a_part_waits_for_another_that_joins_the_blocks(raster, whole, out):
    with at_work(out, raster, "roads_joined") as share, ThreadPoolExecutor(1) as thread:
        part = thread.submit(run, raster, out, "2/3")
        while finished(out, "roads") < BLOCKS:
            time.sleep(0.01)
        time.sleep(0.1)
        assert not part.done()
        assert not finished(out, "holes")
        share.release("roads_joined")
        assert part.result().blocks_missing == 0
    run(raster, out)
    assert out.read_bytes() == whole


@pytest.mark.parametrize("name", [f"roads_{LAST}", "holes_joined", f"lines_{LAST}", f"traced_{LAST}"])
@pytest.mark.parametrize(("change", "age_s"), [({"started": "1"}, 0), ({"host": "elsewhere"}, 100)])
def test_blocks_of_a_process_that_is_gone_are_taken_over(raster, whole, out, name, change, age_s):
    with at_work(out, raster, name):
        assert not (partial_folder(out) / f"{name}.npz").exists()
        locks = {path: path.read_text("utf-8") for path in partial_folder(out).glob("*.lock")}
    for path, text in locks.items():
        path.write_text(json.dumps({**json.loads(text), **change}), "utf-8")
        os.utime(path, (time.time() - age_s,) * 2)
    assert run(raster, out, "3/3").blocks_missing == 0
    assert (partial_folder(out) / f"{name}.npz").exists()
    run(raster, out)
    assert out.read_bytes() == whole


def test_blocks_of_the_last_pass_are_left_to_those_who_work_on_them(raster, whole, out):
    with at_work(out, raster, f"traced_{LAST}") as share:
        said = []
        assert run(raster, out, "2/3", Listener(report=said.append)).blocks_missing == 1
        assert said[-1] == "part 2/3 is done, 1 block missing; the command without --part writes the outputs"
        assert not is_complete(out)
        with pytest.raises(OutputError, match=rf"1 part is at work on .*roads.gpkg, first process {os.getpid()} on .*"):
            run(raster, out)
        share.release(f"traced_{LAST}")
    assert run(raster, out).blocks_resumed == BLOCKS - 1
    assert out.read_bytes() == whole


def test_a_part_that_starts_when_all_is_done_does_nothing(raster, out):
    run(raster, out, "1/2")
    before = {path: path.stat().st_mtime_ns for path in partial_folder(out).iterdir() if path.name != "complete"}
    said, steps = [], []
    done = run(raster, out, "2/2", Listener(report=said.append, advance=steps.append))
    assert (done.blocks_resumed, done.blocks_missing) == (BLOCKS, 0)
    assert said[-1] == "part 2/2 is done, all blocks finished; the command without --part writes the outputs"
    assert sum(steps) == pytest.approx(HEIGHT * WIDTH / 1e6)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    run(raster, out)
    with pytest.raises(OutputError, match="exists; choose another name"):
        run(raster, out, "2/2")


def test_progress_adds_up_to_the_raster_whoever_does_the_blocks(raster, out):
    steps = []
    listener = Listener(start=lambda total, _: steps.append(-total), advance=steps.append)
    for part in ("2/3", "1/3", None):
        run(raster, out, part, listener)
        assert len(steps) > 3
        assert sum(steps) == pytest.approx(0)
        steps.clear()


# What is refused


@pytest.mark.parametrize(
    ("change", "differs"),
    [({"threshold": 0.6}, "threshold, --low, --min-area or --max-hole"), ({"block": 70}, "block size"),
     ({"min_area": 31}, "threshold, --low"), ({"gsd": 1.5}, "raster grid")],
)  # fmt: skip
def test_blocks_of_other_settings_are_refused_or_replaced(raster, tmp_path, out, change, differs):
    with pytest.raises(StoppedError):
        run(raster, out, "1/3", stopping(5))
    left = names_in(partial_folder(out))
    for part in ("2/3", None):
        with pytest.raises(OutputError, match=f"left by a run that differs in its .*{differs}.*add --overwrite"):
            run(raster, out, part, **change)
    assert names_in(partial_folder(out)) == left
    assert run(raster, out, "2/3", overwrite=True, **change).blocks_resumed == 0
    run(raster, out, **change)
    run(raster, tmp_path / "other.gpkg", **change)
    assert out.read_bytes() == (tmp_path / "other.gpkg").read_bytes()


def test_nobody_starts_over_while_parts_are_at_work(raster, out):
    with at_work(out, raster):
        left = names_in(partial_folder(out))
        for part in ("2/3", None):
            with pytest.raises(OutputError, match="at work on"):
                run(raster, out, part, threshold=0.3, overwrite=True)
        assert names_in(partial_folder(out)) == left


def test_a_part_waits_while_others_join_but_not_for_a_run(raster, out, monkeypatch):
    monkeypatch.setattr("roadseg.raster.shared_partial.PATIENCE_S", 0.2)
    with locked([out]), pytest.raises(OutputError, match="is being written by"):
        run(raster, out, "1/2")


def test_a_part_that_lost_its_lock_writes_nothing_more(raster, out):
    def rob(_):
        for path in partial_folder(out).glob("worker_*.lock"):
            path.unlink()

    with pytest.raises(OutputError, match="has lost its lock"):
        run(raster, out, "1/2", Listener(advance=rob))
    assert finished(out, "roads") == 1


def test_a_raster_that_changes_fails_the_part_and_its_blocks_are_refused(raster, out):
    def edit(_):
        os.utime(raster, (1, 1))

    with pytest.raises(SceneError, match="changed while it was read; stop the other parts"):
        run(raster, out, "1/2", Listener(advance=edit))
    with pytest.raises(OutputError, match="its raster size or date"):
        run(raster, out)


@pytest.mark.parametrize("parts", [False, True])
def test_a_raster_that_changes_gives_no_network(raster, out, parts):
    if parts:
        with pytest.raises(StoppedError):
            run(raster, out, "1/2", stopping(5))
    with pytest.raises(SceneError, match="changed while it was read, so nothing was written; repeat the command"):
        run(raster, out, listener=Listener(advance=lambda _: os.utime(raster, (1, 1))))
    assert names_in(out.parent) == []


def test_a_part_that_finished_no_block_leaves_nothing(raster, out, monkeypatch):
    def fail(*_):
        raise StoppedError

    monkeypatch.setattr(passes, "_file_of", fail)
    with pytest.raises(StoppedError):
        run(raster, out, "1/2")
    assert names_in(out.parent) == []


def test_damaged_and_vanished_blocks_are_named(raster, out):
    run(raster, out, "1/1")
    block = partial_folder(out) / f"traced_{LAST}.npz"
    block.write_bytes(b"no archive")
    with pytest.raises(OutputError, match=rf"traced_{LAST}.npz cannot be read .*; remove that folder and repeat the"):
        run(raster, out)
    block.unlink()
    assert run(raster, out).blocks_resumed == BLOCKS - 1


def test_a_run_that_is_killed_while_it_publishes_may_be_repeated(raster, whole, out, monkeypatch):
    import roadseg.files.outputs

    publish, moved = roadseg.files.outputs.publish, []

    def dies(file, target):
        if moved:
            raise StoppedError
        moved.append(target)
        publish(file, target)

    picture = out.with_name("roads.png")
    run(raster, out, "1/1")
    monkeypatch.setattr(roadseg.files.outputs, "publish", dies)
    with pytest.raises(StoppedError):
        run(raster, out, preview=picture)
    assert names_in(out.parent) == ["roads.gpkg", "roads.gpkg.partial"]
    monkeypatch.undo()
    assert run(raster, out, preview=picture).blocks_resumed == BLOCKS
    assert names_in(out.parent) == ["roads.gpkg", "roads.png"]


def test_a_part_needs_a_file(raster):
    with pytest.raises(UsageError, match="--part needs an output; name the file that the parts are for"):
        vectorize(raster, part="1/2")


def test_a_part_and_stdout_exclude_each_other(say, raster):
    said = say("vectorize", raster, "-o", "-", "--part", "1/2")
    assert said.status == 2
    assert "--part writes no output; name the file" in said.stderr


# In processes of their own

ONE = ["vectorize", "levels.tif", "-o", "roads.gpkg", "--block", "64"]


def prepared(folder, *names, side=560):
    folder.mkdir()
    for seed, name in enumerate(names):
        write_levels(folder / name, winding(seed, side, side))
    return folder


def test_three_parts_of_which_one_is_killed_give_the_bytes_of_one_run(tmp_path):
    folder = prepared(tmp_path / "work", "levels.tif")
    assert roadseg(*ONE, "-o", "whole.gpkg", cwd=folder).returncode == 0
    killed = start_roadseg(folder, *ONE, "--part", "2/3")
    out, patience = folder / "roads.gpkg", time.monotonic() + 60
    while finished(out, "lines") < 5:
        assert killed.poll() is None, killed.stderr.read()
        assert time.monotonic() < patience
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert finished(out, "traced") < 49
    assert list(partial_folder(out).glob("worker_*.lock"))
    others = [start_roadseg(folder, *ONE, f"--part={index}/3", "--json") for index in (1, 3)]
    said = [process.communicate(timeout=120) for process in others]
    assert [process.returncode for process in others] == [0, 0], said
    results = [json.loads(stdout) for stdout, _ in said]
    assert min(result["blocks_missing"] for result in results) == 0
    assert {result["roads"] for result in results} == {None}
    assert "all blocks finished; the command without --part writes the outputs" in "".join(words for _, words in said)
    assert names_in(folder) == ["levels.tif", "roads.gpkg.partial", "whole.gpkg"]
    done = roadseg(*ONE, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["blocks_resumed"] == 49
    assert out.read_bytes() == (folder / "whole.gpkg").read_bytes()


def test_an_interrupted_part_says_that_it_resumes(tmp_path):
    folder = prepared(tmp_path / "work", "levels.tif")
    for part in (["--part", "1/2"], []):
        process = start_roadseg(folder, *ONE, *part)
        while not list(folder.glob("roads.gpkg.partial/worker_*.lock" if part else "roads.gpkg.lock")):
            assert process.poll() is None
            time.sleep(0.002)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert "interrupted; the same command resumes from what is finished" in process.communicate(timeout=60)[1]
        assert process.returncode == 130


def test_folders_of_rasters_are_shared_raster_by_raster(tmp_path):
    names = [f"{letter}.tif" for letter in "abcd"]
    folder = prepared(tmp_path / "work", *names, side=150)
    (folder / "c.tif").write_text("no raster", "utf-8")
    command = ["vectorize", *names, "-o", "networks/", "--block", "64"]
    second = roadseg(*command, "--part", "2/2", cwd=folder)
    assert second.returncode == 1
    assert "c.tif is not a raster" in second.stderr
    assert names_in(folder / "networks") == [f"{letter}.gpkg.partial" for letter in "abd"]
    last = roadseg(*command, "--json", cwd=folder)
    assert last.returncode == 1
    results = [json.loads(line) for line in last.stdout.splitlines()]
    assert [(result["blocks"], result["blocks_resumed"]) for result in results] == [(4, 4)] * 3
    assert names_in(folder / "networks") == [f"{letter}.gpkg" for letter in "abd"]
