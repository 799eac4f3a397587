"""A card says everything about a model, is read without its weights, and never half understood."""

import json
import struct
from dataclasses import replace

import pytest
from commands import run_python

from roadseg.errors import ModelError
from roadseg.model.card import FORMAT, METADATA_KEY, Measurement, ModelCard, card_from_json, find_model, read_card
from roadseg.model.stages import training_stages

CARD = ModelCard(
    name="éclair",
    description="drawn for a test",
    bands=2,
    width=5,
    upsample="nearest",
    mean=(0.25, 0.5),
    std=(0.125, 0.25),
    gsd_m=0.6,
    gsd_range_m=(0.3, 0.7),
    window_px=96,
    threshold=0.37,
    temperature=1.5,
    bias=-0.25,
    recipe={"steps": 7, "loss": "dice"},
    measurements=(Measurement("IoU", 0.5, "pooled", "drawn", "roadseg evaluate"),),
    created="2024-01-02",
)


def container(path, metadata, *, tensors=None, body=b""):
    """Write a safetensors file by hand."""
    header = json.dumps({"__metadata__": metadata, **(tensors or {})}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + body)
    return path


def test_a_card_comes_back_from_json(tmp_path):
    assert card_from_json(CARD.to_json(), tmp_path) == CARD


def test_a_card_that_names_a_file_with_other_bytes_than_utf8_is_one(tmp_path):
    text = replace(CARD, training_data="tiles of \udcff.csv").to_json()
    assert card_from_json(text, tmp_path).training_data == "tiles of ?.csv"


def test_a_card_is_read_from_the_file(tmp_path):
    assert read_card(container(tmp_path / "m.safetensors", {METADATA_KEY: CARD.to_json()})) == CARD


def test_reading_a_card_imports_no_torch(model_file):
    code = (
        "import sys; from pathlib import Path; from roadseg.model.card import read_card\n"
        f"print(read_card(Path({str(model_file)!r})).name, 'torch' in sys.modules)"
    )
    assert run_python(code) == "tiny False\n"


def test_fields_of_a_later_minor_version_are_ignored(tmp_path):
    found = json.loads(CARD.to_json()) | {"colour": "blue"}
    assert card_from_json(json.dumps(found), tmp_path) == CARD


def test_a_newer_format_asks_for_a_newer_roadseg(tmp_path):
    path = container(tmp_path / "m.safetensors", {METADATA_KEY: replace(CARD, format=FORMAT + 1).to_json()})
    with pytest.raises(ModelError, match="install a newer roadseg"):
        read_card(path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": None},
        {"format": "one"},
        {"mean": 0.5},
        {"mean": [0.5]},
        {"mean": ["a", "b"]},
        {"std": [0.1, 0.0]},
        {"std": [0.1, None]},
        {"name": None},
        {"measurements": [{"figure": 3}]},
        {"bands": 0},
        {"bands": "2"},
        {"width": 0},
        {"width": 1.5},
        {"upsample": "bicubic"},
        {"gsd_m": 0},
        {"gsd_m": -1.0},
        {"gsd_range_m": [0.5, 0.3]},
        {"gsd_range_m": [0, 1]},
        {"window_px": 0},
        {"window_px": 100},
        {"threshold": 2.0},
        {"temperature": 0.0},
        {"architecture": "SegFormer"},
        {"width": 60_000},
        {"width": True},
        {"bands": 2**31},
        {"window_px": 2**20},
        {"gsd_m": 1e300},
        {"gsd_m": "1"},
        {"gsd_range_m": [0.5]},
        {"gsd_range_m": "ab"},
        {"format": float("inf")},
        {"threshold": None},
        {"bias": 10**400},
        {"temperature": 1e-300},
        {"std": [0.1, 1e-300]},
        {"mean": [float("nan"), 0.5]},
        {"description": ["a"]},
        {"licence": None},
        {"hash": 7},
        {"created": {}},
        {"recipe": [1]},
        {"measurements": 7},
        {"measurements": [{"name": 1, "value": 1, "definition": "", "data": ""}]},
        {"measurements": [{"name": "a", "value": "1", "definition": "", "data": ""}]},
        {"seen": [1]},
        {"seen": {"cast": [[0, 1]]}},
        {"seen": {"cast": [[0], [1]]}},
        {"seen": {"cast": [["a", "b"], ["a", "b"]]}},
        {"architecture": None},
        {"attribution": "\udcff"},
        {"measurements": [{"name": "\udcff", "value": 1, "definition": "", "data": ""}]},
    ],
)
def test_a_card_that_makes_no_sense_is_refused(tmp_path, change):
    found = json.loads(CARD.to_json()) | change
    with pytest.raises(ModelError, match=r"model card in|of another form"):
        card_from_json(json.dumps(found), tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "null", '{"format": 1}'])
