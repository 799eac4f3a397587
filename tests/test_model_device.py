"""A device is found or refused by name, and too little memory is told from other failures."""

import pytest
import torch

from roadseg.errors import DeviceError
from roadseg.model import device
from roadseg.model.device import (
    choose_device,
    choose_devices,
    choose_precision,
    is_out_of_memory,
    may_have_gpu,
    send,
)


@pytest.fixture
def machine(monkeypatch):
    """Return a function that pretends to a machine with so many CUDA devices, and MPS or not."""

    def pretend(cuda=0, mps=False, capability=(8, 0)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Drawn GPU")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    monkeypatch.setattr(device, "_try_out", lambda _: None)
    return pretend


def test_auto_takes_cuda_then_mps_then_cpu_and_says_why(machine):
    machine(cuda=2, mps=True)
    assert choose_device("auto") == (torch.device("cuda"), "found Drawn GPU")
    machine(mps=True)
    assert choose_device("auto") == (torch.device("mps"), "no CUDA device")
    machine()
    assert choose_device("auto") == (torch.device("cpu"), "no GPU found")


def test_the_environment_says_what_auto_stands_for(machine, monkeypatch):
    machine(cuda=2)
    monkeypatch.setenv("ROADSEG_DEVICE", "cpu")
    assert choose_device("auto") == (torch.device("cpu"), "as asked")
    assert choose_device("cuda:1")[0] == torch.device("cuda", 1)
    monkeypatch.setenv("ROADSEG_DEVICE", "mps")
    with pytest.raises(DeviceError, match="use --device cpu or ROADSEG_DEVICE=auto"):
        choose_device("auto")
    monkeypatch.setenv("ROADSEG_DEVICE", "")
    assert choose_device("auto")[0] == torch.device("cuda")


def test_a_device_asked_for_is_taken_or_refused(machine):
    machine(cuda=2)
    assert choose_device("cuda:1")[0] == torch.device("cuda", 1)
    assert choose_device("cpu") == (torch.device("cpu"), "as asked")
    with pytest.raises(DeviceError, match=r"no cuda:2; this machine has 2"):
        choose_device("cuda:2")
    with pytest.raises(DeviceError, match="no MPS device"):
        choose_device("mps")
    machine(mps=True)
    assert choose_device("mps") == (torch.device("mps"), "as asked")
    assert choose_device("mps:0") == (torch.device("mps", 0), "as asked")
    machine()
    for wish in ("cuda", "cuda:0"):
        with pytest.raises(DeviceError, match=r"no CUDA device is available.*--device cpu"):
            choose_device(wish)


@pytest.mark.parametrize(
    "wish", ["gpu", "", "cuda:x", "cuda:-1", "cpu:0", "CUDA", "cuda:", "auto:1", "cuda:²", "mps:1", "mps:"]
)
def test_an_unknown_device_lists_the_known(machine, wish):
    machine(cuda=4)
    with pytest.raises(DeviceError, match="choose auto, cpu, cuda, cuda:N or mps"):
        choose_device(wish)


def test_cuda_stands_for_all_cuda_devices_unless_some_are_named(machine):
    machine(cuda=3)
    assert choose_devices("cuda") == (["cuda:0", "cuda:1", "cuda:2"], "as asked")
    assert choose_devices("auto") == (["cuda:0", "cuda:1", "cuda:2"], "found Drawn GPU")
    assert choose_devices("cuda:2,cuda:0") == (["cuda:2", "cuda:0"], "as asked")
    assert choose_devices("cuda:1") == (["cuda:1"], "as asked")
    with pytest.raises(DeviceError, match=r"no cuda:3; this machine has 3"):
        choose_devices("cuda:0,cuda:3")
    machine(cuda=1, mps=True)
    assert choose_devices("cuda")[0] == ["cuda"]
    assert choose_devices("auto")[0] == ["auto"]
    assert choose_devices("mps")[0] == ["mps"]
    machine()
    assert choose_devices("cpu")[0] == ["cpu"]


@pytest.mark.parametrize("wish", ["cuda:0,cuda:0", "cuda:0,cpu", "cuda,cuda:1", "cuda:0,", ",", "cpu,cpu"])
def test_lists_of_devices_name_different_cuda_devices(machine, wish):
    machine(cuda=2)
    with pytest.raises(DeviceError, match="name each once, for example cuda:0,cuda:1"):
        choose_devices(wish)


def test_precision_fits_the_device_unless_asked_for(machine):
    machine(cuda=1, capability=(8, 6))
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert choose_precision("auto", cuda) == "bfloat16"
    assert choose_precision("float16", cuda) == "float16"
    machine(cuda=1, capability=(7, 5))
    assert choose_precision("auto", cuda) == "float16"
    assert choose_precision("auto", cpu) == "float32"
    assert choose_precision("auto", torch.device("mps")) == "float32"


def test_more_memory_than_any_machine_has():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.02 GB, other allocations: 40 KB)"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_every_device_reports_too_little_memory_in_its_own_words(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("message", ["CUDA error: device-side assert triggered", "cuDNN error: CUDNN_STATUS_BAD_PARAM"])
def test_other_failures_of_a_device_are_not_taken_for_it(message):
    assert not is_out_of_memory(RuntimeError(message))


def test_another_failure_is_none_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("kind", "expected"), [("cuda", (True, True)), ("mps", (False, False)), ("cpu", (False, True))]
)
def test_only_mps_waits_for_copies_and_only_cuda_reads_pinned_memory(kind, expected, monkeypatch):
    pinned, waits = [], []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(1) or tensor)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device, **how: waits.append(how["non_blocking"]) or tensor)
    send(torch.ones(2), torch.device(kind))
    assert (bool(pinned), *waits) == expected


@pytest.mark.parametrize("driver", ["nvidiactl", "kfd", "dxg"])
def test_a_driver_is_a_reason_to_look_for_a_gpu(driver, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    there = set()
    monkeypatch.setattr("pathlib.Path.exists", lambda path: path.as_posix() in there)
    assert not may_have_gpu()
    there.add(f"/dev/{driver}")
    assert may_have_gpu()


@pytest.mark.parametrize(
    ("system", "said", "supported", "expected"),
    [
        ("linux", "model name: x\nflags\t\t: fpu avx512_bf16 sse\n", False, True),
        ("linux", "flags\t\t: fpu avx512f sse\nbugs: avx512_bf16\n", True, False),
        ("win32", None, True, True),
        ("win32", None, False, False),
        ("darwin", None, True, False),
    ],
)
def test_a_cpu_that_computes_in_bfloat16_is_known_on_linux_and_windows(
    system, said, supported, expected, monkeypatch, tmp_path
):
    info = tmp_path / "cpuinfo"
    if said is not None:
        info.write_text(said, encoding="utf-8")
    monkeypatch.setattr(device, "_CPU", info)
    monkeypatch.setattr(device.sys, "platform", system)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert device.cpu_has_bfloat16.__wrapped__() == expected
