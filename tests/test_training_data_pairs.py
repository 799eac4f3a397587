"""Which image goes with which mask, by folder and by CSV file."""

import csv
from pathlib import Path

import pytest

from roadseg.errors import RoadsegError, TrainingError
from roadseg.settings import DataSettings, TrainSettings
from roadseg.training.data.pairs import find_images, find_tile_pairs, training_files


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_folders_are_matched_by_stem_whatever_the_format(tmp_path: Path) -> None:
    touch(tmp_path, "images/b.jp2", "images/a.tif", "masks/a.png", "masks/b.tif", "masks/a.png.aux.xml")
    found = find_tile_pairs(tmp_path)
    assert [(pair.image.name, pair.mask.name) for pair in found.train] == [("a.tif", "a.png"), ("b.jp2", "b.tif")]
    assert found.dev == []


def test_a_csv_file_names_pairs_and_splits(tmp_path: Path) -> None:
    manifest = tmp_path / "data.csv"
    manifest.write_text(
        "\ufeffimage, mask, split\na.tif, m/a.tif, train\nb.tif, m/b.tif, VAL\nc.tif,m/c.tif,\nd.tif,m/d.tif,test\n",
        "utf-8",
    )
    found = find_tile_pairs(manifest)
    assert found.train == [(tmp_path / "a.tif", tmp_path / "m/a.tif"), (tmp_path / "c.tif", tmp_path / "m/c.tif")]
    assert found.dev == [(tmp_path / "b.tif", tmp_path / "m/b.tif")]


def test_a_csv_file_may_only_name_pairs_for_validation(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("image,mask,split\na.tif,b.tif,dev\n", "utf-8")
    assert find_tile_pairs(tmp_path / "data.csv") == ([], [(tmp_path / "a.tif", tmp_path / "b.tif")])


@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_a_csv_file_may_be_written_as_excel_does(tmp_path: Path, separator: str) -> None:
    rows = [("Image", "MASK ", "Split"), ("a, north.tif", "a;1.tif", "train"), ("b.tif", "b.tif", "Val")]
    with (tmp_path / "data.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=separator).writerows(rows)
    found = find_tile_pairs(tmp_path / "data.csv")
    assert found.train == [(tmp_path / "a, north.tif", tmp_path / "a;1.tif")]
    assert found.dev == [(tmp_path / "b.tif", tmp_path / "b.tif")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,mask\na.tif,\n", "no image or no mask in line 2"),
        ("picture,mask\na.tif,b.tif\n", r"has the columns picture, mask; name them image,mask,split"),
        ("image,mask\na.tif,b\0.tif\n", "no image or no mask in line 2"),
        ("image|mask\na.tif|b.tif\n", r"has the columns image\|mask; name"),
        ("a.tif,b.tif\n", r"has the columns a\.tif, b\.tif; name"),
        ("image,mask\na.tif,b.tif\n\nc.tif,b.tif\nx/../a.tif,b.tif\n", "twice, in lines 2 and 5; keep one"),
        ("image,mask,split\na.tif,b.tif,train\na.tif,b.tif,test\n", "twice, in lines 2 and 3; keep one"),
        ("image,mask,split\na.tif,b.tif,extra\n", "the split extra in line 2"),
        ("image,mask,split\na.tif,b.tif,test\n", "names no pair to use"),
        ("", "names no pair to use"),
    ],
)
def test_bad_csv_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "data.csv").write_text(text, "utf-8")
    with pytest.raises(TrainingError, match=message):
        find_tile_pairs(tmp_path / "data.csv")


@pytest.mark.parametrize(
    ("names", "place", "message"),
    [
        ((), "gone", "does not exist"),
        (("scene.tif",), "scene.tif", "no folder and no CSV file; scenes go with --labels"),
        (("images/a.tif",), "", "has no folder masks/"),
        (("images/a.txt", "masks/a.txt"), "", r"holds no image; images end in \.tif, "),
        (("images/a.tif", "masks/b.tif"), "", r"2 files in .*without a partner of the same name \(a, b\)"),
        (
            ("images/a.webp", "masks/a.tif"),
            "",
            r"\(a\); a.webp is not read: images end in \.tif, .* CSV file as they like",
        ),
        (("images/a.tif", "images/a.png", "masks/a.tif"), "", "keep one of them"),
    ],
)
def test_bad_folders_are_named(tmp_path: Path, names: tuple[str, ...], place: str, message: str) -> None:
    touch(tmp_path, *names)
    with pytest.raises(RoadsegError, match=message):
        find_tile_pairs(tmp_path / place)


def test_images_come_from_files_folders_and_patterns_once_each(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.tif", "a/y.jp2", "a/notes.txt", "b/z.tif")
    found = find_images([tmp_path / "b/z.tif", tmp_path / "a", tmp_path / "*/*.tif"])
    assert [path.name for path in found] == ["z.tif", "x.tif", "y.jp2"]
    named_like_a_pattern = touch(tmp_path, "d/[1].tif", "d/1.tif") / "d/[1].tif"
    assert find_images([named_like_a_pattern, tmp_path / "gone.tif"]) == [named_like_a_pattern, tmp_path / "gone.tif"]
    with pytest.raises(TrainingError, match="--labels needs scenes to lie on; name them"):
        find_images([])
    with pytest.raises(TrainingError, match="there are no images in"):
        find_images([tmp_path / "*.png"])
    touch(tmp_path, "c/images/x.tif")
    with pytest.raises(TrainingError, match=r"there are no images in \S+c; name \S+images$"):
        find_images([tmp_path / "c"])


def test_training_reads_the_files_of_all_places_and_its_models(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{place}/{side}/x.tif" for place in ("data", "home", "far") for side in ("images", "masks")))
    touch(tmp_path, "roads.gpkg", "widths.csv", "scenes/s.tif", "old.safetensors", "large.safetensors")
    data, home, far = tmp_path / "data", tmp_path / "home", tmp_path / "far"
    models = TrainSettings(start=str(tmp_path / "old.safetensors"), teacher=str(tmp_path / "large.safetensors"))

    def files(source: DataSettings, settings: TrainSettings) -> set[str]:
        found = training_files(source, settings)
        return {path.relative_to(tmp_path).as_posix() for path in found if path.is_file()}

    dev = {f"{place}/{side}/x.tif" for place in ("home", "far") for side in ("images", "masks")}
    of_pairs = files(DataSettings((data,), dev=(home, far)), models)
    assert of_pairs == {"data/images/x.tif", "data/masks/x.tif", *dev, "old.safetensors", "large.safetensors"}
    labels, widths = tmp_path / "roads.gpkg", tmp_path / "widths.csv"
    of_scenes = files(DataSettings((tmp_path / "scenes",), labels=labels, width_table=widths), TrainSettings())
    assert of_scenes == {"scenes/s.tif", "roads.gpkg", "widths.csv"}
    assert files(DataSettings(dev=(home,)), TrainSettings()) == {"home/images/x.tif", "home/masks/x.tif"}
