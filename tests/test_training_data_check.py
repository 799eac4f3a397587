"""A look at data before training: odd pairs come first, what makes training impossible is said."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from commands import roadseg
from rasterio.warp import transform
from worlds import METRES, write_raster

from roadseg.errors import TrainingError
from roadseg.progress import Listener
from roadseg.settings import DataSettings, TrainSettings
from roadseg.training.data.check import CheckReport, check_training_data
from roadseg.training.data.contact_sheet import THUMB_PX, SheetEntry, Thumbnail, draw_contact_sheet, draw_labels
from roadseg.training.data.load import load_training_data

PLACE = Affine(1, 0, 230_000, 0, -1, 900_000)


def write_pair(
    folder: Path, name: str, *, shift: int = 0, fill: int | None = None, size: tuple[int, int] = (210, 260)
) -> None:
    """Write a field with two roads, whose labels may lie off or be of one value."""
    rng = np.random.default_rng(len(name) + ord(name[0]))
    label = np.zeros(size, np.uint8)
    cv2.line(label, (0, 30), (size[1], 120), 1, 7)
    cv2.line(label, (60, 0), (110, size[0]), 1, 7)
    ground = cv2.GaussianBlur(rng.normal(90, 40, size).astype(np.float32), (0, 0), 2)
    grey = np.where(label == 1, 140, ground) + rng.normal(0, 4, size)
    mask = np.full_like(label, fill) if fill is not None else np.roll(label, -shift, axis=1)
    for side in ("images", "masks"):
        (folder / side).mkdir(parents=True, exist_ok=True)
    write_raster(folder / f"images/{name}.tif", np.stack([grey] * 3).clip(0, 255).astype(np.uint8), transform=PLACE)
    write_raster(folder / f"masks/{name}.tif", mask[None], transform=PLACE, nodata=255)


def checked(settings: DataSettings, folder: Path, said: list[str] | None = None) -> CheckReport:
    return check_training_data(
        settings,
        folder / "m.safetensors",
        TrainSettings(crop=32),
        sheet=folder / "sheet.png",
        listener=Listener(warn=(said if said is not None else []).append),
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make pairs of all kinds."""
    folder = tmp_path / "data"
    write_pair(folder, "good")
    write_pair(folder, "shifted", shift=12)
    write_pair(folder, "void", fill=255)
    write_pair(folder, "empty", fill=0)
    write_pair(folder, "small", size=(20, 400))
    return folder


def test_a_sheet_takes_no_more_room_than_its_pictures_and_captions() -> None:
    low, high = np.zeros((20, 200, 3), np.uint8), np.zeros((90, 200, 3), np.uint8)
    height, width = draw_contact_sheet([SheetEntry([low, low], "one")]).shape[1:]
    assert (height, width) == (20 + 54, 2 * 208)
    two_rows = draw_contact_sheet([SheetEntry([picture], "one") for picture in (low, low, high)])
    assert two_rows.shape[1:] == (20 + 54 + 90 + 54, 2 * 208)
    assert draw_contact_sheet([SheetEntry([low], "w" * 40)]).shape[2] > 208


def test_odd_pairs_come_first_and_are_told_why(data: Path, tmp_path: Path) -> None:
    found = checked(DataSettings((data,)), tmp_path)
    assert [look.name.removesuffix(".tif") for look in found.pairs] == ["void", "shifted", "empty", "small", "good"]
    assert [len(look.remarks) for look in found.pairs] == [1, 1, 1, 1, 0]
    assert found.pairs[1].remarks == ("labels seem misplaced: they would fit better 12 px right",)
    assert found.remarks()["nothing is labelled: every pixel is void"] == ["void.tif"]
    assert found.obstacles == ()
    assert "5 training tiles" in found.summary
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert THUMB_PX < picture.shape[1] <= 4 * (THUMB_PX + 8)
    amber = (picture[..., 2] > 180) & (picture[..., 1] > 130) & (picture[..., 0] < 60)
    assert amber.sum() > 500


def test_labels_that_are_all_off_alike_are_told_of_together(tmp_path: Path) -> None:
    for name, shift in (("a", 12), ("b", 12), ("c", 12)):
        write_pair(tmp_path / "off", name, shift=shift)
        write_pair(tmp_path / "on", name)
    said: list[str] = []
    for folder in ("off", "on"):
        checked(DataSettings((tmp_path / folder,)), tmp_path, said)
    assert [text for text in said if "taken together" in text] == [
        "taken together, labels seem misplaced: they would fit better 12 px right; "
        "are images and labels of the same ground and CRS?"
    ]


def test_unreadable_pairs_are_obstacles_unless_left_out(data: Path, tmp_path: Path) -> None:
    (data / "images/good.tif").write_text("no raster", "utf-8")
    found = checked(DataSettings((data,)), tmp_path)
    assert math.isinf(found.pairs[0].oddness)
    assert "good.tif is not a raster" in found.pairs[0].remarks[0]
    assert "1 pair cannot be used" in found.obstacles[0]
    assert checked(DataSettings((data,), skip_unreadable=True), tmp_path).obstacles == ()


