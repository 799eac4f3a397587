"""CUDA devices drawn on the CPU: what predicts there is tried where there is no GPU.

A tensor on such a device says that it is on ``cuda:0``; its values lie on the host, where the CPU's kernels compute.
What goes wrong on a GPU, and not on a CPU, goes wrong here:

* An operation with tensors of two devices, or of a device and of the host (but for single numbers), raises.
* Copies that the host does not wait for are late. One to the host holds nonsense until an event, or all work, is waited
  for. One to a device must not be read by a stream that has not waited for it, its source must not change before, and
  its memory must be kept for other streams that read it (``record_stream``).
* Memory runs out where a convolution gets more than so many windows.

It says nothing of what CUDA's kernels compute, of time, or of races between threads. Only prediction can be tried: to
go backwards, PyTorch needs CUDA's library. Sources: PyTorch's notes on ``__torch_dispatch__`` and on CUDA semantics.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

_NONSENSE = 0x55
"""What the bytes of memory hold before a copy has come."""

_GIB = 1 << 30


class Stream:
    """Work of a device in its order. Only copies are late, the rest is done at once."""

    def __init__(self, machine: "Machine", index: int) -> None:
        self.machine, self.index, self.queued = machine, index, 0
        self.waits_for: dict[Stream, int] = {}
        self._late: list[tuple[int, Callable[[], object]]] = []

    def enqueue(self, work: Callable[[], object]) -> None:
        """Add work that is done when somebody waits for it."""
        self.queued += 1
        self._late.append((self.queued, work))

    def wait_stream(self, other: "Stream") -> None:
        """Let later work wait for what another stream has been given so far."""
        self.waits_for[other] = other.queued

    def record_event(self) -> SimpleNamespace:
        """Return an event: the host can wait for the work up to here."""
        up_to = self.queued
        return SimpleNamespace(synchronize=lambda: self.synchronize(up_to))

    def synchronize(self, up_to: int | None = None) -> None:
        """Have the host wait."""
        self.machine.waits += 1
        self._finish(self.queued if up_to is None else up_to)

    def _finish(self, up_to: int) -> None:
        for other, number in self.waits_for.items():
            other._finish(number)
        due = [work for number, work in self._late if number <= up_to]
        self._late = [(number, work) for number, work in self._late if number > up_to]
        for work in due:
            work()


class Machine:
    """A machine with drawn CUDA devices.

    Parameters
    ----------
    devices
        Their number.
    most_windows
        The largest batch of a convolution for which memory suffices.
    error
        What is raised for larger ones.

    Attributes
    ----------
    faults
        Sentences on what would go wrong on a GPU, now and then, without an error.
    waits
        How often the host has waited for a device.
    """

    def __init__(self, devices: int = 1, *, most_windows: int = 10**9, error: RuntimeError | None = None) -> None:
        self.devices, self.most_windows = devices, most_windows
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        self.faults: list[str] = []
        self.waits = 0
        self._pinned: dict[int, Tensor] = {}  # by address; kept, so that no other memory gets the same one
        self._arriving: dict[int, tuple[Stream, int, Tensor]] = {}  # by address: the late copy to a device
        self._read_elsewhere: set[int] = set()  # those that another stream than that of the copy reads
        self._kept: set[int] = set()
        self._streams: dict[int, Stream] = {}
        self._own = threading.local()

    @property
    def current_device(self) -> int:
        """The device that this thread means by ``cuda``."""
        return int(getattr(self._own, "device", 0))

    def set_device(self, device: Any) -> None:
        """Choose the device that this thread means by ``cuda``."""
        self._own.device = self.index_of(device)

    def index_of(self, device: Any) -> int:
        """Return the index of a device, however it is named."""
        index = device if isinstance(device, int) else torch.device(device or "cuda").index
        return self.current_device if index is None else int(index)

    def current_stream(self, device: Any = None) -> Stream:
        """Return the stream that this thread gives work of a device to."""
        index = self.index_of(device)
        usual = self._streams.setdefault(index, Stream(self, index))
        return getattr(self._own, f"stream{index}", None) or usual

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        """Context manager for another stream than usual."""
        name, before = f"stream{stream.index}", self.current_stream(stream.index)
        setattr(self._own, name, stream)
        yield
        setattr(self._own, name, before)

    def synchronize(self, device: Any = None) -> None:
        """Have the host wait for all work of a device."""
        self.current_stream(device).synchronize()

    def dispatch(self, operation: Any, args: Any, options: dict[str, Any]) -> Any:
        """Do an operation, where its tensors are or on the device that is asked for."""
        tensors = [leaf for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
        there, name = [tensor for tensor in tensors if isinstance(tensor, DeviceTensor)], operation._schema.name
        target = torch.device(options["device"]) if options.get("device") is not None else None
        if not there and (target is None or target.type == "cpu"):
            return self._on_host(name, operation, args, options)
        if name == "aten::to":  # as copies come in inference mode
            with _Dispatch(self):
                return operation.decompose(*args, **options)
        for tensor in there:
            self._check_arrived(tensor)
        if name == "aten::_to_copy":
            return self._copied(operation, args[0], target, dict(options))
        if name == "aten::copy_" and args[0].device != args[1].device:
            raise NotImplementedError("copies between devices into memory that is there")
        if len({t.device for t in there}) > 1 or any(t.ndim for t in tensors if not isinstance(t, DeviceTensor)):
            raise RuntimeError(f"Expected all tensors to be on the same device, in {name}")
        if name == "aten::_local_scalar_dense":
            self.synchronize(there[0].device)
        if name in {"aten::convolution", "aten::conv2d"} and len(args[0]) > self.most_windows:
            raise self.error
        host_options = {**options, "device": torch.device("cpu")} if target else options
        result = operation(*tree_map(_host, args), **tree_map(_host, host_options))
        index = self.index_of(target or there[0].device)
        known = {id(tensor.host): tensor for tensor in there}  # what is changed in place stays the same tensor
        return tree_map(
            lambda out: known.get(id(out), DeviceTensor(self, out, index)) if isinstance(out, Tensor) else out, result
        )

    def close(self) -> None:
        """Wait for all work, and check that nothing has gone wrong."""
        for stream in [*self._streams.values()]:
            stream.synchronize()
        if self._read_elsewhere - self._kept:
            self.faults.append("memory is given away while another stream than that of its copy may read it")
        if self.faults:
            raise AssertionError("; ".join(self.faults))

    def keep(self, tensor: "DeviceTensor") -> None:
        """Keep memory until the streams that read it are done."""
        self._kept.add(_address(tensor.host))

    def _on_host(self, name: str, operation: Any, args: Any, options: dict[str, Any]) -> Any:
        """Do an operation on the host, whose memory is pinned where that is asked for."""
        if name == "aten::is_pinned":
            return _address(args[0]) in self._pinned
        pinned = name == "aten::_pin_memory" or options.get("pin_memory")
        plain = {key: value for key, value in options.items() if key != "pin_memory"}
        result = args[0].clone() if name == "aten::_pin_memory" else operation(*args, **plain)
        if pinned:
            self._pinned[_address(result)] = result
        return result

    def _copied(self, operation: Any, source: Tensor, target: torch.device | None, options: dict[str, Any]) -> Tensor:
        """Copy to or from a device, or on it."""
        late = options.pop("non_blocking", False)
        plain = {key: value for key, value in options.items() if key not in {"device", "pin_memory"}}
        copy: Tensor = operation(_host(source), **plain)
        if target is None or target.type == "cuda":
            there = DeviceTensor(self, copy, self.index_of(target or source.device))
            if late and _address(_host(source)) in self._pinned:  # from other memory CUDA copies before it returns
                self._arrives_late(source, there)
            return there
        stream = self.current_stream(source.device)
        if not late:
            stream.synchronize()
            return copy
        arrived = torch.full_like(copy.view(torch.uint8), _NONSENSE).view(copy.dtype)
        stream.enqueue(torch.inference_mode()(lambda: arrived.copy_(copy)))
        return arrived

    def _arrives_late(self, source: Tensor, there: "DeviceTensor") -> None:
        def check() -> None:
            if not torch.equal(source.to(there.dtype), there.host):
                self.faults.append(f"memory of {tuple(source.shape)} was changed before it was copied")

        stream = self.current_stream(there.device)
        stream.enqueue(check)
        self._arriving[_address(there.host)] = stream, stream.queued, there.host

    def _check_arrived(self, tensor: "DeviceTensor") -> None:
        """Note a fault where a stream reads what another one copies, and does not wait for that."""
        reading, address = self.current_stream(tensor.device), _address(tensor.host)
        copying, number, _ = self._arriving.get(address, (reading, 0, None))
        if copying is not reading:
            self._read_elsewhere.add(address)
            if reading.waits_for.get(copying, -1) < number:
                self.faults.append(f"memory of {tuple(tensor.shape)} is read before it was copied")


class DeviceTensor(Tensor):
    """A tensor on a drawn device; ``host`` has its values."""

    machine: Machine
    host: Tensor

    @staticmethod
    def __new__(cls, machine: Machine, host: Tensor, index: int) -> "DeviceTensor":
        """Make a tensor that looks like one of the host, but for its device."""
        shown: DeviceTensor = Tensor._make_wrapper_subclass(
            cls, host.size(), strides=host.stride(), storage_offset=host.storage_offset(), dtype=host.dtype,
            device=torch.device("cuda", index),
        )  # fmt: skip
        return shown

    def __init__(self, machine: Machine, host: Tensor, index: int) -> None:
        self.machine, self.host = machine, host

    def record_stream(self, stream: Stream) -> None:
        """Keep the memory until a stream is done with it."""
        self.machine.keep(self)

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), options: Any = None) -> Any:
        """Do an operation."""
        found = next(leaf for leaf in tree_leaves((args, options)) if isinstance(leaf, DeviceTensor))
        return found.machine.dispatch(operation, args, options or {})

    __torch_function__ = torch._C._disabled_torch_function_impl


class _Dispatch(TorchDispatchMode):
    """Sees the operations of one thread that have no tensor on a device yet."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), options: Any = None) -> Any:
        return self._machine.dispatch(operation, args, options or {})


