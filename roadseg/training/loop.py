"""The training loop: crops in, averaged weights out, nothing lost on the way.

What is kept is an exponential moving average of the weights, or the best of them if training may stop early.
Every random choice depends only on ``(seed, step)``, so a run that was killed and started again ends with
the same weights as one that was not (on a CPU, bit for bit). The device is not waited for: losses are read
every few steps, and a loss that is no number stops the run then, before a checkpoint is written.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from roadseg.errors import OutputError, TrainingError
from roadseg.model.resunet import ResUNet, normalize
from roadseg.progress import Listener, unshielded
from roadseg.settings import TrainSettings
from roadseg.training.augment import augment
from roadseg.training.checkpoint import read_checkpoint, write_checkpoint
from roadseg.training.dataset import Tiles
from roadseg.training.feed import Feed
from roadseg.training.gradient import Differentiator, compile_blocks, layout_of
from roadseg.training.parallel import Team
from roadseg.training.record import Record
from roadseg.training.schedule import learning_rate_at, make_optimizer

_READ_EVERY = {"cuda": 20}
_ROWS = 500
_FREE = {
    "checkpoint_minutes",
    "checkpoint_part_mib",
    "checkpoint_half",
    "calibration",
    "dtype",
    "minutes",
    "shift_tiles",
}
"""Settings that may change while a run goes on."""

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Step:
    """What is known after a training step: number, smoothed loss as last read, learning rate, crops in a second."""

    step: int
    loss: float
    learning_rate: float
    crops_per_s: float = math.nan


class Trainer:
    """A network on its way: weights, optimizer state, averaged weights, and where they are saved.

    Parameters
    ----------
    network
        Trained in place, on the device it is on.
    tiles
        Where crops come from.
    settings
        How to train; ``precision`` must be settled.
    folder
        Where checkpoints are written now and then, and picked up if there are any.
    statistics
        Mean and standard deviation per band that the network is used to; None takes the tiles'.
    team
        The processes that train together.
    teacher
        Maps images (n, bands, crop, crop) float32 in [0, 1] to probabilities (n, crop, crop) to learn from.
    listener
        Is warned of what does not go as planned; its shield is entered for each step, by several processes for all of
        them, so that an interruption comes between two.

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
        folder: Path,
        *,
        statistics: Statistics | None = None,
        team: Team | None = None,
        teacher: Callable[[Tensor], Tensor] | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.network, self.tiles, self.settings, self.folder = network, tiles, settings, folder
        self.team, self.teacher, self.listener = team or Team(), teacher, listener or Listener()
        self.device = next(network.parameters()).device
        self.mean, self.std = statistics or tiles.pixel_statistics()
        tiles.fill(self.mean)
        self.optimizer = make_optimizer(network, settings, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "float16")
        self.differentiate = Differentiator(network, settings, self.scaler, self.team, self.listener.warn)
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.step, self.loss = 0, math.nan
        self.record = Record(settings)
        self.saved: int | None = None
        self._whole = True
        self._unread: list[Tensor] = []
        self._rate = math.nan
        self._load()

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.step >= self.settings.steps or not self.record.patient

    def run(
        self,
        on_step: Callable[[Step], None] = lambda _: None,
        *,
        evaluate: Callable[[], Mapping[str, float]] | None = None,
        until: float = math.inf,
    ) -> None:
        """Train to the last step, calling ``on_step`` after each; interrupted, save a checkpoint.

        Parameters
        ----------
        on_step
            Hears of every step.
        evaluate
            Returns dev figures of the averaged weights, ``relaxed_f1`` among them; called now and then.
        until
            Time, as ``time.monotonic`` tells it, at which to leave off with a checkpoint.

        Raises
        ------
        TrainingError
            If the loss stops being a number.
        """
        self._prepare()
        together = self.listener.shield if self.team.size > 1 else unshielded
        try:
            with together(), Feed(self.tiles, self.settings, self.team, self.device, self.step) as feed:
                self._train(feed, on_step, evaluate, until)
                self.save()
                self.team.wait()  # nobody leaves, and takes the connection along, before all are here
        except KeyboardInterrupt:
            if self._whole and self.step and self.team.size == 1:
                self.save()
            raise

    def averaged(self) -> ResUNet:
        """Return a copy of the network with the averaged weights, ready to predict."""
        return self._with_weights(self.average)

    def result(self) -> ResUNet:
        """Return what is to be kept: the averaged weights, or the best of them if training may stop early."""
        return self._with_weights(self.record.best[2] if self.record.best else self.average)

    def save(self) -> None:
        """Write a checkpoint; on a full disk say so and go on with the one before."""
        self._read()
        if not self.team.leads:
            return
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items() if v is not None}
        if self.record.best:
            tensors |= {f"best.{k}": v for k, v in self.record.best[2].items()}
        about = {
            "step": self.step,
            "loss": self.loss,
            "settings": self._fixed_settings(),
            "scaler": self.scaler.state_dict(),
            **self.record.about(),
        }
        settings = self.settings
        try:
            write_checkpoint(
                self.folder, tensors, about, part_mib=settings.checkpoint_part_mib, half=settings.checkpoint_half
            )
        except OutputError as error:
            self.listener.warn(str(error))
        else:
            self.saved = self.step

    def _train(
        self,
        feed: Feed,
        on_step: Callable[[Step], None],
        evaluate: Callable[[], Mapping[str, float]] | None,
        until: float,
    ) -> None:
        if evaluate and self.record.evaluates_at(self.step):  # the run before was stopped as it did
            self._evaluate(evaluate)
        saved = clock = time.monotonic()
        marked = self.step
        for images, labels in feed:
            if self.finished:
                break
            with self._unbroken() as wished:
                rate = self._advance(images, labels)
                if self._reads_now():
                    self._read()
                    crops = (self.step - marked) * self.settings.batch * self.team.size
                    self._rate = crops / max(1e-9, time.monotonic() - clock)
                    if self._notes_now():
                        self.record.note(self.step, self.loss, rate, self._rate)
                        clock, marked = time.monotonic(), self.step
            on_step(Step(self.step, self.loss, rate, self._rate))
            if evaluate and self.record.evaluates_at(self.step):
                self._evaluate(evaluate)
                clock, marked = time.monotonic(), self.step
            if time.monotonic() - saved > 60 * self.settings.checkpoint_minutes:
                self.save()
                saved = time.monotonic()
            if self._leaves(wished() or time.monotonic() > until):
                break

    @contextmanager
    def _unbroken(self) -> Iterator[Callable[[], bool]]:
        """Give a context in which the state is that of no step, so an interruption has to wait."""
        with self.listener.shield() as wished:
            self._whole = False
            yield wished
            self._whole = True

    def _leaves(self, wish: bool) -> bool:
        """Tell whether to leave off; several processes ask each other where they wait for the device anyway."""
        return self.team.agree(wish, self.device) if self.team.size == 1 or self._reads_now() else False

    def _prepare(self) -> None:
        layout = layout_of(self.network.width)
        self.network.train().to(memory_format=layout)  # type: ignore[call-overload]
        self.team.share_norms(self.network)
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = self.settings.tf32
        if self.settings.compile:
            compile_blocks(self.network)
        state = self.network.state_dict()
        self.average = {k: torch.empty_like(v).copy_(self.average[k]) for k, v in state.items()}
        self._moving = [(self.average[k], v) for k, v in state.items() if v.dtype.is_floating_point]
        self._counting = [(self.average[k], v) for k, v in state.items() if not v.dtype.is_floating_point]

    def _advance(self, images: Tensor, labels: Tensor) -> float:
        settings, team = self.settings, self.team
        images, labels = augment(
            images,
            labels,
            settings.augment,
            seed=settings.seed,
            step=self.step,
            part=team.share(settings.batch),
            total=settings.batch * team.size,
            crop=settings.crop,
        )
        rate = learning_rate_at(self.step, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        taught = self.teacher(images) if self.teacher else None
        self._unread.append(self.differentiate(normalize(images, self.mean, self.std), labels, taught))
        parameters = list(self.network.parameters())
        team.add_gradients(parameters)
        if settings.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._update_average()
        self.step += 1
        return rate

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.settings.average_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_([a for a, _ in self._moving], [v for _, v in self._moving], 1 - decay)
        for average, value in self._counting:
            average.copy_(value)

    def _reads_now(self) -> bool:
        return self.step % _READ_EVERY.get(self.device.type, 1) == 0 or self.step >= self.settings.steps

    def _notes_now(self) -> bool:
        every = _READ_EVERY.get(self.device.type, 1)
        every *= max(1, -(-self.settings.steps // (_ROWS * every)))
        return self.step % every == 0 or self.step >= self.settings.steps

    def _read(self) -> None:
        """Take the losses from the device and smooth them."""
        values = torch.stack(self._unread).tolist() if self._unread else []
        first = self.step - len(values)
        self._unread.clear()
        for number, value in enumerate(values):
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss is {value} at step {first + number}; start anew with --overwrite and a smaller "
                    "--learning-rate"
                )
            self.loss = value if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * value

    def _evaluate(self, evaluate: Callable[[], Mapping[str, float]]) -> None:
        self._read()
        figures = evaluate()
        with self._unbroken():
            self.record.note(self.step, self.loss, learning_rate_at(self.step - 1, self.settings), self._rate)
            self.record.judge(self.step, figures, self.average)

    def _with_weights(self, weights: Mapping[str, Tensor]) -> ResUNet:
        kind = type(self.network)
        network = kind(bands=self.network.bands, width=self.network.width, upsample=self.network.upsample)
        network = network.to(self.device)
        network.load_state_dict(weights)
        return network.eval()

    def _fixed_settings(self) -> dict[str, Any]:
        fixed = {k: v for k, v in asdict(self.settings).items() if k not in _FREE}
        facts = {"processes": self.team.size, "training data": self.tiles.fingerprint()}
        return {**fixed, "drop_at": list(self.settings.drop_at), **facts}

    def _load(self) -> None:
        found = read_checkpoint(self.folder)
        if found is None:
            return
        tensors, about = found
        mine, theirs = self._fixed_settings(), about.get("settings", {})
        differing = [name for name in mine if mine[name] != theirs.get(name)]
        if differing:
            raise TrainingError(
                f"the checkpoint in {self.folder} was made with other settings or data ({', '.join(differing)}); "
                "use those, or --overwrite to start anew"
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
        self.scaler.load_state_dict(about["scaler"])
        self.step = self.saved = about["step"]
        self.loss = about["loss"]
        self.record.restore(about, part("best."))
