"""The engine gives the network's probabilities, however they are batched, and says what it chose."""

import weakref

import numpy as np
import pytest
import torch
from worlds import picture, stitch, whole

from roadseg.errors import DeviceError
from roadseg.model import device
from roadseg.model.resunet import ResUNet, normalize, road_probability
from roadseg.prediction.engines.torch import TorchEngine, choose_batch, for_prediction
from roadseg.settings import EngineSettings
from roadseg.windows import Plan

MEAN, STD = (0.4, 0.45, 0.5), (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(5)
    network = ResUNet(width=4)
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 64, 64))
        network.head.weight *= 5
    return network.eval()


def engine_of(network, *, device="cpu", batch=None, precision="float32", **calibration):
    return TorchEngine(network, MEAN, STD, EngineSettings(device, precision, batch), **calibration)


def windows(count, size=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def answers(engine, batches):
    return np.concatenate(list(engine(iter(batches))))


def test_it_gives_the_sigmoid_of_the_calibrated_logits(network):
    batch = windows(3)
    with torch.no_grad():
        logits = network(normalize(torch.from_numpy(batch), MEAN, STD))[:, 0]
    got = answers(engine_of(network, temperature=1.7, bias=-0.4), [batch])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, torch.sigmoid(logits / 1.7 - 0.4), atol=1e-5)


def test_bytes_and_unit_floats_see_the_same(network):
    batch = windows(2)
    as_floats = batch.astype(np.float32) / 255
    np.testing.assert_allclose(
        answers(engine_of(network), [batch]), answers(engine_of(network), [as_floats]), atol=1e-5
    )


@pytest.mark.parametrize("upsample", ["bilinear", "nearest"])
def test_folding_the_batch_norms_changes_nothing_but_rounding(upsample):
    torch.manual_seed(2)
    network = ResUNet(bands=2, width=3, upsample=upsample)
    network(torch.randn(4, 2, 32, 40))
    network.eval()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.randn(2, 2, 40, 64)
    with torch.no_grad():
        torch.testing.assert_close(for_prediction(network)(x), network(x), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_the_network_given_is_left_as_it_was(network):
    engine_of(network)
    assert all(p.requires_grad for p in network.parameters())
    assert next(network.parameters()).is_contiguous()


def test_batches_come_back_one_by_one_and_in_order(network):
    engine, batch = engine_of(network), windows(5)
    asked = []

    def feed():
        for part in (batch[:2], batch[2:3], batch[3:]):
            asked.append(len(part))
            yield part

    results = engine(feed())
    assert asked == []
    assert [len(next(results)) for _ in range(3)] == [2, 1, 2]
    assert next(results, None) is None
    assert list(engine(iter([]))) == []


def test_batch_size_changes_at_most_one_grey_level_in_100_000(network):
    values, valid = picture(411, 523).astype(np.uint8), np.ones((411, 523), dtype=bool)
    plan = Plan(411, 523, whole(411, 523), 64, 48, 240)
    levels = [np.rint(stitch(values, valid, plan, engine_of(network, batch=n)).values * 254) for n in (1, 3, 16)]
    assert levels[0].std() > 5
    for other in levels[1:]:
        difference = np.abs(levels[0] - other)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-5


class Scarce(ResUNet):
    """A network that runs out of memory above ``limit`` windows."""

    limit = 2
    tried: list[int]

    def forward(self, image):
        self.tried.append(len(image))
        if len(image) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(image)


@pytest.fixture
def scarce(network):
    engine = engine_of(network, batch=16)
    engine.model.__class__ = Scarce
    engine.model.tried = []
    return engine


def test_out_of_memory_halves_the_batch_for_good(network, scarce):
    batch = windows(16)
    np.testing.assert_allclose(answers(scarce, [batch]), answers(engine_of(network), [batch]), atol=1e-6)
    assert scarce.batch_size == 2
    assert scarce.model.tried[:4] == [16, 8, 4, 2]
    assert sum(n for n in scarce.model.tried if n <= 2) == 16


def test_what_a_failed_try_made_is_let_go_before_the_next(scarce):
    made, alive = [], []
    forward = Scarce.forward

    def fill(network, image):
        alive.append(sum(reference() is not None for reference in made))
        scratch = torch.zeros(len(image))
        made.append(weakref.ref(scratch))
        return forward(network, image)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scarce, "forward", fill)
        answers(scarce, [windows(8)])
    assert alive == [0] * len(alive)
    assert len(alive) > 4


def test_what_is_already_packed_is_cut_to_the_size_found(scarce):
    batch = windows(11)
    assert answers(scarce, [batch, batch[:7]]).shape == (18, 64, 64)
    assert scarce.model.tried[-4:] == [2, 2, 2, 1]


def test_no_room_for_one_window_is_an_error_that_tells_the_cure(scarce):
    scarce.model.limit = 0
    with pytest.raises(DeviceError, match=r"for even one window.*--device cpu"):
        answers(scarce, [windows(3)])


def test_blocks_are_the_same_after_running_out_of_memory(network, scarce):
    values, valid = picture(130, 190).astype(np.uint8), np.ones((130, 190), dtype=bool)
    plan = Plan(130, 190, whole(130, 190), 64, 48, 96)
    np.testing.assert_allclose(
        stitch(values, valid, plan, scarce).values, stitch(values, valid, plan, engine_of(network)).values, atol=1e-6
    )


