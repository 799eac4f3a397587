"""Several scenes at once look from outside as if they had come one after the other."""

import itertools
import json
import threading
import time

import pytest
from engines import Identity, model_of
from worlds import names_in, read_band

from roadseg import predict as module
from roadseg.errors import SceneError, UsageError
from roadseg.predict import predict
from roadseg.prediction.overlap import overlapped
from roadseg.progress import Listener


def recording(said):
    """Return a listener that keeps what it is told."""
    return Listener(
        said.append, lambda text: said.append(f"warning: {text}"), lambda *numbers: said.append(numbers), said.append
    )


def test_results_and_reports_come_in_the_order_of_the_scenes():
    ready = [threading.Event() for _ in range(5)]

    def process(number, listener):
        listener.start(number, 0)
        if number < 2:
            ready[number + 1].wait(10)  # the scene after this one ends first
        listener.report(f"{number} begins")
        listener.advance(number + 0.5)
        ready[number].set()
        listener.warn(f"{number} ends")
        return number * 10

    said = []
    for number, result in enumerate(overlapped(range(5), process, recording(said), at_once=3)):
        assert result == number * 10
        said.append(f"= {number}")
    parts = [[(n, 0), f"{n} begins", n + 0.5, f"warning: {n} ends", f"= {n}"] for n in range(5)]
    assert said == [one for part in parts for one in part]


def test_the_first_scene_reports_at_once():
    said, heard = [], threading.Event()

    def process(number, listener):
        listener.report(number)
        if number == 0:
            assert said == [0]
            heard.set()
        return heard.wait(10)

    assert list(overlapped(range(2), process, recording(said), at_once=2)) == [True, True]
    assert said == [0, 1]


def test_one_that_fails_stops_no_other_and_an_option_that_does_not_fit_stops_all():
    def process(number, listener):
        if number == 1:
            raise SceneError("1 is bad")
        if number == 6:
            raise UsageError("no such option")
        return number

    found = list(overlapped(range(4), process, Listener(), at_once=2))
    assert [found[i] for i in (0, 2, 3)] == [0, 2, 3]
    assert isinstance(found[1], SceneError)
    seen = []
    with pytest.raises(UsageError):
        seen.extend(overlapped(range(4, 99), process, Listener(), at_once=2))
    assert list(overlapped([], process, Listener())) == []


def test_few_run_at_once_and_memory_of_those_that_are_done_is_let_go():
    now, most, begun, lock = [0], [0], [0], threading.Lock()

    def process(number, listener):
        with lock:
            now[0] += 1
            begun[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.002)
        with lock:
            now[0] -= 1

    for number, _ in enumerate(overlapped(range(30), process, Listener(), at_once=3)):
        assert begun[0] <= number + 1 + 6
    assert 2 <= most[0] <= 3


def test_an_interruption_stops_every_scene_with_its_next_report():
    begun, ended = [], []

    def process(number, listener):
        begun.append(number)
        if number == 0:
            while len(begun) < 3:
                time.sleep(0.001)
            return number
        try:
            while True:
                listener.advance(1)
                time.sleep(0.001)
        except KeyboardInterrupt:
            ended.append(number)
            raise

    scenes = overlapped(range(9), process, Listener(), at_once=3)
    assert next(scenes) == 0
    with pytest.raises(KeyboardInterrupt):
        scenes.throw(KeyboardInterrupt)
    assert sorted(ended) == sorted(set(begun) - {0})
    assert len(begun) <= 4


class Noted(Identity):
    """An engine that calls a function before each block."""

    def __init__(self, called):
        super().__init__()
        self.called = called

    def __call__(self, batches):
        self.called()
        yield from super().__call__(batches)


def test_one_scene_is_opened_and_another_written_while_a_third_is_predicted(draw, tmp_path, monkeypatch):
    scenes = [draw(70, 90, f"{i}.tif", seed=i) for i in range(3)]
    together = threading.Barrier(3, timeout=20)  # broken, with an error, if one of them comes alone

    def meets_at(turn):
        turns = itertools.count(1)
        return lambda: together.wait() if next(turns) == turn else None

    def after(meet, function):
        return lambda *args: (meet(), function(*args))[1]

    # The last scene is opened, and the first that gets so far is written, while the second one is on the engine.
    monkeypatch.setattr(module, "prepare", after(meets_at(3), module.prepare))
    monkeypatch.setattr(module, "write_rasters", after(meets_at(1), module.write_rasters))
    model = model_of(Noted(meets_at(2)))

    def process(scene, listener):
        return predict(scene, scene.with_name(f"out_{scene.name}"), model=model, listener=listener)

    results = list(overlapped(scenes, process, Listener(), at_once=3))
    assert [result.scene for result in results] == [str(scene) for scene in scenes]
    assert not together.broken
    for scene in scenes:
        alone = scene.with_name("alone.tif")
        predict(scene, alone, model=model_of(Identity()), overwrite=True)
        assert (read_band(alone) == read_band(scene.with_name(f"out_{scene.name}"))).all()


def test_the_command_keeps_the_order_and_goes_on_after_a_failure(say, draw, model_file):
    names = [draw(70 + 60 * (i == 0), 90 + 200 * (i == 0), f"{i}.tif", seed=i) for i in range(4)]
    names[2].write_bytes(b"no raster")
    done = say("predict", *names, "-o", "out/", "--model", model_file, "--overlap", 16, "--json", "--device", "cpu")
    assert done.status == 1
    printed = [json.loads(line)["scene"] for line in done.stdout.splitlines()]
    assert printed == [str(names[i]) for i in (0, 1, 3)]
    lines = done.stderr.splitlines()
    places = [next(i for i, line in enumerate(lines) if f"/{number}.tif" in line) for number in range(4)]
    assert places == sorted(places)
    assert sum("writing the outputs" in line for line in lines) == 3
    assert "roadseg: 3 of 4 scenes done" in lines
    assert names_in("out") == ["0.tif", "1.tif", "3.tif"]
