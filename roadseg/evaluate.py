"""Evaluate: score predicted roads against the truth.

``evaluate`` is the public function, with the options of ``roadseg evaluate`` as keywords; ``evaluate_files`` is the
whole chain: files are paired, each pair is counted (rasters pixel by pixel, networks as
graphs), the counts of all pairs are added and only then divided, and the scores are written.
"""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from roadseg.evaluation.networks import score_networks
from roadseg.evaluation.outputs import locked_outputs, write_report
from roadseg.evaluation.pairs import are_networks, find_scored_pairs, unused_options
from roadseg.evaluation.rasters import score_rasters
from roadseg.evaluation.report import number
from roadseg.evaluation.scores import Scores
from roadseg.progress import Listener
from roadseg.settings import EvaluateOptions, EvaluateOutputs, EvaluateSettings
from roadseg.settings.evaluate import check_combinations
from roadseg.settings.option import AnyPath, check_keywords, from_options

__all__ = ["EvaluateResult", "Scores", "evaluate", "number"]


@dataclass(frozen=True)
class EvaluateResult:
    """The scores of roads against the truth, and the files written."""

    outputs: dict[str, Path]
    scores: Scores

    @property
    def figures(self) -> dict[str, float]:
        """The figures of all images together, by name; NaN is an undefined ratio."""
        return {figure.name: float(figure.value) for figure in self.scores.figures}

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON-ready values; None stands for an undefined ratio."""
        return {"outputs": {name: str(path) for name, path in self.outputs.items()}, **as_json(self.scores)}


def evaluate(
    prediction: AnyPath,
    truth: AnyPath,
    *,
    command: str = "",
    listener: Listener | None = None,
    **options: Unpack[EvaluateOptions],
) -> EvaluateResult:
    """Score predicted roads against the truth.

    Parameters
    ----------
    prediction, truth
        Two rasters, two vector files, or two folders of either, paired by stem.
    command
        Command line to record in the outputs.
    listener
        Callbacks for messages and progress.
    options
        As on the command line, with the same defaults; nothing is written without ``report`` or ``errors``.

    Raises
    ------
    UsageError
        If an option has a value it cannot have.
    RoadsegError
        If files cannot be compared or an output not be written.
    """
    check_keywords("evaluate", options, EvaluateOptions)
    outputs = from_options(EvaluateOutputs, options)
    settings = from_options(EvaluateSettings, options)
    check_combinations(outputs)
    scores = evaluate_files(Path(prediction), Path(truth), outputs, settings, command=command, listener=listener)
    written = {name: getattr(outputs, name) for name in ("report", "errors")}
    return EvaluateResult({name: path for name, path in written.items() if path}, scores)


def evaluate_files(
    prediction: Path,
    truth: Path,
    outputs: EvaluateOutputs | None = None,
    settings: EvaluateSettings | None = None,
    *,
    command: str = "",
    listener: Listener | None = None,
) -> Scores:
    """Score predicted roads and write the outputs asked for; the whole chain.

    Parameters
    ----------
    prediction, truth
        Two rasters, two vector files, or two folders of either, paired by stem.
    outputs
        Paths of a report and a map of the errors (a folder of maps for several rasters), and the imagery.
    settings
        Settings for the scores.
    command
        Command line to record in the outputs.
    listener
        Callbacks for messages and progress.

    Raises
    ------
    SceneError
        If files cannot be compared; the message says what to do.
    OutputError
        If an output cannot be written.
    """
    outputs, settings, listener = outputs or EvaluateOutputs(), settings or EvaluateSettings(), listener or Listener()
    pairs, notes = find_scored_pairs(prediction, truth, outputs.images)
    networks = settings.network or are_networks(pairs, prediction, truth)
    for warning in unused_options(pairs, settings, outputs.images, networks=networks):
        listener.warn(warning)
    with locked_outputs(outputs, settings, pairs, networks=networks):
        if networks:
            scores = score_networks(pairs, settings, listener)
        else:
            scores = score_rasters(pairs, settings, listener, error_maps=outputs.errors)
        inputs = {"command": command, "prediction": str(prediction), "truth": str(truth)}
        scores = replace(scores, settings={**inputs, **scores.settings}, notes=[*notes, *scores.notes])
        for note in scores.notes:
            listener.report(note)
        if outputs.report:
            write_report(outputs.report, scores, outputs.errors)
    return scores


def as_json(scores: Scores) -> dict[str, object]:
    """Return scores as JSON-ready values; null stands for an undefined ratio."""
    plain = {
        "kind": scores.kind,
        "settings": scores.settings,
        "notes": scores.notes,
        "figures": [asdict(figure) for figure in scores.figures],
        "images": [{"name": image.name, **image.values} for image in scores.images],
        "curves": [asdict(curve) for curve in scores.curves],
    }
    return {key: _without_nan(value) for key, value in plain.items()}


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
