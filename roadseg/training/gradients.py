"""From a batch to gradients: forward, loss and backward, in as many parts as memory wants."""

from collections.abc import Callable

import torch
from torch import Tensor

from roadseg.errors import DeviceError
from roadseg.model.device import is_out_of_memory
from roadseg.model.resunet import ResidualBlock, ResUNet, StemBlock
from roadseg.settings import TrainSettings
from roadseg.training.distributed import ProcessGroup
from roadseg.training.objective import loss_from_sums, loss_sums


def memory_format_for(width: int) -> torch.memory_format:
    """Return the faster memory layout that is safe.

    With channels last, the backward pass of a strided 1×1 convolution of fewer channels than a vector register has
    floats (8 with AVX2, 16 with AVX-512) writes beyond its memory on CPUs (seen with PyTorch 2.13).
    """
    return torch.channels_last if width >= 16 else torch.contiguous_format


class ForwardBackward:
    """Leaves the gradients of a batch in a network's parameters.

    Parameters
    ----------
    network
        In training.
    settings
        Loss and precision.
    scaler
        Of float16 gradients.
    team
        The processes whose batches make one.
    on_note
        Gets a sentence when memory is too small.
    """

    def __init__(
        self,
        model: ResUNet,
        settings: TrainSettings,
        scaler: torch.amp.GradScaler,
        processes: ProcessGroup,
        on_note: Callable[[str], None],
    ) -> None:
        self.model, self.settings, self.scaler, self.processes, self.on_note = (
            model,
            settings,
            scaler,
            processes,
            on_note,
        )
        self.parts = 1

    def __call__(self, x: Tensor, labels: Tensor, teacher_probability: Tensor | None = None) -> Tensor:
        """Return the loss and leave its gradients; take the batch in parts if there is too little memory."""
        while True:
            try:
                return self._in_parts(x, labels, teacher_probability)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self.processes.size > 1 or self.parts >= len(x):
                    raise DeviceError(
                        f"{x.device} has too little memory to train on {len(x)} crops of {x.shape[-1]} px; "
                        "choose a smaller --batch or --crop"
                    ) from error
            self.parts *= 2  # here, where the error no longer holds what the failed try made
            if x.device.type == "cuda":
                torch.cuda.empty_cache()
            self.on_note(
                f"too little memory for {len(x)} crops at once: taken in {self.parts} parts, whose gradients are "
                "added; batch statistics and Dice are then those of the parts"
            )

    def _in_parts(self, x: Tensor, labels: Tensor, teacher_probability: Tensor | None) -> Tensor:
        self.model.zero_grad(set_to_none=True)
        dtype = getattr(torch, self.settings.precision)
        size = -(-len(x) // self.parts)
        known = (labels != 255).sum().clamp(min=1) if self.parts > 1 else None
        total = torch.zeros((), device=x.device)
        for first in range(0, len(x), size):
            place = slice(first, first + size)
            some, some_labels, some_taught = (
                x[place],
                labels[place],
                None if teacher_probability is None else teacher_probability[place],
            )
            with torch.autocast(x.device.type, dtype=dtype, enabled=dtype != torch.float32):
                logits = self.model(some.contiguous(memory_format=memory_format_for(self.model.width)))
            sums = loss_sums(logits, some_labels, self.settings, some_taught)
            loss = loss_from_sums(self.processes.sum_for_loss(sums), self.settings)
            if known is not None:
                loss = loss * ((some_labels != 255).sum() / known)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total


def compile_blocks(model: ResUNet) -> None:
    """Compile the residual blocks, each by itself.

    Compiling the whole network loses the gradient of the aligned bilinear upsampling on the CPU (seen
    with PyTorch 2.13: everything below the last decoder level got a gradient of zero).
    """
    for module in model.modules():
        if isinstance(module, StemBlock | ResidualBlock):
            module.compile(dynamic=False)
