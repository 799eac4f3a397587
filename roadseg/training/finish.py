"""The finish of adapting: with its figures known, a model learns from the ground that was kept apart for them, too.

Labels are few, and a third of them calibrates and scores a model. After that they are worth more as ground to learn
from: a short second run on all plots, at a rate that falls to 0. The calibration stays that of the model before, since
ground learned from can tell it no longer.
"""

from collections.abc import Callable
from dataclasses import replace

from roadseg.errors import counted
from roadseg.metrics.calibration import Calibration
from roadseg.model.resunet import ResUNet
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.progress import Listener
from roadseg.settings import TrainSettings
from roadseg.training.calibrate import engine_of
from roadseg.training.data.labelled_plots import LabelledPlots
from roadseg.training.data.tiles import TileDataset
from roadseg.training.loop import Step, Trainer

SHARE = 0.5
"""Steps of the finish, as a share of the steps before it."""

_WARMUP_STEPS = 10
_OTHER_CROPS = 1000
"""What the finish adds to the seed."""


def finish_steps(steps: int) -> int:
    """Return the number of steps of the finish, from that of the steps before it."""
    return max(1, round(SHARE * steps))


def finish_recipe(recipe: TrainSettings, steps: int) -> TrainSettings:
    """Return the settings of the finish.

    Parameters
    ----------
    recipe
        Settings of the run before it.
    steps
        Steps that this run took.
    """
    return replace(
        recipe,
        steps=finish_steps(steps),
        schedule="cosine",
        warmup_steps=_WARMUP_STEPS,
        seed=recipe.seed + _OTHER_CROPS,
        missing_after=0.0 if recipe.missing_after < 1 else 1.0,
    )


def finish(
    trainer: Trainer, plots: LabelledPlots, on_step: Callable[[Step], None], until: float, listener: Listener
) -> Trainer:
    """Train the averaged model of a finished run a little further, on all plots.

    It is repeated, not resumed, if it is interrupted: what it starts from is in the checkpoint of the run before it.

    Parameters
    ----------
    trainer
        The finished run.
    plots
        All ground with labels.
    on_step
        Called after each step.
    until
        Time on the clock of ``time.monotonic`` at which to stop.
    listener
        Receives warnings.
    """
    recipe = finish_recipe(trainer.settings, trainer.step)
    tiles = TileDataset([plot.tile_without((), 0) for plot in plots.plots], crop=recipe.crop)
    second = Trainer(trainer.averaged(), tiles, recipe, None, start=trainer.start, listener=listener)
    second.run(on_step, until=until)
    return second


def finish_in_words(finisher: Trainer) -> str:
    """Return what the finish has done as a sentence that follows the figures."""
    more = counted(finisher.step, "more step")
    return f"the model then learned from these areas, too, in {more}, which is not in these figures"


def calibrated_like(engine: TorchEngine, model: ResUNet) -> TorchEngine:
    """Return an engine of another model with the normalization and the calibration of this one."""
    calibration = Calibration(engine.temperature, engine.bias)
    return engine_of(model, engine.mean, engine.std, calibration=calibration)