@pytest.mark.parametrize(("fill", "message"), [(0, "only one class"), (1, "only one class"), (255, "is void")])
def test_labels_that_teach_nothing_are_an_obstacle(tmp_path: Path, fill: int, message: str) -> None:
    write_pair(tmp_path / "data", "a", fill=fill)
    found = checked(DataSettings((tmp_path / "data",)), tmp_path)
    assert message in found.obstacles[0]
    assert (tmp_path / "sheet.png").exists()


def test_masks_of_mostly_road_may_be_swapped(tmp_path: Path) -> None:
    write_pair(tmp_path / "data", "a")
    path, said = tmp_path / "data/masks/a.tif", list[str]()
    with rasterio.open(path, "r+") as file:
        label = file.read(1)
        file.write(np.where(label < 2, 1 - label, label), 1)
    assert checked(DataSettings((tmp_path / "data",)), tmp_path).pairs[0].remarks[0].endswith("are 0 and 1 swapped?")
    settings, listener = TrainSettings(crop=32), Listener(warn=said.append)
    load_training_data(DataSettings((tmp_path / "data",)), tmp_path / "m.safetensors", settings, listener)
    assert [text for text in said if "% of what is labelled is road; are 0 and 1 swapped in the masks?" in text]


def test_the_command_prints_a_table_and_trains_nothing(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    done = roadseg("train", data, "-o", output, "--check", "--crop", "32", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].split()[:4] == ["void.tif", "260", "×", "210"]
    assert "small.tif: smaller than a crop of 32 px, so it is mirrored at its borders; choose a smaller --crop" in (
        done.stdout
    )
    assert (tmp_path / "m.check.png").exists()
    assert not output.exists()
    done = roadseg("train", data, "-o", output, "--check", "--crop", "32", "-q", "--bands", "3,1")
    assert "5 training tiles in memory" in done.stdout
    assert "; bands 3,1 of 3; 1 m per pixel" in done.stdout
    (data / "masks/void.tif").unlink()
    (data / "images/void.tif").unlink()
    (data / "images/good.tif").write_text("no raster", "utf-8")
    done = roadseg("train", data, "-o", output, "--check", "--crop", "32")
    assert done.returncode == 1
    assert "training is impossible: 1 pair cannot be used" in done.stderr


def test_scenes_and_vector_roads_on_the_command_line(data: Path, tmp_path: Path) -> None:
    """As a shell expands ``--images *.tif``: one image after the option, the others before the next one."""
    roads = tmp_path / "roads.geojson"
    x, y = transform(METRES, "EPSG:4326", [230_000, 230_260], [899_970, 899_880])
    line = {"type": "LineString", "coordinates": list(zip(x, y, strict=True))}
    feature = {"type": "Feature", "properties": {"highway": "residential"}, "geometry": line}
    roads.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), "utf-8")
    images = [data / f"images/{name}.tif" for name in ("good", "shifted", "void")]
    options = ["--labels", roads, "--road-width", "7", "-o", tmp_path / "m.safetensors", "--crop", "32"]
    done = roadseg("train", "--images", *images, *options, "--check")
    assert done.returncode == 0, done.stderr
    assert "3 masks drawn" in done.stderr
    assert "3 training tiles" in done.stdout
    assert len(list((tmp_path / "m.safetensors.masks").iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "folders or CSV files"),
        (["a", "--bands", "x"], "--bands must be a list of numbers"),
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = roadseg("train", *arguments, "-o", tmp_path / "m.safetensors")
    assert done.returncode == 2
    assert message in done.stderr


def test_a_resolution_far_finer_than_the_images_is_not_their_fault(tmp_path: Path) -> None:
    write_pair(tmp_path / "data", "good")
    with pytest.raises(TrainingError, match=r"--gsd 0\.001 asks for far finer pixels"):
        check_training_data(
            DataSettings((tmp_path / "data",)),
            tmp_path / "m.safetensors",
            TrainSettings(pixel_m=0.001),
            sheet=tmp_path / "sheet.png",
            listener=Listener(),
        )


def test_void_and_road_are_drawn_where_they_are() -> None:
    grey = np.full((40, 60, 3), 100, np.uint8)
    road, void = np.zeros((2, 40, 60), np.float32)
    road[:, 10:14], void[20:] = 1, 1
    drawn = draw_labels(Thumbnail(grey, road, void))
    assert (drawn[:20, :10] == 70).all()
    assert (drawn[..., 0].astype(int) - drawn[..., 2] > 150)[:, 10:14].all()
    assert 0.3 < (drawn[20:, 20:, 1] < 60).mean() < 0.7


def test_a_sheet_of_odd_count_is_whole() -> None:
    red = np.full((50, 80, 3), (255, 0, 0), np.uint8)
    entries = [SheetEntry([red] * i, f"näme {i}", "x" * 300) for i in range(3)]
    drawn = draw_contact_sheet(entries, side_px=80)
    assert drawn.shape[0] == 3
    assert drawn.dtype == np.uint8
    assert (drawn[:, -40:, -40:] == 255).all()
    assert (drawn == np.array([255, 0, 0])[:, None, None]).all(axis=0).sum() == 3 * 50 * 80
