"""Opening rasters, and how much memory GDAL may use for them."""

import ctypes
import math
import os
import re
import threading
import warnings
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from os import PathLike
from pathlib import Path, PurePath
from typing import Any, Self

import rasterio
import rasterio.env
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.io import DatasetReader, DatasetWriter

from roadseg.errors import SceneError, no_such_file, not_utf8
from roadseg.files.inputs import VECTORS, archive_kind, empty_file_cure
from roadseg.files.processors import processor_count
from roadseg.raster.remote import asking_little, fetch_header, is_remote, server_options
from roadseg.windows import Window

_WARNINGS = threading.Lock()
"""Filters of warnings belong to all threads: only one at a time may change them."""

_PROCESS = os.getpid()
"""The process that has imported this, and not one forked from it."""

_CACHE_BYTES = 128 << 20
TILE_CACHE_BYTES = 16 << 20
"""Enough for a file in tiles each of which is read once, for all of its pixels at the same time."""

_RELATIVE_ARCHIVE = re.compile("^(zip|tar|gzip)://(?=[^/])")
"""Beginning of names such as ``zip://scenes.zip!a.tif``; rasterio takes what follows two slashes for a server."""

_LICENSED = {".ecw": "ECW", ".sid": "MrSID"}
MOSAIC_LEVELS = 8
"""How deep mosaics of mosaics are looked into."""

_NAME_PARTS = re.compile(r'/vsi\w+/|[,:?&=<>{}"]')
"""What separates files in names such as ``/vsisubfile/0_99,a.tif`` and ``NETCDF:"a.nc":roads``."""


def bounded_cache(cache_bytes: int = _CACHE_BYTES) -> AbstractContextManager[Any]:
    """Context manager in which GDAL's block cache stays small and servers do not stall a run; the environment wins.

    GDAL's default is 5 % of the machine's memory; a small cache is also faster, because it fits the processor's. Inside
    of another one it does nothing: settling the options takes longer than reading a tile.
    """
    options = {"GDAL_CACHEMAX": cache_bytes, **server_options()}
    wanted = {name: value for name, value in options.items() if name not in os.environ}
    is_set = rasterio.env.hasenv() and wanted.items() <= rasterio.env.getenv().items()
    context: AbstractContextManager[Any] = nullcontext() if is_set else rasterio.Env(**wanted)
    return context


def decompressing(path: str) -> rasterio.Env:
    """Context manager in which a GeoTIFF is opened that decompresses on all processors; the environment wins.

    Rasters on servers have one thread each: with more, GDAL 3.10 gives zeros and no error where a connection breaks.
    """
    if is_remote(path) or gdal_threads() == "1":
        return rasterio.Env(GDAL_NUM_THREADS="1")
    return rasterio.Env(**({} if "GDAL_NUM_THREADS" in os.environ else {"GDAL_NUM_THREADS": gdal_threads()}))


def gdal_threads() -> str:
    """Return how many threads GDAL may use, for its option NUM_THREADS: one in a process that was forked.

    GDAL keeps the threads it has started for later, but a forked process has none of them, and would wait for ever.
    """
    return str(processor_count()) if os.getpid() == _PROCESS else "1"


@cache
def silence_libtiff() -> None:
    """Keep libtiff from printing to stderr that the disk is full: GDAL has it print some errors that it also reports.

    Where GDAL holds a libtiff of its own inside, that cannot be reached and still prints. With libtiff before 4.7 GDAL
    learns of errors by a handler that it puts into the place of the one that prints: it stays, else damaged tiles would
    be read as zeros.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(rasterio._base.__file__)
        library.TIFFSetErrorHandler.restype, library.TIFFSetErrorHandler.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        gdal = _library_at(ctypes.cast(library.GDALOpen, ctypes.c_void_p).value)
        handler = library.TIFFSetErrorHandler(None)
        if _library_at(handler) == gdal:
            library.TIFFSetErrorHandler(handler)


def _library_at(address: int | None) -> str:
    """Return the path of the library that holds a function, on Linux and macOS; else raise AttributeError."""
    found = (ctypes.c_void_p * 4)()  # path, start, name and address of the function
    ctypes.CDLL(None).dladdr(ctypes.c_void_p(address), found)
    return os.fsdecode(ctypes.string_at(found[0])) if found[0] else ""


class OpenFile:
    """Base of objects that hold files open; a ``with`` statement closes them."""

    def close(self) -> None:
        """Close the files."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_raster(path: "str | PathLike[str]", **options: Any) -> DatasetReader:
    """Open a raster for reading, without a warning if it is not georeferenced."""
    path = _RELATIVE_ARCHIVE.sub(r"\1:", path) if isinstance(path, str) else path
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            if is_remote(str(path)):
                return _open_remote(str(path), **options)
            return rasterio.open(path, **options)
        except UnicodeDecodeError as error:
            raise RasterioIOError("its description holds bytes that are not UTF-8") from error


def create_raster(path: Path, profile: Mapping[str, Any]) -> DatasetWriter:
    """Open a new raster for writing, without a warning if it is not georeferenced."""
    silence_libtiff()
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, "w", **profile)


def _open_remote(path: str, **options: Any) -> DatasetReader:
    """Open a raster on a server and have GDAL look for the files beside it, which it would do later, and for more."""
    with asking_little(path):
        fetch_header(path)
        file = rasterio.open(path, **options)
        if file.count:
            _ = file.files, file.overviews(1), file.mask_flag_enums
        if not file.transform.is_identity:
            return file
    file.close()
    return rasterio.open(path, **options)  # now with the metadata of satellites, which may have its georeference


