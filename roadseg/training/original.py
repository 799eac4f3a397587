"""The model that is adapted, as it was: predicts and scores areas as ``roadseg predict`` finds roads with it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import torch

from roadseg.metrics.calibration import Calibration
from roadseg.model.card import ModelCard, find_model, read_card
from roadseg.model.device import choose_device
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import load_model
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.progress import Listener
from roadseg.raster.scene_settings import gsd_to_read_at
from roadseg.settings import AdaptSettings, TrainSettings
from roadseg.training.calibrate import engine_of
from roadseg.training.data.file_tiles import DevArea
from roadseg.training.data.pairs import TilePair
from roadseg.training.data.validate import check_fineness
from roadseg.training.dev_prediction import DevTile, KeptPredictions, half_in_scene
from roadseg.training.dev_score import DevScorer
from roadseg.training.initial import initial_model

_FINEST = 0.5
"""An adapted model reads at twice the pixel size of its images, but not finer than this share of its own resolution."""

_WORTH_SAYING = 0.1
"""Users are told of another resolution from this change on."""


@dataclass(frozen=True)
class Original:
    """The model that is adapted.

    Parameters
    ----------
    path
        Its file.
    before
        Its card.
    card
        Its card with the ground resolution that it reads at once it is adapted.
    device, reason
        The device to train on, and the reason why.
    kept
        What it predicted so far.
    """

    path: Path
    before: ModelCard
    card: ModelCard
    device: torch.device
    reason: str
    kept: KeptPredictions = field(default_factory=KeptPredictions)

    def reading_at(self, pixel_m: float | None, wanted_m: float | None, listener: Listener) -> "Original":
        """Return the model with the ground resolution that it is to read at, and report a change.

        Parameters
        ----------
        pixel_m
            Metres per pixel of the images, if known; where they are much finer than the model's, it is to read finer.
        wanted_m
            Metres per pixel that it is to read at whatever the images are, if that was asked for.
        listener
            Callbacks for messages.

        Raises
        ------
        TrainingError
            If the images are far coarser than what was asked for.
        """
        if wanted_m:
            check_fineness(wanted_m, pixel_m, "--model-gsd", "read")
        own_m = self.before.gsd_m
        now_m = gsd_to_read_at(pixel_m, own_m, self.before.finest_gsd_m)
        gsd_m = wanted_m or gsd_to_read_at(pixel_m, own_m, _FINEST * own_m)
        if abs(gsd_m / now_m - 1) > _WORTH_SAYING:
            listener.report(
                f"the adapted model reads at {gsd_m:g} m per pixel instead of {now_m:g} m, so predicting takes "
                f"{(now_m / gsd_m) ** 2:.2g} times as long; --model-gsd {now_m:g} keeps it"
            )
        return replace(self, card=replace(self.card, gsd_m=gsd_m, finest_gsd_m=None))

    def engine(self) -> TorchEngine:
        """Return an engine that predicts as the model does."""
        model, card = load_model(self.path)
        calibration = Calibration(card.temperature, card.bias)
        return engine_of(model.to(self.device), card.mean, card.std, calibration=calibration)

    def model(self, recipe: TrainSettings) -> ResUNet:
        """Return the model to train, on the device, its calibration part of its weights."""
        return initial_model(self.card.bands, replace(recipe, start=str(self.path)))[0].to(self.device)

    def scorer(self, areas: Sequence[DevArea], kept: KeptPredictions) -> DevScorer:
        """Return a scorer of areas for an adapted model, of which some predictions may be kept."""
        return DevScorer(areas, card=self.card, kept=kept)

    def predicted(self, areas: Sequence[DevArea], engine: TorchEngine) -> Iterator[DevTile]:
        """Yield areas as the model sees them, before ``predict`` would raise probabilities."""
        return self._scorer_as_it_is(areas).tiles(engine)

    def scorer_before(self, areas: Sequence[DevArea], engine: TorchEngine, judged: Sequence[DevArea]) -> DevScorer:
        """Return a scorer of areas for the model as ``predict`` uses it, which raises probabilities where it is unsure.

        Parameters
        ----------
        areas
            Areas to score.
        engine
            The model.
        judged
            Ground of the same scenes to judge by how sure the model is there.
        """
        at_home = self.card.sureness

        @cache
        def half_in(scene: TilePair) -> float:
            ground = (area for area in judged if area.tile.pair == scene)
            return half_in_scene(self.predicted(tuple(ground), engine), at_home) if at_home else 0.5

        return self._scorer_as_it_is(areas, half_in)

    def seconds_to_score(self, areas: Sequence[DevArea]) -> float:
        """Return how long predicting areas that it has predicted takes."""
        return sum(self.kept.seconds(area, self.card.window_px) for area in areas)

    def _scorer_as_it_is(
        self, areas: Sequence[DevArea], half_in: Callable[[TilePair], float] = lambda _: 0.5
    ) -> DevScorer:
        """Return a scorer for the model as it is, which may read areas at another resolution than the adapted one."""
        return DevScorer(areas, card=self.before, half_in=half_in, kept=self.kept)


def find_original(settings: AdaptSettings) -> Original:
    """Find the model to adapt and choose the device.

    Raises
    ------
    ModelError, DeviceError
        If there is no such model or device.
    """
    path = find_model(settings.start)
    card = read_card(path)
    return Original(path, card, card, *choose_device(settings.device))
