"""Prediction and training on emulated GPUs: host and streams wait where they must, and the bytes are the CPU's.

The tests marked ``cuda`` are for real devices, and take an emulated one where there is none.
"""

from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest
import rasterio
import torch
from emulated_streams import Event, Stream
from emulated_torch import WHY_NOT, EmulatedTensor, emulated
from safetensors.torch import load_file
from training_runs import SETTINGS, trainer
from training_tiles import make_folder

from roadseg.errors import DeviceError
from roadseg.model.device import _OUT_OF_MEMORY, choose_device
from roadseg.predict import predict
from roadseg.prediction.engines.torch_transfers import Transfers
from roadseg.progress import Listener
from roadseg.settings import AugmentSettings
from roadseg.train import train

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

GPU = torch.device("cuda", 0)


@pytest.fixture
def levels(draw, tmp_path, model_file):
    """Return a function that predicts a scene of 35 windows and returns what is written."""
    scene = draw(230, 170)

    def made(device, **options):
        output = tmp_path / f"{device}.tif"
        predict(scene, output, model=model_file, engine="torch", device=device, overwrite=True, **options)
        with rasterio.open(output) as file:
            return file.read(1)

    return made


@pytest.mark.parametrize(
    ("device", "options"),
    [
        ("cuda", {"dtype": "float32"}),
        ("cuda", {"precision": "bfloat16", "tta": True}),
        ("cuda", {"overlap": 40}),  # windows are cut and blended on the host
        ("cuda:1,cuda:0", {"block": 224}),
        ("mps", {"dtype": "float32"}),
        ("mps", {"overlap": 40}),
    ],
)
def test_a_scene_is_as_on_the_cpu(levels, device, options):
    options = {"precision": "float32", "batch": 8, **options}
    expected = levels("cpu", **options)
    with emulated(device[:4].rstrip(":"), count=1 + device.count(",")):
        got = levels(device, **options)
    assert np.array_equal(got, expected)
    assert expected.std() > 0.1


def test_the_host_waits_once_for_each_row_of_windows(levels):
    with emulated() as machine:
        levels("cuda", precision="float32")
    assert machine.waits.count("event") == 7
    assert not [wait for wait in machine.waits if "to the host" in wait]


CUDA_WORDS = [part for part in _OUT_OF_MEMORY if "CPU" not in part and "MPS" not in part]


