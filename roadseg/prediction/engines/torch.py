"""The engine that runs a ResUNet with PyTorch, on a CPU, CUDA or MPS.

The device takes whole blocks (``torch_blocks``). Of windows that the host has cut, CUDA has one batch in flight:

    host      send 1 │ send 2    │ blend 1, send 3 │ blend 2, send 4 │
    device           │ predict 1 │ predict 2       │ predict 3       │

A CPU computes several batches side by side.

When the device runs out of memory the batch size is halved, for this batch and all later ones.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from roadseg.errors import DeviceError
from roadseg.files.processors import thread_count
from roadseg.model.device import choose_device, failures_of, fastest_precision, is_out_of_memory
from roadseg.model.resunet import ResidualBlock, ResUNet, StemBlock, road_probability
from roadseg.prediction.engines.side_by_side import SideBySide
from roadseg.prediction.engines.symmetries import SYMMETRIES
from roadseg.prediction.engines.torch_blocks import BlockStream
from roadseg.prediction.engines.torch_transfers import Transfers
from roadseg.prediction.prepared_block import PreparedBlock
from roadseg.settings import EngineSettings, PixelType, Precision
from roadseg.windows import Block, Plan

Array = NDArray[np.float32]

_BATCH = {"cpu": 1, "cuda": 64, "mps": 8}
_BATCHES_EACH = 4
"""How many batches each thread of a CPU gets before all wait for the last one."""

_WINDOW_BYTES_PER_CHANNEL = 12 * 4 * 224 * 224
"""The last decoder level holds about 12 full-size float32 maps for each channel of the first level."""


class TorchEngine:
    """A ResUNet on a device.

    Parameters
    ----------
    model
        The ResUNet; a copy is prepared for prediction and moved to the device.
    mean, std
        Normalization per band on the 0–1 scale, from the model card.
    settings
        Device, number format, batch size and test-time augmentation.
    temperature, bias
        Calibration: probability = sigmoid(logit / temperature + bias).

    Attributes
    ----------
    batch_size, description, library, device, precision, numerics
        See ``Engine``.

    Raises
    ------
    DeviceError
        If there is no such device.
    """

    library = "torch"

    def __init__(
        self,
        model: ResUNet,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        settings: EngineSettings,
        *,
        temperature: float = 1.0,
        bias: float = 0.0,
    ) -> None:
        self._device, why = choose_device(settings.device)
        self.precision = fastest_precision(settings.precision, self._device)
        self.batch_size = settings.batch_size or choose_batch(self._device, model.width)
        self.device = str(self._device)
        self._transfers = Transfers(self._device)
        self.mean, self.std, self.temperature, self.bias = mean, std, temperature, bias
        self.tta = settings.tta
        self._process = os.getpid()
        # Asked for now: else the thread that asks first takes what those of a CPU's batches set for its own.
        torch.set_num_threads(min(torch.get_num_threads(), thread_count()))
        self._side_by_side = SideBySide(torch.set_num_threads) if self._device.type == "cpu" else None
        prepared = _in_precision(for_prediction(model), self.precision)
        self.model = prepared.to(self._device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.description = f"device {self._device} ({why}), {self.precision}, batches of {self.batch_size}"
        self.numerics = f"{self._device.type} {self.precision}{' symmetric' if self.tta else ''}"

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[Array]:
        """Predict batch after batch, one ahead of the one that is yielded.

        Raises
        ------
        DeviceError
            If the device has too little memory for even one window, or fails.
        """
        self._do_without_lost_threads()
        ahead: Callable[[], Array] | None = None
        with self._device_errors():
            for batch in batches:
                started = self._transfers.down(self._predict(self._transfers.up(batch)))
                if ahead is not None:
                    yield ahead()
                ahead = started
            if ahead is not None:
                yield ahead()

    def predict_blocks(
        self, blocks: Iterable[PreparedBlock], layout: Plan, dtype: PixelType, on_rows: Callable[[int], None]
    ) -> Iterator[Block]:
        """Yield the cores of a plan's blocks, whose windows are cut and blended on the device.

        Batches are smaller where the plan has few windows: their size follows from the plan, not from its blocks.

        Raises
        ------
        ModelError
            If the model returns NaN for a valid pixel.
        DeviceError
            If the device has too little memory, or fails.
        """
        self._do_without_lost_threads()
        most = 1 << (layout.window_count - 1).bit_length()
        stream = BlockStream(
            partial(self._predict, most=most),
            lambda: min(self.batch_size, most),
            self._transfers,
            dtype,
            at_once=_BATCHES_EACH * self._side_by_side.batches if self._side_by_side else 1,
        )
        with self._device_errors():
            yield from stream(blocks, on_rows)

    def _do_without_lost_threads(self) -> None:
        """Compute alone in a process that was forked: it would wait for threads of OpenMP that it has not."""
        if os.getpid() != self._process:
            torch.set_num_threads(1)

    def _predict(self, windows: Tensor, most: int = sys.maxsize) -> Tensor:
        """Predict windows on the device, ``batch_size`` or ``most`` at a time; fewer once memory has run out."""
        size = min(self.batch_size, most)
        if self._side_by_side and len(windows) > size:
            try:
                return torch.cat(list(self._side_by_side(self._forward, torch.split(windows, size))))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
        done: list[Tensor] = []
        first = 0
        while first < len(windows):
            part = windows[first : first + min(self.batch_size, most)]
            try:
                done.append(self._forward(part))
            except RuntimeError as error:
                if not is_out_of_memory(error) or len(part) == 1:
                    raise
            else:
                first += len(part)
                continue
            # Outside the except block: there the error would still hold the tensors of the failed try.
            self.batch_size = (len(part) + 1) // 2
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
        return done[0] if len(done) == 1 else torch.cat(done)

    @contextmanager
    def _device_errors(self) -> Iterator[None]:
        """Context manager that turns a failure, or a lack of memory for any part of the work, into a DeviceError."""
        try:
            with failures_of(self._device):
                yield
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            words = f"{self._device} has no memory for even one window; free some, or use --device cpu"
            raise DeviceError(words) from error

    @torch.inference_mode()
    def _forward(self, pixels: Tensor) -> Tensor:
        """Map (n, bands, h, w) to (n, h, w), both on the device."""
        with _without_tf32:
            return self._symmetric(pixels) if self.tta else self._probability(pixels)

    def _symmetric(self, pixels: Tensor) -> Tensor:
        """Return the mean of the answers to all eight symmetries of each window."""
        total = torch.zeros((), device=self._device)
        for turns, mirrored in SYMMETRIES:
            seen = pixels.flip(-1) if mirrored else pixels
            answer = self._probability(seen.rot90(turns, (-2, -1))).rot90(-turns, (-2, -1))
            total = total + (answer.flip(-1) if mirrored else answer)
        return total / len(SYMMETRIES)

    def _probability(self, pixels: Tensor) -> Tensor:
        return road_probability(
            self.model,
            pixels,
            self.mean,
            self.std,
            dtype=getattr(torch, self.precision),
            temperature=self.temperature,
            bias=self.bias,
        )


def _in_precision(model: ResUNet, precision: Precision) -> ResUNet:
    """Convert the convolution weights once; autocast would convert them again for every batch, to the same numbers."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.to(getattr(torch, precision))
    return model


