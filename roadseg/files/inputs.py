"""Finding input files by name, and pairing the files of folders."""

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from roadseg.errors import SceneError


def find_files(names: Iterable[str]) -> list[str]:
    """Expand the patterns (``*``, ``?``, ``[…]``) among file names; other names stay unchanged.

    Raises
    ------
    SceneError
        If a pattern matches nothing, or there is no name at all.
    """
    found: list[str] = []
    for name in names:
        if glob.has_magic(name) and "://" not in name and not Path(name).exists():
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (absolute patterns)
            if not matches:
                raise SceneError(f"nothing matches the pattern {name}; check the path")
            found += matches
        else:
            found.append(name)
    if not found:
        raise SceneError("no scene was named; give at least one file")
    return found


def unique_stems(names: Sequence[str]) -> list[str]:
    """Return file names or URLs without folder and suffix.

    Raises
    ------
    SceneError
        If two are the same.
    """
    found: dict[str, str] = {}
    for name in names:
        stem = Path(name.split("?")[0]).stem
        if found.get(stem) == name:
            raise SceneError(f"{name} is named twice; name it once")
        if stem in found:
            raise SceneError(f"the outputs of {found[stem]} and {name} would have the same name; rename one of them")
        found[stem] = name
    return list(found)


RASTERS = (".tif", ".tiff", ".vrt", ".png", ".jp2", ".img", ".bmp", ".gif", ".jpg", ".jpeg")
"""Suffixes of the files that are read as rasters in a folder."""

VECTORS = (
    ".gpkg",
    ".geojson",
    ".json",
    ".geojsonl",
    ".geojsons",
    ".fgb",
    ".shp",
    ".parquet",
    ".geoparquet",
    ".gml",
    ".kml",
    ".sqlite",
)
"""Suffixes of vector files that are paired in folders, and never opened as rasters."""

_ARCHIVES = {".zip": "zip", ".tar": "tar", ".tar.gz": "tar", ".tgz": "tar", ".gz": "gzip", ".7z": "7z"}
"""Endings of archives that GDAL reads from, and its names for them."""


@dataclass(frozen=True)
class Matched:
    """Files of two folders: ``pairs`` with the same stem, in order, and the stems that only one folder has."""

    pairs: dict[str, tuple[Path, Path]]
    alone: tuple[list[str], list[str]]


def empty_file_cure(path: Path) -> str | None:
    """Return what to do about a file that cannot be read because it has no bytes; None if it has some."""
    return "it is empty, so copy or download it again" if path.is_file() and not path.stat().st_size else None


def archive_kind(path: Path) -> str | None:
    """Return GDAL's name for the kind of archive that a file is by its ending, such as ``gzip``; None if it is none."""
    kind = next((kind for ending, kind in _ARCHIVES.items() if path.name.lower().endswith(ending)), None)
    return kind if path.is_file() else None


def match_stems(left: Path, right: Path, endings: Sequence[str] = RASTERS) -> Matched:
    """Match the files of two folders by stem.

    Raises
    ------
    SceneError
        If a stem occurs twice in a folder.
    """
    ours, theirs = files_by_stem(left, endings), files_by_stem(right, endings)
    common = sorted(ours.keys() & theirs.keys())
    alone = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    return Matched({stem: (ours[stem], theirs[stem]) for stem in common}, alone)


def files_by_stem(folder: Path, endings: Sequence[str] = RASTERS) -> dict[str, Path]:
    """Return the files of a folder by stem.

    Raises
    ------
    SceneError
        If a stem occurs twice.
    """
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in endings):
        if path.stem in found:
            raise SceneError(f"{folder} holds {found[path.stem].name} and {path.name}; keep one of them")
        found[path.stem] = path
    return found
