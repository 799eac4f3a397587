"""The finish of adapting: all labelled ground, a rate that falls to 0, and the calibration of before."""

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import SETTINGS, trainer
from training_tiles import make_folder

from roadseg.metrics.calibration import Calibration
from roadseg.model.resunet import ResUNet
from roadseg.progress import Listener
from roadseg.settings import DataSettings
from roadseg.training.calibrate import engine_of
from roadseg.training.data.labelled_plots import LabelledPlots
from roadseg.training.data.pairs import find_tile_pairs
from roadseg.training.data.plots import read_plots, split
from roadseg.training.data.validate import at_gsd, open_pairs
from roadseg.training.finish import calibrated_like, finish, finish_recipe, finish_steps
from roadseg.training.optimizer import learning_rate_at
from roadseg.windows import Window


@pytest.fixture
def plots(tmp_path: Path) -> LabelledPlots:
    """Read the two tiles of a folder."""
    pairs = [pair for part in find_tile_pairs(make_folder(tmp_path / "data", ("a", "b"))) for pair in part]
    tiles = at_gsd(open_pairs(pairs, DataSettings(), Listener(), None), 1.0)
    return LabelledPlots(tuple(read_plots([(tile, Window(0, 0, 70, 110)) for tile in tiles])), None, "two tiles")


def test_the_finish_learns_from_the_ground_that_was_kept_apart(plots: LabelledPlots, tmp_path: Path) -> None:
    first, seen = trainer(tmp_path / "run"), []
    first.run()
    before = {name: value.clone() for name, value in first.average.weights.items()}
    second = finish(first, plots, lambda step: seen.append(step.learning_rate), math.inf, Listener())
    kept_apart = split(plots.plots)
    assert sum(np.count_nonzero(tile.label != 255) for tile in second.tiles.tiles) == 2 * 70 * 110
    assert sum(np.count_nonzero(tile.label != 255) for tile in kept_apart.learn) < 0.8 * 2 * 70 * 110
    assert (second.step, len(seen), second.saved) == (finish_steps(8), 4, None)
    assert seen[-1] < seen[0] / 5
    assert all(torch.equal(value, first.average.weights[name]) for name, value in before.items())
    assert not torch.equal(second.averaged().state_dict()["head.weight"], before["head.weight"])


def test_the_time_given_ends_the_finish(plots: LabelledPlots, tmp_path: Path) -> None:
    first = trainer(tmp_path / "run")
    first.run()
    assert finish(first, plots, lambda _: None, time.monotonic(), Listener()).step == 1


def test_the_finish_draws_other_crops_at_a_rate_that_falls_to_nothing() -> None:
    recipe = finish_recipe(replace(SETTINGS, schedule="flat", seed=5), 600)
    assert (recipe.steps, recipe.missing_after) == (finish_steps(600), 1.0)
    assert recipe.seed != 5
    assert learning_rate_at(recipe.steps - 1, recipe) < 0.001 * recipe.learning_rate
    assert finish_recipe(replace(SETTINGS, missing_after=0.3), 600).missing_after == 0.0
    assert finish_steps(1) == 1


def test_another_model_gets_the_calibration_of_an_engine() -> None:
    engine = engine_of(ResUNet(width=4).eval(), (0.5,) * 3, (0.2,) * 3, calibration=Calibration(1.5, -0.3))
    other = ResUNet(width=4).eval()
    made = calibrated_like(engine, other)
    assert (made.mean, made.std, made.temperature, made.bias) == ((0.5,) * 3, (0.2,) * 3, 1.5, -0.3)
    weights = [one.state_dict()["bridge.conv2.weight"].float() for one in (made.model, other)]
    assert torch.allclose(*weights, atol=0.01)
