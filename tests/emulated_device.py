"""An emulated GPU: tensors that say they lie on it, and streams that do their work as late as a device may.

    host     copy up ─▶ predict ─▶ copy down ─▶ …      each call returns at once, with a tensor that knows its shape
    stream   copy up │ predict │ copy down │           work that waits in line
                                           ▲           an event, a stream or a number is waited for: it is done now

A CPU computes the values. What a GPU shows only when it is busy shows here each time: pinned memory that is overwritten
before it was copied gives wrong pixels; a copy to the host that nobody waited for, and memory that was never written,
are NaN or 85. Refused are operations on tensors of the host and of the device, arrays of the latter, float64 on MPS,
and a stream that does not wait for another one that used the same memory. Memory that is given away while another
stream may use it is among ``Machine.faults``.

It does not show kernels, their numbers and speed and the memory they take for themselves, what cuDNN chooses, TF32,
devices that exchange data, several processes (NCCL) and ``torch.compile``; autocast is that of CPUs. Only a device
shows these. ``emulated_torch`` lets PyTorch find it.
"""

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary

import torch
from emulated_streams import LOCK, Memory, Stream
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_map_only, tree_unflatten

_ATEN = torch.ops.aten
_LAST = torch.channels_last
_KEEP_FORMAT = ("aten.conv2d", "aten.convolution.")
"""Operations whose results have the memory format of what they are given, which the meta device does not know."""


