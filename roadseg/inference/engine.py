"""Engines turn batches of windows into road probabilities, on whatever device there is.

An engine is called with an iterator of batches and gives back an iterator of results. On CUDA one
batch is always in flight: the next one is packed and sent while the device works on the last. When the
device runs out of memory the batch is halved and tried again, and stays halved. Nothing is chosen in
silence: ``TorchEngine.choice`` says in words what runs where, and why.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from roadseg.errors import DeviceError
from roadseg.model.resunet import ResUNet, normalize
from roadseg.settings import EngineSettings, Precision

Array = NDArray[np.float32]
_KINDS = ("auto", "cpu", "cuda", "mps")

_BATCH = {"cpu": 4, "cuda": 64, "mps": 8}


class Engine(Protocol):
    """Anything that turns windows into probabilities."""

    batch_size: int
    """Number of windows it likes to get at a time."""

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[Array]:
        """Map (n, bands, h, w) uint8, or float32 on a 0–1 scale, to (n, h, w) float32 in [0, 1]."""


class TorchEngine:
    """A ResUNet on a device.

    Parameters
    ----------
    network
        The weights; a copy is prepared for prediction and moved to the device.
    mean, std
        Normalization per band on the 0–1 scale, from the model card.
    settings
        Where and how.
    temperature, bias
        Calibration: the logit is divided by the one, then the other is added.

    Raises
    ------
    DeviceError
        If the device asked for is not there.
    """

    def __init__(
        self,
        network: ResUNet,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        settings: EngineSettings,
        *,
        temperature: float = 1.0,
        bias: float = 0.0,
    ) -> None:
        self.device, why = choose_device(settings.device)
        self.precision = choose_precision(settings.precision, self.device)
        self.batch_size = settings.batch_size or _BATCH[self.device.type]
        self.mean, self.std, self.temperature, self.bias = mean, std, temperature, bias
        self.network = (
            for_prediction(network).to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        )
        self.choice = f"device {self.device} ({why}), {self.precision}, batches of {self.batch_size}"

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[Array]:
        """Predict batch after batch, one ahead of what is given out.

        Raises
        ------
        DeviceError
            If the device has no room for even one window.
        """
        ahead: tuple[Tensor, Tensor] | None = None
        for batch in batches:
            started = self._start(torch.from_numpy(batch))
            if ahead is not None:
                yield self._finish(*ahead)
            ahead = started
        if ahead is not None:
            yield self._finish(*ahead)

    def _start(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Send windows to the device and set it to work; also return them, in case it must be repeated."""
        try:
            return self._forward(windows), windows
        except torch.OutOfMemoryError as error:
            return self._halve(windows, error), windows

    def _finish(self, probability: Tensor, windows: Tensor) -> Array:
        """Wait for the device."""
        try:
            result = probability.cpu()
        except torch.OutOfMemoryError as error:
            result = self._halve(windows, error).cpu()
        return result.numpy()

    def _halve(self, windows: Tensor, error: Exception) -> Tensor:
        """Redo windows in smaller batches, and keep to them from now on."""
        if len(windows) == 1:
            raise DeviceError(
                f"{self.device} has no memory for even one window; free some, or use --device cpu"
            ) from error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.batch_size = min(self.batch_size, (len(windows) + 1) // 2)
        parts = torch.split(windows, self.batch_size)
        return torch.cat([self._start(part)[0] for part in parts])

    @torch.inference_mode()
    def _forward(self, windows: Tensor) -> Tensor:
        if self.device.type == "cuda":
            windows = windows.pin_memory()
        pixels = windows.to(self.device, non_blocking=True)
        x = normalize(pixels, self.mean, self.std).contiguous(memory_format=torch.channels_last)
        dtype = getattr(torch, self.precision)
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32):
            logits = self.network(x)
        return torch.sigmoid(logits[:, 0].float() / self.temperature + self.bias)


def choose_device(wanted: str) -> tuple[torch.device, str]:
    """Return the device for a wish, and why.

    Raises
    ------
    DeviceError
        If it is not there, or no such kind is known.
    """
    kind, colon, number = wanted.partition(":")
    if kind not in _KINDS or (colon and (kind != "cuda" or not re.fullmatch("[0-9]+", number))):
        raise DeviceError(f"there is no device {wanted!r}; choose auto, cpu, cuda, cuda:N or mps")
    have_cuda, have_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if kind == "auto":
        if have_cuda:
            return torch.device("cuda"), f"found {torch.cuda.get_device_name()}"
        return (torch.device("mps"), "no CUDA device") if have_mps else (torch.device("cpu"), "no GPU found")
    if kind == "cuda" and not have_cuda:
        built = "" if torch.version.cuda else " (this PyTorch is built without CUDA)"
        raise DeviceError(f"no CUDA device is available{built}; use --device cpu or --device auto")
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise DeviceError(f"there is no {wanted}; this machine has {torch.cuda.device_count()} CUDA device(s)")
    if kind == "mps" and not have_mps:
        raise DeviceError("no MPS device is available; use --device cpu or --device auto")
    return torch.device(wanted), "as asked"


def choose_precision(wanted: Precision, device: torch.device) -> str:
    """Return the number format for a wish on a device."""
    if wanted != "auto":
        return wanted
    if device.type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float16"


def for_prediction(network: ResUNet) -> ResUNet:
    """Return a copy with each batch norm that follows a convolution folded into it.

    The numbers stay the same but for rounding; a third of the passes over memory go away.
    """
    copy = ResUNet(bands=network.bands, width=network.width, upsample=network.upsample)
    copy.load_state_dict(network.state_dict())
    copy.eval().requires_grad_(requires_grad=False)
    for block in copy.modules():
        pairs = {"StemBlock": ("conv1", "norm"), "ResidualBlock": ("conv1", "norm2")}
        if type(block).__name__ in pairs:
            conv, norm = pairs[type(block).__name__]
            setattr(block, conv, nn.utils.fuse_conv_bn_eval(getattr(block, conv), getattr(block, norm)))
            setattr(block, norm, nn.Identity())
    return copy
