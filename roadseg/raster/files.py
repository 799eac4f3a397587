"""Finding rasters in folders, opening them, and the memory GDAL may take for it."""

import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from roadseg.errors import OutputError, SceneError

RASTERS = (".tif", ".tiff", ".vrt", ".png", ".jp2", ".img", ".bmp", ".gif", ".jpg", ".jpeg")
"""Endings of files that are taken for rasters where a folder is named."""

_CACHE_BYTES = 128 << 20


def bounded_cache() -> rasterio.Env:
    """Return a context in which GDAL's block cache stays small; a GDAL_CACHEMAX set by the user stands.

    Left alone it grows to a twentieth of the machine's memory, and is slower for not fitting the processor's.
    """
    return rasterio.Env(**({} if "GDAL_CACHEMAX" in os.environ else {"GDAL_CACHEMAX": _CACHE_BYTES}))


def open_raster(path: "str | PathLike[str]", **options: Any) -> DatasetReader:
    """Open a raster for reading; whether it lies anywhere on Earth is the caller's to ask."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, **options)


def open_input(path: str) -> DatasetReader:
    """Open a raster that a user named.

    Raises
    ------
    SceneError
        If it is missing, a folder, no raster, or its name is not UTF-8.
    """
    try:
        return open_raster(path)
    except UnicodeEncodeError as error:
        raise SceneError(f"{path!a} is no name that GDAL can read, for it is not UTF-8; rename it") from error
    except RasterioError as error:
        local = "://" not in path and not path.startswith("/vsi")
        if local and not Path(path).exists():
            raise SceneError(f"{path} does not exist; check the path") from error
        if local and Path(path).is_dir():
            raise SceneError(f"{path} is a folder; name its images, for example {path}/*.tif") from error
        raise SceneError(f"{path} is not a raster that GDAL can open ({reason(error)})") from error


def reason(error: Exception) -> str:
    """Return what GDAL says is wrong, without a full stop."""
    return str(error.__cause__ or error).strip().rstrip(".")


@dataclass(frozen=True)
class Matched:
    """Files of two folders: ``pairs`` by stem in their order, and the stems that only one folder has."""

    pairs: dict[str, tuple[Path, Path]]
    alone: tuple[list[str], list[str]]


def match_stems(left: Path, right: Path, endings: Sequence[str] = RASTERS) -> Matched:
    """Match the files of two folders by stem.

    Raises
    ------
    SceneError
        If a stem occurs twice in a folder.
    """
    ours, theirs = stems(left, endings), stems(right, endings)
    common = sorted(ours.keys() & theirs.keys())
    alone = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    return Matched({stem: (ours[stem], theirs[stem]) for stem in common}, alone)


def stems(folder: Path, endings: Sequence[str] = RASTERS) -> dict[str, Path]:
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


def some(names: Sequence[str], most: int = 8) -> str:
    """Return a list of names for a message, cut where it gets long."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@contextmanager
def draft_folder(target: Path) -> Iterator[Path]:
    """Give a hidden folder beside an output, in which it can be made; it is removed at the end, whatever happens.

    Raises
    ------
    OutputError
        If there can be none.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(f"cannot write beside {target} ({error.strerror}); choose another place") from error
    with folder as name:
        yield Path(name)


@contextmanager
def ready_folder(path: Path, cure: str) -> Iterator[Path]:
    """Give a folder that can be written to, made if need be; what was made and is still empty at the end is removed.

    Parameters
    ----------
    path
        The folder; those above it are made too.
    cure
        What to do if it cannot be written to, for the message.

    Raises
    ------
    OutputError
        If it cannot be made or written to.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        try:
            path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path).close()
        except OSError as error:
            raise OutputError(f"cannot write to {path} ({error.strerror}); {cure}") from error
        yield path
    finally:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()
