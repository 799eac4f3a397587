"""Lets PyTorch find emulated devices; see ``emulated_device``."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from emulated_device import EmulatedTensor, Machine
from emulated_streams import Stream
from torch import Tensor
from torch.optim import optimizer
from torch.utils import _foreach_utils

_CAN = torch.__version__.startswith("2.13.") and torch.version.cuda is None and not torch.backends.mps.is_built()
WHY_NOT = "" if _CAN else "only PyTorch 2.13 that is built for CPUs alone can be taught an emulated device"
"""Why devices cannot be emulated here; empty if they can."""

_MADE_BY_NAME = ("empty.memory_format", "empty_strided", "arange", "arange.start", "arange.start_step", "eye", "eye.m",
                 "linspace")  # fmt: skip
"""Operations that make tensors on a device that is named, not that of another tensor; others of the kind use these."""


@contextmanager
def emulated(kind: str = "cuda", count: int = 1) -> Iterator[Machine]:
    """Context manager in which there are emulated devices, cuda or mps; its end raises their faults."""
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    machine, library = Machine(kind, count), torch.library.Library("aten", "IMPL", kind.upper())
    for name in _MADE_BY_NAME:
        packet, _, overload = name.partition(".")
        operation = getattr(getattr(torch.ops.aten, packet), overload or "default")
        library.impl(name, lambda *args, _made_by=operation, **options: machine.run(_made_by, args, options))
    try:
        with pytest.MonkeyPatch.context() as patch, torch.autograd.set_multithreading_enabled(False):
            _patch_tensors(patch, machine)
            patch.setattr(torch.backends.mps, "is_available", lambda: kind == "mps")
            if kind == "cuda":
                _patch_cuda(patch, machine)
            yield machine
            for stream in machine.streams:
                stream.finish()
    finally:
        library._destroy()
    assert not machine.faults, machine.faults


def _patch_tensors(patch: pytest.MonkeyPatch, machine: Machine) -> None:
    to, empty, tensor, autocast = Tensor.to, torch.empty, torch.tensor, torch.autocast
    groups = torch._C._group_tensors_by_device_and_dtype

    def numbered(value: Any) -> Any:
        return machine.indexed(value) if str(value) == machine.kind else value

    def made_pinned(*size: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        made = empty(*size, **options)
        return machine.pin(made) if pin_memory else made

    def made_of(values: Any, *, device: Any = "cpu", **options: Any) -> Tensor:
        return tensor(values, **options).to(device)

    def grouped(*args: Any) -> Any:
        return {(group[0][0][0].device, dtype): group for (_, dtype), group in groups(*args).items()}

    patch.setattr(Tensor, "to", lambda self, *args, **how: to(self, *map(numbered, args), **how))
    patch.setattr(Tensor, "is_pinned", lambda self: machine.is_pinned(self))  # noqa: PLW0108
    patch.setattr(Tensor, "pin_memory", lambda self: machine.pin(self.clone()))
    patch.setattr(torch, "empty", made_pinned)
    patch.setattr(torch, "tensor", made_of)
    patch.setattr(torch, "autocast", lambda _, **how: autocast("cpu", **how))
    patch.setattr(torch._C, "_group_tensors_by_device_and_dtype", grouped)
    patch.setattr(torch.__future__, "_swap_module_params_on_conversion", True)  # parameters stay the same objects
    for module in (optimizer, _foreach_utils):  # to which a device's own tensors are plain ones
        patch.setattr(module, "_foreach_supported_types", [*module._foreach_supported_types, EmulatedTensor])


def _patch_cuda(patch: pytest.MonkeyPatch, machine: Machine) -> None:
    fakes: dict[str, Any] = {
        "is_available": lambda: True,
        "is_bf16_supported": lambda *_, **__: True,
        "device_count": lambda: len(machine.default),
        "current_stream": machine.current_stream,
        "stream": machine.stream,
        "Stream": lambda device=None: Stream(machine, machine.indexed(device)),
        "empty_cache": lambda: None,
        "get_device_name": lambda *_: "Emulated GPU",
        "get_device_capability": lambda *_: (8, 0),
        "get_device_properties": lambda *_: SimpleNamespace(total_memory=machine.total),
        "mem_get_info": lambda *_: (machine.total, machine.total),
        "set_per_process_memory_fraction": lambda share: setattr(machine, "limit", int(share * machine.total)),
        "_lazy_init": lambda: None,
    }
    for name, fake in fakes.items():
        patch.setattr(torch.cuda, name, fake)
