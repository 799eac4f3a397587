"""Info: what a model is and was measured to do, or how a raster will be seen."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadseg.model.card import Measurement, ModelCard, bundled_models, find_model, read_card
from roadseg.model.likeness import remarks
from roadseg.progress import counted
from roadseg.raster.scene import Scene, SceneSettings
from roadseg.training.provenance import stages_of


@dataclass(frozen=True)
class BundledModel:
    """A model that comes with the package: its name, file and card, and whether it is the default."""

    name: str
    path: Path
    card: ModelCard
    default: bool


def list_models() -> list[BundledModel]:
    """Return the bundled models."""
    default = find_model(None) if bundled_models() else None
    return [BundledModel(n, p, read_card(p), p == default) for n, p in bundled_models().items()]


def describe_card(card: ModelCard) -> list[tuple[str, str]]:
    """Return a model card as labelled lines."""
    lines = [
        ("name", card.name),
        ("description", card.description),
        (
            "architecture",
            f"{card.architecture}, width {card.width}, {counted(card.bands, 'band')}, {card.upsample} upsampling",
        ),
        ("ground resolution", f"{card.gsd_m:g} m per pixel{_seen(card)}"),
        ("window", f"{card.window_px} px"),
        ("mean, std", f"{_numbers(card.mean)}; {_numbers(card.std)} (0–1 scale)"),
        ("threshold", f"{card.threshold:g}"),
        ("calibration", f"sigmoid(logit / {card.temperature:g} + {card.bias:g})"),
        ("training data", card.training_data),
        ("licence", card.licence),
        ("attribution", card.attribution),
        ("made", f"{card.created} with roadseg {card.roadseg_version}"),
        ("hash", card.hash),
    ]
    return [(label, text) for label, text in lines if text]


def describe_recipe(card: ModelCard) -> list[tuple[str, str]]:
    """Return each stage of training, the oldest first: its number, what it went on from and what it changed."""
    lines = []
    for stage in stages_of(card.recipe):
        what = "together: " if stage.number is None else f"from {stage.start}: " if stage.start else ""
        settings = ", ".join(f"{name} {_value(value)}" for name, value in stage.settings.items())
        lines.append((str(stage.number or ""), what + settings))
    return lines


def group_measurements(card: ModelCard) -> dict[str, dict[str, list[Measurement]]]:
    """Return what was measured, by data and then by the command that reproduces it."""
    groups: dict[str, dict[str, list[Measurement]]] = {}
    for figure in card.measurements:
        groups.setdefault(figure.data, {}).setdefault(figure.command, []).append(figure)
    return groups


def _seen(card: ModelCard) -> str:
    """Say which pixels the training images had, unless they were those of the model."""
    if card.gsd_range_m in {None, (card.gsd_m, card.gsd_m)}:
        return ""
    finest, coarsest = card.gsd_range_m or (0, 0)
    return f", trained on images of {finest:g} to {coarsest:g} m"


def describe_layers(path: Path) -> list[tuple[str, str, str, int]]:
    """Return the layer table of a model file: name, kind, output shape and number of parameters."""
    from roadseg.model.resunet import layers
    from roadseg.model.weights import load_model

    network, card = load_model(path)
    return [
        (layer.name, layer.kind, " × ".join(map(str, layer.shape)), layer.parameters)
        for layer in layers(network, card.window_px)
    ]


def describe_scene(path: str, model: str | None = None) -> list[tuple[str, str]]:
    """Return what roadseg sees in a raster as labelled lines, and whether a model has seen the like.

    Raises
    ------
    SceneError
        If it cannot be used.
    """
    with Scene(path, SceneSettings(band_count=1, bands=(1,), any_gsd=True, fill=(0.0,))) as scene:
        facts = scene.facts()
    if model is None:
        return facts
    card = read_card(find_model(model))
    with Scene(path, SceneSettings(band_count=card.bands, gsd_m=card.gsd_m, fill=card.mean)) as scene:
        strange = remarks(card, scene.sample() if card.seen else None, scene.grid.pixel_size_m())
    alike = "" if card.seen else "nothing to compare colours with on the card"
    return [*facts, (f"for {card.name}", "; ".join(strange) or alike or "like what it was trained on")]


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value) if isinstance(value, bool) else str(value)


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3f}" for value in values)