def _described(file: DatasetReader) -> DatasetReader:
    """Return a file of which all that it says of itself can be read; our own files need no such look.

    Raises
    ------
    RasterioIOError
        If something of it is damaged; the file is closed.
    """
    try:
        _ = file.mask_flag_enums  # a damaged directory behind the first one fails whatever is asked next
        _ = file.colorinterp, file.tags(), file.tags(ns="xml:VRT") if file.driver == "VRT" else None
        if not all(map(math.isfinite, file.transform)):
            raise RasterioIOError("its geotransform holds a number that is not finite")
        if file.transform.is_degenerate:
            raise RasterioIOError("its geotransform gives its pixels no area")
    except (CPLE_BaseError, UnicodeDecodeError, RasterioIOError) as error:
        file.close()
        raise RasterioIOError(f"its description is damaged: {error}") from error
    return file


def stored_tags(path: Path) -> dict[str, str]:
    """Return the metadata of a raster; empty if it is none."""
    try:
        with open_raster(path) as file:
            return dict(file.tags())
    except (RasterioError, UnicodeDecodeError):
        return {}


def open_input(path: str) -> DatasetReader:
    """Open a raster that a user named.

    Raises
    ------
    SceneError
        If it is missing, a folder, no raster, has no band, or its name is not UTF-8.
    """
    if not path:
        raise SceneError("the name of a raster is empty; name a file")
    if Path(path).is_fifo() or Path(path).is_char_device():
        raise SceneError(f"{path} is a pipe or a device, which cannot be read twice; save it as a file")
    try:
        file = _described(open_raster(path))
    except UnicodeEncodeError as error:
        raise SceneError(not_utf8(path, "rename it")) from error
    except RasterioError as error:
        local = "://" not in path and not path.startswith("/vsi")
        if local and not Path(path).exists():
            raise no_such_file(Path(path)) from error
        if local and Path(path).is_dir():
            raise SceneError(f"{path} is a folder; name its images, for example {path}/*.tif") from error
        said = _reason(error)
        raise SceneError(f"{path} is not a raster that GDAL can open ({said}); {_cure(path, said)}") from error
    if not (file.count and file.width and file.height):
        example = f", for example {file.subdatasets[0]}" if file.subdatasets else ""
        file.close()
        raise SceneError(f"{path} holds no raster band; name one of its subdatasets{example}")
    return file


def _cure(path: str, said: str) -> str:
    """Return what to do about a raster that GDAL cannot open, given what it said."""
    form = _LICENSED.get(PurePath(path).suffix.lower())
    if form and "not recognized" in said:
        return f"GDAL reads {form} only with a licensed driver, so convert it to a GeoTIFF with a program that has one"
    if archive := archive_kind(Path(path)):
        inside = "" if archive == "gzip" else "/scene.tif"
        return f"name the raster in it, for example /vsi{archive}/{path}{inside}"
    if is_remote(path):
        return _remote_cure(said)
    if cure := empty_file_cure(Path(path)):
        return cure
    is_vector = PurePath(path).suffix.lower() in VECTORS
    return "give a raster, as this looks like a vector file" if is_vector else "check the file"


def _remote_cure(said: str) -> str:
    if "Range downloading" in said:
        return "download it first"
    if "TIFF" in said:  # what came looks like one at its beginning
        return "check the connection, and whether the file there is complete"
    return "check address, connection and credentials"


def unreadable(path: "str | PathLike[str]", error: RasterioError, window: Window | None = None) -> SceneError:
    """Return the error of a raster that could be opened, but not be read, in a window if one is named."""
    place = f" at row {window.row}, column {window.col}" if window else ""
    cure = (
        "the connection broke, or the file is damaged"
        if is_remote(str(path))
        else "the file is damaged or out of reach"
    )
    return SceneError(f"{path} cannot be read{place} ({_reason(error)}); {cure}")


def local_files(names: Iterable[str]) -> list[Path]:
    """Return the files on this machine that GDAL reads for rasters, each once.

    Those are also the sources of mosaics, of mosaics of mosaics (up to eight levels), and the archives that names such
    as ``/vsizip/scenes.zip/a.tif`` point into.
    """
    found: dict[Path, None] = {}
    for _ in range(MOSAIC_LEVELS):
        named = dict.fromkeys(path for name in names for path in _files_in(name))
        new = [path for path in named if path not in found]
        found |= dict.fromkeys(new)
        names = [source for path in new if is_mosaic(path) for source in _sources(path)]
    return list(found)


def is_mosaic(path: Path) -> bool:
    """Return whether a file on this machine is a mosaic (VRT), whatever its extension, as GDAL tells it."""
    try:
        if not path.is_file():  # opening a pipe would wait
            return False
        with path.open("rb") as file:
            return b"<VRTDataset" in file.read(1024)
    except OSError:
        return False


def _files_in(name: str) -> list[Path]:
    """Return the file that a name of GDAL's is, or those that are named in it."""
    with suppress(OSError):  # a name that is too long
        if Path(name).exists():
            return [Path(name)]
    found = []
    for part in filter(None, _NAME_PARTS.split(name)):
        with suppress(OSError):
            found += [place for place in (Path(part), *Path(part).parents) if place.is_file()]
    return found


def _sources(mosaic: Path) -> list[str]:
    try:
        with open_raster(mosaic) as file:
            return list(file.files)
    except (RasterioError, UnicodeError):
        return []


def _reason(error: Exception) -> str:
    """Return GDAL's own message of an error, without a full stop."""
    return str(error.__cause__ or error).strip().rstrip(".")
