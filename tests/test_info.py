"""Model cards as readable lines: nothing twice, nothing wider than the terminal."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from commands import roadseg

from roadseg.export import export
from roadseg.info import describe_card, describe_recipe, group_measurements
from roadseg.model.card import Measurement, ModelCard, find_model, read_card
from roadseg.model.resunet import ResUNet
from roadseg.settings import AugmentSettings, TrainSettings
from roadseg.training.card import recipe_for_card
from roadseg.training.save import save_model

LISTED = {
    "width": 16,
    "loss": "bce",
    "stages": [
        {"steps": 3900, "crop": 160, "seed": 0, "from": "random weights"},
        {"steps": 1400, "crop": 160, "seed": 1, "from": "stage 1"},
        {"steps": 1400, "crop": 160, "seed": 1, "from": "stage 1"},
    ],
    "crops": 95200,
}


def card(name: str, recipe: dict[str, object], *figures: Measurement) -> ModelCard:
    return ModelCard(name=name, recipe=recipe, measurements=figures, hash="0123456789abcdef")


def test_a_stage_lists_the_settings_that_differ() -> None:
    first = TrainSettings(steps=10, learning_rate=1e-3, precision="float32", augment=AugmentSettings(rotate_deg=20))
    assert describe_recipe(card("plain", recipe_for_card(first, None, processes=1, steps_taken=10))) == [
        ("1", "from random weights: steps 10, augment.rotate_deg 20, learning_rate 0.001, precision float32")
    ]
    assert describe_recipe(card("bare", recipe_for_card(TrainSettings(), None))) == [
        ("1", "from random weights: steps 4600")
    ]
    assert describe_recipe(card("untold", {})) == []


def test_one_band_is_in_the_singular() -> None:
    lines = [
        dict(describe_card(ModelCard(name="m", bands=bands, mean=(0.5,) * bands, std=(0.2,) * bands)))
        for bands in (1, 2)
    ]
    assert [line["architecture"].split(", ")[2] for line in lines] == ["1 band", "2 bands"]


def test_listed_stages_are_numbered() -> None:
    assert describe_recipe(card("listed", LISTED)) == [
        ("1", "from random weights: steps 3900, width 16, crop 160"),
        ("2", "steps 1400, seed 1"),
        ("3", "from stage 1: steps 1400"),
        ("", "in total: crops 95200"),
    ]


def test_stages_of_earlier_models_come_first() -> None:
    settings = TrainSettings(width=16, crop=160, steps=2, seed=1)
    second = card("second", recipe_for_card(settings, card("listed", LISTED), processes=2, steps_taken=1))
    third = recipe_for_card(
        replace(settings, steps=3, tf32=False), replace(second, hash="fedcba9876543210"), processes=1
    )
    assert describe_recipe(card("third", third))[3:] == [
        ("", "in total: crops 95200"),
        ("4", "from listed (0123456789ab): steps 2, processes 2, steps_taken 1"),
        ("5", "from second (fedcba987654): steps 3, tf32 false, processes 1"),
    ]


@pytest.mark.parametrize("start", ["gone.safetensors", {"name": "nameless", "hash": "", "recipe": {}}])
def test_an_unknown_starting_model_is_named(start: object) -> None:
    name = start if isinstance(start, str) else "nameless ()"
    assert describe_recipe(card("orphan", {"steps": 5, "start": start})) == [("1", f"from {name}: steps 5")]


def test_measurements_are_grouped_by_data_and_command() -> None:
    figures = [
        Measurement(name, 0.5, "a share", data, command)
        for name, data, command in (("a", "X", "one"), ("b", "X", "two"), ("c", "Y", ""), ("d", "X", "one"))
    ]
    groups = group_measurements(card("measured", {}, *figures))
    names = {data: {c: [f.name for f in found] for c, found in group.items()} for data, group in groups.items()}
    assert names == {"X": {"one": ["a", "d"], "two": ["b"]}, "Y": {"": ["c"]}}


def test_the_bundled_model_fits_100_columns_and_names_its_data_once() -> None:
    text = roadseg("info", "compact").stdout
    assert max(map(len, text.splitlines())) <= 100
    assert " ".join(text.split()).count("kept apart from those used for training") == 1
    assert text.count("evaluate pred/ dev/masks/") == 1
    rows = [line.split() for line in text.splitlines()]
    assert ["1", "from", "random", "weights:", "steps", "3900,"] in [row[:6] for row in rows]
    iou = next(m.value for m in read_card(find_model("compact")).measurements if m.name == "IoU")
    assert re.search(rf"^    IoU +{iou:.4f}  of the road class", text, re.MULTILINE)


def test_lines_wrap_to_the_terminal_and_cut_no_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    from roadseg.cli.terminal import wrapped

    path = "/a/very-long-path" * 5
    assert wrapped("crs  ", f"{path} is\nwhere it lies").splitlines() == [f"crs  {path}", "     is where it lies"]
    assert wrapped("x  ", "") == "x"
    assert max(map(len, wrapped("x  ", "word " * 40).splitlines())) <= 60


def test_a_recipe_read_from_a_file_is_the_same(tmp_path: Path) -> None:
    first = card("first", recipe_for_card(TrainSettings(width=2, steps=7), None, processes=1))
    settings = TrainSettings(width=2, steps=2, drop_at=(0.5,), pixel_m=0.5)
    made = ModelCard(name="second", width=2, recipe=recipe_for_card(settings, first, processes=1))
    save_model(tmp_path / "second.safetensors", ResUNet(width=2), made)
    text = roadseg("info", tmp_path / "second.safetensors").stdout.splitlines()
    at = text.index("recipe")
    assert text[at + 1 : at + 4] == [
        "  1  from random weights: steps 7, width 2",
        "  2  from first (0123456789ab): steps 2, pixel_m 0.5, drop_at [0.5]",
        "",
    ]


def test_the_range_of_ground_resolutions_is_shown_where_there_is_one() -> None:
    for seen, words in (
        ((0.3, 0.9), "0.6 m per pixel, trained on images of 0.3 to 0.9 m"),
        ((0.3, 0.3), "0.6 m per pixel, trained on images of 0.3 m"),
        (None, "0.6 m per pixel"),
    ):
        text = dict(describe_card(ModelCard(name="m", gsd_m=0.6, gsd_range_m=seen)))
        assert text["ground resolution"] == words


def test_how_fine_scenes_are_read_is_shown_where_they_are() -> None:
    text = dict(describe_card(ModelCard(name="m", gsd_range_m=(1, 1), finest_gsd_m=0.63)))
    words = "1 m per pixel; much finer scenes are read at twice their pixels, down to 0.63 m"
    assert text["ground resolution"] == words


def test_how_sure_a_model_is_at_home_is_shown_where_it_is_known() -> None:
    lines = dict(describe_card(ModelCard(name="drawn", sure_share=0.5712)))
    assert lines["sure at home"] == (
        "of 57% of the roads it finds (0.950 and more); where of fewer, predict raises probabilities"
    )
    assert "sure at home" not in dict(describe_card(ModelCard(name="drawn")))


def test_the_layers_of_a_network_need_no_model_file() -> None:
    lines = roadseg("info", "--width", 64, "--upsample", "nearest").stdout.splitlines()
    assert lines[0] == "input 3 × 224 × 224; outputs are channels × height × width"
    assert lines[2].split() == ["encoder1.conv1", "Conv2d", "64", "×", "224", "×", "224", "1,792"]
    assert lines[-1] == "8,220,993 parameters"
    both = roadseg("info", "compact", "--width", 64)
    assert both.returncode == 2
    assert "leave the other arguments out" in both.stderr


def test_an_onnx_file_says_what_its_model_file_says(model_file: Path, tmp_path: Path) -> None:
    export(model_file, tmp_path / "m.onnx")
    stored, exported = (
        json.loads(roadseg("info", path, "--json").stdout) for path in (model_file, tmp_path / "m.onnx")
    )
    assert exported.pop("model") == str(tmp_path / "m.onnx")
    assert stored.pop("model") == str(model_file)
    assert exported == stored
    (tmp_path / "bad.onnx").write_bytes(b"words")
    done = roadseg("info", tmp_path / "bad.onnx")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "is not an ONNX model" in done.stderr
