"""Batches that a CPU computes side by side give the same answers in the same order, however many threads there are."""

import threading

import numpy as np
import pytest
import torch
from worlds import picture, whole

from roadseg.prediction.block import predict_each
from roadseg.prediction.engines import choose, side_by_side
from roadseg.prediction.engines.side_by_side import SideBySide
from roadseg.prediction.engines.torch import _without_tf32
from roadseg.prediction.prepared_block import prepare_block
from roadseg.settings import EngineSettings
from roadseg.windows import Block, Plan


def threads(monkeypatch, count):
    monkeypatch.setattr(side_by_side, "thread_count", lambda: count)


def prepared(planned, values):
    """Prepare a block whose pixels go on at the other side of the scene."""
    extent, (_, height, width) = planned.extent, values.shape
    rows, cols = np.arange(extent.row, extent.row_stop) % height, np.arange(extent.col, extent.col_stop) % width
    pixels = values[:, rows[:, None], cols]
    return prepare_block(Block(extent, pixels, np.ones(pixels.shape[1:], dtype=bool)), planned)


def test_answers_come_in_order_and_a_few_are_computed_ahead(monkeypatch):
    threads(monkeypatch, 3)
    first, asked = threading.Event(), []

    def batches():
        for number in range(9):
            asked.append(number)
            yield number

    def answer(number):
        if number == 0:
            assert first.wait(10)  # until the others of the first three are done
        elif number == 2:
            first.set()
        return 10 * number

    answers = SideBySide()(answer, batches())
    assert next(answers) == 0
    assert asked == [0, 1, 2, 3]
    assert list(answers) == [10 * number for number in range(1, 9)]


@pytest.mark.parametrize(("processors", "batches", "each"), [(1, 1, 1), (3, 3, 1), (16, 16, 1), (72, 16, 4)])
def test_memory_is_bounded_on_many_processors(monkeypatch, processors, batches, each):
    threads(monkeypatch, processors)
    told = []
    found = SideBySide(told.append)
    assert (found.batches, found.threads) == (batches, each)
    assert list(found(lambda batch: batch, range(5))) == list(range(5))
    assert set(told) == {each}


def test_errors_are_raised_where_the_answer_is_asked_for(monkeypatch):
    threads(monkeypatch, 2)
    answers = SideBySide()(lambda number: 6 // number, [3, 2, 0, 1])
    assert [next(answers), next(answers)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(answers)


@pytest.mark.parametrize("tta", [False, True])
@pytest.mark.parametrize("name", ["torch", "onnx"])
def test_pixels_do_not_depend_on_the_number_of_threads(name, tta, model_file, monkeypatch):
    if not choose.is_installed(name):
        pytest.skip(f"{name} is missing")
    plan = Plan(200, 260, whole(200, 260), 64, 48, 192)
    values = picture(200, 260).astype(np.uint8)
    found = []
    for count in (1, 3):
        threads(monkeypatch, count)
        engine = choose.load(str(model_file), EngineSettings("cpu", "float32", engine=name, tta=tta)).engine
        own = torch.get_num_threads()
        blocks = [prepared(planned, values) for planned in plan.blocks()]
        found.append([block.values for block in predict_each(blocks, plan, engine, "uint8")])
        assert torch.get_num_threads() == own
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.ptp(found[0][0]) > 10


def test_a_thread_that_ends_does_not_switch_tf32_on_for_others(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    inside, out, seen = threading.Event(), threading.Event(), []

    def other():
        with _without_tf32:
            inside.set()
            assert out.wait(10)
            seen.append(torch.backends.cudnn.allow_tf32)

    with _without_tf32:
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
    out.set()
    thread.join()
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32
