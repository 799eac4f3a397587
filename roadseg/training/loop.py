"""The training loop: crops in, averaged weights out, nothing lost on the way.

AdamW with a linear warm-up and a cosine to zero; an exponential moving average of the weights is
what is kept. Every random choice depends only on ``(seed, step)``, so a run that was killed and
started again ends with the same weights as one that was not (on a CPU, bit for bit).
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from roadseg.errors import TrainingError
from roadseg.model.resunet import ResidualBlock, ResUNet, StemBlock, normalize
from roadseg.settings import TrainSettings
from roadseg.training.augment import augment
from roadseg.training.dataset import Tiles
from roadseg.training.losses import bce_dice


@dataclass(frozen=True)
class Step:
    """What is known after a training step: its number, the smoothed loss and the learning rate."""

    step: int
    loss: float
    learning_rate: float


def learning_rate_at(step: int, settings: TrainSettings) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine to zero."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    share = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def _layout(width: int) -> torch.memory_format:
    """Return the faster memory layout; below 8 channels its CPU backward pass crashes (seen with PyTorch 2.13)."""
    return torch.channels_last if width >= 8 else torch.contiguous_format


class Trainer:
    """A network on its way: weights, optimizer state, averaged weights, and where they are saved.

    Parameters
    ----------
    network
        Trained in place, on the device it is on.
    tiles
        Where crops come from.
    settings
        How to train.
    checkpoint
        File that is rewritten now and then, and picked up if it is there.
    statistics
        Mean and standard deviation per band that the network is used to; None takes the tiles'.

    Raises
    ------
    TrainingError
        If the checkpoint there was made with other settings or cannot be read.
    """

    def __init__(
        self,
        network: ResUNet,
        tiles: Tiles,
        settings: TrainSettings,
        checkpoint: Path,
        *,
        statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    ) -> None:
        self.network, self.tiles, self.settings, self.checkpoint = network, tiles, settings, checkpoint
        self.device = next(network.parameters()).device
        self._layout = _layout(network.width)
        self.mean, self.std = statistics or tiles.pixel_statistics()
        tiles.fill(self.mean)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.step = 0
        self.loss = math.nan
        if checkpoint.exists():
            self._load()

    def run(self, on_step: Callable[[Step], None] = lambda _: None) -> None:
        """Train to the last step, calling ``on_step`` after each.

        Raises
        ------
        TrainingError
            If the loss stops being a number.
        """
        self.network.train().to(memory_format=self._layout)  # type: ignore[call-overload]
        if self.settings.compile:
            _compile_blocks(self.network)
        saved = time.monotonic()
        while self.step < self.settings.steps:
            rate = self._advance()
            on_step(Step(self.step, self.loss, rate))
            if time.monotonic() - saved > 60 * self.settings.checkpoint_minutes:
                self.save()
                saved = time.monotonic()
        self.save()

    def averaged(self) -> ResUNet:
        """Return a copy of the network with the averaged weights, ready to predict."""
        network = ResUNet(bands=self.network.bands, width=self.network.width, upsample=self.network.upsample).to(
            self.device
        )
        network.load_state_dict(self.average)
        return network.eval()

    def save(self) -> None:
        """Write the checkpoint beside its place, then move it there."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        about = {"step": self.step, "loss": self.loss, "settings": asdict(self.settings)}
        beside = self.checkpoint.with_name(self.checkpoint.name + ".new")
        save_file({k: v.contiguous() for k, v in tensors.items()}, beside, {"roadseg": json.dumps(about)})
        beside.replace(self.checkpoint)

    def _advance(self) -> float:
        settings = self.settings
        batch = self.tiles.draw(settings.batch, seed=settings.seed, step=self.step)
        images, labels = augment(
            torch.from_numpy(batch.images).to(self.device),
            torch.from_numpy(batch.labels).to(self.device),
            seed=settings.seed,
            step=self.step,
        )
        x = normalize(images, self.mean, self.std).contiguous(memory_format=self._layout)
        rate = learning_rate_at(self.step, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = bce_dice(self.network(x), labels, dice_weight=settings.dice_weight)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip_norm)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(f"the loss is {value} at step {self.step}; start again with a smaller --learning-rate")
        self.optimizer.step()
        self._update_average()
        self.loss = value if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * value
        self.step += 1
        return rate

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.settings.average_decay, (1 + self.step) / (10 + self.step))
        for key, value in self.network.state_dict().items():
            if value.dtype.is_floating_point:
                self.average[key].lerp_(value, 1 - decay)
            else:
                self.average[key].copy_(value)

    def _load(self) -> None:
        try:
            with safe_open(self.checkpoint, "pt") as file:
                about = json.loads((file.metadata() or {})["roadseg"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError) as error:
            raise TrainingError(
                f"{self.checkpoint} is not a checkpoint of roadseg; move it away to start anew"
            ) from error
        if about["settings"] != asdict(self.settings):
            raise TrainingError(
                f"{self.checkpoint} was made with other settings; use those, or delete it to start anew"
            )

        def part(name: str) -> dict[str, Tensor]:
            return {k.removeprefix(name): v.to(self.device) for k, v in tensors.items() if k.startswith(name)}

        self.network.load_state_dict(part("network."))
        self.average = part("average.")
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in part("optimizer.").items():
            index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.step, self.loss = about["step"], about["loss"]


def _compile_blocks(network: ResUNet) -> None:
    """Compile the residual blocks, each by itself.

    Compiling the whole network loses the gradient of the aligned bilinear upsampling on the CPU (seen
    with PyTorch 2.13: everything below the last decoder level got a gradient of zero).
    """
    for module in network.modules():
        if isinstance(module, StemBlock | ResidualBlock):
            module.compile(dynamic=False)
