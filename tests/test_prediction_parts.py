"""Several processes share the blocks of a scene, and the result is that of one."""

import json
import os
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from commands import roadseg, start_roadseg
from engines import Identity, Stops, model_of
from worlds import NORTH_UP, names_in, picture, write_raster

from roadseg.errors import DeviceError, OutputError, SceneError, UsageError
from roadseg.files.lock import locked
from roadseg.files.parts import joined, own_and_others
from roadseg.predict import predict, predict_scene
from roadseg.raster.partial import is_complete, partial_folder
from roadseg.settings import PredictOutputs, PredictSettings

SMALL = {"overlap_px": 16, "block_px": 96}


def run(scene, output, share=None, *, engine=None, mask=None, **settings):
    """Predict with windows of 64 px in blocks of 96 px."""
    model = model_of(engine or Identity(), window_px=64)
    asked = PredictSettings(**{**SMALL, **settings})
    return predict_scene(str(scene), PredictOutputs(output, mask), model, asked, command="test", share=share)


@pytest.fixture
def scene(draw):
    """Return a scene of 2 × 3 blocks."""
    return draw(190, 280, transform=NORTH_UP)


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "roads.tif"


@pytest.mark.parametrize("size", [1.0, 1.7])
def test_parts_and_then_the_command_without_them_give_the_bytes_of_one_run(draw, tmp_path, out, size):
    scene, alone, whole = draw(190, 280, transform=NORTH_UP @ Affine.scale(size)), Identity(), tmp_path / "whole.tif"
    run(scene, whole, engine=alone, mask=tmp_path / "mask.tif")
    engines = [Identity() for _ in range(3)]
    mask = out.with_name("mask.tif")
    for index, engine in enumerate(engines):
        done = run(scene, out, (index, 3), engine=engine, mask=mask)
        assert (done.outputs, done.road_fraction, done.known_fraction) == ({}, None, None)
        assert names_in(out.parent) == ["roads.tif.partial"]
    assert done.blocks_missing == 0
    assert [engine.windows for engine in engines] == [alone.windows, 0, 0]  # the first one did it all
    rest = Identity()
    done = run(scene, out, engine=rest, mask=mask)
    assert (rest.windows, done.blocks_resumed, done.blocks) == (0, done.blocks, done.blocks)
    assert out.read_bytes() == whole.read_bytes()
    assert mask.read_bytes() == (tmp_path / "mask.tif").read_bytes()
    assert names_in(out.parent) == ["mask.tif", "roads.tif"]


def test_a_part_begins_with_its_own_blocks_and_comes_to_the_beginnings_of_others_last():
    assert own_and_others(range(9), 1, 3) == ([3, 4, 5], [8, 7, 6, 2, 1, 0])
    for count in (1, 2, 5, 9, 14):
        mine = [own_and_others(range(9), index, count) for index in range(count)]
        assert sorted(item for own, _ in mine for item in own) == list(range(9))
        assert all(sorted([*own, *others]) == list(range(9)) for own, others in mine)


@contextmanager
def at_work(out, scene, names):
    """Be a process that works on blocks, while the first blocks of the scene are finished."""
    with pytest.raises(DeviceError):
        run(scene, out, (0, 2), engine=Stops(20))
    with joined(partial_folder(out)) as share:
        assert all(share.claim(name) for name in names)
        yield share


LAST = "96_192_94_88"


def test_blocks_that_another_process_works_on_are_left_to_it(scene, out):
    with at_work(out, scene, [LAST]) as share:
        done = run(scene, out, (1, 2))
        assert (done.blocks, done.blocks_missing) == (6, 1)
        assert 0 < done.blocks_resumed < 5
        assert not is_complete(out)
        with pytest.raises(
            OutputError, match=rf"1 part is at work on .*roads.tif, first process {os.getpid()} on .* w"
        ):
            run(scene, out)
        share.release(LAST)
        assert run(scene, out, (1, 2)).blocks_missing == 0
        assert is_complete(out)
    assert run(scene, out).blocks_resumed == 6


