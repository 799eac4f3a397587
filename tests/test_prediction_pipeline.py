"""Blocks are read, predicted and stored at the same time, in bounded numbers, on one engine or several."""

import itertools
import threading
import time
from collections import Counter

import numpy as np
import pytest
from engines import Identity, Stops, model_of
from worlds import picture, read_band, write_raster

from roadseg.errors import DeviceError, OutputError, SceneError
from roadseg.predict import load_model, predict
from roadseg.prediction import pipeline
from roadseg.prediction import reader as reader_module
from roadseg.prediction import writer as writer_module
from roadseg.prediction.engines import choose
from roadseg.prediction.engines.group import EngineGroup
from roadseg.raster.scene import Scene

BLOCK = {"block": 224, "overlap": 32}


class Slow(Identity):
    """The identity engine, which takes a while for each block."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def __call__(self, batches):
        answers = list(super().__call__(batches))
        time.sleep(self.seconds)
        yield from answers


@pytest.fixture
def threads(monkeypatch):
    """Return a function that sets the numbers of threads that read and that write."""

    def choose(count):
        for module in (reader_module, writer_module):
            monkeypatch.setattr(module, "file_threads", lambda: count)

    return choose


def test_one_block_is_read_and_another_stored_while_a_third_is_predicted(draw, tmp_path, monkeypatch, threads):
    threads(1)
    scene = draw(480, 480)
    predict(scene, tmp_path / "alone.tif", model=model_of(Identity()), **BLOCK)
    together = threading.Barrier(3, timeout=20)  # broken, with an error, if one of them comes alone

    def meeting(turn, function):
        turns = itertools.count(1)

        def run(*args, **options):
            if next(turns) == turn:
                together.wait()
            return function(*args, **options)

        return run

    monkeypatch.setattr(Scene, "sample", lambda _: None)  # which reads, too
    monkeypatch.setattr(Scene, "read", meeting(3, Scene.read))
    monkeypatch.setattr(pipeline, "store_block", meeting(1, pipeline.store_block))
    monkeypatch.setattr(Identity, "__call__", meeting(2, Identity.__call__))
    result = predict(scene, tmp_path / "roads.tif", model=model_of(Identity()), **BLOCK)
    assert result.blocks == 9
    assert not together.broken
    assert (read_band(tmp_path / "roads.tif") == read_band(tmp_path / "alone.tif")).all()


@pytest.mark.parametrize("count", [1, 3])
def test_few_blocks_are_read_ahead_or_wait_to_be_stored(draw, tmp_path, monkeypatch, threads, count):
    threads(count)
    events, lock = {"read": 0, "stored": 0}, threading.Lock()
    most = {"ahead": 0}
    read, store = Scene.read, pipeline.store_block

    def counted_read(scene, window, *how):
        with lock:
            events["read"] += 1
            most["ahead"] = max(most["ahead"], events["read"] - events["stored"])
        return read(scene, window, *how)

    def slow_store(*args, **options):
        time.sleep(0.01)
        store(*args, **options)
        with lock:
            events["stored"] += 1

    monkeypatch.setattr(Scene, "read", counted_read)
    monkeypatch.setattr(pipeline, "store_block", slow_store)
    monkeypatch.setattr(Scene, "sample", lambda _: None)
    result = predict(draw(480, 480), tmp_path / "roads.tif", model=model_of(Identity()), **BLOCK)
    assert result.blocks == events["read"] == events["stored"] == 9
    # read ahead, being predicted, being stored or waiting for it
    assert 2 <= most["ahead"] <= (count + 1) + 1 + (count + 1)


def test_readers_share_no_dataset_and_see_the_same_stretch(draw, tmp_path, threads, monkeypatch):
    scene = write_raster(tmp_path / "deep.tif", picture(480, 500, top=9_000).astype(np.uint16))
    predict(scene, tmp_path / "one.tif", model=model_of(Identity()), **BLOCK)
    threads(4)
    busy, read = set(), Scene.read

    def exclusive(scene, window, *how):
        assert id(scene) not in busy
        busy.add(id(scene))
        time.sleep(0.002)
        try:
            return read(scene, window, *how)
        finally:
            busy.discard(id(scene))

    monkeypatch.setattr(Scene, "read", exclusive)
    predict(scene, tmp_path / "four.tif", model=model_of(Identity()), **BLOCK)
    assert (read_band(tmp_path / "one.tif") == read_band(tmp_path / "four.tif")).all()


@pytest.mark.parametrize("count", [1, 3])
def test_a_failure_of_any_stage_ends_the_run_and_keeps_what_is_finished(draw, tmp_path, monkeypatch, threads, count):
    threads(count)
    scene, calls = draw(480, 480), []
    read, store = Scene.read, pipeline.store_block

    def breaks(scene, window, *how):
        calls.append(window)
        if len(calls) > 4:
            raise SceneError("broken there")
        return read(scene, window, *how)

    def full(*args, **options):
        calls.append(args)
        if len(calls) > 4:
            raise OutputError("the disk is full")
        store(*args, **options)

    for owner, name, replacement, words in (
        (Scene, "read", breaks, "broken there"),
        (pipeline, "store_block", full, "the disk is full"),
    ):
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Scene, "sample", lambda _: None)
            patch.setattr(owner, name, replacement)
            with pytest.raises((SceneError, OutputError), match=words):
                predict(scene, tmp_path / "roads.tif", model=model_of(Identity()), **BLOCK)
        assert len(calls) < 9
    result = predict(scene, tmp_path / "roads.tif", model=model_of(Identity()), **BLOCK)
    assert 0 < result.blocks_resumed < 9


@pytest.mark.parametrize("count", [1, 3])
def test_blocks_are_read_into_the_memory_of_blocks_before(draw, tmp_path, monkeypatch, threads, count):
    threads(count)
    scene, places, read = draw(480, 1920), Counter(), Scene.read

    def looked_at(scene, window, *how):
        block = read(scene, window, *how)
        places[block.values.__array_interface__["data"][0]] += 1
        return block

    predict(scene, tmp_path / "roads.tif", model=model_of(Identity()), **BLOCK)
    monkeypatch.setattr(Scene, "read", looked_at)
    monkeypatch.setattr(Scene, "sample", lambda _: None)
    predict(scene, tmp_path / "again.tif", model=model_of(Identity()), **BLOCK)
    assert sum(places.values()) == 30
    assert len(places) <= 2 * count + 8  # of 30: being read, waiting, being predicted, and some that are just let go
    assert (tmp_path / "again.tif").read_bytes() == (tmp_path / "roads.tif").read_bytes()


class Named(Identity):
    """The identity engine with a device of its own."""

    def __init__(self, device):
        super().__init__()
        self.device, self.threads = device, set()

    def __call__(self, batches):
        self.threads.add(threading.get_ident())
        time.sleep(0.005)
        yield from super().__call__(batches)


def test_devices_share_the_blocks_of_a_scene(draw, tmp_path):
    scene = draw(480, 480)
    predict(scene, tmp_path / "one.tif", model=model_of(Identity()), **BLOCK)
    group = EngineGroup([Named("cuda:0"), Named("cuda:1")], "found 2 drawn GPUs")
    assert "devices cuda:0,cuda:1 (found 2 drawn GPUs)" in group.description
    result = predict(scene, tmp_path / "two.tif", model=model_of(group), **BLOCK)
    assert result.device == "cuda:0,cuda:1"
    assert (read_band(tmp_path / "one.tif") == read_band(tmp_path / "two.tif")).all()
    first, second = group.engines
    assert min(first.windows, second.windows) > 0
    assert len(first.threads | second.threads) == 2
    assert threading.get_ident() not in first.threads | second.threads


def test_a_network_on_two_devices_gives_the_bytes_of_one(draw, tmp_path, model_file, monkeypatch):
    scene = draw(200, 260)
    one = load_model(model_file, device="cpu", engine="torch")
    monkeypatch.setattr(choose, "choose_devices", lambda _: (["cpu", "cpu"], "for a test"))
    two = load_model(model_file, device="cpu", engine="torch")
    assert (one.engine.device, two.engine.device) == ("cpu", "cpu,cpu")
    options = {"block": 224, "overlap": 16, "mask": tmp_path / "mask.tif", "overwrite": True}
    files = []
    for model in (one, two):
        result = predict(scene, tmp_path / "roads.tif", model=model, **options)
        files.append([(tmp_path / name).read_bytes() for name in ("roads.tif", "mask.tif")])
    assert (result.device, result.blocks) == ("cpu,cpu", 4)
    assert files[0] == files[1]


@pytest.mark.parametrize("error", [DeviceError("cuda:1 fell off the bus"), KeyboardInterrupt()])
def test_a_device_that_fails_ends_the_work_of_the_others(draw, tmp_path, error):
    group = EngineGroup([Slow(0.05), Stops(5, error)], "drawn")
    group.engines[0].numerics = group.engines[1].numerics
    with pytest.raises(type(error)):
        predict(draw(480, 480), tmp_path / "roads.tif", model=model_of(group), **BLOCK)
    assert group.engines[0].windows < 24
    assert (tmp_path / "roads.tif.partial").is_dir()


def test_devices_that_compute_differently_are_refused():
    one, other = Named("cuda:0"), Named("cuda:1")
    other.numerics = "cuda float16"
    with pytest.raises(DeviceError, match=r"compute differently.*--precision"):
        EngineGroup([one, other], "found")


def test_an_engine_takes_one_scene_at_a_time(draw, tmp_path):
    class Alone(Identity):
        inside = most = 0

        def __call__(self, batches):
            Alone.inside += 1
            Alone.most = max(Alone.most, Alone.inside)
            time.sleep(0.01)
            try:
                yield from super().__call__(batches)
            finally:
                Alone.inside -= 1

    model = model_of(Alone())
    scenes = [draw(300, 300, f"{i}.tif", seed=i) for i in range(3)]
    runs = [
        threading.Thread(target=predict, args=(scene, scene.with_suffix(".out.tif")), kwargs={"model": model})
        for scene in scenes
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert Alone.most == 1
    for scene in scenes:
        found = read_band(scene.with_suffix(".out.tif"))
        assert np.abs(found / 254 - read_band(scene) / 255).max() < 0.003
