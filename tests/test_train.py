"""roadseg train: from a folder of tiles to a model that predicts, and clear words for bad data."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from conftest import METRES, roadseg, write_raster

from roadseg.errors import OutputError, RoadsegError, SceneError, TrainingError
from roadseg.model.card import read_card
from roadseg.model.weights import load_model
from roadseg.progress import Listener
from roadseg.raster.labels import read_label
from roadseg.settings import TrainSettings
from roadseg.tiles import common_gsd, find_pairs
from roadseg.train import About, train
from roadseg.training.dataset import Tile

SETTINGS = TrainSettings(width=2, steps=4, batch=2, crop=32, warmup_steps=1, evaluations=2)
ONE_METRE = Affine(1, 0, 230_000, 0, -1, 900_000)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make a folder of three tiles of 70 × 110 px with a bright road each."""
    return make_folder(tmp_path / "data", ("a", "b", "c"))


def make_folder(folder: Path, names: tuple[str, ...]) -> Path:
    for side in ("images", "masks"):
        (folder / side).mkdir(parents=True)
    for seed, name in enumerate(names):
        write_tile(folder, name, seed)
    return folder


def write_tile(folder: Path, name: str, seed: int = 0, *, transform: Affine = ONE_METRE) -> None:
    label = np.zeros((1, 70, 110), dtype=np.uint8)
    label[0, :, 20 + 20 * seed : 27 + 20 * seed] = 1
    noise = np.random.default_rng(seed).integers(0, 50, (3, 70, 110))
    image = (40 + 130 * label + noise).astype(np.uint8)
    write_raster(folder / "images" / f"{name}.tif", image, transform=transform)
    write_raster(folder / "masks" / f"{name}.tif", label, transform=transform, nodata=255)


def test_trains_scores_and_predicts(data: Path, tmp_path: Path) -> None:
    dev = make_folder(tmp_path / "dev", ("d",))
    said: list[str] = []
    output = tmp_path / "model.safetensors"
    summary = train(data, output, About("small", licence="CC0"), SETTINGS, dev=dev, listener=Listener(say=said.append))
    network, card = load_model(output)
    assert (network.width, card.name, card.licence, card.gsd_m) == (2, "small", "CC0", 1.0)
    assert card.recipe["steps"] == 4
    assert summary.dev is not None
    assert card.threshold == summary.dev.threshold
    assert {m.name for m in card.measurements} == {"relaxed break-even", "relaxed F1", "IoU"}
    assert any(text.startswith("step 2:") for text in said)
    assert not output.with_name("model.safetensors.checkpoint").exists()
    scene = dev / "images" / "d.tif"
    done = roadseg("predict", scene, "-o", tmp_path / "roads.tif", "--model", output, "-q")
    assert (done.returncode, done.stderr) == (0, "")
    with rasterio.open(tmp_path / "roads.tif") as file:
        assert file.shape == (70, 110)


def test_command_line_prints_one_json_line(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    options = ["--width", "2", "--steps", "2", "--batch", "2", "--crop", "32", "--json"]
    done = roadseg("train", data, "-o", output, *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 2
    assert read_card(output).name == "m"
    again = roadseg("train", data, "-o", output, *options)
    assert again.returncode == 1
    assert "--overwrite" in again.stderr


def test_goes_on_from_a_model(data: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    train(data, first, About("first"), SETTINGS)
    still = replace(SETTINGS, start=str(first), learning_rate=0.0)
    train(data, second, About("second"), still)
    one, other = load_model(first)[0].state_dict(), load_model(second)[0].state_dict()
    assert torch.equal(one["head.weight"], other["head.weight"])
    with pytest.raises(TrainingError, match="--width"):
        train(data, tmp_path / "third.safetensors", About("third"), replace(still, width=3))


def test_crop_that_does_not_fit_the_network_is_wrong_usage(data: Path, tmp_path: Path) -> None:
    done = roadseg("train", data, "-o", tmp_path / "m.safetensors", "--crop", "33")
    assert done.returncode == 2
    assert "multiple of 8" in done.stderr


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


def _unreadable(data: Path) -> None:
    (data / "images" / "b.tif").write_bytes(b"no tiff")


def _other_gsd(data: Path) -> None:
    write_tile(data, "b", transform=Affine(0.5, 0, 230_000, 0, -0.5, 900_000))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_folder, "has no folder masks/"),
        (_empty, "holds no image"),
        (_lonely, r"no partner of the same name \(b\)"),
        (_size, "differ in size"),
        (_elsewhere, "different places"),
        (_rgb_mask, "3 bands"),
        (_grey_mask, "no road mask"),
        (_all_void, "void"),
        (_unreadable, "not a raster"),
        (_other_gsd, "0.5 m"),
    ],
)
def test_bad_data_is_named(data: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(data)
    with pytest.raises(RoadsegError, match=message):
        train(data, tmp_path / "m.safetensors", About("m"), SETTINGS)
    assert not (tmp_path / "m.safetensors").exists()


def test_missing_output_folder_is_found_out_before_training(data: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        train(data, tmp_path / "nowhere" / "m.safetensors", About("m"), SETTINGS)


def test_pairs_are_matched_by_stem(data: Path) -> None:
    assert [(i.name, m.name) for i, m in find_pairs(data)] == [(f"{n}.tif", f"{n}.tif") for n in "abc"]


def test_gsd_must_be_known() -> None:
    tile = Tile("a", np.zeros((3, 2, 2), np.uint8), np.zeros((2, 2), np.uint8), np.ones((2, 2), bool))
    with pytest.raises(TrainingError, match="--gsd"):
        common_gsd([tile], None)
    assert common_gsd([tile], 0.25) == 0.25


def test_mask_with_0_and_255_is_recognized_and_said(tmp_path: Path) -> None:
    values = np.zeros((1, 5, 7), np.uint8)
    values[0, 2] = 255
    label = read_label(str(write_raster(tmp_path / "m.tif", values, transform=ONE_METRE)))
    assert "255 taken for road" in label.note
    assert np.array_equal(label.values, values[0] // 255)


def test_mask_nodata_is_void(tmp_path: Path) -> None:
    values = np.zeros((1, 5, 7), np.uint8)
    values[0, 2], values[0, 3] = 1, 255
    label = read_label(str(write_raster(tmp_path / "m.tif", values, crs=METRES, transform=ONE_METRE, nodata=255)))
    assert not label.note
    assert np.array_equal(label.values, values[0])


def test_missing_mask_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="does not exist"):
        read_label(str(tmp_path / "none.tif"))