@pytest.mark.parametrize(
    ("change", "age_s", "missing"),
    [
        ({"started": "1"}, 0, 0),
        ({"host": "elsewhere"}, 100, 0),
        ({"host": "elsewhere"}, 20, 1),
        ({"namespace": "elsewhere"}, 100, 0),
    ],
)
def test_blocks_of_a_process_that_is_gone_are_taken_over(scene, out, change, age_s, missing):
    with at_work(out, scene, [LAST]):
        locks = {path: path.read_text("utf-8") for path in partial_folder(out).glob("*.lock")}
        assert len(locks) == 2
    for path, text in locks.items():
        path.write_text(json.dumps({**json.loads(text), **change}), "utf-8")
        os.utime(path, (time.time() - age_s,) * 2)
    assert run(scene, out, (1, 2)).blocks_missing == missing
    if missing:
        with pytest.raises(OutputError, match="part is at work"):
            run(scene, out)
    else:
        assert run(scene, out).blocks_resumed == 6
        assert names_in(out.parent) == ["roads.tif"]


def test_the_command_without_a_part_does_what_is_missing(scene, tmp_path, out):
    run(scene, tmp_path / "whole.tif")
    with pytest.raises(DeviceError):
        run(scene, out, (0, 2), engine=Stops(20))
    assert 0 < run(scene, out).blocks_resumed < 6
    assert out.read_bytes() == (tmp_path / "whole.tif").read_bytes()


def test_nobody_starts_over_while_parts_are_at_work(scene, out):
    with at_work(out, scene, []):
        blocks = names_in(partial_folder(out))
        for share in ((1, 2), None):
            with pytest.raises(OutputError, match="at work on"):
                run(scene, out, share, threshold=0.3, overwrite=True)
        with pytest.raises(OutputError, match="its threshold"):
            run(scene, out, (1, 2), threshold=0.3)
        assert names_in(partial_folder(out)) == blocks
    assert run(scene, out, (1, 2), threshold=0.3, overwrite=True).blocks_resumed == 0


def test_a_part_that_finished_no_block_leaves_nothing_unless_others_are_at_work(scene, out):
    with pytest.raises(DeviceError):
        run(scene, out, (0, 2), engine=Stops(0))
    assert names_in(out.parent) == []
    with at_work(out, scene, []):
        for block in partial_folder(out).glob("probability_*.tif"):
            block.unlink()
        with pytest.raises(DeviceError):
            run(scene, out, (1, 2), engine=Stops(0))
        assert len(list(partial_folder(out).glob("worker_*.lock"))) == 1


def test_a_part_waits_while_others_join_but_not_for_a_run(scene, out, monkeypatch):
    monkeypatch.setattr("roadseg.raster.shared_partial.PATIENCE_S", 0.2)
    with locked([out]), pytest.raises(OutputError, match="is being written by"):
        run(scene, out, (0, 2))


def test_a_part_that_was_suspended_for_long_writes_nothing(scene, out):
    class Robbed(Identity):
        def __call__(self, batches):
            for path in partial_folder(out).glob("worker_*.lock"):
                path.unlink()
            return super().__call__(batches)

    with pytest.raises(OutputError, match="has lost its lock"):
        run(scene, out, (0, 2), engine=Robbed())
    assert names_in(out.parent) == []


def test_a_scene_that_changes_fails_the_part_and_its_blocks_are_refused(scene, out):
    class Edits(Identity):
        def __call__(self, batches):
            os.utime(scene, (1, 1))
            return super().__call__(batches)

    with pytest.raises(SceneError, match="changed while it was read; stop the other parts"):
        run(scene, out, (0, 2), engine=Edits())
    with pytest.raises(OutputError, match="its scene size or date"):
        run(scene, out)


@pytest.mark.parametrize("part", ["0/3", "4/3", "2", "a/b", "1/0", "1/-2", "2/5/7", "/"])
def test_what_is_no_part_is_refused(scene, out, part):
    with pytest.raises(UsageError, match=r"--part must be I/N with whole numbers from 1/1, such as 2/5, not"):
        predict(scene, out, model=model_of(Identity(), window_px=64), part=part)


# In processes of their own

OPTIONS = ["--model", "tiny.safetensors", "--block", "224", "--overlap", "16", "--device", "cpu", "--batch", "4"]
ONE = ["predict", "scene.tif", "-o", "roads.tif", "--mask", "mask.tif", *OPTIONS]