@pytest.mark.parametrize(("words", "overlap"), [(None, 40), *[(words, 32) for words in CUDA_WORDS]])
def test_batches_become_smaller_where_memory_runs_out(levels, words, overlap):
    options = {"precision": "float32", "overlap": overlap}
    with emulated() as machine:
        expected = levels("cuda", **options)
        machine.limit = machine.most[GPU] // 2
        if words:
            machine.error = partial(RuntimeError, f"device 0: {words} (of several)")
        assert np.abs(levels("cuda", **options).astype(float) - expected).max() <= 1
        machine.limit = machine.used[GPU] + 100_000
        with pytest.raises(DeviceError, match="no memory for even one window"):
            levels("cuda", **options)
    assert machine.used[GPU] < 10_000  # what is used again


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        ("no kernel image is available for execution on the device", "install a PyTorch that is built for it"),
        ("uncorrectable ECC error encountered", "repeat the command"),
        ("device-side assert triggered", None),
    ],
)
def test_a_device_that_fails_is_an_error_that_tells_the_cure(levels, tmp_path, words, cure):
    error = (DeviceError, rf"^cuda(:0)? has failed \(CUDA error: {words}\); {cure}.*, or use --device cpu$")
    kind, message = error if cure else (RuntimeError, words)
    with emulated() as machine:
        levels("cuda")
        work, most = trainer(tmp_path / "run", device="cuda"), machine.most[GPU]
        machine.error = partial(RuntimeError, f"CUDA error: {words}\nCompile with TORCH_USE_CUDA_DSA to see more.")
        for limit in (machine.used[GPU], most // 2):  # at once, and once it is at work
            machine.limit = limit
            with pytest.raises(kind, match=message):
                levels("cuda")
        machine.limit = machine.used[GPU]
        with pytest.raises(kind, match=message):
            work.run()


def test_a_device_without_any_memory_left_is_refused_at_once():
    with emulated() as machine:
        machine.limit = 0
        with pytest.raises(DeviceError, match=r"^cuda has no memory left; .* --device cpu$"):
            choose_device("auto")


@pytest.mark.parametrize(
    ("kind", "optimizer", "precision"),
    [
        ("cuda", "muon", "bfloat16"),
        ("cuda", "adamw", "float16"),
        ("cuda", "sgd", "float16"),
        ("mps", "muon", "float32"),
        ("mps", "adamw", "float16"),
    ],
)
def test_steps_are_those_of_the_cpu_and_on_cuda_none_waits(tmp_path, kind, precision, optimizer):
    everything = AugmentSettings(**{one.name: 0.5 for one in fields(AugmentSettings) if isinstance(one.default, float)})
    run = replace(SETTINGS, steps=3, augment=everything, precision=precision, optimizer=optimizer)
    settings = replace(run, clip_norm=1.0, checkpoint_minutes=60, cldice_weight=0.1, missing_after=0.0, tf32=False)
    expected, waits = trainer(tmp_path / "cpu", settings), []
    expected.run()
    with emulated(kind) as machine:
        work = trainer(tmp_path / kind, settings, device=kind)
        work.run(lambda _: waits.append(len(machine.waits)))
        found = {name: value.cpu() for name, value in work.averaged().state_dict().items()}
    for name, value in expected.averaged().state_dict().items():
        if optimizer != "adamw":
            assert torch.equal(found[name], value), name
        elif name.endswith("weight"):  # AdamW is another one on CUDA, and makes as much of rounding as of gradients
            assert (found[name] - value).abs().mean() < 1e-4, name
    scaled = precision == "float16" and optimizer != "adamw"  # the scaler asks whether gradients are finite
    if kind == "cuda":
        assert waits[1] - waits[0] == scaled


def test_batches_are_split_where_training_runs_out_of_memory(tmp_path):
    settings, said = replace(SETTINGS, batch=8, steps=2, checkpoint_minutes=60), []
    with emulated() as machine:
        trainer(tmp_path, settings, device="cuda").run()
        machine.limit = machine.most[GPU] // 2
        work = trainer(tmp_path / "less", settings, device="cuda", listener=Listener(warn=said.append))
        work.run()
        assert (work.step, work.forward_backward.parts) == (2, 4)
    assert "too little memory for 8 crops at once" in said[-1]


def test_a_model_is_trained_and_scored_as_on_the_cpu(tmp_path):
    data, dev = make_folder(tmp_path / "data", ("a", "b")), make_folder(tmp_path / "dev", ("c",))
    options = {"dev": [dev], "width": 2, "steps": 3, "batch": 2, "crop": 32, "evaluations": 2}
    options["set"] = ["precision=float32", "tf32=false", "shift_tiles=1"]
    expected = train(data, tmp_path / "cpu.safetensors", device="cpu", **options)
    with emulated():
        found = train(data, tmp_path / "cuda.safetensors", device="cuda", **options)
    weights, same = (load_file(result.output) for result in (expected, found))
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert abs(found.dev.relaxed_f1 - expected.dev.relaxed_f1) < 0.01


def test_what_a_gpu_would_refuse_is_refused():
    with emulated(count=2):
        one, other, host = torch.ones(3, device="cuda"), torch.ones(3, device="cuda:1"), torch.ones(3)
        assert ((one + 2.0 * torch.ones(())).cpu() == 3).all()
        for mixed in (lambda: one + host, lambda: host * one, lambda: torch.cat([one, other])):
            with pytest.raises(RuntimeError, match="expected tensors on"):
                mixed()
        with pytest.raises(TypeError, match="numpy"):
            one.numpy()
    with emulated("mps"), pytest.raises(TypeError, match="float64"):
        torch.ones(3, dtype=torch.float64).to("mps")


def test_what_was_not_waited_for_or_not_written_is_nonsense():
    with emulated() as machine:
        late = torch.ones(3, device="cuda").to("cpu", non_blocking=True)
        assert late.isnan().all()
        torch.cuda.current_stream().synchronize()
        assert (late == 1).all()
        assert torch.empty(3, device="cuda").isnan().all().item()
    assert machine.waits == ["stream", "aten._local_scalar_dense.default"]


@pytest.mark.parametrize(
    ("owner", "name", "fault"),
    [(Stream, "wait_stream", "does not wait for the stream"), (EmulatedTensor, "record_stream", "is given away")],
)
def test_careless_streams_are_found(levels, monkeypatch, owner, name, fault):
    monkeypatch.setattr(owner, name, lambda *_: None)
    with pytest.raises(AssertionError, match=fault), emulated():
        levels("cuda", precision="float32", batch=8)  # the first one waits for constants


def test_results_that_nobody_waits_for_are_found(levels, monkeypatch):
    expected = levels("cpu", precision="float32")
    monkeypatch.setattr(Event, "synchronize", lambda _: None)
    with emulated():
        assert not np.array_equal(levels("cuda", precision="float32"), expected)


@pytest.mark.parametrize(("kind", "pinned"), [("cuda", True), ("cuda", False), ("mps", False)])
def test_memory_that_is_overwritten_too_early_is_found(kind, pinned):
    with emulated(kind):
        host = torch.ones(3).pin_memory() if pinned else torch.ones(3)
        there = host.to(kind, non_blocking=True)
        host.zero_()
        assert there.tolist() == ([1, 1, 1] if kind == "cuda" and not pinned else [0, 0, 0])


def test_copies_up_are_not_overtaken():
    with emulated():
        transfers = Transfers(GPU)
        values = np.ones(3, np.float32)
        there = transfers.up(values)
        values[:] = 0
        assert transfers.down(there + 1)().tolist() == [2, 2, 2]
