"""The training loop: crops in, averaged weights out, nothing lost on the way.

The result is the moving average of the weights, or the best such average if training may stop early. Every random
choice depends only on ``(seed, step)``, so a run that was killed and resumed ends with the same weights as one that was
not (on a CPU, bit for bit). The loop does not wait for the device: losses are read every few steps, and one that is NaN
or infinite stops the run then, before a checkpoint is written.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from roadseg.errors import OutputError
from roadseg.files.processors import thread_count
from roadseg.model.card import ModelCard
from roadseg.model.device import failures_of, is_out_of_memory
from roadseg.model.resunet import ResUNet, normalize
from roadseg.progress import Listener, interrupts_at_once
from roadseg.settings import TrainSettings
from roadseg.training.average import WeightAverage
from roadseg.training.checkpoint import (
    Checkpoint,
    facts_of_run,
    load_optimizer,
    optimizer_tensors,
    read_checkpoint,
    write_checkpoint,
)
from roadseg.training.data.augment import augment
from roadseg.training.data.feed import Feed
from roadseg.training.data.memory import lacking_memory
from roadseg.training.data.tiles import TileDataset
from roadseg.training.distributed import ProcessGroup
from roadseg.training.gradients import ForwardBackward, compile_blocks, memory_format_for, too_little_memory
from roadseg.training.history import SmoothedLoss, TrainingHistory
from roadseg.training.optimizer import (
    follow_memory_format,
    learning_rate_at,
    make_optimizer,
    set_learning_rate,
)
from roadseg.training.teacher import Teacher

_READ_EVERY = {"cuda": 20}
"""Steps after which losses are read, which waits for the device; elsewhere after every step."""

Evaluate = Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Step:
    """A finished training step: its number from 1, smoothed loss as last read, learning rate, crops per second."""

    step: int
    loss: float
    learning_rate: float
    crops_per_s: float = math.nan


class Trainer:
    """A training run: model, optimizer, averaged weights, history, and the checkpoint they are saved in.

    Parameters
    ----------
    model
        Trained in place, on the device it is on.
    tiles
        The source of the crops.
    settings
        How to train; ``precision`` must not be ``auto``.
    folder
        Where checkpoints are written; if there is one, the run resumes from it. None keeps none.
    start
        Card of the model that training starts from, whose normalization is kept; None takes that of the tiles.
    processes
        The processes that train together.
    teacher
        A model whose probabilities are learned from besides the labels.
    listener
        Receives warnings. Its ``defer_interrupts`` keeps interrupts out of steps, and out of the whole run if there
        are several processes.

    Raises
    ------
    TrainingError
        If the checkpoint there was made with other settings or data, or cannot be read.
    """

    def __init__(
        self,
        model: ResUNet,
        tiles: TileDataset,
        settings: TrainSettings,
        folder: Path | None,
        *,
        start: ModelCard | None = None,
        processes: ProcessGroup | None = None,
        teacher: Teacher | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.model, self.tiles, self.settings, self.folder = model, tiles, settings, folder
        self.processes, self.teacher, self.listener = processes or ProcessGroup(), teacher, listener or Listener()
        self.device = next(model.parameters()).device
        self._read_every = _READ_EVERY.get(self.device.type, 1)
        self.start = start
        self.mean, self.std = (start.mean, start.std) if start else tiles.pixel_statistics()
        tiles.fill(self.mean)
        self.optimizer = make_optimizer(model, settings, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "float16")
        self.forward_backward = ForwardBackward(model, settings, self.scaler, self.processes, self.listener.warn)
        self.average = WeightAverage(model, settings.average_decay)
        self.history = TrainingHistory(settings)
        self.facts = facts_of_run(
            settings, tiles.fingerprint(), start, teacher.card if teacher else None, self.processes.size
        )
        self.step = 0
        self.saved: int | None = None  # step of the last checkpoint
        self._loss, self._crops_per_s, self._mid_step = SmoothedLoss(), math.nan, False
        if folder and (checkpoint := read_checkpoint(folder)):
            self._resume(checkpoint)

    @property
    def loss(self) -> float:
        """The smoothed loss as last read, NaN before the first reading."""
        return self._loss.value

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.step >= self.settings.steps or self.history.stops_early

    def run(
        self,
        on_step: Callable[[Step], None] = lambda _: None,
        *,
        evaluate: Evaluate | None = None,
        until: float = math.inf,
    ) -> None:
        """Train to the last step and save a checkpoint, also if interrupted.

        Parameters
        ----------
        on_step
            Called after each step.
        evaluate
            Returns dev figures of the averaged weights, ``relaxed_f1`` among them; called now and then.
        until
            Time on the clock of ``time.monotonic`` at which to stop.

        Raises
        ------
        TrainingError
            If the loss is NaN or infinite.
        DeviceError
            If memory does not suffice, or the device fails.
        """
        whole_run = self.listener.defer_interrupts if self.processes.size > 1 else interrupts_at_once
        try:
            with failures_of(self.device):
                self._prepare()
                with whole_run(), Feed(self.tiles, self.settings, self.processes, self.device, self.step) as feed:
                    self._train(feed, on_step, evaluate, until)
                    self.save()
                    self.processes.barrier()  # a process that left early would take the connection with it
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise too_little_memory(self.device, self.settings.batch, self.settings.crop) from error
        except KeyboardInterrupt:
            if not self._mid_step and self.step and self.processes.size == 1:
                self.save()
            raise

    def averaged(self) -> ResUNet:
        """Return a copy of the model with the averaged weights, in evaluation mode."""
        return self._with_weights(self.average.weights)

    def result(self) -> ResUNet:
        """Return the model to keep: with the averaged weights, or the best of them if training may stop early."""
        return self._with_weights(self.history.best.weights if self.history.best else self.average.weights)

    def save(self) -> None:
        """Write a checkpoint; if the disk is full, warn and keep the previous one."""
        self._loss.read(self.step)
        if self.folder is None or not self.processes.is_main:
            return
        metadata = {
            "step": self.step,
            "loss": self.loss,
            "settings": self.facts,
            "scaler": self.scaler.state_dict(),
            **self.history.metadata(),
        }
        try:
            write_checkpoint(self.folder, self._tensors(), metadata)
            self.saved = self.step
        except OutputError as error:
            self.listener.warn(str(error))

    def _train(self, feed: Feed, on_step: Callable[[Step], None], evaluate: Evaluate | None, until: float) -> None:
        if evaluate and self.history.evaluation_due(self.step):  # the previous run was stopped during it
            self._evaluate(evaluate)
        last_save = clock = time.monotonic()
        clock_step = self.step
        for images, labels in feed:
            if self.finished:
                break
            with self._uninterrupted() as interrupt_pending:
                rate = self._advance(images, labels)
                if self._reads_now():
                    self._loss.read(self.step)
                    crops = (self.step - clock_step) * self.settings.batch * self.processes.size
                    self._crops_per_s = crops / max(1e-9, time.monotonic() - clock)
                    if self.history.row_due(self.step, self._read_every):
                        self.history.add_row(self.step, self.loss, rate, self._crops_per_s)
                        clock, clock_step = time.monotonic(), self.step
            on_step(Step(self.step, self.loss, rate, self._crops_per_s))
            if evaluate and self.history.evaluation_due(self.step):
                self._evaluate(evaluate)
                clock, clock_step = time.monotonic(), self.step
            if time.monotonic() - last_save > 60 * self.settings.checkpoint_minutes:
                self.save()
                last_save = time.monotonic()
            if self._stops(interrupt_pending() or time.monotonic() > until):
                break

    @contextmanager
    def _uninterrupted(self) -> Iterator[Callable[[], bool]]:
        """Context manager that defers interrupts: inside, the state is between two steps and must not be saved."""
        with self.listener.defer_interrupts() as interrupt_pending:
            self._mid_step = True
            yield interrupt_pending
            self._mid_step = False

    def _stops(self, wanted: bool) -> bool:
        """Return whether to stop; several processes decide together, where they wait for the device anyway."""
        return (self.processes.size == 1 or self._reads_now()) and self.processes.any_true(wanted, self.device)

    def _prepare(self) -> None:
        if lacking := lacking_memory(self.settings, self.device):
            self.listener.warn(lacking)
        self.model.train().to(memory_format=memory_format_for(self.model.width))  # type: ignore[call-overload]
        follow_memory_format(self.optimizer)
        self.processes.synchronize_batch_norms(self.model)
        torch.set_num_threads(min(torch.get_num_threads(), thread_count()))
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = self.settings.tf32
        if self.settings.compile:
            compile_blocks(self.model)
        self.average.follow(self.model)

    def _advance(self, images: Tensor, labels: Tensor) -> float:
        """Take one step: augment, forward, backward, update; return the learning rate."""
        settings, processes = self.settings, self.processes
        images, labels = augment(
            images,
            labels,
            settings.augment,
            seed=settings.seed,
            step=self.step,
            part=processes.batch_slice(settings.batch),
            total=settings.batch * processes.size,
            crop=settings.crop,
        )
        rate = learning_rate_at(self.step, settings)
        set_learning_rate(self.optimizer, rate)
        taught = self.teacher(images) if self.teacher else None
        x, missing = normalize(images, self.mean, self.std), self.step >= settings.missing_after * settings.steps
        self._loss.add(self.forward_backward(x, labels, taught, roads_missing=missing))
        processes.sum_gradients(self.model.parameters())
        if settings.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update(self.step)
        self.step += 1
        return rate

    def _reads_now(self) -> bool:
        return self.step % self._read_every == 0 or self.step >= self.settings.steps

    def _evaluate(self, evaluate: Evaluate) -> None:
        self._loss.read(self.step)
        figures = evaluate()
        with self._uninterrupted():
            rate = learning_rate_at(self.step - 1, self.settings)
            self.history.add_row(self.step, self.loss, rate, self._crops_per_s)
            self.history.add_scores(self.step, figures, self.average.weights)

    def _with_weights(self, weights: Mapping[str, Tensor]) -> ResUNet:
        kind = type(self.model)
        model = kind(bands=self.model.bands, width=self.model.width, upsample=self.model.upsample).to(self.device)
        model.load_state_dict(weights)
        return model.eval()

    def _tensors(self) -> dict[str, Tensor]:
        """Return the tensors of a checkpoint: ``network.*``, ``average.*``, ``optimizer.<number>.*``, ``best.*``."""
        tensors = {f"network.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.weights.items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(self.optimizer).items()}
        if self.history.best:
            tensors |= {f"best.{name}": value for name, value in self.history.best.weights.items()}
        return tensors

    def _resume(self, checkpoint: Checkpoint) -> None:
        metadata = checkpoint.metadata
        with checkpoint.errors_as_damage():
            checkpoint.check_settings(self.facts)
            self.model.load_state_dict(checkpoint.part("network."))
            average = checkpoint.tensors_like("average.", self.model.state_dict())
            self.average.weights = {name: value.to(self.device) for name, value in average.items()}
            load_optimizer(self.optimizer, checkpoint.part("optimizer."))
            self.scaler.load_state_dict(metadata["scaler"])
            best = checkpoint.tensors_like("best.", average) if metadata["best"] else {}
            self.history.restore(metadata, {name: value.to(self.device) for name, value in best.items()})
            self.step, self._loss.value = int(metadata["step"]), float(metadata["loss"])
        self.saved = self.step