@pytest.mark.parametrize(
    ("gigabytes", "width", "batch"), [(80, 64, 64), (8, 64, 16), (2, 64, 4), (2, 16, 16), (0, 64, 1)]
)
def test_the_batch_fits_the_whole_memory_of_the_device(monkeypatch, gigabytes, width, batch):
    class Properties:
        total_memory = gigabytes << 30

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    assert choose_batch(torch.device("cuda"), width) == batch
    assert choose_batch(torch.device("cpu"), width) == engine_of(ResUNet(width=1)).batch_size


def test_bfloat16_on_the_cpu_is_close(network):
    batch = windows(2)
    exact, coarse = answers(engine_of(network), [batch]), answers(engine_of(network, precision="bfloat16"), [batch])
    assert coarse.dtype == np.float32
    assert 0 < np.abs(exact - coarse).mean() < 0.02


def test_the_description_names_device_number_format_and_batch_size(network):
    assert engine_of(network, batch=7).description == "device cpu (as asked), float32, batches of 7"


@pytest.mark.cuda
@pytest.mark.parametrize(("precision", "close"), [("float32", 1e-4), ("bfloat16", 0.02), ("float16", 0.002)])
def test_cuda_agrees_with_the_cpu(cuda, network, precision, close):
    batch = windows(9)
    cpu = answers(engine_of(network), [batch])
    got = answers(engine_of(network, device="cuda", precision=precision), [batch[:5], batch[5:]])
    assert np.abs(cpu - got).max() < close


@pytest.mark.cuda
def test_cuda_out_of_memory_halves_the_batch_and_changes_no_answer(cuda, network):
    batch = windows(64, 224)
    expected = answers(engine_of(network, device="cuda", precision="float32", batch=4), [batch])
    engine = engine_of(network, device="cuda", precision="float32", batch=64)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(200e6 / total)  # 64 windows take more than twice as much
    try:
        got = answers(engine, [batch])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert engine.batch_size < 64
    np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.cuda
def test_float32_on_cuda_is_not_rounded_to_tf32(cuda, network, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # training may have switched it off
    batch = windows(2)
    exact = answers(engine_of(network), [batch])
    assert np.abs(answers(engine_of(network, device="cuda", precision="float32"), [batch]) - exact).max() < 5e-5
    assert torch.backends.cudnn.allow_tf32


def test_convolutions_see_tf32_switched_off_and_others_do_not(network, monkeypatch):
    engine, seen = engine_of(network), []
    engine.model.register_forward_pre_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    answers(engine, [windows(1)])
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32


def test_tta_takes_the_pixels_to_the_device_once(network, monkeypatch):
    engine = TorchEngine(network, MEAN, STD, EngineSettings("cpu", "float32", tta=True))
    moved, seen = [], []
    move = torch.Tensor.to

    def to(tensor, *args, **kwargs):
        if tensor.dtype == torch.uint8:
            moved.append(tensor.shape)
        return move(tensor, *args, **kwargs)

    engine.model.register_forward_pre_hook(lambda _, pixels: seen.append(len(pixels[0])))
    monkeypatch.setattr(torch.Tensor, "to", to)
    answers(engine, [windows(1)])
    assert (len(moved), seen) == (1, [1] * 8)


def test_tta_answers_alike_however_a_window_is_turned() -> None:
    torch.manual_seed(0)
    network = ResUNet(width=4).eval()
    window = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64), dtype=np.uint8)
    turned = np.ascontiguousarray(np.rot90(window, 1, (-2, -1))[..., ::-1])

    def answer(pixels: np.ndarray, *, tta: bool) -> np.ndarray:
        engine = TorchEngine(network, (0.4, 0.4, 0.4), (0.2, 0.2, 0.2), EngineSettings("cpu", "float32", tta=tta))
        return next(iter(engine([pixels])))[0]

    def turn(result: np.ndarray) -> np.ndarray:
        return np.rot90(result, 1, (-2, -1))[..., ::-1]

    assert np.allclose(answer(turned, tta=True), turn(answer(window, tta=True)), atol=1e-5)
    assert not np.allclose(answer(turned, tta=False), turn(answer(window, tta=False)), atol=1e-3)


@pytest.mark.parametrize(("has_bfloat16", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_cpus_that_compute_in_bfloat16_do_so_by_default(has_bfloat16, expected, network, monkeypatch):
    monkeypatch.setattr(device, "cpu_has_bfloat16", lambda: has_bfloat16)
    engine = engine_of(network, precision="auto")
    assert expected in engine.description
    assert expected in engine.numerics
    assert engine_of(network, precision="float32").precision == "float32"


def test_weights_converted_once_give_what_autocast_gives(network):
    batch = torch.from_numpy(windows(2))
    engine = engine_of(network, precision="bfloat16")
    expected = road_probability(
        for_prediction(network), batch, MEAN, STD, dtype=torch.bfloat16, temperature=1.0, bias=0.0
    )
    assert np.array_equal(answers(engine, [batch.numpy()]), expected.detach().numpy())
