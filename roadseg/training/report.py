"""What a training run reports while it goes and when it ends: messages, and the history in its run folder."""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from roadseg.errors import as_typed, counted
from roadseg.progress import Listener, duration
from roadseg.training.calibrate import CalibrationResult, shifts_in_words
from roadseg.training.dev_score import DevScore
from roadseg.training.domains import mean_in_words
from roadseg.training.loop import Step, Trainer
from roadseg.training.run_folder import RunFolder

_MESSAGES = 20
"""Messages about steps in a run; the history on disk is brought up to date with each."""


@dataclass(frozen=True)
class TrainResult:
    """What a training run came to.

    Parameters
    ----------
    output
        The model file; None if the run stopped before its end, to be resumed.
    steps, seconds
        Of this run.
    loss
        Smoothed loss of the last step; None without a step.
    finished
        Whether there is a model.
    dev
        Figures on the dev tiles, if there are any.
    """

    output: Path | None
    steps: int
    seconds: float
    loss: float | None
    finished: bool
    dev: DevScore | None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        values = {**asdict(self), "output": str(self.output) if self.output else None}
        if self.dev:
            figures = asdict(self.dev).items()
            values["dev"] = {name: None if value is None or math.isnan(value) else value for name, value in figures}
        return values


class RunReport:
    """Reports the steps and scores of a run; a context manager that ends with what was saved and kept.

    Parameters
    ----------
    trainer
        The run.
    folder
        Its run folder.
    listener
        Callbacks for messages and progress.
    started
        When the command started, on the clock of ``time.monotonic``.
    """

    def __init__(self, trainer: Trainer, folder: RunFolder, listener: Listener, started: float) -> None:
        self._trainer, self._folder, self._listener, self._started = trainer, folder, listener, started
        self._first, self._every = trainer.step, max(1, trainer.settings.steps // _MESSAGES)

    def __enter__(self) -> Self:
        self._listener.start(self._trainer.settings.steps, self._first)
        self._first_step_at = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        trainer, best = self._trainer, self._trainer.history.best
        if not trainer.finished and trainer.saved is not None:
            self._listener.report(f"step {trainer.saved} of {trainer.settings.steps} is saved in {self._folder.path}")
        if error is None:
            self._folder.write_history(trainer.history.rows)
            if best:
                self._listener.report(f"kept the weights of step {best.step}, relaxed F1 {best.score:.4f}")
            if not trainer.finished:
                stopped = f"stopped at step {trainer.step} of {trainer.settings.steps}"
                self._listener.report(f"{stopped}; {self.resumption()}")

    def resumption(self) -> str:
        """Return where the same command starts, as text; a full disk may have kept steps from being saved."""
        saved = self._trainer.saved
        if saved is None:
            return "nothing of it is saved, and the same command starts again"
        return f"the same command resumes from step {saved}"

    def on_start(self, data: str, device: str) -> None:
        """Report what is trained on, on which device, and where the run starts or resumes."""
        settings, size = self._trainer.settings, self._trainer.processes.size
        steps = counted(settings.steps, "step")
        self._listener.report(
            f"{data}; width {settings.width}; device {device}, {settings.precision}"
            + (f"; {size} processes" if size > 1 else "")
            + (f"; resuming at step {self._first} of {settings.steps}" if self._first else f"; {steps}")
        )

    def time_limit(self) -> float:
        """Return when to stop, on the clock of ``time.monotonic``."""
        minutes = self._trainer.settings.minutes
        return self._started + 60 * minutes if minutes else math.inf

    def on_step(self, step: Step) -> None:
        """Report a finished step."""
        self._listener.advance(1)
        if step.step % self._every == 0:
            steps = self._trainer.settings.steps
            left_s = (steps - step.step) * (time.monotonic() - self._first_step_at) / (step.step - self._first)
            self._listener.report(
                f"step {step.step} of {steps}: loss {step.loss:.4f}, learning rate {step.learning_rate:.2g}, "
                f"{step.crops_per_s:.1f} crops/s, {duration(left_s)} left"
            )
            self._folder.write_history(self._trainer.history.rows)

    def on_score(self, score: DevScore) -> None:
        """Report figures on dev tiles."""
        self._listener.report(f"step {self._trainer.step}: loss {self._trainer.loss:.4f}, {score.in_words()}")

    def result(self, output: Path | None, dev: DevScore | None = None) -> TrainResult:
        """Return what the run came to; without an output it is to be resumed."""
        steps, seconds = self._trainer.step - self._first, round(time.monotonic() - self._started, 1)
        return TrainResult(output, steps, seconds, self._trainer.loss, finished=output is not None, dev=dev)


def report_calibration(output: Path, result: CalibrationResult, folder: RunFolder | None, listener: Listener) -> None:
    """Report what the dev tiles showed, where the pictures are, and the command to predict with."""
    if result.score:
        before = next(m.value for m in result.measured if m.name == "calibration error before")
        listener.report(
            f"dev: {result.score.in_words()}; calibration error {before:.4f} before, "
            f"{result.score.calibration_error:.4f} now"
        )
        if result.shifts:
            listener.report(shifts_in_words(result.shifts))
        if result.domains:
            listener.report(mean_in_words(result.domains))
        elif result.score.calibration_error > before:
            listener.warn(
                "moving the threshold to 0.5 made the calibration worse; "
                "--calibration probability makes probabilities shares of road"
            )
    else:
        listener.report("nothing was measured or calibrated; --dev tiles would choose the threshold and give figures")
    if folder:
        listener.report(f"pictures of the run: {folder.pictures()}")
    listener.report(next_command(output))


def next_command(model: Path, scene: Path | None = None) -> str:
    """Return the command to predict with a new model: the scene it was made from, or any one."""
    words = ["roadseg", "predict", str(scene or "scene.tif"), "-o", "roads.tif", "--model", str(model)]
    return f"next: {as_typed(words)}"
