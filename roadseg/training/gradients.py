"""From a batch to gradients: forward pass, loss and backward pass, in as many parts as memory needs."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from roadseg.errors import DeviceError, counted
from roadseg.model.device import is_out_of_memory
from roadseg.model.resunet import ResidualBlock, ResUNet, StemBlock
from roadseg.raster.labelled_scene import VOID
from roadseg.settings import TrainSettings
from roadseg.training.distributed import ProcessGroup
from roadseg.training.objective import loss_from_sums, loss_sums, without_missing


@contextmanager
def gradients_enabled() -> Iterator[None]:
    """Context manager and decorator in which gradients are computed, also for callers who have switched them off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def memory_format_for(width: int) -> torch.memory_format:
    """Return the faster memory format that is safe.

    With channels last, the backward pass of a strided 1×1 convolution of fewer channels than a vector register has
    floats (8 with AVX2, 16 with AVX-512) writes beyond its memory on CPUs (seen with PyTorch 2.13).
    """
    return torch.channels_last if width >= 16 else torch.contiguous_format


class ForwardBackward:
    """Computes the loss of a batch and leaves its gradients in the parameters of a model.

    Parameters
    ----------
    model
        In training mode.
    settings
        Loss and precision.
    scaler
        Scales the loss of float16 training.
    processes
        The processes whose batches count as one.
    warn
        Called with a sentence when memory runs out.

    Attributes
    ----------
    parts
        Number of parts a batch is split into; doubled whenever memory runs out.
    """

    def __init__(
        self,
        model: ResUNet,
        settings: TrainSettings,
        scaler: torch.amp.GradScaler,
        processes: ProcessGroup,
        warn: Callable[[str], None],
    ) -> None:
        self.model, self.settings, self.scaler, self.processes, self.warn = model, settings, scaler, processes, warn
        self.parts = 1

    def __call__(
        self, x: Tensor, labels: Tensor, teacher_probability: Tensor | None = None, *, roads_missing: bool = False
    ) -> Tensor:
        """Return the loss of a batch, a scalar, having set the gradients.

        Parameters
        ----------
        x
            (n, bands, crop, crop) float32, normalized.
        labels
            (n, crop, crop) uint8: 1 road, 0 not road, 255 void.
        teacher_probability
            (n, crop, crop) float32, if there is a teacher.
        roads_missing
            Whether roads that are predicted far from any label count as unknown.

        Raises
        ------
        DeviceError
            If memory does not suffice for a single crop, or for a batch shared by several processes.
        """
        while True:
            try:
                return self._in_parts(x, labels, teacher_probability, roads_missing)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self.processes.size > 1 or self.parts >= len(x):
                    raise too_little_memory(x.device, len(x), x.shape[-1]) from error
            # Outside the except block, where the error no longer holds the tensors of the failed try.
            self.parts *= 2
            if x.device.type == "cuda":
                torch.cuda.empty_cache()
            self.warn(
                f"too little memory for {len(x)} crops at once: batches are split into {self.parts} parts whose "
                "gradients are added; batch statistics and Dice are then those of the parts"
            )

    def _in_parts(self, x: Tensor, labels: Tensor, teacher_probability: Tensor | None, roads_missing: bool) -> Tensor:
        self.model.zero_grad(set_to_none=True)
        size = -(-len(x) // self.parts)
        known = (labels != VOID).sum().clamp(min=1)
        total = torch.zeros((), device=x.device)
        for first in range(0, len(x), size):
            part = slice(first, first + size)
            taught = None if teacher_probability is None else teacher_probability[part]
            loss = self._loss(x[part], labels[part], taught, roads_missing)
            if self.parts > 1:
                loss = loss * ((labels[part] != VOID).sum() / known)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _loss(self, x: Tensor, labels: Tensor, teacher_probability: Tensor | None, roads_missing: bool) -> Tensor:
        dtype = getattr(torch, self.settings.precision)
        with torch.autocast(x.device.type, dtype=dtype, enabled=dtype != torch.float32):
            logits = self.model(x.contiguous(memory_format=memory_format_for(self.model.width)))
        labels = without_missing(logits, labels) if roads_missing else labels
        sums = loss_sums(logits, labels, self.settings, teacher_probability)
        return loss_from_sums(self.processes.sum_for_loss(sums), self.settings)


def too_little_memory(device: torch.device, batch: int, crop: int) -> DeviceError:
    """Return the error of a device that cannot train on so many crops of this side in pixels."""
    return DeviceError(
        f"{device} has too little memory to train on {counted(batch, 'crop')} of {crop} px; "
        "free some, or train with a smaller --batch or --crop"
    )


def require_compiler(device: torch.device) -> None:
    """Check that ``torch.compile`` has what it needs on a device.

    Raises
    ------
    DeviceError
        If Triton (CUDA) or a C++ compiler (CPU) is missing.
    """
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise DeviceError("--compile needs Triton on CUDA; pip install triton, or leave out --compile")
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise DeviceError(
            f"--compile needs a C++ compiler, and there is no {compiler}; install it, or leave out --compile"
        )


def compile_blocks(model: ResUNet) -> None:
    """Compile the residual blocks, each by itself, for every size of batch, also once memory has run out.

    Compiling the whole model loses the gradient of the aligned bilinear upsampling on CPUs (seen with PyTorch 2.13:
    everything below the last decoder level got a gradient of zero).
    """
    torch._dynamo.config.cache_size_limit = 64  # 8 sizes of all blocks together by default; six have the same code
    for module in model.modules():
        if isinstance(module, StemBlock | ResidualBlock):
            module.compile(dynamic=False)