def test_something_else_than_a_card_is_refused(tmp_path, text):
    with pytest.raises(ModelError, match="is damaged"):
        card_from_json(text, tmp_path)


@pytest.mark.parametrize(
    "data", [b"", b"abc", b"not a model, just text\n" * 9, struct.pack("<Q", 3) + b"[1]", b"\0" * 64]
)
def test_what_is_not_safetensors_is_refused(tmp_path, data):
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelError, match="not a safetensors file"):
        read_card(path)


@pytest.mark.parametrize(
    "header",
    [
        *({"__metadata__": "roadseg"}, {"__metadata__": [METADATA_KEY]}, {"a": {}}, [], {"a": 7}),
        *({"a": {"data_offsets": [0, end]}} for end in ("2", [2], 1.5, None)),
    ],
)
def test_a_header_of_another_form_is_refused(tmp_path, header):
    text = json.dumps(header).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(ModelError, match=r"no roadseg model card|not a safetensors file"):
        read_card(tmp_path / "m.safetensors")


def test_a_header_nested_without_end_is_refused(tmp_path):
    text = b"[" * 200_000
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(ModelError, match="not a safetensors file"):
        read_card(tmp_path / "m.safetensors")


@pytest.mark.parametrize("recipe", [{"stages": 7}, {"stages": [7]}, {"start": {"recipe": "x"}}, {"stages": "ab"}])
def test_a_recipe_of_another_form_is_refused_where_it_is_shown(recipe):
    with pytest.raises(ModelError, match="recipe on the model card is damaged"):
        training_stages(recipe)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9, 0.9999])
def test_a_truncated_model_is_told_from_something_else(tmp_path, model_file, kept):
    data = model_file.read_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ModelError, match=r"is truncated \("):
        read_card(path)


def test_a_safetensors_file_without_a_card_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no roadseg model card"):
        read_card(container(tmp_path / "m.safetensors", {"format": "pt"}))


def test_a_missing_model_lists_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr("roadseg.model.card.bundled_models", lambda: {"compact": tmp_path, "large": tmp_path})
    for wanted in (str(tmp_path / "none.safetensors"), "compakt", str(tmp_path)):
        with pytest.raises(ModelError, match=r"no model file .* \(compact, large\)"):
            find_model(wanted)
    with pytest.raises(ModelError, match="compact, large"):
        read_card(tmp_path / "none.safetensors")


def test_no_model_at_all_says_so(monkeypatch):
    monkeypatch.setattr("roadseg.model.card.bundled_models", dict)
    with pytest.raises(ModelError, match="--model"):
        find_model(None)


def test_names_win_over_nothing_and_paths_are_taken_as_they_are(tmp_path, monkeypatch, model_file):
    monkeypatch.setattr("roadseg.model.card.bundled_models", lambda: {"compact": tmp_path / "c.safetensors"})
    assert find_model("compact") == tmp_path / "c.safetensors"
    assert find_model(None) == tmp_path / "c.safetensors"
    assert find_model(str(model_file)) == model_file
