"""Settings from recipe, file and command line: who wins, and what is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from commands import roadseg

from roadseg.adapt import adapt
from roadseg.errors import TrainingError, UsageError
from roadseg.settings import AugmentSettings, TrainSettings
from roadseg.training.recipes import (
    DEFAULT,
    PAPER,
    RECIPES,
    data_from_options,
    merge_settings,
    parse_assignment,
    read_config,
    to_toml,
)


@pytest.mark.parametrize("name", RECIPES)
def test_toml_gives_the_same_settings_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / "config.toml"
    settings = dataclasses.replace(RECIPES[name], start='möbel "x"', pixel_m=0.5, drop_at=(0.5,))
    path.write_text(to_toml(settings), "utf-8")
    assert merge_settings(DEFAULT, ("file", read_config(path))) == settings


def test_every_setting_is_in_the_file() -> None:
    text = to_toml(dataclasses.replace(DEFAULT, start="a", teacher="b", pixel_m=1.0, finest_gsd_m=0.5))
    names = [f.name for f in dataclasses.fields(TrainSettings)] + [f.name for f in dataclasses.fields(AugmentSettings)]
    assert all(f"\n{name} = " in "\n" + text or f"[{name}]" in text for name in names)


def test_the_later_layer_wins() -> None:
    layers = (("file", {"steps": 7, "batch": 3, "augment": {"zoom": 0.1}}), ("command line", {"steps": 9}))
    settings = merge_settings(PAPER, *layers)
    assert (settings.steps, settings.batch, settings.loss) == (9, 3, "mse")
    assert (settings.augment.zoom, settings.augment.flips) == (0.1, False)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"lerning_rate": 1.0}, "did you mean learning_rate"),
        ({"augment": {"rotate": 3}}, "did you mean rotate_deg"),
        ({"qqq": 1}, "--print-config"),
        ({"steps": 1.5}, "whole number"),
        ({"steps": True}, "whole number"),
        ({"compile": 1}, "true or false"),
        ({"loss": "bse"}, "bce or focal or mse"),
        ({"augment": 3}, "table"),
        ({"learning_rate": "fast"}, "a number"),
        ({"drop_at": ["a"]}, "list of numbers"),
        ({"drop_at": [2]}, "from 0 to 1"),
        ({"teacher_weight": 1.5}, "teacher_weight must be from 0 to 1"),
        ({"crop": 33}, "multiple of 8"),
        ({"batch": 0}, "from 1 to 4096"),
        ({"augment": {"zoom": -1}}, "from 0 to 10"),
        ({"average_decay": 1}, "below 1"),
        ({"pixel_m": 0}, "from 0.0001 to 100000"),
        ({"batch": 10**9}, "from 1 to 4096"),
        ({"width": 100_000}, "from 1 to 1024"),
        ({"seed": 2**64}, "from 0 to"),
        ({"learning_rate": 1e300}, "from 0 to 100"),
        ({"augment": {"blur_px": 1e5}}, "from 0 to 32"),
    ],
)
def test_what_does_not_fit_is_refused(layer: dict[str, object], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        merge_settings(DEFAULT, ("file", layer))


def test_assignments_are_read_as_toml_or_as_words() -> None:
    assert parse_assignment("steps=5") == {"steps": 5}
    assert parse_assignment("augment.zoom = 0.25") == {"augment": {"zoom": 0.25}}
    assert parse_assignment("loss=mse") == {"loss": "mse"}
    assert parse_assignment("compile=true") == {"compile": True}
    assert parse_assignment("drop_at=[0.5]") == {"drop_at": [0.5]}
    with pytest.raises(TrainingError, match="name=value"):
        parse_assignment("steps")


def test_the_paper_is_followed_to_the_letter() -> None:
    assert (PAPER.pool, PAPER.crop, PAPER.batch, PAPER.learning_rate) == (30_000, 224, 8, 0.001)
    assert PAPER.steps * PAPER.batch == 50 * PAPER.pool
    assert (PAPER.loss, PAPER.dice_weight, PAPER.average_decay, PAPER.clip_norm) == ("mse", 0, 0, 0)
    assert not any(dataclasses.asdict(PAPER.augment).values())


def test_command_line_over_file_over_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("steps = 7\nbatch = 3\n[augment]\nzoom = 0.1\n", "utf-8")
    options = ["--recipe", "paper", "--config", path, "--steps", "9", "--set", "augment.flips=true", "--print-config"]
    done = roadseg("train", *options)
    assert done.returncode == 0, done.stderr
    (tmp_path / "printed.toml").write_text(done.stdout, "utf-8")
    settings = merge_settings(DEFAULT, ("printed", read_config(tmp_path / "printed.toml")))
    assert (settings.steps, settings.batch, settings.loss) == (9, 3, "mse")
    assert (settings.augment.zoom, settings.augment.flips) == (0.1, True)
    path.write_text("stps = 7", "utf-8")
    done = roadseg("train", "--config", path, "--print-config")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"roadseg: error: {path} sets 'stps', which is not a setting; did you mean steps?\n"
    done = roadseg("train", "--set", "stps=7", "--print-config")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "roadseg: --set sets 'stps', which is not a setting; did you mean steps?\n"
    done = roadseg("train", "--set", "nope=7", "--print-config")
    assert done.stderr == "roadseg: --set sets 'nope', which is not a setting; --print-config lists them all\n"
    path.write_text("steps = = 7", "utf-8")
    assert "is not TOML" in roadseg("train", "--config", path, "--print-config").stderr
    done = roadseg("train", "--recipe", "papr", "--print-config")
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("option", "value", "flag"),
    [
        ("road_width", 5.0, "--road-width"),
        ("label_layer", "roads", "--label-layer"),
        ("width_attribute", "width", "--width-attribute"),
        ("width_table", "widths.toml", "--width-table"),
    ],
)
def test_options_of_labels_need_labels(tmp_path: Path, option: str, value: object, flag: str) -> None:
    with pytest.raises(UsageError, match=f"{flag} belongs to --labels; give both"):
        data_from_options(tmp_path, {option: value}, needed=True)
    with pytest.raises(UsageError, match=f"{flag} belongs to --labels; give both"):
        adapt(tmp_path, tmp_path / "m.safetensors", **{option: value})  # type: ignore[arg-type]
    labels = {"labels": tmp_path / "r.gpkg", "images": [tmp_path / "a.tif"]}
    assert data_from_options(None, {option: value, **labels}, needed=True).labels


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dev_block": 99.0}, "--dev-block belongs to --dev-fraction; give both"),
        ({"dev_split": "files"}, "--dev-split belongs to --dev-fraction; give both"),
        ({"cache": "masks"}, "--cache belongs to --labels; give both"),
        ({"dev": "dev", "dev_fraction": 0.2}, "--dev and --dev-fraction both say .*; choose one"),
    ],
)
def test_an_option_without_the_one_it_is_about_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"^{words}$"):
        data_from_options("data", options, needed=True)
    assert data_from_options("data", {"dev_fraction": 0.1, "dev_split": "files"}, needed=True).dev_split == "files"
