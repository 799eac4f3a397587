"""Training by several processes, one for each device, that end up with the numbers of one.

Started by ``torchrun``, each process takes its share of every batch. Everything that a single process would
compute over the whole batch is added up over the processes: batch statistics, the sums a loss is made of, and the
gradients (one flat sum after the backward pass). So N processes with batches of B do what one does with
batches of N × B, but for rounding. NCCL between CUDA devices, Gloo between CPUs.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn

from roadseg.errors import DeviceError

_PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together: which one this is, and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def batch_slice(self, count: int) -> slice:
        """Return which of ``size × count`` things are this process's."""
        return slice(self.rank * count, (self.rank + 1) * count)

    def sum_for_loss(self, sums: Tensor) -> Tensor:
        """Add sums of the processes; the gradient goes to the own part, as a sum's does."""
        return _Pooled.apply(sums) if self.size > 1 else sums  # type: ignore[no-untyped-call]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by the sum over the processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        distributed.all_reduce(flat)
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def sum_counts(self, counts: NDArray[np.int64], device: torch.device) -> NDArray[np.int64]:
        """Add whole numbers over the processes."""
        if self.size == 1:
            return counts
        summed = torch.from_numpy(counts).to(device)
        distributed.all_reduce(summed)
        return summed.cpu().numpy()

    def any_true(self, flag: bool, device: torch.device) -> bool:
        """Return whether any process wishes it."""
        if self.size == 1:
            return flag
        flags = torch.tensor([int(flag)], device=device)
        distributed.all_reduce(flags)
        return bool(flags.item())

    def barrier(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            distributed.barrier()

    def synchronize_batch_norms(self, model: nn.Module) -> None:
        """Let batch normalization see the crops of all processes, in place."""
        if self.size == 1:
            return
        for module in list(model.modules()):
            for name, child in list(module.named_children()):
                if type(child) is nn.BatchNorm2d:
                    on_cuda = child.weight.is_cuda
                    shared = nn.SyncBatchNorm if on_cuda else GroupBatchNorm
                    norm: Any = shared(child.num_features, eps=child.eps, momentum=child.momentum)
                    for kept in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                        setattr(norm, kept, getattr(child, kept))  # the optimizer knows these very tensors
                    setattr(module, name, norm.train(child.training))


class GroupBatchNorm(nn.BatchNorm2d):
    """Batch normalization over the crops of all processes, on any device (PyTorch's own is for CUDA)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to the same shape."""
        if not self.training:
            return super().forward(x)
        count = torch.tensor([float(x.numel() // x.shape[1])], device=x.device)
        sums = _Shared.apply(torch.cat([x.sum((0, 2, 3)), count]))  # type: ignore[no-untyped-call]
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = x - mean.view(1, -1, 1, 1)
        variance = _Shared.apply(centred.square().sum((0, 2, 3))) / total  # type: ignore[no-untyped-call]
        with torch.no_grad():
            rate = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, rate)  # type: ignore[union-attr]
            self.running_var.lerp_(variance * (total / (total - 1)), rate)  # type: ignore[union-attr]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        scale = self.weight * torch.rsqrt(variance + self.eps)
        y: Tensor = centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return y


class _Pooled(torch.autograd.Function):
    """Sum over processes, of which every one goes on to compute the same: the gradient is the own one."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        summed = values.clone()
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return gradient


class _Shared(torch.autograd.Function):
    """Sum over processes, of which each goes on to compute its own: the gradients add as well."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        summed = values.clone()
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        summed = gradient.contiguous().clone()
        distributed.all_reduce(summed)
        return summed


@contextmanager
def join_process_group(device: str) -> Iterator[tuple[ProcessGroup, str]]:
    """Join the processes torchrun started, if it did, and say which device is this one's.

    Parameters
    ----------
    device
        As asked for; with several processes ``auto`` and ``cuda`` become one CUDA device each.

    Raises
    ------
    DeviceError
        If there are more processes than CUDA devices, or one device is named for all of them.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ProcessGroup(), device
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    on_cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if on_cuda and ":" in device:
        raise DeviceError(f"{size} processes cannot share {device}; use --device cuda, each takes one")
    if on_cuda and local >= torch.cuda.device_count():
        raise DeviceError(
            f"there are {torch.cuda.device_count()} CUDA devices for more processes; lower --nproc-per-node"
        )
    own = f"cuda:{local}" if on_cuda else "cpu"
    if on_cuda:
        torch.cuda.set_device(local)
    distributed.init_process_group("nccl" if on_cuda else "gloo", timeout=_PATIENCE)
    try:
        yield ProcessGroup(rank, size), own
    finally:
        distributed.destroy_process_group()
