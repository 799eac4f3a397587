"""A model card as a STAC item with the Machine Learning Model extension, for model catalogues.

The card does not say where on Earth the training data lie, so the item covers the whole Earth and its date is the day
the model was made; both can be narrowed by whoever catalogues it.
Source: stac-extensions/mlm 1.5, README and JSON schema; STAC 1.1 for ``bands``.
"""

import re
from collections.abc import Mapping
from math import prod
from typing import Any

from roadseg.model.card import ModelCard
from roadseg.model.stored_weights import expected_shapes
from roadseg.settings import PredictSettings

EXTENSIONS = (
    "https://stac-extensions.github.io/mlm/v1.5.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
)
TASKS = ["semantic-segmentation"]

_WORLD = (-180.0, -90.0, 180.0, 90.0)
_COLOURS = ("red", "green", "blue")
_STATISTICS = ("running_mean", "running_var")
"""Tensors that a model stores and that no training step changes by a gradient."""

_ARTIFACTS = {"safetensors": "safetensors.torch.save_file", "onnx": "torch.onnx.export"}
_MEDIA = {kind: f"application/octet-stream; application={kind}" for kind in _ARTIFACTS}

_SPDX = re.compile(r"[A-Za-z][\w.+-]*-\d[\w.]*(?=$|[\s,;(])")
"""An identifier such as Apache-2.0 or CC-BY-4.0, at the beginning of a text."""


def mlm_item(card: ModelCard, *, href: str, size: int, sha256: str) -> dict[str, Any]:
    """Return a STAC item that describes a model, ready to be written as JSON.

    Parameters
    ----------
    card
        The model card.
    href
        Where the model file lies, relative to the item or as a URL.
    size, sha256
        Bytes of that file and the checksum of its content, as hexadecimal digits.
    """
    west, south, east, north = _WORLD
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    made = f"{card.created or '1970-01-01'}T00:00:00Z"
    kind = href.rsplit(".", 1)[-1].lower()
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS),
        "id": re.sub(r"[^\w.-]+", "-", card.name),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": list(_WORLD),
        "properties": _properties(card) | {"datetime": made, "created": made},
        "assets": {
            "model": {
                "href": href,
                "title": f"Weights of {card.name}",
                "type": _MEDIA.get(kind, _MEDIA["safetensors"]),
                "roles": ["mlm:model", "mlm:weights", "data"],
                "mlm:artifact_type": _ARTIFACTS.get(kind, _ARTIFACTS["safetensors"]),
                "file:size": size,
                "file:checksum": f"1220{sha256}",  # a multihash: SHA-256, 32 bytes
                "bands": [{"name": name} for name in _band_names(card.bands)],
            }
        },
        "links": [],
    }


def _properties(card: ModelCard) -> dict[str, Any]:
    size, overlap_px = card.window_px, PredictSettings().overlap_px
    known: Mapping[str, Any] = {"description": card.description, "license": _spdx(card.licence)}
    return {
        **{key: text for key, text in known.items() if text},
        "gsd": card.gsd_m,
        "mlm:name": card.name,
        "mlm:architecture": card.architecture,
        "mlm:framework": "PyTorch",
        "mlm:tasks": TASKS,
        "mlm:total_parameters": _parameters(card),
        "mlm:pretrained": True,
        "mlm:pretrained_source": card.training_data or None,
        "mlm:hyperparameters": {"width": card.width, "upsample": card.upsample, "overlap_px": overlap_px},
        "mlm:input": [
            {
                "name": f"{card.bands}-band imagery, 0 to 1",
                "bands": _band_names(card.bands),
                "input": {
                    "shape": [-1, card.bands, size, size],
                    "dim_order": ["batch", "bands", "height", "width"],
                    "data_type": "float32",
                },
                "value_scaling": [
                    {"type": "z-score", "mean": mean, "stddev": std}
                    for mean, std in zip(card.mean, card.std, strict=True)
                ],
                "resize_type": None,
            }
        ],
        "mlm:output": [
            {
                "name": "road probability",
                "tasks": TASKS,
                "result": {
                    "shape": [-1, 1, size, size],
                    "dim_order": ["batch", "class", "height", "width"],
                    "data_type": "float32",
                },
                "classification:classes": [
                    {"value": 0, "name": "not_road", "description": "Anything but a road"},
                    {"value": 1, "name": "road", "description": f"Probability {card.threshold:g} or more"},
                ],
                "post_processing_function": None,
            }
        ],
    }


def _band_names(count: int) -> list[str]:
    return list(_COLOURS) if count == len(_COLOURS) else [f"band{number}" for number in range(1, count + 1)]


def _parameters(card: ModelCard) -> int:
    shapes = expected_shapes(card.bands, card.width)
    return sum(prod(shape) for name, shape in shapes.items() if not name.endswith(_STATISTICS))


def _spdx(licence: str) -> str:
    """Return the SPDX identifier that the text of a licence begins with, as STAC wants it; "other" if there is none."""
    if not licence:
        return ""
    found = _SPDX.match(licence)
    return found[0] if found else "other"
