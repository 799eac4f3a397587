"""Which prediction is held against which truth: two files, or two folders matched by stem."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roadseg.errors import SceneError

VECTORS = (
    ".gpkg",
    ".geojson",
    ".json",
    ".geojsonl",
    ".geojsons",
    ".fgb",
    ".shp",
    ".parquet",
    ".gml",
    ".kml",
    ".sqlite",
)
"""Endings of files that hold networks; everything else is a raster."""

_RASTERS = (".tif", ".tiff", ".vrt", ".png", ".jp2", ".img", ".bmp", ".gif", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Pair:
    """A prediction and the truth it is held against, under one name, and an image to show beneath."""

    name: str
    prediction: Path
    truth: Path
    image: Path | None = None


def find_pairs(prediction: Path, truth: Path, images: Path | None = None) -> tuple[list[Pair], list[str]]:
    """Match two files, or the files of two folders by stem, and say which have no partner.

    Raises
    ------
    SceneError
        If one is a folder and the other is not, or no stem is in both.
    """
    for path in (prediction, truth, *([images] if images else [])):
        if not path.exists():
            raise SceneError(f"{path} does not exist; check the path")
    if prediction.is_dir() != truth.is_dir():
        folder, file = (prediction, truth) if prediction.is_dir() else (truth, prediction)
        raise SceneError(f"{folder} is a folder and {file} is not; give two files or two folders")
    if not prediction.is_dir():
        image = images / prediction.name if images and images.is_dir() else images
        return [Pair(prediction.stem, prediction, truth, image if image and image.exists() else None)], []
    left, right = _stems(prediction), _stems(truth)
    shown = _stems(images) if images and images.is_dir() else {}
    common = sorted(left.keys() & right.keys())
    if not common:
        raise SceneError(
            f"no file in {prediction} has the stem of one in {truth} "
            f"({_some(sorted(left)) or 'none'} against {_some(sorted(right)) or 'none'}); rename them alike"
        )
    notes = [
        f"{len(alone)} of {folder} without a partner, not scored: {_some(alone)}"
        for folder, alone in ((prediction, sorted(left.keys() - right)), (truth, sorted(right.keys() - left)))
        if alone
    ]
    return [Pair(stem, left[stem], right[stem], shown.get(stem)) for stem in common], notes


def is_network(path: Path) -> bool:
    """Say whether a file is taken for a vector file, by its ending."""
    return path.suffix.lower() in VECTORS


def _stems(folder: Path) -> dict[str, Path]:
    """Return the rasters and vector files of a folder by stem."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _RASTERS + VECTORS)
    found: dict[str, Path] = {}
    for path in files:
        if path.stem in found:
            raise SceneError(f"{folder} holds {found[path.stem].name} and {path.name}; keep one of them")
        found[path.stem] = path
    return found


def _some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
