"""A device that takes whole blocks gives the bytes that the host gives."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from waiting_copies import WaitingCopies
from worlds import picture, whole

from roadseg.errors import DeviceError, ModelError
from roadseg.model.resunet import ResUNet
from roadseg.prediction.block import predict_block, predict_each
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.prediction.engines.torch_blocks import BlockStream
from roadseg.prediction.prepared_block import prepare_block
from roadseg.settings import EngineSettings
from roadseg.windows import Block, Plan, Window, reflected

MEAN, STD = (0.4, 0.45, 0.5), (0.2, 0.25, 0.3)
HEIGHT, WIDTH, WINDOW = 120, 150, 32


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(5)
    network = ResUNet(width=2)
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 64, 64))
        network.head.weight *= 5
    return network.eval()


def engine_of(network, device="cpu", batch=1, **settings):
    return TorchEngine(network, MEAN, STD, EngineSettings(device, "float32", batch, **settings))


def blocks_of(plan, values, valid, area=None):
    """Return the blocks of a plan with their pixels, reflected beyond the border, and what is wanted of them."""
    found = []
    for planned in plan.blocks():
        extent = planned.extent
        rows = reflected(extent.row, extent.row_stop, plan.height)
        cols = reflected(extent.col, extent.col_stop, plan.width)
        pixels = Block(extent, values[:, rows[:, None], cols], valid[np.ix_(rows, cols)])
        found.append((pixels, planned, None if area is None else area[planned.core.slices()]))
    return found


def streamed(engine, plan, blocks, dtype, on_rows=lambda _: None):
    return list(predict_each((prepare_block(*block) for block in blocks), plan, engine, dtype, on_rows))


def world(height=HEIGHT, width=WIDTH, *, dtype=np.uint8):
    """Return a picture with a hole and an edge that are not valid."""
    values, valid = picture(height, width).astype(np.uint8), np.ones((height, width), dtype=bool)
    valid[height // 3 : height // 2, width // 4 : width // 2] = False
    valid[:, -3:] = False
    return values if dtype == np.uint8 else (values / 255).astype(dtype), valid


def check_equal(engine, other, plan, blocks, dtype="uint8"):
    """Check that an engine that streams gives what another one gives block by block."""
    expected = [predict_block(pixels, planned, other, wanted=wanted, dtype=dtype) for pixels, planned, wanted in blocks]
    done: list[int] = []
    got = streamed(engine, plan, blocks, dtype, done.append)
    assert sum(done) == sum(planned.core.area for _, planned, _ in blocks)
    for block, same in zip(got, expected, strict=True):
        assert (block.window, block.values.dtype) == (same.window, same.values.dtype)
        np.testing.assert_array_equal(block.valid, same.valid)
        known = slice(None) if dtype == "uint8" else same.valid
        np.testing.assert_array_equal(block.values[known], same.values[known])
    return got


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(("overlap", "block_px"), [(0, 64), (4, 10_000), (5, 54), (12, 60), (16, 90), (16, 1)])
def test_bytes_are_those_of_the_host(network, overlap, block_px, dtype):
    plan = Plan(HEIGHT, WIDTH, whole(HEIGHT, WIDTH), WINDOW, WINDOW - overlap, block_px)
    if block_px == 1:  # blocks of one stride: a few of them suffice
        plan = Plan(HEIGHT, WIDTH, Window(37, 50, 30, 50), WINDOW, WINDOW - overlap, block_px)
    values, valid = world()
    got = check_equal(engine_of(network), engine_of(network), plan, blocks_of(plan, values, valid), dtype)
    assert got[0].values.std() > 0.01


@pytest.mark.parametrize("area", [Window(0, 0, 90, 80), Window(70, 3, 33, 140), Window(119, 149, 1, 1)])
def test_parts_of_a_scene_and_stretched_pixels_are_blended_as_by_the_host(network, area):
    plan = Plan(HEIGHT, WIDTH, area, WINDOW, 28, 84)
    values, valid = world(dtype=np.float32)
    check_equal(engine_of(network), engine_of(network), plan, blocks_of(plan, values, valid))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (9, 70), (70, 5), (32, 32), (33, 60)])
def test_scenes_smaller_than_a_window_are_blended_as_by_the_host(network, height, width):
    plan = Plan(height, width, whole(height, width), WINDOW, 28, 1_000)
    values, _ = world(height, width)
    valid = np.ones((height, width), dtype=bool)
    check_equal(engine_of(network), engine_of(network), plan, blocks_of(plan, values, valid))


def test_only_windows_with_a_wanted_pixel_are_predicted(network):
    plan = Plan(HEIGHT, WIDTH, whole(HEIGHT, WIDTH), WINDOW, 28, 56)
    values, valid = world()
    wanted = np.zeros((HEIGHT, WIDTH), dtype=bool)
    wanted[20:24, 70:140], wanted[80:110, 10:14], wanted[90:99, 120:] = True, True, True
    engine, seen = engine_of(network), []
    engine.model.register_forward_pre_hook(lambda _, pixels: seen.append(len(pixels[0])))
    blocks = blocks_of(plan, values, valid, wanted)
    check_equal(engine, engine_of(network), plan, blocks)
    assert len(seen) == sum(prepare_block(*block).needed.sum() for block in blocks) < 40


def test_what_is_not_valid_is_not_predicted(network):
    plan = Plan(HEIGHT, WIDTH, whole(HEIGHT, WIDTH), WINDOW, 28, 112)
    values, valid = world()
    engine = engine_of(network)
    engine.model.register_forward_pre_hook(lambda *_: pytest.fail("a window was predicted"))
    got = streamed(engine, plan, blocks_of(plan, values, np.zeros_like(valid)), "uint8")
    assert all((block.values == 255).all() and not block.valid.any() for block in got)
    assert streamed(engine, plan, [], "uint8") == []


def test_test_time_augmentation_is_blended_as_by_the_host(network):
    plan = Plan(90, 70, whole(90, 70), WINDOW, 28, 56)
    blocks = blocks_of(plan, *world(90, 70))
    check_equal(engine_of(network, tta=True), engine_of(network, tta=True), plan, blocks)


def test_batches_have_one_size_and_run_on_across_rows_and_blocks(network):
    plan = Plan(HEIGHT, WIDTH, whole(HEIGHT, WIDTH), WINDOW, 28, 112)
    blocks, seen = blocks_of(plan, *world()), []
    engine = engine_of(network, batch=10)
    engine.model.register_forward_pre_hook(lambda _, pixels: seen.append(len(pixels[0])))
    got = streamed(engine, plan, blocks, "uint8")
    count = sum(prepare_block(*block).needed.sum() for block in blocks)
    assert seen == [10] * -(-count // 10)
    for block, same in zip(got, streamed(engine_of(network), plan, blocks, "uint8"), strict=True):
        difference = np.abs(block.values.astype(int) - same.values)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-4


def test_batches_of_small_scenes_are_smaller_however_they_are_cut(network):
    values, valid = world(70, 100)
    sizes = set()
    for block_px in (28, 56, 1_000):
        plan = Plan(70, 100, Window(3, 0, 60, 95), WINDOW, 28, block_px)
        assert plan.window_count == 3 * 4
        engine, seen = engine_of(network, batch=64), []
        engine.model.register_forward_pre_hook(lambda _, pixels, seen=seen: seen.append(len(pixels[0])))
        streamed(engine, plan, blocks_of(plan, values, valid), "uint8")
        sizes |= set(seen)
    assert sizes == {16}


def test_blocks_come_as_they_are_asked_for(network):
    plan = Plan(120, 250, whole(120, 250), WINDOW, 28, 140)
    blocks, asked = blocks_of(plan, *world(120, 250)), []
    assert len(blocks) == 2

    def feed():
        for block in blocks:
            asked.append(block[1].core)
            yield prepare_block(*block)

    engine = engine_of(network)
    for number, block in enumerate(predict_each(feed(), plan, engine, "uint8"), start=1):
        assert block.window == blocks[number - 1][1].core
        assert len(asked) == min(number + 1, 2)


def test_more_than_half_a_window_of_overlap_is_left_to_the_host(network):
    plan = Plan(60, 70, whole(60, 70), WINDOW, 15, 60)
    blocks, engine = blocks_of(plan, *world(60, 70)), engine_of(network)
    engine.predict_blocks = None
    assert len(streamed(engine, plan, blocks, "uint8")) == len(blocks)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_nan_for_a_valid_pixel_is_an_error_that_tells_the_cure(network, dtype):
    plan = Plan(60, 70, whole(60, 70), WINDOW, 28, 56)
    values, valid = world(60, 70)
    engine = engine_of(network)

    def overflow(_, pixels, logits):
        logits[..., 3, 4] = torch.nan
        return logits

    engine.model.register_forward_hook(overflow)
    with pytest.raises(ModelError, match=r"NaN for valid pixels.*--precision float32"):
        streamed(engine, plan, blocks_of(plan, values, valid), dtype)
    valid[3::28, 4::28] = False  # the places of the NaNs
    check_equal(engine, engine, plan, blocks_of(plan, values, valid), dtype)


class Scarce(ResUNet):
    """A network that runs out of memory above ``limit`` windows."""

    limit = 2

    def forward(self, image):
        if len(image) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(image)


def test_out_of_memory_halves_the_batch_for_good(network):
    plan = Plan(HEIGHT, WIDTH, whole(HEIGHT, WIDTH), WINDOW, 28, 112)
    blocks, engine = blocks_of(plan, *world()), engine_of(network, batch=16)
    engine.model.__class__ = Scarce
    got = streamed(engine, plan, blocks, "uint8")
    assert engine.batch_size == 2
    expected = streamed(engine_of(network, batch=2), plan, blocks, "uint8")
    assert all((block.values == same.values).all() for block, same in zip(got, expected, strict=True))
    engine.model.limit = 0
    with pytest.raises(DeviceError, match=r"for even one window.*--device cpu"):
        streamed(engine, plan, blocks, "uint8")


def test_no_memory_for_pixels_is_an_error_of_the_device(network, monkeypatch):
    plan = Plan(60, 70, whole(60, 70), WINDOW, 28, 56)
    engine = engine_of(network)

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine._transfers, "up", full)
    blocks = blocks_of(plan, *world(60, 70))
    with pytest.raises(DeviceError, match="memory"):
        streamed(engine, plan, blocks, "uint8")
    with pytest.raises(DeviceError, match="memory"):
        predict_block(*blocks[0][:2], engine)


class Nowhere:
    """Copies to the meta device and back, where all numbers are 0."""

    device = torch.device("meta")

    def __init__(self):
        self.ups = self.downs = 0

    def up(self, values):
        self.ups += 1
        return torch.empty(values.shape, dtype=torch.from_numpy(values).dtype, device="meta")

    def down(self, values):
        self.downs += 1
        return lambda: np.zeros(values.shape, dtype=np.uint8)


def test_the_host_waits_for_results_alone(network, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which does not know the meta device
    plan = Plan(60, 90, whole(60, 90), WINDOW, 28, 56)
    engine = engine_of(network, batch=8)
    engine.model.to("meta")
    blocks = [prepare_block(*block) for block in blocks_of(plan, *world(60, 90))]
    transfers = Nowhere()
    stream = BlockStream(engine._predict, lambda: 8, transfers, "uint8")
    list(stream(blocks[:1], lambda _: None))  # what stays the same goes to the device once
    transfers.ups = transfers.downs = 0
    with WaitingCopies() as copies:
        got = list(stream(blocks, lambda _: None))
    assert copies.found == []
    assert [block.window for block in got] == [block.planned.core for block in blocks]
    rows = sum(len(block.needed) for block in blocks)
    assert transfers.ups == rows
    assert 0 < transfers.downs <= rows


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_block_on_cuda_is_that_of_the_cpu(cuda, network, dtype):
    plan = Plan(HEIGHT, WIDTH, whole(HEIGHT, WIDTH), WINDOW, 28, 84)
    blocks = blocks_of(plan, *world())
    got = streamed(engine_of(network, "cuda", 16), plan, blocks, dtype)
    expected = streamed(engine_of(network), plan, blocks, dtype)
    level = 1 if dtype == "uint8" else 1 / 254
    differences = []
    for block, same in zip(got, expected, strict=True):
        np.testing.assert_array_equal(block.valid, same.valid)
        differences.append(np.abs(block.values[same.valid].astype(float) - same.values[same.valid]))
    difference = np.concatenate(differences)
    assert difference.max() <= level
    assert (difference > level / 2).mean() < 1e-3
