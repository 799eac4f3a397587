"""Info: what a model card says, or how ``roadseg predict`` will read a raster, as labelled lines."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from roadseg.errors import ModelError, counted
from roadseg.model import card as cards
from roadseg.model.card import Measurement, ModelCard, bundled_models, find_model
from roadseg.model.layers import LayerRow, layer_table
from roadseg.model.likeness import unlike_training
from roadseg.model.stages import training_stages
from roadseg.model.stored_weights import read_weights
from roadseg.raster.properties import raster_properties
from roadseg.raster.scene import Scene
from roadseg.raster.scene_settings import SceneSettings
from roadseg.settings import ArchitectureSettings

__all__ = [
    "BundledModel",
    "Measurement",
    "architecture_layers",
    "bundled_models",
    "describe_card",
    "describe_recipe",
    "describe_scene",
    "find_model",
    "group_measurements",
    "layer_values",
    "list_models",
    "model_layers",
    "read_card",
    "scene_properties",
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
    return [BundledModel(name, path, cards.read_card(path), path == default) for name, path in bundled_models().items()]


def layer_values(layers: Sequence[LayerRow]) -> dict[str, Any]:
    """Return layers and the number of all their parameters, ready for JSON; sizes are channels, height, width."""
    rows = [
        {"layer": layer.name, "kind": layer.kind, "output": list(layer.shape), "parameters": layer.parameters}
        for layer in layers
    ]
    return {"layers": rows, "parameters": sum(layer.parameters for layer in layers)}


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
        ("sure at home", _sure(card)),
        ("training data", card.training_data),
        ("licence", card.licence),
        ("attribution", card.attribution),
        ("created", f"{card.created} with roadseg {card.roadseg_version}"),
        ("hash", card.hash),
    ]
    return [(label, text) for label, text in lines if text]


def _sure(card: ModelCard) -> str:
    if card.sure_share is None:
        return ""
    sure = f"of {card.sure_share:.0%} of the roads it finds ({card.sure_from:.3f} and more)"
    return f"{sure}; where of fewer, predict raises probabilities"


def describe_recipe(card: ModelCard) -> list[tuple[str, str]]:
    """Return the stages of training, the oldest first: number, the model it started from, settings that changed."""
    lines = []
    for stage in training_stages(card.recipe):
        settings = ", ".join(f"{name} {_value(value)}" for name, value in stage.settings.items())
        if stage.number is None:
            lines.append(("", f"in total: {settings}"))
        else:
            lines.append((str(stage.number), f"from {stage.start}: {settings}" if stage.start else settings))
    return lines


def group_measurements(card: ModelCard) -> dict[str, dict[str, list[Measurement]]]:
    """Return the measured figures, grouped by data and then by the command that reproduces them."""
    groups: dict[str, dict[str, list[Measurement]]] = {}
    for figure in card.measurements:
        groups.setdefault(figure.data, {}).setdefault(figure.command, []).append(figure)
    return groups


def read_card(path: Path) -> ModelCard:
    """Return the card of a model file, ``.safetensors`` or ``.onnx``, without its weights.

    Raises
    ------
    ModelError
        If it is no model file, damaged, or has no card, or ONNX is not installed.
    """
    if path.suffix.lower() != ".onnx":
        return cards.read_card(path)
    if find_spec("onnx") is None:
        raise ModelError("ONNX is not installed; pip install 'roadseg[onnx]' adds it")
    from roadseg.model.onnx_graph import read_onnx_card

    return read_onnx_card(path)


def model_layers(path: Path) -> list[LayerRow]:
    """Return the layers of a model file, in the order they are computed, for one of its windows.

    Those of an ONNX file are the layers of the network that it was exported from, as its card describes it.

    Raises
    ------
    ModelError
        If the file is damaged or its weights do not fit its card.
    """
    card = read_card(path) if path.suffix.lower() == ".onnx" else read_weights(path)[1]
    return layer_table(bands=card.bands, width=card.width, size=card.window_px)


def architecture_layers(architecture: ArchitectureSettings) -> list[LayerRow]:
    """Return the layers of a network without a model file, for 3 bands of 224 × 224 px."""
    return layer_table() if architecture.width is None else layer_table(width=architecture.width)


def describe_scene(properties: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the properties of a raster as labelled lines."""
    size = f"{properties['width']} × {properties['height']} px"
    pixel = "unknown without a CRS"
    if properties["pixel_m"]:
        across, down = properties["pixel_m"]
        assumed = ", assumed: no geotransform" if properties["pixel_assumed"] else ""
        pixel = f"{across:.4g} m across, {down:.4g} m down{assumed}"
    model = properties.get("model")
    lines = [
        ("raster", properties["raster"]),
        ("driver", properties["driver"]),
        ("size", f"{size}, {counted(properties['bands'], 'band')} of {properties['dtype']}"),
        ("CRS", properties["crs"] or "none"),
        ("pixel", pixel),
        ("nodata pixels", properties["nodata"]),
        ("overviews", ", ".join(map(str, properties["overviews"])) or "none"),
        *((f"tag {key}", value) for key, value in properties["tags"].items()),
    ]
    if model:
        like = "within what it was trained on" if model["compared"] else "the card has no colours to compare with"
        remarks = model["remarks"] or [like]
        if model["gsd_m"]:
            remarks = [f"read at {model['gsd_m']:g} m per pixel", *remarks]
        lines.append((f"for {model['name']}", "; ".join(remarks)))
    return lines


def scene_properties(path: str, model: str | None = None) -> dict[str, Any]:
    """Return how roadseg reads a raster, and how it compares with a model's training data, ready for JSON.

    Raises
    ------
    SceneError
        If the raster cannot be read.
    """
    properties = raster_properties(path)
    if model is None:
        return properties
    card = read_card(find_model(model))
    settings = SceneSettings(band_count=card.bands, gsd_m=card.gsd_m, finest_gsd_m=card.finest_gsd_m, fill=card.mean)
    with Scene(path, settings) as scene:
        remarks = unlike_training(card, scene.sample() if card.seen else None, scene.grid.pixel_size_m())
        gsd_m = scene.settings.gsd_m if scene.grid_model != scene.grid else None
        compared = {"name": card.name, "gsd_m": gsd_m, "compared": bool(card.seen)}
    return {**properties, "model": {**compared, "remarks": list(remarks)}}


def _training_resolution(card: ModelCard) -> str:
    """Return the range of pixel sizes trained on and that of finer scenes as clauses, each empty if there is none."""
    clauses = ""
    if card.gsd_range_m not in {None, (card.gsd_m, card.gsd_m)}:
        finest, coarsest = card.gsd_range_m or (0, 0)
        span = f"{finest:g} to {coarsest:g}" if coarsest > finest else f"{finest:g}"
        clauses = f", trained on images of {span} m"
    if card.finest_gsd_m:
        clauses += f"; much finer scenes are read at twice their pixels, down to {card.finest_gsd_m:g} m"
    return clauses


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return json.dumps(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3f}" for value in values)