class EmulatedTensor(Tensor):
    """A tensor on an emulated device: ``form`` is its like on the meta device, ``values`` hold one once it is there.

    To PyTorch it lies on a CPU, so that its gradients need no device.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: self.memory.stream.device)
    is_cpu = property(lambda _: False)
    is_cuda = property(lambda self: self.device.type == "cuda")

    @staticmethod
    def of(form: Tensor, memory: Memory) -> "EmulatedTensor":
        """Return a tensor without values."""
        size, stride, offset = form.shape, form.stride(), form.storage_offset()
        made = Tensor._make_wrapper_subclass(EmulatedTensor, size, stride, offset, dtype=form.dtype)
        made.form, made.memory, made.values = form, memory, []
        return made

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), options: Any = None) -> Any:
        return Machine.current.run(operation, args, options or {})

    def to(self, *args: Any, copy: bool = False, **options: Any) -> Tensor:
        """Convert or copy it; what is copied to the host without waiting lies in pinned memory."""
        device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **options)
        how = {"dtype": dtype or self.dtype, "memory_format": memory_format or torch.preserve_format}
        machine = self.memory.stream.machine
        if device is None or machine.indexed(device) == self.device:
            return super().to(**how, copy=copy)
        if device.type != "cpu":
            raise NotImplementedError(f"{self.device} to {device}")
        here = torch.empty_like(self.form, device="cpu", **how)
        return (machine.pin(here) if non_blocking else here).copy_(self.detach(), non_blocking=non_blocking)

    def cpu(self) -> Tensor:
        """Copy it to the host."""
        return self.to("cpu")

    def tolist(self) -> Any:
        """Return its values as Python numbers."""
        return self.cpu().tolist()

    def numpy(self) -> Any:
        """Refuse what no device allows."""
        raise TypeError(f"can't convert {self.device} device type tensor to numpy")

    def record_stream(self, stream: Stream) -> None:
        """Keep memory, when the last tensor goes, until what a stream was given is done."""
        self.memory.recorded.add(stream)

    def untyped_storage(self) -> Any:
        """Return what identifies its memory."""
        return SimpleNamespace(data_ptr=lambda: id(self.memory), nbytes=lambda: self.memory.size)

    def __repr__(self, **_: Any) -> str:
        """Return what is known without waiting."""
        return f"EmulatedTensor({tuple(self.shape)}, {self.dtype}, {self.device})"


class Machine:
    """A computer with emulated devices of one kind, and what was seen of them.

    Attributes
    ----------
    waits
        What made the host wait for a device, in order.
    faults
        What would go wrong on a device sooner or later.
    used, most
        Bytes in use, and how many there were at most, by device.
    limit, error
        How many bytes each device has, and what makes the error where they do not suffice.
    """

    current: "Machine"

    def __init__(self, kind: str, count: int) -> None:
        Machine.current, self.kind = self, kind
        self.waits: list[str] = []
        self.faults: list[str] = []
        self.used: defaultdict[torch.device, int] = defaultdict(int)
        self.most: defaultdict[torch.device, int] = defaultdict(int)
        self.limit = self.total = 16 << 30
        self.error: Callable[[], RuntimeError] = lambda: torch.OutOfMemoryError("CUDA out of memory")
        self.streams: list[Stream] = []
        self._pinned: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._thread = threading.local()
        self.default = {one: Stream(self, one) for one in (torch.device(kind, index) for index in range(count))}

    def indexed(self, device: Any = None) -> torch.device:
        """Return a device with its number, which is 0 unless it names another."""
        if device is None or isinstance(device, int):
            return torch.device(self.kind, device or 0)
        return torch.device(torch.device(device).type, torch.device(device).index or 0)

    def current_stream(self, device: Any = None) -> Stream:
        """Return the stream that this thread gives work to: that of all threads unless it has chosen another."""
        return getattr(self._thread, "chosen", self.default).get(self.indexed(device))

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        """Context manager in which this thread gives work to a stream."""
        before = getattr(self._thread, "chosen", self.default)
        self._thread.chosen = {**before, stream.device: stream}
        yield
        self._thread.chosen = before

    def pin(self, tensor: Tensor) -> Tensor:
        """Note that memory of the host is pinned."""
        if self.kind == "cuda":
            self._pinned[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    def is_pinned(self, tensor: Tensor) -> bool:
        """Return whether memory of the host is pinned."""
        return tensor.untyped_storage().data_ptr() in self._pinned

    def run(self, operation: Any, args: Any, options: dict[str, Any]) -> Any:
        """Give an operation to the current stream of its device, and return tensors that will hold its results."""
        with LOCK:
            if operation is _ATEN._local_scalar_dense.default:
                return self._fetched(args[0], operation).item()
            if operation is _ATEN.copy_.default and not all(isinstance(one, EmulatedTensor) for one in args[:2]):
                return (self._up if isinstance(args[0], EmulatedTensor) else self._down)(*args, **options)
            return self._given(operation, args, options)

    def _given(self, operation: Any, args: Any, options: dict[str, Any]) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
        ours = [tensor for tensor in tensors if isinstance(tensor, EmulatedTensor)]
        stream = self.current_stream(ours[0].device if ours else options["device"])
        elsewhere = [t for t in tensors if t.device != stream.device and (t.ndim or isinstance(t, EmulatedTensor))]
        if elsewhere:
            raise RuntimeError(f"{operation}: expected tensors on {stream.device}, found {elsewhere[0].device}")
        written, made = _written(operation, args, options), {}
        if all(one.alias_info and one.alias_info.is_write for one in operation._schema.returns):
            result = written[0] if operation._schema.returns else None
        else:
            result, made = self._results(operation, stream, ours, args, options)
        before, writes = {tensor.memory for tensor in ours}, {tensor.memory for tensor in written}
        for memory in before | {tensor.memory for tensor in made.values()}:
            memory.use(stream, operation, writes=memory in writes or memory not in before)
        # Numbers of the host count as they are now; tensors of the device as they will be, and this keeps none of them.
        later = tree_map(_later, args), tree_map(_later, options)
        values = {place: (tensor.form, tensor.values) for place, tensor in made.items()}
        stream.give(lambda: _compute(operation, *later, values))
        return result

    def _results(
        self, operation: Any, stream: Stream, ours: list[EmulatedTensor], args: Any, options: Any
    ) -> tuple[Any, dict[int, EmulatedTensor]]:
        """Return what an operation returns, without values, and the new tensors in it by place."""
        leaves, tree = tree_flatten(operation(*tree_map(_form, args), **tree_map(_form, options)))
        known = {id(tensor.form): tensor for tensor in ours}
        memories = {tensor.form.untyped_storage()._cdata: tensor.memory for tensor in ours}
        made: dict[int, EmulatedTensor] = {}
        for place, form in enumerate(leaves):
            if isinstance(form, Tensor) and id(form) not in known:
                last = str(operation).startswith(_KEEP_FORMAT) and ours[0].form.is_contiguous(memory_format=_LAST)
                form = form.contiguous(memory_format=_LAST) if last else form  # noqa: PLW2901
                memory = memories.get(form.untyped_storage()._cdata) or self._memory(stream, form)
                made[place] = EmulatedTensor.of(form, memory)
            leaves[place] = made.get(place, known.get(id(form), form))
        return tree_unflatten(leaves, tree), made

    def _memory(self, stream: Stream, form: Tensor) -> Memory:
        size = form.untyped_storage().nbytes()
        if self.kind == "mps" and form.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        if self.used[stream.device] + size > self.limit:
            raise self.error()
        self.used[stream.device] += size
        self.most[stream.device] = max(self.most[stream.device], self.used[stream.device])
        return Memory(stream, size)

    def _fetched(self, tensor: EmulatedTensor, what: object) -> Tensor:
        """Wait for the values of a tensor."""
        self.waits.append(str(what))
        stream = self.current_stream(tensor.device)
        tensor.memory.use(stream, what, writes=False)
        stream.finish()
        return tensor.values[0]

    def _up(self, there: EmulatedTensor, host: Tensor, non_blocking: bool = False) -> EmulatedTensor:
        stream, values = self.current_stream(there.device), there.values
        there.memory.use(stream, "a copy to the device", writes=True)
        stream.give(lambda: values[0].copy_(host))
        if not self._is_late(host, non_blocking):
            self.waits.append(f"a copy to the device {tuple(host.shape)}")
            stream.finish()
        return there

    def _down(self, host: Tensor, there: EmulatedTensor, non_blocking: bool = False) -> Tensor:
        if not self._is_late(host, non_blocking):
            return host.copy_(self._fetched(there, f"a copy to the host {tuple(host.shape)}"))
        stream, values = self.current_stream(there.device), there.values
        there.memory.use(stream, "a copy to the host", writes=False)
        stream.give(lambda: host.copy_(values[0]))
        return _without_values(host)

    def _is_late(self, host: Tensor, non_blocking: bool) -> bool:
        """Return whether a copy happens later; CUDA waits for memory that is not pinned, MPS takes any."""
        return non_blocking and (self.kind == "mps" or self.is_pinned(host))


class _Later:
    """The values of a tensor, which are there later."""

    def __init__(self, values: list[Tensor]) -> None:
        self.values = values


def _later(leaf: Any) -> Any:
    if isinstance(leaf, EmulatedTensor):
        return _Later(leaf.values)
    if isinstance(leaf, Tensor):
        return leaf.detach().clone()
    return torch.device("cpu") if isinstance(leaf, torch.device) else leaf


def _form(leaf: Any) -> Any:
    if isinstance(leaf, EmulatedTensor):
        return leaf.form
    if isinstance(leaf, Tensor):
        return leaf.detach().to("meta")
    return torch.device("meta") if isinstance(leaf, torch.device) else leaf


def _written(operation: Any, args: Any, options: dict[str, Any]) -> list[EmulatedTensor]:
    """Return the tensors that an operation writes to."""
    arguments = {one.name: one for one in operation._schema.arguments}
    given = {**dict(zip(arguments, args, strict=False)), **options}
    written = [value for name, value in given.items() if (info := arguments[name].alias_info) and info.is_write]
    return [leaf for leaf in tree_leaves(written) if isinstance(leaf, EmulatedTensor)]


def _compute(operation: Any, args: Any, options: Any, made: dict[int, tuple[Tensor, list[Tensor]]]) -> None:
    args, options = tree_map_only(_Later, lambda later: later.values[0], (args, options))
    results = tree_leaves(operation(*args, **options))
    for place, (form, values) in made.items():
        value = results[place]
        if value.stride() != form.stride():
            value = torch.empty_strided(form.shape, form.stride(), dtype=form.dtype).copy_(value)
        values.append(_without_values(value) if "empty" in str(operation) else value)


def _without_values(tensor: Tensor) -> Tensor:
    return tensor.fill_(math.nan if tensor.is_floating_point() else 85)
