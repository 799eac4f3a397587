"""Training by several processes, one per device, with the results of a single one.

Each process that ``torchrun`` starts takes its share of every batch. Everything that one process would compute over the
whole batch is summed over the processes: batch statistics, the sums that make up the loss, and the gradients (in one
flat tensor after the backward pass). So N processes with batches of B do what one does with batches of N × B, up to
rounding. NCCL connects CUDA devices, Gloo CPUs.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn

from roadseg.errors import DeviceError, TrainingError, one_line
from roadseg.model.device import asked_device

_CONNECTIONS = re.compile(r"\bgloo\b|\bNCCL\b")
"""What errors of the connections between processes name."""

_TIMEOUT = timedelta(hours=2)
"""Longest wait for another process: the first one may draw masks or score all dev tiles meanwhile."""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together: the rank of this one, and their number."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def batch_slice(self, count: int) -> slice:
        """Return which of the ``size × count`` crops of a step are this process's."""
        return slice(self.rank * count, (self.rank + 1) * count)

    def sum_for_loss(self, sums: Tensor) -> Tensor:
        """Sum over the processes; the gradient of this process's part is that of the sum."""
        return _SumForSameLoss.apply(sums) if self.size > 1 else sums  # type: ignore[no-untyped-call]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(flat)
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def sum_counts(self, counts: NDArray[np.int64], device: torch.device) -> NDArray[np.int64]:
        """Sum integers over the processes."""
        if self.size == 1:
            return counts
        summed = torch.from_numpy(counts).to(device)
        distributed.all_reduce(summed)
        return summed.cpu().numpy()

    def any_true(self, flag: bool, device: torch.device) -> bool:
        """Return whether the flag is true in any process."""
        if self.size == 1:
            return flag
        total = torch.tensor([int(flag)], device=device)
        distributed.all_reduce(total)
        return bool(total.item())

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            distributed.barrier()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Context manager that the main process runs through first; the others find the files it has written."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()

    def synchronize_batch_norms(self, model: nn.Module) -> None:
        """Let batch normalization use the statistics of all processes, in place."""
        if self.size == 1:
            return
        for module in list(model.modules()):
            for name, child in list(module.named_children()):
                if type(child) is nn.BatchNorm2d:
                    kind = nn.SyncBatchNorm if child.weight.is_cuda else GroupBatchNorm
                    norm: Any = kind(child.num_features, eps=child.eps, momentum=child.momentum)
                    for tensor in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                        setattr(norm, tensor, getattr(child, tensor))  # the optimizer knows these very tensors
                    setattr(module, name, norm.train(child.training))


class GroupBatchNorm(nn.BatchNorm2d):
    """Batch normalization over the crops of all processes, on any device; ``nn.SyncBatchNorm`` needs CUDA."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to the same shape."""
        if not self.training:
            return super().forward(x)
        count = torch.tensor([float(x.numel() // x.shape[1])], device=x.device)
        sums = _SumForOwnLosses.apply(torch.cat([x.sum((0, 2, 3)), count]))  # type: ignore[no-untyped-call]
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = x - mean.view(1, -1, 1, 1)
        variance = _SumForOwnLosses.apply(centred.square().sum((0, 2, 3))) / total  # type: ignore[no-untyped-call]
        with torch.no_grad():
            rate = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, rate)  # type: ignore[union-attr]
            self.running_var.lerp_(variance * (total / (total - 1)), rate)  # type: ignore[union-attr]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        scale = self.weight * torch.rsqrt(variance + self.eps)
        y: Tensor = centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return y


# Two sums over processes. If every process computes the same loss from the sum, each has the whole gradient already,
# and the gradients of the parameters are added later. If each computes a loss of its own from it, the gradient of the
# sum is the sum of theirs.


def _summed(values: Tensor) -> Tensor:
    """Return the sum over processes; the values stay as they are."""
    summed = values.clone()
    distributed.all_reduce(summed)
    return summed


class _SumForSameLoss(torch.autograd.Function):
    """Sum over processes that all compute the same from it: the gradient passes through."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        return _summed(values)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return gradient


class _SumForOwnLosses(torch.autograd.Function):
    """Sum over processes that each compute something else from it: gradients are summed too."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        return _summed(values)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient.contiguous())


@contextmanager
def join_process_group(device: str) -> Iterator[tuple[ProcessGroup, str]]:
    """Context manager that joins the processes ``torchrun`` started, if it did; yields them and this one's device.

    Parameters
    ----------
    device
        Device asked for; with several processes ``auto`` and ``cuda`` become one CUDA device each.

    Raises
    ------
    TrainingError
        If they were not started as torchrun does, or one of them ends.
    DeviceError
        If there are more processes than CUDA devices, or one device other than the CPU is named for all of them.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield ProcessGroup(), device
        return
    try:
        size, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
        local = int(os.environ.get("LOCAL_RANK", "0"))
    except (KeyError, ValueError) as error:
        raise _not_started(error) from error
    device = asked_device(device)
    on_cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if device not in {"auto", "cpu", "cuda"}:
        raise DeviceError(f"{size} processes cannot share {device}; use --device cuda, each takes one, or cpu")
    if on_cuda and local >= torch.cuda.device_count():
        raise DeviceError(
            f"there are more processes than the {torch.cuda.device_count()} CUDA devices; lower --nproc-per-node"
        )
    own = torch.device("cuda", local) if on_cuda else torch.device("cpu")
    if on_cuda:
        torch.cuda.set_device(own)
    backend = "nccl" if on_cuda else "gloo"
    with _losses_of_processes(size):
        try:
            distributed.init_process_group(backend, timeout=_TIMEOUT, device_id=own if on_cuda else None)
        except ValueError as error:
            raise _not_started(error) from error
        try:
            yield ProcessGroup(rank, size), str(own)
        finally:
            distributed.destroy_process_group()


def _not_started(error: Exception) -> TrainingError:
    return TrainingError(
        f"WORLD_SIZE is set, as for several processes, but not all else that torchrun sets ({one_line(error)}); start "
        "them with torchrun, or unset WORLD_SIZE"
    )


@contextmanager
def _losses_of_processes(size: int) -> Iterator[None]:
    """Context manager in which a process that others cannot reach any more is an error with its cure."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and not _CONNECTIONS.search(str(error)):
            raise
        raise TrainingError(
            f"another of the {size} processes ended, or cannot be reached; see what it says, then repeat the command, "
            "which resumes"
        ) from error
