"""The catalogue item follows the rules of STAC and of its Machine Learning Model extension."""

import json
import re

import pytest

from roadseg.model.card import ModelCard, find_model, read_card
from roadseg.model.stac_mlm import mlm_item

TASKS = {"regression", "classification", "segmentation", "semantic-segmentation", "object-detection"}


def shape_violations(properties):
    """List inputs and outputs that lack a name, a type or a dimension."""
    found = []
    for side, structure in (("mlm:input", "input"), ("mlm:output", "result")):
        for entry in properties[side]:
            shape = entry[structure]
            if not entry["name"] or len(shape["shape"]) != len(shape["dim_order"]) or not shape["data_type"]:
                found.append(f"{side} is incomplete")
            if any(not isinstance(size, int) or size < -1 for size in shape["shape"]):
                found.append(f"{side} has an odd shape")
    return found


def violations(item):
    """List which rules of STAC 1.1 and of the extension's schema (1.5) an item breaks."""
    needed = ("type", "stac_version", "id", "geometry", "bbox", "links", "assets")
    found = [f"no {key}" for key in needed if key not in item]
    properties = item["properties"]
    required = ("mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output", "datetime")
    found += [f"no {key}" for key in required if key not in properties]
    declared = r"https://stac-extensions.github.io/mlm/v1\.5\.\d+/schema.json"
    if not any(re.fullmatch(declared, extension) for extension in item["stac_extensions"]):
        found.append("the extension is not declared")
    if not set(properties["mlm:tasks"]) <= TASKS:
        found.append("unknown task")
    found += shape_violations(properties)
    bands = properties["mlm:input"][0].get("bands", [])
    if bands and "bands" not in properties["mlm:input"][0]["input"]["dim_order"]:
        found.append("dim_order lacks bands")
    if "mlm:hyperparameters" in properties and not properties["mlm:hyperparameters"]:
        found.append("empty hyperparameters")
    models = [asset for asset in item["assets"].values() if "mlm:model" in asset["roles"]]
    if len(models) != 1 or not models[0].get("mlm:artifact_type"):
        found.append("not exactly one model asset with an artifact type")
    if models and {band["name"] for band in models[0]["bands"]} != set(bands):
        found.append("the asset's bands are not those of the input")
    return found


def test_the_item_of_a_bundled_model_breaks_no_rule():
    card = read_card(find_model(None))
    item = json.loads(json.dumps(mlm_item(card, href="compact.safetensors", size=1_000, sha256="ab" * 32)))
    assert violations(item) == []
    assert item["properties"]["mlm:total_parameters"] == 516_177
    scaling = item["properties"]["mlm:input"][0]["value_scaling"]
    assert [band["mean"] for band in scaling] == list(card.mean)
    assert item["assets"]["model"]["file:checksum"] == "1220" + "ab" * 32


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"mlm:tasks": ["cooking"]}, ["unknown task"]),
        ({"mlm:hyperparameters": {}}, ["empty hyperparameters"]),
        (
            {"mlm:output": [{"name": "", "result": {"shape": [1], "dim_order": ["batch"], "data_type": "float32"}}]},
            ["mlm:output is incomplete"],
        ),
    ],
)
def test_a_broken_rule_is_noticed(changes, expected):
    item = mlm_item(ModelCard("drawn"), href="m.onnx", size=1, sha256="00" * 32)
    item["properties"] |= changes
    assert violations(item) == expected


def test_four_bands_get_names_of_their_own():
    card = ModelCard("drawn", bands=4, mean=(0.5,) * 4, std=(0.2,) * 4)
    item = mlm_item(card, href="m.safetensors", size=1, sha256="00" * 32)
    assert violations(item) == []
    assert item["properties"]["mlm:input"][0]["bands"] == ["band1", "band2", "band3", "band4"]


@pytest.mark.parametrize(
    ("licence", "identifier"),
    [("Apache-2.0 (SPDX), see NOTICE", "Apache-2.0"), ("CC-BY-4.0", "CC-BY-4.0"), ("ask me", "other"), ("", None)],
)
def test_a_licence_is_named_by_its_identifier(licence, identifier):
    item = mlm_item(ModelCard("m", licence=licence, created="2026-01-01"), href="m.safetensors", size=1, sha256="00")
    assert item["properties"].get("license") == identifier
