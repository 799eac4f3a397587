"""Pairs of image and mask: by file name in two folders, or by the lines of a CSV file."""

import csv
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from roadseg.errors import TrainingError, counted, shortened
from roadseg.files.inputs import RASTERS, match_stems
from roadseg.model.card import find_model
from roadseg.raster.files import local_files
from roadseg.settings import DataSettings, TrainSettings

_SPLITS = {
    **dict.fromkeys(("", "train", "training"), "train"),
    **dict.fromkeys(("dev", "val", "valid", "validation"), "dev"),
    "test": "test",
}
_SEPARATORS = ",;\t"
_COLUMNS = ("image", "mask", "split")
_ENDINGS = f"images end in {', '.join(RASTERS)}"
_ADD = "add what is missing, or move what is left over"


class TilePair(NamedTuple):
    """An image and its mask."""

    image: Path
    mask: Path


class TilePairs(NamedTuple):
    """Pairs to train on, and those kept for validation."""

    train: list[TilePair]
    dev: list[TilePair]

    def for_validation(self) -> list[TilePair]:
        """Return the pairs of a place that is named for validation: those kept for it, or all if none are."""
        return self.dev or self.train


def place_name(data: Path) -> str:
    """Return what cards and messages call a folder or file, also one that was named as ``.`` or ``..``."""
    return Path(os.path.abspath(data)).name  # noqa: PTH100 - behind a link resolve() would find another name


def find_tile_pairs(data: Path) -> TilePairs:
    """Match the files in ``images/`` and ``masks/`` of a folder by stem, or read them from a CSV file.

    Raises
    ------
    TrainingError, SceneError
        If there is no pair, an image or mask has no partner, or the CSV file is wrong.
    """
    if data.is_dir():
        return TilePairs(_in_folder(data), [])
    if not data.exists():
        raise TrainingError(f"{data} does not exist; give a folder with images/ and masks/, or a CSV file")
    if data.suffix.lower() != ".csv":
        raise TrainingError(f"{data} is no folder and no CSV file; scenes go with --labels, tiles into a folder")
    return read_manifest(data)


def all_pairs(data: Path) -> list[TilePair]:
    """Return the pairs of a folder or CSV file, those kept for validation included (see ``find_tile_pairs``)."""
    train, dev = find_tile_pairs(data)
    return [*train, *dev]


def training_files(data: DataSettings, settings: TrainSettings) -> list[Path]:
    """Return all files that training reads: images, masks, labels, tables and models, the sources of mosaics included.

    Raises
    ------
    RoadsegError
        If what is named cannot be used.
    """
    models = [find_model(name) for name in (settings.start, settings.teacher) if name]
    tables = [path for path in (data.labels, data.width_table) if path]
    folders = [domain.path for domain in data.domains]
    if data.home:
        folders.append(data.home)
    images = []
    if data.labels or data.images:
        images = find_images([*data.images, *data.data])
    else:
        folders += data.data
    tiles = [path for folder in folders for pair in all_pairs(folder) for path in pair]
    return local_files(map(str, [*models, *folders, *tables, *images, *tiles]))


def read_manifest(path: Path) -> TilePairs:
    """Read pairs from a CSV file with columns image, mask and perhaps split (train, dev or test).

    Paths are relative to the file. Rows of split test are ignored. Columns may be separated by commas, semicolons or
    tabs; the case of their names does not matter.

    Raises
    ------
    TrainingError
        If a column or a value is missing, a split is unknown, a pair is listed twice, or there is none to use.
    """
    found: dict[str, list[TilePair]] = {"train": [], "dev": [], "test": []}
    lines: dict[TilePair, int] = {}
    for number, row in _rows(path):
        image, mask, split = ((row.get(key) or "").strip() for key in _COLUMNS)
        if not image or not mask or "\0" in image + mask:
            raise TrainingError(f"{path} names no image or no mask in line {number}; its columns are image,mask,split")
        if split.lower() not in _SPLITS:
            raise TrainingError(f"{path} has the split {split} in line {number}; write train, dev or test")
        pair = TilePair(path.parent / image, path.parent / mask)
        first = lines.setdefault(TilePair(pair.image.resolve(), pair.mask.resolve()), number)
        if first != number:
            raise TrainingError(f"{path} names {image} with {mask} twice, in lines {first} and {number}; keep one")
        found[_SPLITS[split.lower()]].append(pair)
    if not found["train"] and not found["dev"]:
        raise TrainingError(f"{path} names no pair to use; add lines image,mask under a head of these words")
    return TilePairs(found["train"], found["dev"])


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Yield the number of each line of a manifest, and its values by column."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
        head = next((line for line in lines if line.strip()), "")
        table = csv.DictReader(lines, delimiter=max(_SEPARATORS, key=head.count), skipinitialspace=True)
        table.fieldnames = names = [name.strip().lower() for name in table.fieldnames or ()]
        rows = [(table.line_num, row) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"{path} cannot be read as CSV ({error}); save it as UTF-8 text") from error
    if names and not {"image", "mask"} <= set(names):
        raise TrainingError(
            f"{path} has the columns {shortened(names)}; name them {','.join(_COLUMNS)} in the first line"
        )
    yield from rows


def find_images(places: Sequence[Path]) -> list[Path]:
    """Return the images that files, folders and glob patterns name, each once.

    Raises
    ------
    TrainingError
        If there is none.
    """
    if not places:
        raise TrainingError("--labels needs scenes to lie on; name them as DATA or with --images")
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            found += sorted(path for path in place.iterdir() if path.suffix.lower() in RASTERS)
        elif glob.has_magic(str(place)) and not place.exists():
            found += [Path(name) for name in sorted(glob.glob(str(place), recursive=True))]  # noqa: PTH207
        else:
            found.append(place)
    if not found:
        inside = [str(place / "images") for place in places if (place / "images").is_dir()]
        cure = f"name {shortened(inside)}" if inside else _ENDINGS
        raise TrainingError(f"there are no images in {shortened([str(place) for place in places])}; {cure}")
    return list(dict.fromkeys(found))


def _in_folder(folder: Path) -> list[TilePair]:
    for name in ("images", "masks"):
        if not (folder / name).is_dir():
            raise TrainingError(
                f"{folder} has no folder {name}/; training data are images/ and masks/ with equal names"
            )
    matched = match_stems(folder / "images", folder / "masks")
    alone = sorted(matched.alone[0] + matched.alone[1])
    if alone:
        there = zip(("masks", "images"), matched.alone, strict=True)  # where each would have its partner
        others = [path for place, stems in there for path in (folder / place).iterdir() if path.stem in stems]
        unread = min((path.name for path in others), default=None)
        cure = f"{unread} is not read: {_ENDINGS}, those of a CSV file as they like" if unread else _ADD
        lonely = f"{counted(len(alone), 'file')} in {folder} without a partner of the same name"
        raise TrainingError(f"{lonely} ({shortened(alone, 3)}); {cure}")
    if not matched.pairs:
        raise TrainingError(f"{folder}/images holds no image; {_ENDINGS}")
    return [TilePair(*files) for files in matched.pairs.values()]
