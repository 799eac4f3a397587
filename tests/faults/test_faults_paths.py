"""Links that somebody planted, foreign files in folders of ours, pipes as inputs, and what killed runs leave behind."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from road_rasters import draw_t, write_levels
from training_tiles import make_folder
from worlds import NORTH_UP, names_in, picture, write_raster

from roadseg.files.outputs import staging_folder, write_atomically
from roadseg.model.card import ModelCard
from roadseg.model.resunet import ResUNet
from roadseg.training.save import save_model

PREDICT = ("--engine", "torch", "--device", "cpu", "--block", "224", "-q")


@pytest.fixture
def scene() -> Path:
    return write_raster(Path("scene.tif"), picture(100, 130).astype(np.uint8), transform=NORTH_UP)


@pytest.fixture
def secret(say) -> Path:
    """Return a file that no command may change."""
    path = Path("secret.txt")
    path.write_text("untouched", "utf-8")
    return path


def test_planted_links_are_not_followed(say, secret, tmp_path):
    for name in ("a.json.new", "m.safetensors.new"):
        Path(name).symlink_to(secret)
    write_atomically(Path("a.json"), b"1")
    save_model(Path("m.safetensors"), ResUNet(width=2), ModelCard(name="m"))
    assert secret.read_text("utf-8") == "untouched"
    assert names_in() == ["a.json", "m.safetensors", "secret.txt"]
    assert not Path("a.json").is_symlink()


def test_a_partial_folder_that_is_a_link_is_refused(say, scene, secret, model_file):
    Path("elsewhere").mkdir()
    (Path("elsewhere") / "notes.txt").write_text("mine", "utf-8")
    Path("o.tif.partial").symlink_to("elsewhere")
    said = say("predict", scene, "-o", "o.tif", "--model", model_file, "--overwrite", *PREDICT)
    assert (said.status, said.error) == (1, "o.tif.partial is in the way and was not left by roadseg; move it")
    assert names_in("elsewhere") == ["notes.txt"]


@pytest.mark.parametrize("name", ["notes.txt", "photo.tif", "photo.JPG", "folder/a.tif", "link.json"])
def test_foreign_files_in_a_partial_folder_stay(say, scene, secret, model_file, name):
    partial = Path("o.tif.partial")
    path = partial / name
    path.parent.mkdir(parents=True)
    (partial / "fingerprint.json").write_text("{}", "utf-8")
    if name.startswith("link"):
        path.symlink_to(secret.resolve())
    else:
        path.write_text("mine", "utf-8")
    said = say("predict", scene, "-o", "o.tif", "--model", model_file, "--overwrite", *PREDICT)
    assert said.status == 1
    assert said.error.endswith("is in the way and was not left by roadseg; move it")
    assert path.exists()
    assert not Path("o.tif").exists()


def test_a_staging_folder_of_a_killed_run_goes_with_the_next_run(say, secret):
    write_levels("roads.tif", draw_t())
    with staging_folder(Path("o.gpkg")) as folder:
        (folder / "road.bits").write_bytes(b"1")
        folder.rename(".o.gpkg-abcd1234")  # so that it stays, as if the process were gone
    mine, other = Path(".o.gpkg-mine"), Path(".other.gpkg-abcd1234")
    for kept in (mine, other):
        kept.mkdir()
    (other / "left-by-roadseg").touch()
    said = say("vectorize", "roads.tif", "-o", "o.gpkg", "-q")
    assert said.status == 0, said.stderr
    assert names_in() == [".o.gpkg-mine", ".other.gpkg-abcd1234", "o.gpkg", "roads.tif", "secret.txt"]


@pytest.mark.parametrize(
    "command",
    [
        "predict scene.tif -o o.tif --aoi pipe",
        "predict pipe -o o.tif",
        "vectorize pipe -o o.gpkg",
        "evaluate pipe scene.tif",
        "evaluate pipe pipe --network",
        "compare pipe pipe -o o.gpkg",
        "info pipe",
        "train --images scene.tif --labels pipe -o o.safetensors",
    ],
)
def test_a_pipe_is_refused_at_once(say, scene, command):
    os.mkfifo("pipe")
    said = say(*command.split())
    assert said.status == 1
    assert said.error == "pipe is a pipe or a device, which cannot be read twice; save it as a file"
    assert names_in() == ["pipe", "scene.tif"]


@pytest.mark.parametrize(
    "command",
    [
        "predict scene.tif -o NAME.tif",
        "predict scene.tif roads.tif -o NAME/",
        "predict scene.tif -o o.tif --mask NAME.tif",
        "predict scene.tif -o o.tif --vector NAME.gpkg",
        "predict scene.tif -o o.tif --preview NAME.png",
        "predict scene.tif -o o.tif --uncertainty NAME.tif",
        "predict --scenes scenes.txt -o out --summary NAME.json",
        "vectorize roads.tif -o NAME.gpkg",
        "vectorize roads.tif -o NAME.parquet",
        "vectorize roads.tif -o o.fgb --junctions NAME.fgb",
        "vectorize roads.tif -o o.gpkg --osm NAME.geojson",
        "compare roads.tif roads.tif -o NAME.gpkg",
        "evaluate roads.tif roads.tif --report NAME.html",
        "evaluate roads.tif roads.tif --errors NAME.tif",
        "train . -o NAME.safetensors",
        "train --images scene.tif --labels roads.geojson --road-width 6 --cache NAME -o o.safetensors",
        "adapt . -o NAME.safetensors",
        "export compact -o NAME.onnx",
    ],
)
def test_an_output_whose_name_is_not_utf8_is_refused_before_any_work(say, scene, command):
    write_levels("roads.tif", draw_t())
    Path("scenes.txt").write_text("scene.tif\n", "utf-8")
    Path("roads.geojson").write_text('{"type": "LineString", "coordinates": [[0, 0], [1, 1]]}', "utf-8")
    Path("out").mkdir()
    for folder in ("images", "masks"):
        Path(folder).mkdir()
        Path(folder, "a.tif").write_bytes(Path("roads.tif").read_bytes())
    before = names_in()
    said = say(*command.replace("NAME", "\udcff").split())
    assert said.status == 1
    assert "is not UTF-8, as GDAL needs it; choose another path" in said.error
    assert names_in() == before


def test_an_input_whose_name_is_not_utf8_is_refused_or_read(say, model_file):
    """GDAL cannot read such a name; Python can, and what is written from it is UTF-8."""
    make_folder(Path(), ("a",))
    for name in ("\udcff.tif", "\udcff.gpkg"):
        Path(name).write_bytes(b"some data")
    for command in ("vectorize \udcff.tif -o o.gpkg", "evaluate \udcff.gpkg \udcff.gpkg", "info \udcff.tif"):
        assert "is not UTF-8, as GDAL needs it; rename it" in say(*command.split()).error
    Path("\udcff.csv").write_text("image,mask\nimages/a.tif,masks/a.tif\n", "utf-8")
    said = say("train", "\udcff.csv", "-o", "o.safetensors", "--width", "2", "--steps", "1", "--crop", "16")
    assert said.status == 0, said.stderr
    Path("\udcff.safetensors").write_bytes(Path("o.safetensors").read_bytes())
    assert say("export", "\udcff.safetensors", "-o", "o.json").status == 0
    assert json.loads(Path("o.json").read_text("utf-8"))["assets"]["model"]["href"] == "\udcff.safetensors"


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("vectorize roads.tif -o o.gpkg --gsd 0.0001", 1, "too coarse to be read at 0.0001 m"),
        ("vectorize roads.tif -o o.gpkg --workers 1000000", 2, "--workers must be from 1 to 1024"),
        ("train . -o o.safetensors --batch 1000000000", 2, "--batch must be from 1 to 4096"),
        ("train . -o o.safetensors --seed 18446744073709551616", 2, "--seed must be from 0 to"),
        ("train . -o o.safetensors --width 100000", 2, "--width must be from 1 to 1024"),
        ("train . -o o.safetensors --learning-rate 1e300", 2, "--learning-rate must be from 0 to 100"),
        ("train . -o o.safetensors --set augment.blur_px=1e5", 2, "blur_px must be from 0 to 32"),
        ("train . -o o.safetensors --config none.toml", 1, "cannot read none.toml"),
        ("train . -o o.safetensors --from roads.tif", 1, "not a safetensors file"),
    ],
)
def test_absurd_numbers_and_bad_files_have_their_status(say, command, status, words):
    write_levels("roads.tif", draw_t())
    said = say(*command.split())
    assert said.status == status
    assert words in said.stderr
    assert len(said.stderr.splitlines()) == 1
    assert names_in() == ["roads.tif"]


def test_a_tag_with_an_absurd_pixel_size_is_refused(say):
    write_levels("roads.tif", draw_t(), tags={"ROADSEG_GSD_M": "1e-9"})
    said = say("vectorize", "roads.tif", "-o", "o.gpkg")
    assert "too coarse to be read at 1e-09 m" in said.error
    write_levels("zero.tif", draw_t(), tags={"ROADSEG_GSD_M": "0"})
    assert say("vectorize", "zero.tif", "-o", "o.gpkg", "-q").status == 0


def test_the_configuration_is_not_overwritten(say):
    make_folder(Path("data"), ("a",))
    Path("config.toml").write_text("steps = 1\nwidth = 2\n", "utf-8")
    said = say("train", "data", "-o", "config.toml", "--config", "config.toml", "--overwrite")
    assert (said.status, said.error) == (1, "config.toml is also the input; choose another output")
    assert Path("config.toml").read_text("utf-8") == "steps = 1\nwidth = 2\n"