def prepared(folder, model_file, names=("scene.tif",), height=700, width=900):
    folder.mkdir()
    for seed, name in enumerate(names):
        values = picture(height, width, seed=seed).astype(np.uint8)
        write_raster(folder / name, values, transform=NORTH_UP)
    (folder / "tiny.safetensors").write_bytes(Path(model_file).read_bytes())
    return folder


def wait_for_blocks(folder, process, count):
    patience = time.monotonic() + 60
    while len(list(folder.glob("*.partial/probability_*.tif"))) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < patience
        time.sleep(0.002)


def copied(folder, source):
    """Copy the inputs, with their dates, which the tags do not hold."""
    folder.mkdir()
    for path in source.glob("*"):
        if path.name in {"scene.tif", "tiny.safetensors"}:
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_three_parts_of_which_one_is_killed_give_the_bytes_of_one_run(tmp_path, model_file):
    alone = prepared(tmp_path / "alone", model_file)
    assert roadseg(*ONE, cwd=alone).returncode == 0
    folder = copied(tmp_path / "parts", alone)
    killed = start_roadseg(folder, *ONE, "--part", "2/3")
    wait_for_blocks(folder, killed, 1)
    killed.kill()
    killed.communicate()
    left = len(list(folder.glob("*.partial/probability_*.tif")))
    assert 0 < left < 20
    assert list(folder.glob("*.partial/worker_*.lock"))
    others = [start_roadseg(folder, *ONE, f"--part={index}/3", "--json") for index in (1, 3)]
    said = [process.communicate(timeout=120) for process in others]
    assert [process.returncode for process in others] == [0, 0], said
    results = [json.loads(stdout) for stdout, _ in said]
    assert min(result["blocks_missing"] for result in results) == 0
    assert "all blocks finished; the command without --part writes the outputs" in "".join(words for _, words in said)
    assert names_in(folder) == ["roads.tif.partial", "scene.tif", "tiny.safetensors"]
    done = roadseg(*ONE, cwd=folder)
    assert done.returncode == 0, done.stderr
    for name in ("roads.tif", "mask.tif"):
        assert (folder / name).read_bytes() == (alone / name).read_bytes()


def test_the_stored_command_leaves_out_the_part_and_what_only_concerns_messages(tmp_path, model_file):
    alone = prepared(tmp_path / "alone", model_file, height=250)
    assert roadseg(*ONE, cwd=alone).returncode == 0
    folder = copied(tmp_path / "parts", alone)
    for part in (["--part", "1/2"], ["--part=2/2"]):
        assert roadseg(*ONE, *part, cwd=folder).returncode == 0
    assert roadseg(*ONE, "-q", "--json", "-vv", "--no-progress", cwd=folder).returncode == 0
    for name in ("roads.tif", "mask.tif"):
        assert (folder / name).read_bytes() == (alone / name).read_bytes()


def test_folders_of_scenes_are_shared_scene_by_scene(tmp_path, model_file):
    names = [f"{letter}.tif" for letter in "abcde"]
    folder = prepared(tmp_path / "work", model_file, names, 240, 250)
    (folder / "c.tif").write_text("no raster", "utf-8")
    command = ["predict", *names, "-o", "roads/", *OPTIONS]
    killed = start_roadseg(folder, *command, "--part", "1/2")
    while not list(folder.glob("roads/*.partial/probability_*.tif")):
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.002)
    killed.kill()
    killed.communicate()
    second = roadseg(*command, "--part", "2/2", cwd=folder)
    assert second.returncode == 1
    assert "c.tif is not a raster" in second.stderr
    assert names_in(folder / "roads") == [f"{letter}.tif.partial" for letter in "abde"]
    last = roadseg(*command, "--json", cwd=folder)
    assert last.returncode == 1
    results = [json.loads(line) for line in last.stdout.splitlines()]
    assert [(result["blocks"], result["blocks_resumed"]) for result in results] == [(4, 4)] * 4
    assert names_in(folder / "roads") == [f"{letter}.tif" for letter in "abde"]


def test_a_part_and_stdout_exclude_each_other(say, draw):
    said = say("predict", draw(), "-o", "-", "--part", "1/2")
    assert said.status == 2
    assert "--part writes no output; name the file" in said.stderr
