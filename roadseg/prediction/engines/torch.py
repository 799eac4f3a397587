"""Engines turn batches of windows into road probabilities, on whatever device there is.

An engine is called with an iterator of batches and gives back an iterator of results. On CUDA one
batch is always in flight: the next one is packed and sent, and the last one blended, while the device works;
its answer is on its way back before anyone asks for it. When the device runs out of memory the batch
is halved and tried again, and stays halved. Nothing is chosen in silence: ``TorchEngine.description`` says in
words what runs where, and why.
"""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from roadseg.errors import DeviceError
from roadseg.model.device import choose_device, choose_precision, is_out_of_memory
from roadseg.model.resunet import ResUNet, road_probability
from roadseg.settings import EngineSettings

Array = NDArray[np.float32]
_Pending = tuple[Tensor, torch.cuda.Event | None]

_BATCH = {"cpu": 1, "cuda": 64, "mps": 8}
_WINDOW_BYTES_PER_CHANNEL = 12 * 4 * 224 * 224
"""The last decoder level holds about 12 full-size float32 maps for each channel of the first level."""


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

    Attributes
    ----------
    description
        The device, number format and batch size in use, and why, for messages.
    numerics
        What the probabilities depend on beyond rounding.

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
        self.batch_size = settings.batch_size or choose_batch(self.device, network.width)
        self.mean, self.std, self.temperature, self.bias = mean, std, temperature, bias
        self.tta = settings.tta
        self.network = (
            for_prediction(network).to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        )
        self.description = f"device {self.device} ({why}), {self.precision}, batches of {self.batch_size}"
        self.numerics = f"{self.device.type} {self.precision}{' symmetric' if self.tta else ''}"

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[Array]:
        """Predict batch after batch, one ahead of what is given out.

        Raises
        ------
        DeviceError
            If the device has no room for even one window.
        """
        ahead: _Pending | None = None
        for batch in batches:
            started = self._start(torch.from_numpy(batch))
            if ahead is not None:
                yield self._finish(*ahead)
            ahead = started
        if ahead is not None:
            yield self._finish(*ahead)

    def _start(self, windows: Tensor) -> _Pending:
        """Set the device to work and order the answer back, without waiting for either."""
        probability = self._predict(windows)
        if self.device.type != "cuda":
            return probability, None
        answer = probability.to("cpu", non_blocking=True)  # pinned
        return answer, torch.cuda.current_stream(self.device).record_event()

    def _finish(self, probability: Tensor, arrived: torch.cuda.Event | None) -> Array:
        if arrived is not None:
            arrived.synchronize()
        return probability.cpu().numpy()

    def _predict(self, windows: Tensor) -> Tensor:
        """Predict as many windows at a time as there is memory for; keep to the number found."""
        done: list[Tensor] = []
        first = 0
        while first < len(windows):
            part = windows[first : first + self.batch_size]
            try:
                done.append(self._forward(part))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if len(part) == 1:
                    raise DeviceError(
                        f"{self.device} has no memory for even one window; free some, or use --device cpu"
                    ) from error
            else:
                first += len(part)
                continue
            self.batch_size = (len(part) + 1) // 2  # here, where the error no longer holds what the failed try made
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return done[0] if len(done) == 1 else torch.cat(done)

    @torch.inference_mode()
    def _forward(self, windows: Tensor) -> Tensor:
        """Map (n, bands, h, w) on the host to (n, h, w) on the device."""
        on_cuda = self.device.type == "cuda"
        pixels = (windows.pin_memory() if on_cuda else windows).to(self.device, non_blocking=on_cuda)
        with _without_tf32():
            return self._symmetric(pixels) if self.tta else self._probability(pixels)

    def _symmetric(self, pixels: Tensor) -> Tensor:
        """Return the mean of the answers to all eight symmetries of each window."""
        total = torch.zeros((), device=self.device)
        for turns, mirrored in itertools.product(range(4), (False, True)):
            seen = pixels.flip(-1) if mirrored else pixels
            answer = self._probability(seen.rot90(turns, (-2, -1))).rot90(-turns, (-2, -1))
            total = total + (answer.flip(-1) if mirrored else answer)
        return total / 8

    def _probability(self, pixels: Tensor) -> Tensor:
        return road_probability(
            self.network,
            pixels,
            self.mean,
            self.std,
            dtype=getattr(torch, self.precision),
            temperature=self.temperature,
            bias=self.bias,
        )


def _without_tf32() -> AbstractContextManager[None]:
    """Context manager in which float32 convolutions on CUDA keep all their bits; by default cuDNN rounds to TF32."""
    cudnn = torch.backends.cudnn
    return cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    )


def choose_batch(device: torch.device, width: int) -> int:
    """Return how many windows at a time keep a device busy and leave room in its memory.

    On CUDA at most half of the memory is taken, of all there is, not of what happens to be free: the same
    machine then always takes the same number, and gives the same bytes when a run is picked up.
    """
    most = _BATCH[device.type]
    if device.type != "cuda":
        return most
    room = torch.cuda.get_device_properties(device).total_memory // 2
    fitting = room // (_WINDOW_BYTES_PER_CHANNEL * width)
    return min(most, 1 << max(0, fitting.bit_length() - 1))


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
