"""roadseg train: from a folder of tiles to a model that predicts, and clear words for bad data."""

import json
import math
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from commands import roadseg
from training_tiles import ONE_METRE, make_folder, write_tile
from worlds import write_raster

from roadseg.errors import DeviceError, ModelError, OutputError, RoadsegError, TrainingError, UsageError
from roadseg.files.lock import locked
from roadseg.model.card import ModelCard, read_card
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import load_model
from roadseg.progress import Listener
from roadseg.settings import CalibrationGoal, CardTexts, DataSettings, TrainSettings, WeightType
from roadseg.train import TrainResult, train, train_model
from roadseg.training.calibrate_only import calibrate_model
from roadseg.training.checkpoint import read_checkpoint, write_checkpoint
from roadseg.training.data.pairs import find_tile_pairs
from roadseg.training.data.tiles import MemoryTile
from roadseg.training.data.validate import shared_gsd
from roadseg.training.dev_score import DevScore
from roadseg.training.gradients import require_compiler
from roadseg.training.recipes import merge_settings, read_config
from roadseg.training.run_folder import RunFolder
from roadseg.training.save import save_model
from roadseg.training.shifts import SHIFTS

pytestmark = pytest.mark.usefixtures("open_files_stay")

SETTINGS = TrainSettings(width=2, steps=4, batch=2, crop=32, warmup_steps=1, evaluations=2)
OPTIONS = ["--width", "2", "--steps", "2", "--batch", "2", "--crop", "32"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make a folder of three tiles of 70 × 110 px with a bright road each."""
    return make_folder(tmp_path / "data", ("a", "b", "c"))


def test_what_is_read_is_never_the_output(data: Path, tmp_path: Path) -> None:
    dev, other = (make_folder(tmp_path / name, ("d",)) for name in ("dev", "other"))
    start = tmp_path / "start.safetensors"
    save_model(start, ResUNet(width=2), ModelCard("start"))
    linked = tmp_path / "linked.tif"
    linked.hardlink_to(data / "masks" / "a.tif")
    places = [data / "images" / "a.tif", linked, dev / "masks" / "d.tif", other / "images" / "d.tif", start]
    before = [path.read_bytes() for path in places]
    for output in places:
        with pytest.raises(OutputError, match="is also the input"):
            train(data, output, dev=[dev, other], from_=str(start), width=2, steps=4, overwrite=True)
    with pytest.raises(OutputError, match="is also the input"):
        train(None, places[2], dev=[dev], from_=str(start), steps=0, overwrite=True)
    assert [path.read_bytes() for path in places] == before


def test_a_second_training_of_the_same_model_stops(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"
    with locked([output]), pytest.raises(OutputError, match=r"model.safetensors is being written by process \d+ on"):
        train_model(DataSettings((data,)), output, CardTexts("m"), SETTINGS)
    assert not output.with_name("model.run").exists()
    train_model(DataSettings((data,)), output, CardTexts("m"), SETTINGS)
    assert not output.with_name("model.safetensors.lock").exists()


def test_trains_scores_and_predicts(data: Path, tmp_path: Path) -> None:
    dev = make_folder(tmp_path / "dev", ("d",))
    said: list[str] = []
    output = tmp_path / "model.safetensors"
    summary = train_model(
        DataSettings((data,), dev=(dev,)),
        output,
        CardTexts("small", licence="CC0"),
        SETTINGS,
        listener=Listener(report=said.append),
    )
    network, card = load_model(output)
    assert (network.width, card.name, card.licence, card.gsd_m) == (2, "small", "CC0", 1.0)
    assert card.gsd_range_m == (1.0, 1.0)
    assert card.recipe["steps"] == 4
    assert summary.dev is not None
    assert card.threshold == summary.dev.threshold
    assert (card.sure_share, card.sure_from) == (summary.dev.sure_share, summary.dev.sure_from)
    assert card.sure_share is not None
    figures = {m.name: m.value for m in card.measurements}
    assert figures["relaxed F1"] == summary.dev.relaxed_f1
    assert figures["calibration error"] <= figures["calibration error before"]
    assert card.threshold == 0.5
    shifts = [m for m in card.measurements if "other colours" in m.data]
    assert [m.name for m in shifts] == [*(f"relaxed F1: {name}" for name in SHIFTS), "mean of these"]
    assert shifts[-1].value == pytest.approx(np.mean([m.value for m in shifts[:-1]]))
    assert f"{summary.dev.relaxed_f1:.3f} in the tiles' own colours" in shifts[-1].definition
    assert set(card.seen) == {"brightness", "contrast", "cast"}
    assert all(len(ranges) == 3 for ranges in card.seen.values())
    assert any(text.startswith("1 dev tile in 9 other colours: mean relaxed F1") for text in said)
    assert any(text.startswith("step 2:") for text in said)
    assert any(text.startswith("next: roadseg predict") for text in said)
    run = tmp_path / "model.run"
    assert {path.name for path in run.iterdir()} >= {"config.toml", "history.csv", "curves.png", "samples.png"}
    assert not list(run.glob("checkpoint*"))
    assert merge_settings(TrainSettings(), ("file", read_config(run / "config.toml"))) == replace(
        SETTINGS, precision="float32"
    )
    scene = dev / "images" / "d.tif"
    done = roadseg("predict", scene, "-o", tmp_path / "roads.tif", "--model", output, "-q")
    assert (done.returncode, done.stderr) == (0, "")
    with rasterio.open(tmp_path / "roads.tif") as file:
        assert file.shape == (70, 110)


def test_what_is_undefined_is_null() -> None:
    score = DevScore(0.5, 0.5, 0.3, 0.4, 0.5, 0.5, 0.4, 0.5, math.nan, 3, sure_share=None)
    values = TrainResult(Path("m"), 1, 1.0, 0.5, finished=True, dev=score).to_dict()["dev"]
    assert (values["calibration_error"], values["sure_share"], values["iou"]) == (None, None, 0.4)


def test_command_line_prints_one_json_line(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    options = [*OPTIONS, "--json"]
    done = roadseg("train", data, "-o", output, *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 2
    assert read_card(output).name == "m"
    again = roadseg("train", data, "-o", output, *options)
    assert again.returncode == 1
    assert "--overwrite" in again.stderr


def test_goes_on_from_a_model(data: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    train_model(DataSettings((data,)), first, CardTexts("first", licence="CC0", attribution="me"), SETTINGS)
    still = replace(SETTINGS, start=str(first), learning_rate=0.0)
    train_model(DataSettings((data,)), second, CardTexts("second", attribution="you"), still)
    stages, card = read_card(first), read_card(second)
    assert card.recipe["start"] == {"name": "first", "hash": stages.hash, "recipe": stages.recipe}
    assert (card.recipe["steps"], card.licence, card.attribution) == (4, "CC0", "you")
    assert "continued from first" in card.training_data
    one, other = load_model(first)[0].state_dict(), load_model(second)[0].state_dict()
    assert torch.equal(one["head.weight"], other["head.weight"])
    with pytest.raises(TrainingError, match="--width"):
        train_model(DataSettings((data,)), tmp_path / "third.safetensors", CardTexts("third"), replace(still, width=3))


def test_learns_from_a_teacher(data: Path, tmp_path: Path) -> None:
    big, plain, teacher_probability = (tmp_path / f"{name}.safetensors" for name in ("big", "plain", "taught"))
    train_model(
        DataSettings((data,)),
        big,
        CardTexts("big", training_data="far lands", licence="CC0"),
        replace(SETTINGS, width=3),
    )
    train_model(DataSettings((data,)), plain, CardTexts("plain"), SETTINGS)
    train_model(DataSettings((data,)), teacher_probability, CardTexts("taught"), replace(SETTINGS, teacher=str(big)))
    card = read_card(teacher_probability)
    assert card.recipe["teacher"] == {"name": "big", "hash": read_card(big).hash}
    assert (card.training_data, card.licence) == ("3 tiles of data; learned from big, trained on far lands", "CC0")
    one, other = load_model(plain)[0].state_dict(), load_model(teacher_probability)[0].state_dict()
    assert not torch.equal(one["head.weight"], other["head.weight"])
    assert one["head.weight"].shape == other["head.weight"].shape


@pytest.mark.parametrize(("option", "words"), [("start", "the model of --from"), ("teacher", "the teacher")])
def test_a_model_that_was_replaced_is_not_resumed_with(data: Path, tmp_path: Path, option: str, words: str) -> None:
    """Weights, or the calibration alone; earlier versions did not record either, so their runs resume."""
    model, output, recorded = tmp_path / "other.safetensors", tmp_path / "m.safetensors", tmp_path / "m.run"
    network = ResUNet(width=2, upsample="bilinear")
    save_model(model, network, ModelCard("other"))
    settings = replace(SETTINGS, **{option: str(model)}, minutes=1e-6)

    def resume() -> TrainResult:
        return train_model(DataSettings((data,)), output, CardTexts("m"), settings)

    assert not resume().finished
    save_model(model, network, ModelCard("other", temperature=2.0))
    with pytest.raises(TrainingError, match=rf"other settings or data \({words}\); use those, or --overwrite"):
        resume()
    torch.nn.init.zeros_(network.head.weight)
    save_model(model, network, ModelCard("other"))
    with pytest.raises(TrainingError, match=words):
        resume()
    checkpoint = read_checkpoint(recorded)
    assert checkpoint is not None
    checkpoint.path.unlink()
    del checkpoint.metadata["settings"][words]
    write_checkpoint(recorded, checkpoint.tensors, checkpoint.metadata)
    assert resume().steps > 0


def test_a_teacher_that_does_not_fit_is_refused(data: Path, tmp_path: Path) -> None:
    output, other = tmp_path / "m.safetensors", tmp_path / "other.safetensors"
    network = ResUNet(bands=4, width=2, upsample="bilinear")
    save_model(other, network, ModelCard("other", mean=(0.5,) * 4, std=(0.2,) * 4))
    with pytest.raises(TrainingError, match="needs 4 bands, the run has 3"):
        train_model(DataSettings((data,)), output, CardTexts("m"), replace(SETTINGS, teacher=str(other)))
    save_model(other, ResUNet(bands=3, width=2, upsample="bilinear"), ModelCard("other", gsd_m=0.3))
    with pytest.raises(TrainingError, match=r"train at --gsd 0\.3"):
        train_model(DataSettings((data,)), output, CardTexts("m"), replace(SETTINGS, teacher=str(other)))
    with pytest.raises(ModelError, match="no model file"):
        train_model(DataSettings((data,)), output, CardTexts("m"), replace(SETTINGS, teacher="nobody"))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_calibrates_a_trained_model_anew(data: Path, tmp_path: Path, dtype: WeightType) -> None:
    dev = make_folder(tmp_path / "dev", ("d",))
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    train_model(DataSettings((data,)), first, CardTexts("first", licence="CC0"), replace(SETTINGS, dtype=dtype))
    again = TrainSettings(steps=0, start=str(first), dtype=dtype)
    summary = calibrate_model(second, CardTexts("second"), again, DataSettings(dev=(dev,)))
    old, card = read_card(first), read_card(second)
    assert (card.hash, card.name, card.licence) == (old.hash, "second", "CC0")
    assert (card.threshold, old.temperature, old.bias) == (0.5, 1.0, 0.0)
    assert card.bias != 0
    assert card.recipe["calibrated_on"] == "1 tile of dev"
    assert card.recipe["steps"] == 4
    assert summary.dev is not None
    assert summary.dev.relaxed_f1 == {m.name: m.value for m in card.measurements}["relaxed F1"]
    third = tmp_path / "third.safetensors"
    calibrate_model(third, CardTexts("third"), replace(again, start=str(second)), DataSettings(dev=(dev,)))
    assert read_card(third).bias == pytest.approx(card.bias)
    with pytest.raises(OutputError, match="also the input"):
        calibrate_model(first, CardTexts("first"), again, DataSettings(dev=(dev,)), overwrite=True)


def test_how_fine_a_model_reads_is_set_and_carried_over(data: Path, tmp_path: Path) -> None:
    """Tiles of 1 m for a model of 3 m are scored as they would be predicted: read at 2 m."""
    dev = make_folder(tmp_path / "dev", ("d",))
    first, second, third = (tmp_path / f"{name}.safetensors" for name in ("first", "second", "third"))
    at_3_m = replace(SETTINGS, pixel_m=3.0, crop=16)
    train_model(DataSettings((data,)), first, CardTexts("first"), at_3_m)
    again = TrainSettings(steps=0, start=str(first))
    calibrate_model(second, CardTexts("second"), replace(again, finest_gsd_m=0.8), DataSettings(dev=(dev,)))
    calibrate_model(third, CardTexts("third"), replace(again, start=str(second)), DataSettings(dev=(dev,)))
    assert [read_card(path).finest_gsd_m for path in (first, second, third)] == [None, 0.8, 0.8]
    assert read_card(third).measurements == read_card(second).measurements
    coarse = tmp_path / "coarse.safetensors"
    calibrate_model(coarse, CardTexts("coarse"), again, DataSettings(dev=(dev,)))
    assert read_card(coarse).measurements != read_card(second).measurements
    further = replace(at_3_m, start=str(second), steps=1)
    train_model(DataSettings((data,)), third, CardTexts("third"), further, overwrite=True)
    assert read_card(third).finest_gsd_m == 0.8


def test_calibrated_probabilities_are_shares_and_the_threshold_is_in_the_middle(data: Path, tmp_path: Path) -> None:
    dev, model = make_folder(tmp_path / "dev", ("d", "e", "f")), tmp_path / "model.safetensors"
    train_model(DataSettings((data,)), model, CardTexts("m"), replace(SETTINGS, width=4, steps=30, learning_rate=1e-2))
    network, card = load_model(model)
    with torch.no_grad():
        network.head.weight *= 0.2
        network.head.bias += 1  # sure of far too many roads
    save_model(model, network, card)
    errors, thresholds = {}, {}
    for goal in get_args(CalibrationGoal):
        again = TrainSettings(steps=0, start=str(model), calibration=goal)
        summary = calibrate_model(tmp_path / f"{goal}.safetensors", CardTexts("m"), again, DataSettings(dev=(dev,)))
        assert summary.dev is not None
        errors[goal], thresholds[goal] = summary.dev.calibration_error, summary.dev.threshold
    assert max(errors["probability"], errors["threshold"]) < errors["none"]
    assert thresholds["threshold"] == 0.5


def test_calibration_serves_home_and_other_places(data: Path, tmp_path: Path) -> None:
    """Elsewhere roads are darker: the shared threshold lies below that of home, and its figures are on the card."""
    dev, model = make_folder(tmp_path / "dev", ("d", "e")), tmp_path / "m.safetensors"
    far = make_folder(tmp_path / "far", ("f", "g"))
    for path in (far / "images").iterdir():
        with rasterio.open(path, "r+") as file:
            file.write((file.read() * 0.7).astype(np.uint8))
    small = replace(SETTINGS, width=4, steps=40, learning_rate=1e-2, shift_tiles=0)
    train_model(DataSettings((data,), dev=(dev, far)), model, CardTexts("m"), small)
    card = read_card(model)
    figures = {m.name: m for m in card.measurements}
    assert figures["mean of these"].value == figures["relaxed F1 of far"].value
    assert not any("colours" in m.data for m in card.measurements)
    assert "2 images" in figures["relaxed F1 of far"].definition
    home, both = (tmp_path / f"{name}.safetensors" for name in ("home", "both"))
    again = TrainSettings(steps=0, start=str(model))
    calibrate_model(home, CardTexts("home"), again, DataSettings(dev=(dev,)))
    summary = calibrate_model(both, CardTexts("both"), again, DataSettings(dev=(dev, far)))
    alone, shared = read_card(home), read_card(both)
    assert shared.bias == pytest.approx(card.bias)
    assert -shared.bias * shared.temperature <= -alone.bias * alone.temperature
    assert shared.recipe["calibrated_on"] == "2 tiles of dev, 2 tiles of far"
    assert not any(m.name.startswith("relaxed F1 of") for m in alone.measurements)
    assert summary.dev is not None
    assert summary.dev.relaxed_f1 >= {m.name: m.value for m in alone.measurements}["relaxed F1"] - 0.012


def test_several_dev_folders_on_the_command_line(data: Path, tmp_path: Path) -> None:
    model, dev, far = tmp_path / "m.safetensors", make_folder(tmp_path / "dev", ("d",)), tmp_path / "far"
    make_folder(far, ("e",))
    assert roadseg("train", data, "-o", model, *OPTIONS).returncode == 0
    again = ["train", "--from", model, "--steps", "0", "-o", tmp_path / "new.safetensors"]
    done = roadseg(*again, "--dev", dev, "--dev", f"{far}@0.5")
    assert done.returncode == 0, done.stderr
    assert "1 other place: mean relaxed F1" in done.stderr
    done = roadseg(*again, "--dev", f"{dev}@0.5", "--dev", far)
    assert done.returncode == 2
    assert "its pixel size is --gsd" in done.stderr


def test_steps_0_on_the_command_line(data: Path, tmp_path: Path) -> None:
    model, dev = tmp_path / "m.safetensors", make_folder(tmp_path / "dev", ("d",))
    assert roadseg("train", data, "-o", model, *OPTIONS).returncode == 0
    done = roadseg("train", "--from", model, "--steps", "0", "--dev", dev, "-o", tmp_path / "new.safetensors")
    assert done.returncode == 0, done.stderr
    assert "calibration error" in done.stderr
    assert read_card(tmp_path / "new.safetensors").width == 2
    assert roadseg("train", "--from", model, "--steps", "0", "-o", tmp_path / "o").returncode == 2


@pytest.mark.parametrize(
    ("options", "idle"),
    [
        (
            {"batch": 4, "set": ["dtype=float32", "augment.zoom=1"]},
            "--batch, --set augment.zoom=1",
        ),
        ({"width": 64, "compile": False}, "--width, --compile"),
        ({"dev_fraction": 0.1, "memory": 1.0}, "--dev-fraction, --memory"),
        ({"recipe": "paper"}, "--recipe"),
    ],
)
def test_what_only_concerns_training_is_refused_without_it(tmp_path: Path, options: dict[str, Any], idle: str) -> None:
    start, dev = tmp_path / "start.safetensors", make_folder(tmp_path / "dev", ("d",))
    save_model(start, ResUNet(width=2), ModelCard("start"))
    again: dict[str, Any] = {"from_": str(start), "steps": 0, "dev": [dev]}
    with pytest.raises(UsageError, match=re.escape(f"leave out {idle}, as")):
        train(None, tmp_path / "m.safetensors", **again, **options)
    with pytest.raises(UsageError, match=re.escape(f"leave out {dev}, as")):
        train(dev, tmp_path / "m.safetensors", **again)
    assert not (tmp_path / "m.safetensors").exists()


def test_calibration_reads_tiles_of_unknown_pixel_size_at_the_one_given(data: Path, tmp_path: Path) -> None:
    model, dev, said = tmp_path / "m.safetensors", make_folder(tmp_path / "dev", ("d",)), list[str]()
    train_model(DataSettings((data,)), model, CardTexts("m"), SETTINGS)
    figures = []
    for side in ("images", "masks"):
        with rasterio.open(dev / side / "d.tif") as file:
            values = file.read()
        write_raster(dev / side / "d.tif", values, crs=None, transform=ONE_METRE)
    for name, pixel_m in (("unknown", None), ("known", 2.0)):
        again = TrainSettings(steps=0, start=str(model), pixel_m=pixel_m)
        output, listener = tmp_path / f"{name}.safetensors", Listener(warn=said.append)
        calibrate_model(output, CardTexts("m"), again, DataSettings(dev=(dev,)), listener=listener)
        figures.append(read_card(output).measurements)
    assert figures[0] != figures[1]
    (warning,) = [message for message in said if message.startswith("no CRS")]
    assert "assumed to be 1 m wide, give their size with --gsd" in warning


def test_leaves_off_and_goes_on(data: Path, tmp_path: Path) -> None:
    output, whole = tmp_path / "m.safetensors", tmp_path / "whole.safetensors"
    short = replace(SETTINGS, minutes=1e-9)
    rounds = []
    while not output.exists():
        rounds.append(train_model(DataSettings((data,)), output, CardTexts("m"), short))
    assert [r.finished for r in rounds] == [False, False, False, True]
    assert [(r.output, r.to_dict()["output"]) for r in rounds[:2]] == [(None, None), (None, None)]
    train_model(DataSettings((data,)), whole, CardTexts("m"), SETTINGS)
    assert read_card(output).hash == read_card(whole).hash


def test_compiling_without_a_compiler_is_an_error_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    output = tmp_path / "m.safetensors"
    with pytest.raises(DeviceError, match=r"--compile needs a C\+\+ compiler, and there is no no-such-compiler"):
        train_model(DataSettings((tmp_path / "no data",)), output, CardTexts("m"), replace(SETTINGS, compile=True))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
def test_compiling_asks_for_what_the_device_needs(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "triton" else object())
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(DeviceError, match={"cuda": "needs Triton", "cpu": r"needs a C\+\+ compiler"}[kind]):
        require_compiler(torch.device(kind))


def test_output_that_cannot_be_written_is_found_before_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.run").write_text("in the way", "utf-8")
    with pytest.raises(OutputError, match=r"m\.run"):
        train_model(DataSettings((data,)), tmp_path / "m.safetensors", CardTexts("m"), SETTINGS)


def test_pictures_that_cannot_be_written_cost_no_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullBoard:
        def add_scalar(self, *_: object) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("roadseg.training.run_folder._tensorboard_writer", lambda _: FullBoard())
    names = ("history.csv", "curves.png", "tensorboard", "samples.png")
    for name in names:
        (tmp_path / "m.run" / name).mkdir(parents=True)
    said, warned = list[str](), list[str]()
    settings = DataSettings((data,), dev=(make_folder(tmp_path / "dev", ("d",)),))
    output = tmp_path / "m.safetensors"
    train_model(settings, output, CardTexts("m"), SETTINGS, listener=Listener(report=said.append, warn=warned.append))
    failed = [text.split(" (")[0] for text in warned if text.startswith("cannot")]
    assert failed == [f"cannot write {tmp_path / 'm.run' / name}" for name in names]
    assert f"pictures of the run: {tmp_path / 'm.run'}" in said
    assert read_card(output).name == "m"
    assert not list((tmp_path / "m.run").glob("*.new"))


@pytest.mark.parametrize("fits", [2, None], ids=["an old checkpoint", "no checkpoint"])
@pytest.mark.parametrize("minutes", [1e-9, None], ids=["stopped", "finished"])
def test_a_full_disk_says_from_which_step_the_same_command_resumes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: int | None, minutes: float | None
) -> None:
    def train(settings: TrainSettings) -> None:
        place, output = DataSettings((data,)), tmp_path / "m.safetensors"
        train_model(place, output, CardTexts("m"), settings, listener=Listener(report=said.append))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    said = list[str]()
    if fits:
        killed = replace(SETTINGS, minutes=1e-9)
        train(killed)
        train(killed)
    for place in ("training.checkpoint", "training.save"):
        monkeypatch.setattr(f"roadseg.{place}.write_atomically", full)
    with nullcontext() if minutes else pytest.raises(OutputError) as raised:
        train(replace(SETTINGS, minutes=minutes))
    cure = f"the same command resumes from step {fits}" if fits else "the same command starts again"
    assert cure in (str(raised.value) if raised else said[-1])


def test_a_picture_has_a_path_only_where_it_was_written(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "m.safetensors") as folder:
        (folder.path / "b.png").mkdir()
        drawn = [folder.draw(name, np.zeros((4, 5, 3), np.uint8)) for name in ("a.png", "b.png")]
    assert drawn == [tmp_path / "m.run" / "a.png", None]


@pytest.mark.parametrize("fails", ["opens", "closes"])
def test_a_board_that_fails_costs_no_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    board = SimpleNamespace(add_scalar=lambda *_: None, flush=lambda: None, close=full)
    monkeypatch.setattr(
        "roadseg.training.run_folder._tensorboard_writer", full if fails == "opens" else lambda _: board
    )
    warned: list[str] = []
    train_model(
        DataSettings((data,)),
        tmp_path / "m.safetensors",
        CardTexts("m"),
        SETTINGS,
        listener=Listener(warn=warned.append),
    )
    assert [text.count("tensorboard (No space left") for text in warned] == [1]


def test_settings_that_cannot_be_written_stop_a_run(data: Path, tmp_path: Path) -> None:
    (tmp_path / "m.run/config.toml").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"config\.toml"):
        train_model(DataSettings((data,)), tmp_path / "m.safetensors", CardTexts("m"), SETTINGS)


def test_crop_that_does_not_fit_the_network_is_wrong_usage(data: Path, tmp_path: Path) -> None:
    done = roadseg("train", data, "-o", tmp_path / "m.safetensors", "--crop", "33")
    assert done.returncode == 2
    assert "multiple of 8" in done.stderr
    done = roadseg("train", data, "-o", tmp_path / "m.safetensors", "--crop", "8", "--batch", "1")
    assert (done.returncode, "16" in done.stderr) == (2, True)


def _no_folder(data: Path) -> None:
    for path in (data / "masks").iterdir():
        path.unlink()
    (data / "masks").rmdir()


def _empty(data: Path) -> None:
    for path in data.rglob("*.tif"):
        path.unlink()


def _lonely(data: Path) -> None:
    (data / "masks" / "b.tif").unlink()


def _size(data: Path) -> None:
    write_raster(data / "masks" / "b.tif", np.ones((1, 70, 109), np.uint8), transform=ONE_METRE)


def _elsewhere(data: Path) -> None:
    write_raster(data / "masks" / "b.tif", np.ones((1, 70, 110), np.uint8), transform=Affine(1, 0, 0, 0, -1, 0))


def _rgb_mask(data: Path) -> None:
    write_raster(data / "masks" / "b.tif", np.ones((3, 70, 110), np.uint8), transform=ONE_METRE)


def _grey_mask(data: Path) -> None:
    write_raster(data / "masks" / "b.tif", np.full((1, 70, 110), 77, np.uint8), transform=ONE_METRE)


def _all_void(data: Path) -> None:
    for path in (data / "masks").iterdir():
        write_raster(path, np.full((1, 70, 110), 255, np.uint8), transform=ONE_METRE, nodata=255)


def _no_image_data(data: Path) -> None:
    for path in (data / "images").iterdir():
        with rasterio.open(path, "r+") as image:
            image.write(np.zeros((3, 70, 110), np.uint8))
            image.nodata = 0


def _unreadable(data: Path) -> None:
    (data / "images" / "b.tif").write_bytes(b"no tiff")


def _other_gsd(data: Path) -> None:
    write_tile(data, "b", transform=Affine(0.5, 0, 230_000, 0, -0.5, 900_000))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_folder, "has no folder masks/"),
        (_empty, "holds no image"),
        (_lonely, r"without a partner of the same name \(b\)"),
        (_size, "differ in size"),
        (_elsewhere, "different places"),
        (_rgb_mask, "3 bands"),
        (_grey_mask, "no road mask"),
        (_all_void, "void"),
        (_no_image_data, "or nodata in the images; .* or mend the nodata value of the images"),
        (_unreadable, "not a raster"),
        (_other_gsd, r"the tiles have pixels of 0.5 m \(\S+b.tif\) to 1 m \(\S+.tif\); resample all .* --gsd"),
    ],
)
def test_bad_data_is_named(data: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(data)
    with pytest.raises(RoadsegError, match=message):
        train_model(DataSettings((data,)), tmp_path / "m.safetensors", CardTexts("m"), SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_refused_run_leaves_an_earlier_one_as_it_was(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_model(other, ResUNet(width=4), ModelCard(name="other", width=4))
    output, short = tmp_path / "m.safetensors", replace(SETTINGS, minutes=1e-9)
    assert not train_model(DataSettings((data,)), output, CardTexts("m"), short).finished
    before = {path: path.read_bytes() for path in (tmp_path / "m.run").iterdir() if path.is_file()}
    assert {path.name for path in before} >= {"config.toml", "checkpoint-1.safetensors"}
    _grey_mask(make_folder(tmp_path / "bad", ("a", "b")))
    for settings, source, overwrite, message in (
        (replace(SETTINGS, seed=7), data, False, "seed"),
        (replace(SETTINGS, start=str(other)), data, True, "width 4"),
        (SETTINGS, tmp_path / "bad", True, "no road mask"),
    ):
        with pytest.raises(RoadsegError, match=message):
            train_model(DataSettings((source,)), output, CardTexts("m"), settings, overwrite=overwrite)
        assert {path: path.read_bytes() for path in before} == before
    summary = train_model(DataSettings((data,)), output, CardTexts("m"), replace(SETTINGS, seed=7), overwrite=True)
    assert (summary.steps, read_card(output).recipe["seed"]) == (4, 7)


@pytest.mark.parametrize("switch", [torch.no_grad, torch.inference_mode])
def test_gradients_are_computed_for_callers_without(data: Path, tmp_path: Path, switch: type) -> None:
    options: Any = {"width": 2, "steps": 2, "batch": 2, "crop": 32, "device": "cpu"}
    models = [tmp_path / name for name in ("with.safetensors", "without.safetensors")]
    train(data, models[0], **options)
    with switch():
        train(data, models[1], **options)
        assert torch.is_grad_enabled() is False
    assert read_card(models[0]).hash == read_card(models[1]).hash


def test_a_folder_in_place_of_a_checkpoint_is_to_be_moved_away(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m.run" / "checkpoint-3.safetensors"
    folder.mkdir(parents=True)
    for overwrite, error in ((False, TrainingError), (True, OutputError)):
        with pytest.raises(error, match=rf"{folder}.*; move it away"):
            train_model(
                DataSettings((data,)), tmp_path / "m.safetensors", CardTexts("m"), SETTINGS, overwrite=overwrite
            )
    assert folder.is_dir()


def test_a_run_that_overwrites_resumes_and_starts_over_with_other_settings(data: Path, tmp_path: Path) -> None:
    output, short = tmp_path / "m.safetensors", replace(SETTINGS, minutes=1e-9)
    output.write_bytes(b"an earlier model")

    def step_after(settings: TrainSettings) -> str:
        train_model(DataSettings((data,)), output, CardTexts("m"), settings, overwrite=True)
        return next((tmp_path / "m.run").glob("checkpoint-*")).stem

    assert [step_after(settings) for settings in (short, short, replace(short, seed=7))] == [
        "checkpoint-1",
        "checkpoint-2",
        "checkpoint-1",
    ]
    (tmp_path / "m.run/checkpoint-1.safetensors").write_bytes(b"damaged")
    assert step_after(short) == "checkpoint-1"
    assert train_model(DataSettings((data,)), output, CardTexts("m"), SETTINGS, overwrite=True).steps == 3


def test_an_empty_run_folder_that_was_there_stays(data: Path, tmp_path: Path) -> None:
    (tmp_path / "m.run").mkdir()
    _grey_mask(data)
    with pytest.raises(RoadsegError, match="no road mask"):
        train_model(DataSettings((data,)), tmp_path / "m.safetensors", CardTexts("m"), SETTINGS)
    assert list((tmp_path / "m.run").iterdir()) == []


def test_missing_output_folder_is_found_out_before_training(data: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        train_model(DataSettings((data,)), tmp_path / "nowhere" / "m.safetensors", CardTexts("m"), SETTINGS)


def test_pairs_are_matched_by_stem(data: Path) -> None:
    assert [(i.name, m.name) for i, m in find_tile_pairs(data).train] == [(f"{n}.tif", f"{n}.tif") for n in "abc"]


def test_gsd_must_be_known() -> None:
    tile = MemoryTile("a", np.zeros((3, 2, 2), np.uint8), np.zeros((2, 2), np.uint8), np.ones((2, 2), bool))
    with pytest.raises(TrainingError, match="--gsd"):
        shared_gsd([tile], None)
    assert shared_gsd([tile], 0.25) == 0.25
    coarse = [replace(tile, pixel_m=size) for size in (1.0, 20.0)]
    assert shared_gsd(coarse, 0.25) == 0.25
    with pytest.raises(TrainingError, match=r"--gsd 0\.24 asks for far finer pixels than the images have, 1 m"):
        shared_gsd(coarse, 0.24)
