"""Info: what a model card says, or how ``roadseg predict`` will read a raster, as labelled lines."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadseg.errors import counted
from roadseg.model.card import Measurement, ModelCard, bundled_models, find_model, read_card
from roadseg.model.likeness import unlike_training
from roadseg.model.stages import training_stages
from roadseg.raster.scene import Scene
from roadseg.raster.scene_settings import SceneSettings

__all__ = [
    "BundledModel",
    "Measurement",
    "bundled_models",
    "describe_card",
    "describe_layers",
    "describe_recipe",
    "describe_scene",
    "find_model",
    "group_measurements",
    "list_models",
    "read_card",
]


@dataclass(frozen=True)
class BundledModel:
    """A model that comes with the package: name, file and card, and whether it is the default."""

    name: str
    path: Path
    card: ModelCard
    default: bool


def list_models() -> list[BundledModel]:
    """Return the bundled models."""
    default = find_model(None) if bundled_models() else None
    return [BundledModel(name, path, read_card(path), path == default) for name, path in bundled_models().items()]


def describe_card(card: ModelCard) -> list[tuple[str, str]]:
    """Return a model card as labelled lines."""
    lines = [
        ("name", card.name),
        ("description", card.description),
        (
            "architecture",
            f"{card.architecture}, width {card.width}, {counted(card.bands, 'band')}, {card.upsample} upsampling",
        ),
        ("ground resolution", f"{card.gsd_m:g} m per pixel{_training_resolution(card)}"),
        ("window", f"{card.window_px} px"),
        ("mean, std", f"{_numbers(card.mean)}; {_numbers(card.std)} (0–1 scale)"),
        ("threshold", f"{card.threshold:g}"),
        ("calibration", f"sigmoid(logit / {card.temperature:g} + {card.bias:g})"),
        ("training data", card.training_data),
        ("licence", card.licence),
        ("attribution", card.attribution),
        ("created", f"{card.created} with roadseg {card.roadseg_version}"),
        ("hash", card.hash),
    ]
    return [(label, text) for label, text in lines if text]


def describe_recipe(card: ModelCard) -> list[tuple[str, str]]:
    """Return the stages of training, the oldest first: number, the model it started from, settings that changed."""
    lines = []
    for stage in training_stages(card.recipe):
        start = "in total: " if stage.number is None else f"from {stage.start}: " if stage.start else ""
        settings = ", ".join(f"{name} {_value(value)}" for name, value in stage.settings.items())
        lines.append((str(stage.number or ""), start + settings))
    return lines


def group_measurements(card: ModelCard) -> dict[str, dict[str, list[Measurement]]]:
    """Return the measured figures, grouped by data and then by the command that reproduces them."""
    groups: dict[str, dict[str, list[Measurement]]] = {}
    for figure in card.measurements:
        groups.setdefault(figure.data, {}).setdefault(figure.command, []).append(figure)
    return groups


def describe_layers(path: Path) -> list[tuple[str, str, str, int]]:
    """Return the layer table of a model file: name, kind, output shape and number of parameters."""
    from roadseg.model.resunet import layer_table
    from roadseg.model.weights import load_model

    network, card = load_model(path)
    return [
        (layer.name, layer.kind, " × ".join(map(str, layer.shape)), layer.parameters)
        for layer in layer_table(network, card.window_px)
    ]


def describe_scene(path: str, model: str | None = None) -> list[tuple[str, str]]:
    """Return how roadseg reads a raster as labelled lines, and how it compares with a model's training data.

    Raises
    ------
    SceneError
        If the raster cannot be read.
    """
    with Scene(path, SceneSettings(band_count=1, bands=(1,), any_gsd=True, fill=(0.0,))) as scene:
        lines = scene.properties()
    if model is None:
        return lines
    card = read_card(find_model(model))
    with Scene(path, SceneSettings(band_count=card.bands, gsd_m=card.gsd_m, fill=card.mean)) as scene:
        remarks = unlike_training(card, scene.sample() if card.seen else None, scene.grid.pixel_size_m())
    like = "within what it was trained on" if card.seen else "the card has no colours to compare with"
    return [*lines, (f"for {card.name}", "; ".join(remarks) or like)]


def _training_resolution(card: ModelCard) -> str:
    """Return the range of pixel sizes trained on as a clause, empty if it is just the model's."""
    if card.gsd_range_m in {None, (card.gsd_m, card.gsd_m)}:
        return ""
    finest, coarsest = card.gsd_range_m or (0, 0)
    return f", trained on images of {finest:g} to {coarsest:g} m"


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value) if isinstance(value, bool) else str(value)


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3f}" for value in values)
