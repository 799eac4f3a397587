"""Copies between the host and a device; the one place that knows of CUDA's streams and of pinned memory.

    copies up      row 2 │ row 3 │ row 4 │             a stream of its own
    computation          │ row 1        │ row 2 …      the usual stream; waits for the copy that it needs
    host           sends and goes on; waits only for results

Elsewhere a copy is finished when the call returns.
"""

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


class Transfers:
    """Copies to and from a device that the host does not wait for, if the device is CUDA."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._copies_up = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def up(self, values: NDArray[Any]) -> Tensor:
        """Copy an array to the device, beside what is computed there."""
        host = torch.from_numpy(values)
        if self._copies_up is None:
            return host.to(self.device)
        pinned = torch.empty(host.shape, dtype=host.dtype, pin_memory=True).copy_(host)
        with torch.cuda.stream(self._copies_up):
            there = pinned.to(self.device, non_blocking=True)
        computation = torch.cuda.current_stream(self.device)
        computation.wait_stream(self._copies_up)
        there.record_stream(computation)  # its memory is not given away before the computation is done with it
        return there

    def down(self, values: Tensor) -> Callable[[], NDArray[Any]]:
        """Begin to copy a tensor to the host; return a function that waits for the copy and returns it."""
        if self._copies_up is None:
            return lambda: values.cpu().numpy()
        host = values.to("cpu", non_blocking=True)  # into pinned memory
        arrived = torch.cuda.current_stream(self.device).record_event()

        def wait() -> NDArray[Any]:
            arrived.synchronize()
            return host.numpy()

        return wait
