"""Devices: which one to use, in which number format, and how they report that memory ran out.

torch is imported only when one of its devices is chosen, so that other engines run where it is not installed.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from roadseg.errors import DeviceError, counted
from roadseg.settings import Precision

if TYPE_CHECKING:
    import torch

_DEVICES = re.compile("auto|cpu|mps(:0)?|cuda(:[0-9]+)?")

_CPU = Path("/proc/cpuinfo")
"""Where Linux says what the CPU can do."""

_OUT_OF_MEMORY = (
    "DefaultCPUAllocator",
    "std::bad_alloc",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",  # with expandable segments
    "CUDNN_STATUS_ALLOC_FAILED",
    "INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",  # its name since cuDNN 9
    "CUBLAS_STATUS_ALLOC_FAILED",
    "unable to find an engine",  # cuDNN's words where no convolution fits the memory that is left
    "MPS backend out of memory",
)
"""Parts of the messages of plain RuntimeErrors that mean too little memory."""


def asked_device(wanted: str) -> str:
    """Return the device asked for: of "auto" that of ``ROADSEG_DEVICE``, if it is set."""
    return os.environ.get("ROADSEG_DEVICE") or wanted if wanted == "auto" else wanted


def choose_device(wanted: str) -> "tuple[torch.device, str]":
    """Return the device that a name stands for, and why it was chosen.

    Parameters
    ----------
    wanted
        auto, cpu, cuda, cuda:N or mps; auto takes that of ``ROADSEG_DEVICE``, else CUDA, then MPS, then the CPU.

    Raises
    ------
    DeviceError
        If the name is unknown, there is no such device, or it cannot be used.
    """
    import torch

    wanted = asked_device(wanted)
    if not _DEVICES.fullmatch(wanted):
        raise DeviceError(f"there is no device {wanted!r}; choose auto, cpu, cuda, cuda:N or mps")
    auto = "ROADSEG_DEVICE=auto" if wanted == os.environ.get("ROADSEG_DEVICE") else "--device auto"
    kind, _, number = wanted.partition(":")
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if kind == "auto" and has_cuda:
        _try_out(torch.device("cuda"))
        return torch.device("cuda"), f"found {torch.cuda.get_device_name()}"
    if kind == "auto":
        return (torch.device("mps"), "no CUDA device") if has_mps else (torch.device("cpu"), "no GPU found")
    if kind == "cuda" and not has_cuda:
        built = "" if torch.version.cuda else " (this PyTorch is built without CUDA)"
        raise DeviceError(f"no CUDA device is available{built}; use --device cpu or {auto}")
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise DeviceError(f"there is no {wanted}; this machine has {counted(torch.cuda.device_count(), 'CUDA device')}")
    if kind == "mps" and not has_mps:
        raise DeviceError(f"no MPS device is available; use --device cpu or {auto}")
    if kind == "cuda":
        _try_out(torch.device(wanted))
    return torch.device(wanted), "as asked"


def _try_out(device: "torch.device") -> None:
    """Compute something on a device; raise DeviceError if that fails, as on one that is too old for this PyTorch."""
    import torch

    try:
        with failures_of(device):
            torch.ones(1, device=device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError(f"{device} has no memory left; free some, or use --device cpu") from error


def choose_devices(wanted: str) -> tuple[list[str], str]:
    """Return the names of all devices that a name stands for, and why they were chosen.

    Parameters
    ----------
    wanted
        As for ``choose_device``, or several CUDA devices: cuda:0,cuda:1. cuda and auto take all there are.

    Raises
    ------
    DeviceError
        If a name is unknown, or there is no such device.
    """
    import torch

    names = wanted.split(",")
    if len(names) > 1:
        if len(set(names)) < len(names) or not all(re.fullmatch("cuda:[0-9]+", name) for name in names):
            raise DeviceError(f"{wanted!r} are no CUDA devices; name each once, for example cuda:0,cuda:1")
        for name in names:
            choose_device(name)
        return names, "as asked"
    device, why = choose_device(wanted)
    count = torch.cuda.device_count() if device.type == "cuda" and device.index is None else 1
    return ([f"cuda:{index}" for index in range(count)] if count > 1 else [wanted]), why


def choose_precision(wanted: Precision, device: "torch.device") -> Precision:
    """Return the number format for a device; auto takes the fastest one that keeps the accuracy."""
    import torch

    if wanted != "auto":
        return wanted
    if device.type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float16"


def fastest_precision(wanted: Precision, device: "torch.device") -> Precision:
    """Return the number format for a device like ``choose_precision``, and bfloat16 on CPUs that compute in it."""
    return cpu_precision(wanted) if device.type == "cpu" else choose_precision(wanted, device)


def cpu_precision(wanted: Precision) -> Precision:
    """Return the number format for a CPU; auto is bfloat16 where it computes in that, else float32."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if cpu_has_bfloat16() else "float32"


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error of torch means that there was too little memory, on any device."""
    return type(error).__name__ == "OutOfMemoryError" or any(part in str(error) for part in _OUT_OF_MEMORY)


@contextmanager
def failures_of(device: object) -> Iterator[None]:
    """Context manager that turns what CUDA itself reports, other than too little memory, into a DeviceError.

    That a kernel was given what it cannot take (an assertion) is no failure of the device.
    """
    try:
        yield
    except RuntimeError as error:
        said = str(error).partition("\n")[0]
        if not said.startswith("CUDA error: ") or "assert" in said or is_out_of_memory(error):
            raise
        is_unknown = "no kernel image" in said
        cure = "install a PyTorch that is built for it (pytorch.org)" if is_unknown else "repeat the command"
        raise DeviceError(f"{device} has failed ({said}); {cure}, or use --device cpu") from error


@cache
def cpu_has_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 numbers itself (AVX-512 BF16 or AMX); False where that is unknown."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", _CPU.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return sys.platform == "win32" and _torch_sees_bfloat16()
    return flags is not None and not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags[1].split())


def _torch_sees_bfloat16() -> bool:
    try:
        import torch
    except ImportError:
        return False
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # CPUs with AMX have its bfloat16, too
    return any(getattr(torch.cpu, name, bool)() for name in asked)


def may_have_gpu() -> bool:
    """Return whether it is worth loading PyTorch to look for a GPU: there is a driver, or this is a Mac or Windows."""
    drivers = ("nvidiactl", "kfd", "dxg")  # NVIDIA's, AMD's, and that of Linux in Windows (WSL 2)
    return sys.platform in {"darwin", "win32"} or any(Path("/dev", name).exists() for name in drivers)


def send(values: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    """Copy a tensor from the host to a device, and do not wait for the copy where that is safe.

    CUDA keeps pinned memory until it has been read. MPS does not keep the memory that it reads, and copies what has
    come there since (PyTorch issue 189690).
    """
    ready = values.pin_memory() if device.type == "cuda" and not values.is_pinned() else values
    return ready.to(device, non_blocking=device.type != "mps")