class _Functions(TorchFunctionMode):
    """Replaces, in one thread, what would ask CUDA's library for the current device."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    def __torch_function__(self, function: Any, types: Any, args: Any = (), options: Any = None) -> Any:
        if args and isinstance(args[0], DeviceTensor):
            if function is Tensor.__setitem__:
                function, args = torch.ops.aten.copy_.default, (_item(*args[:2]), args[2])
            function = _WITHOUT_LIBRARY.get(function, function)
        args = tuple(map(self._numbered, args))
        return function(*args, **{key: self._numbered(value) for key, value in (options or {}).items()})

    def _numbered(self, value: Any) -> Any:
        """Return a device with its number."""
        is_device = isinstance(value, str | torch.device) and str(value) == "cuda"
        return torch.device("cuda", self._machine.current_device) if is_device else value


def _item(tensor: Tensor, place: Any) -> Tensor:
    """Return ``tensor[place]`` for numbers, slices, None, the ellipsis, and arrays of indices."""
    places, axis = list(place) if isinstance(place, tuple) else [place], 0
    if any(one is ... for one in places):
        at = next(number for number, one in enumerate(places) if one is ...)
        places[at : at + 1] = [slice(None)] * (tensor.ndim + 1 - sum(one is not None for one in places))
    for one in places:
        if one is None:
            tensor = tensor.unsqueeze(axis)
        elif isinstance(one, slice):
            tensor = torch.ops.aten.slice(tensor, axis, *one.indices(tensor.shape[axis]))
        elif isinstance(one, Tensor):
            tensor = torch.ops.aten.index(tensor, [None] * axis + [one])
        else:
            tensor = tensor.select(axis, one)
            continue
        axis += 1
    return tensor


_WITHOUT_LIBRARY: dict[Any, Any] = {
    Tensor.__getitem__: _item,
    Tensor.contiguous: torch.ops.aten.contiguous.default,
    Tensor.copy_: torch.ops.aten.copy_.default,
    Tensor.item: torch.ops.aten.item.default,
}


def _host(value: Any) -> Any:
    return value.host if isinstance(value, DeviceTensor) else value


def _address(host: Tensor) -> int:
    return host.untyped_storage().data_ptr()


@contextmanager
def emulated_cuda(monkeypatch: pytest.MonkeyPatch, **about: Any) -> Iterator[Machine]:
    """Context manager for a ``Machine``, in this thread and those that it starts."""
    machine = Machine(**about)
    gpu = SimpleNamespace(total_memory=80 * _GIB, major=9, minor=0, name="Drawn GPU")
    drawn: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: machine.devices,
        "current_device": lambda: machine.current_device,
        "set_device": machine.set_device,
        "get_device_name": lambda *_: gpu.name,
        "get_device_properties": lambda *_: gpu,
        "get_device_capability": lambda *_: (gpu.major, gpu.minor),
        "empty_cache": lambda: None,
        "synchronize": machine.synchronize,
        "Stream": lambda device=None: Stream(machine, machine.index_of(device)),
        "stream": machine.stream,
        "current_stream": machine.current_stream,
        "_lazy_init": lambda: None,
    }
    for name, value in drawn.items():
        monkeypatch.setattr(torch.cuda, name, value)
    # Modules keep their parameters and change what these hold, which would lose that they are ours.
    monkeypatch.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)
    run = threading.Thread.run

    def run_there(thread: threading.Thread) -> None:
        with _Dispatch(machine), _Functions(machine):
            run(thread)

    monkeypatch.setattr(threading.Thread, "run", run_there)
    with _Dispatch(machine), _Functions(machine):
        yield machine
    machine.close()