class _WithoutTf32:
    """Context manager in which float32 convolutions on CUDA keep all their bits; by default cuDNN rounds to TF32.

    The switch is the whole process's, and several threads predict at a time: the first one in turns it, the last one
    out turns it back.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, False

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                torch.backends.cudnn.allow_tf32 = self._before


_without_tf32 = _WithoutTf32()


def choose_batch(device: torch.device, width: int) -> int:
    """Return a batch size that keeps a device busy and fits its memory.

    On CUDA at most half of all memory is used. What is free at the moment does not count, so the same machine always
    uses the same batch size, and a resumed run gives the same bytes.
    """
    most = _BATCH[device.type]
    if device.type != "cuda":
        return most
    room = torch.cuda.get_device_properties(device).total_memory // 2
    fitting = room // (_WINDOW_BYTES_PER_CHANNEL * width)
    return min(most, 1 << max(0, fitting.bit_length() - 1))


def for_prediction(model: ResUNet) -> ResUNet:
    """Return a copy with each batch norm that follows a convolution folded into it, and the head into the last block.

    The result only differs by rounding, with fewer passes over memory.
    """
    copy = ResUNet(bands=model.bands, width=model.width, upsample=model.upsample)
    copy.load_state_dict(model.state_dict())
    copy.eval().requires_grad_(requires_grad=False)
    for block in copy.modules():
        if isinstance(block, StemBlock):
            block.conv1 = nn.utils.fuse_conv_bn_eval(block.conv1, block.norm)
            block.add_module("norm", nn.Identity())
        elif isinstance(block, ResidualBlock):
            block.conv1 = nn.utils.fuse_conv_bn_eval(block.conv1, block.norm2)
            block.add_module("norm2", nn.Identity())
    _fold_head(copy)
    return copy


def _fold_head(model: ResUNet) -> None:
    """Fold the head into the two convolutions whose sum it is applied to."""
    weights = model.state_dict()
    head = weights["head.weight"][:, :, 0, 0]  # (1, width)
    for name, shift in (("conv2", weights["head.bias"]), ("shortcut", 0)):
        weight, bias = (weights[f"decoder1.residual.{name}.{part}"] for part in ("weight", "bias"))
        size = weight.shape[-1]
        folded = nn.Conv2d(weight.shape[1], 1, size, padding=size // 2).requires_grad_(requires_grad=False)
        folded.weight.copy_(torch.einsum("ow,wikl->oikl", head, weight))
        folded.bias.copy_(head @ bias + shift)  # type: ignore[union-attr]
        setattr(model.decoder1.residual, name, folded)
    model.add_module("head", nn.Identity())
