"""Prediction on drawn CUDA devices: the host and the streams wait where they must, and the answers are the CPU's.

Real devices are for the tests marked ``cuda``.
"""

import numpy as np
import pytest
import rasterio
import torch
from emulated_cuda import emulated_cuda

from roadseg.errors import DeviceError
from roadseg.model.device import _OUT_OF_MEMORY
from roadseg.predict import predict
from roadseg.prediction.engines.torch_transfers import Transfers


@pytest.fixture
def machine(monkeypatch):
    with emulated_cuda(monkeypatch, devices=2) as machine:
        yield machine


@pytest.fixture
def levels(draw, tmp_path, model_file):
    """Return a function that predicts a scene of 35 windows and returns what is written."""
    scene = draw(230, 170)

    def made(device, **options):
        output = tmp_path / f"{device}.tif"
        predict(scene, output, model=model_file, engine="torch", device=device, overwrite=True, **options)
        with rasterio.open(output) as file:
            return file.read(1).astype(float)

    return made


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cuda:1,cuda:0"])
@pytest.mark.parametrize(
    "options",
    [
        {"precision": "float32"},
        {"precision": "bfloat16", "tta": True},
        {"precision": "float32", "dtype": "float32", "block": 224, "batch": 3},
        {"precision": "float32", "overlap": 40},  # windows are cut and blended on the host
    ],
)
def test_a_scene_is_as_on_the_cpu(machine, levels, device, options):
    expected, got = levels("cpu", **options), levels(device, **options)
    assert expected.std() > 0.1
    level = 1 / 254 if options.get("dtype") else 1
    assert np.abs(got - expected).max() <= level
    assert (np.abs(got - expected) > level / 2).mean() < 1e-3


@pytest.mark.parametrize("words", [None, *[part for part in _OUT_OF_MEMORY if "CPU" not in part and "MPS" not in part]])
def test_batches_become_smaller_where_memory_runs_out(machine, levels, words):
    expected = levels("cuda", precision="float32")
    machine.most_windows = 3
    machine.error = RuntimeError(f"device 0: {words} (of several)") if words else machine.error
    assert np.abs(levels("cuda", precision="float32") - expected).max() <= 1
    machine.most_windows = 0
    with pytest.raises(DeviceError, match="no memory for even one window"):
        levels("cuda", precision="float32")


def test_the_host_waits_once_for_each_row_of_windows(machine, levels):
    levels("cuda:0", precision="float32")
    assert machine.waits == 7


def test_what_a_gpu_would_refuse_is_refused(machine):
    one, other, host = torch.ones(3, device="cuda"), torch.ones(3, device="cuda:1"), torch.ones(3)
    assert ((one + 2.0).cpu() == 3).all()
    for mixed in (lambda: one + host, lambda: host * one, lambda: torch.cat([one, other])):
        with pytest.raises(RuntimeError, match="same device"):
            mixed()
    with pytest.raises(RuntimeError, match="numpy"):
        one.numpy()


def test_what_has_not_come_is_nonsense(machine):
    late = torch.ones(3, device="cuda").to("cpu", non_blocking=True)
    assert (late != 1).all()
    machine.synchronize()
    assert (late == 1).all()


def not_awaited(transfers, pinned):
    with torch.cuda.stream(transfers._copies_up):
        there = pinned.to("cuda", non_blocking=True)
    there.record_stream(torch.cuda.current_stream())
    return there


def not_kept(transfers, pinned):
    with torch.cuda.stream(transfers._copies_up):
        there = pinned.to("cuda", non_blocking=True)
    torch.cuda.current_stream().wait_stream(transfers._copies_up)
    return there


def overwritten(_, pinned):
    there = pinned.to("cuda", non_blocking=True)
    pinned.zero_()
    return there


@pytest.mark.parametrize(
    ("send", "fault"),
    [(not_awaited, "is read before"), (not_kept, "is given away"), (overwritten, "was changed before")],
)
def test_careless_copies_are_found(monkeypatch, send, fault):
    with pytest.raises(AssertionError, match=fault), emulated_cuda(monkeypatch):  # noqa: PT012
        there = send(Transfers(torch.device("cuda")), torch.ones(3).pin_memory())
        there.add(1)
