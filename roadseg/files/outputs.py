"""Naming output files, checking their paths before any work, and writing them atomically."""

import errno
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from roadseg.errors import OutputError
from roadseg.files.inputs import RASTERS, unique_stems

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Outputs = TypeVar("Outputs", bound="DataclassInstance")


_REMOTE = re.compile(r"[a-z][a-z0-9+.-]+:/|/vsi[a-z]", re.IGNORECASE)
"""Beginnings of URLs and GDAL's virtual paths; a single letter is a Windows drive."""

_STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def name_outputs(inputs: Sequence[str], folders: Outputs, endings: Mapping[str, str]) -> list[tuple[str, Outputs]]:
    """Pair inputs with output files that take their names.

    Parameters
    ----------
    inputs
        Paths or URLs.
    folders
        A dataclass of paths, each a folder or None.
    endings
        For each of its fields with a folder, the ending of the files in it.

    Raises
    ------
    SceneError
        If two inputs have the same name.
    OutputError
        If a folder that is not there is named like a file.
    """
    wanted = {field: ending for field, ending in endings.items() if getattr(folders, field) is not None}
    for folder in (getattr(folders, field) for field in wanted):
        if folder.suffix.lower() in _OTHERS and not folder.is_dir():
            raise OutputError(
                f"{folder} is named like a file, and the outputs of several inputs go into a folder; name one"
            )
    return [
        (name, replace(folders, **{field: getattr(folders, field) / f"{stem}{end}" for field, end in wanted.items()}))
        for name, stem in zip(inputs, unique_stems(inputs), strict=True)
    ]


@contextmanager
def output_folders(paths: Sequence[Path], cure: str = "choose another place") -> Iterator[None]:
    """Context manager that creates missing folders, parents included, and on exit removes those still empty.

    Parameters
    ----------
    paths
        The folders.
    cure
        What to do if one cannot be created, for the message.

    Raises
    ------
    OutputError
        If one cannot be created, or is not local.
    """
    for path in paths:
        check_local(path)
    made = {folder for path in paths for folder in (path, *path.parents) if not folder.exists()}
    try:
        for path in paths:
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                reason = "it is a file" if path.exists() else error.strerror
                raise OutputError(f"cannot create the folder {path} ({reason}); {cure}") from error
        yield
    finally:
        for folder in sorted(made, key=lambda folder: len(folder.parts), reverse=True):
            with suppress(OSError):
                folder.rmdir()


_STAGING = "left-by-roadseg"
"""Name of an empty file that marks a staging folder as one."""


def _remove_abandoned(target: Path) -> None:
    """Remove the staging folders that killed runs left beside an output."""
    prefix = f".{target.name}-"
    with suppress(OSError):
        for folder in [path for path in target.parent.iterdir() if path.name.startswith(prefix)]:
            if folder.is_symlink() or not folder.is_dir():
                continue
            if (folder / _STAGING).is_file():
                shutil.rmtree(folder, ignore_errors=True)
            elif len(folder.name) == len(prefix) + _RANDOM:
                with suppress(OSError):
                    folder.rmdir()  # a run killed before it could mark its folder left it empty


_RANDOM = 8
"""Number of letters that ``tempfile`` adds to a prefix."""

SCRATCH = "scratch-"
"""How names of folders for intermediate results begin; a killed run may leave them among its blocks."""


@contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """Context manager that yields a hidden folder beside an output, to write it in; the folder is removed on exit.

    The caller holds the lock of the output: folders that killed runs have left are removed.

    Raises
    ------
    OutputError
        If it cannot be created.
    """
    _remove_abandoned(target)
    cure = f"cannot write beside {target} ({{}}); choose another place"
    try:
        folder = tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(cure.format(error.strerror)) from error
    with folder as name:
        try:
            (Path(name) / _STAGING).touch()
        except OSError as error:
            raise OutputError(cure.format(error.strerror)) from error
        yield Path(name)


@contextmanager
def writable_folder(path: Path, cure: str) -> Iterator[Path]:
    """Context manager that yields a folder that can be written to, made and removed like ``output_folders``.

    Raises
    ------
    OutputError
        If it cannot be created or written to, or is not local.
    """
    with output_folders([path], cure):
        try:
            tempfile.TemporaryFile(dir=path).close()
        except OSError as error:
            raise OutputError(f"cannot write to {path} ({error.strerror}); {cure}") from error
        yield path


def check_target(target: Path, *, overwrite: bool, inputs: Iterable[Path]) -> None:
    """Check before any work that an output may be written; of a link, that the file it leads to may be.

    Raises
    ------
    OutputError
        If its folder is missing or read-only, it is an input, it exists and may not be replaced, or it is no regular
        file.
    """
    check_local(target)
    place = behind_links(target)
    if place.is_symlink():
        raise OutputError(f"{target} is a link that leads back to itself; remove it")
    folder = place.parent if target.is_symlink() else target.parent
    if not folder.is_dir():
        raise OutputError(f"the folder {folder} does not exist; create it first")
    if place.is_dir():
        raise OutputError(f"{target} is a folder; name a file in it")
    if target.exists() and not target.is_file():
        cure = "choose another output, or - for stdout" if str(target) in _STDOUT else "choose another output"
        raise OutputError(f"{target} is not a regular file; {cure}")
    check_not_input(target, inputs)
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists; choose another name or add --overwrite")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"the folder {folder} is not writable; choose another place")


GEOTIFF, PNG, HTML, MODEL = (".tif", ".tiff"), (".png",), (".html", ".htm"), (".safetensors",)
"""Extensions of what roadseg writes."""

_VECTORS = (".gpkg", ".fgb", ".geojson", ".json", ".geojsonl", ".geojsons", ".parquet", ".geoparquet", ".shp")
_OTHERS = {*GEOTIFF, *HTML, *MODEL, *RASTERS, *_VECTORS, ".svg", ".pdf", ".webp", ".nc", ".onnx", ".csv", ".txt"}


def check_extension(target: Path, wanted: Sequence[str]) -> None:
    """Raise OutputError if the extension of an output is that of another format than it will have."""
    if target.suffix.lower() in _OTHERS.difference(wanted):
        raise OutputError(
            f"{target} would hold another format than its name says; give it the extension {wanted[0]}, or none"
        )


def check_local(target: Path) -> None:
    """Raise OutputError if an output is stdout, a URL or one of GDAL's virtual paths, or its path is not UTF-8."""
    name = str(target)
    if name == "-":
        raise OutputError("- is stdout, to which only -o of predict and vectorize writes; name a file")
    if _REMOTE.match(name):
        shown = re.sub(r"^(\w+:)/+", r"\1//", name)  # a Path drops the second slash
        raise OutputError(
            f"{shown} is not a local file; outputs are written to local disks, so name a file and upload it afterwards"
        )
    place = str(behind_links(target))
    if as_utf8(place) != os.fsencode(place):
        raise OutputError(f"{name!a} has a path that is not UTF-8, which GDAL cannot write to; choose another")
    if any(ord(letter) < 32 for letter in name):
        raise OutputError(f"{name!a} has a line break or another control character in its name; choose another")


def check_not_input(target: Path, inputs: Iterable[Path]) -> None:
    """Raise OutputError if an output is one of the inputs, also by another name of the same file."""
    if target.exists() and any(path.exists() and target.samefile(path) for path in inputs):
        raise OutputError(f"{target} is also the input; choose another output")


def check_distinct(targets: Sequence[Path]) -> None:
    """Raise OutputError if two outputs are the same file, also by another name of it."""
    for first, second in itertools.combinations(targets, 2):
        both_exist = first.exists() and second.exists()
        if behind_links(first) == behind_links(second) or (both_exist and first.samefile(second)):
            raise OutputError(f"{second} is named twice; give each output its own name")


def behind_links(path: Path) -> Path:
    """Return the path that symbolic links lead to, absolute, whether there is a file or not."""
    return Path(os.path.realpath(path))


@contextmanager
def on_their_disks(
    finished: Sequence[tuple[Path, Path]], cure: str = "choose another place"
) -> Iterator[list[tuple[Path, Path]]]:
    """Context manager that yields finished files with their paths, all on the file systems of the paths.

    Files that are on another one are copied first: where one does not fit, none is moved to its path.

    Parameters
    ----------
    finished
        Files, and the paths that they are to be moved to.
    cure
        What to do if one cannot be copied, for the message.

    Raises
    ------
    OutputError
        If one cannot be copied.
    """
    near, copies = [], []
    try:
        for made, target in finished:
            place = behind_links(target)
            try:
                if _file_system(made) == _file_system(place.parent):
                    near.append((made, target))
                    continue
                copies.append(_copy_beside(place))
                shutil.copyfile(made, copies[-1])
            except OSError as error:
                raise OutputError(f"cannot write {target} ({error.strerror}); {cure}") from error
            near.append((copies[-1], target))
        yield near
    finally:
        for copy in copies:
            copy.unlink(missing_ok=True)


def publish_together(finished: Sequence[tuple[Path, Path]], cure: str = "choose another place") -> None:
    """Move finished files to their paths once each is on the file system of its path, see ``on_their_disks``."""
    with on_their_disks(finished, cure) as near:
        for made, target in near:
            publish(made, target)


def _file_system(path: Path) -> int:
    return path.stat().st_dev


def _copy_beside(place: Path) -> Path:
    """Return where a file is copied to, before it replaces the one at its place."""
    return place.with_name(f".{place.name}{NEW}")


def publish(made: Path, target: Path) -> None:
    """Move a finished file to its path, across file systems too; a link stays, and the file it leads to is replaced."""
    place = behind_links(target)
    try:
        try:
            made.replace(place)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            beside = _copy_beside(place)
            try:
                shutil.copyfile(made, beside)
                beside.replace(place)
            finally:
                beside.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {target} ({error.strerror}); choose another place") from error


def as_utf8(text: str) -> bytes:
    r"""Return a text as UTF-8; bytes of file names that are not UTF-8 become escapes such as ``\udcff``."""
    return text.encode("utf-8", "backslashreplace")


def write_output(target: Path, data: bytes) -> None:
    """Write a file that a user asked for; a link stays, and the file it leads to is replaced.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    try:
        write_atomically(behind_links(target), data)
    except OSError as error:
        raise OutputError(f"cannot write {target} ({error.strerror}); choose another place") from error


def create(path: Path, data: bytes) -> None:
    """Create a small file; on most local file systems of Linux it appears with its content, even if the run is killed.

    Raises
    ------
    FileExistsError
        If there is one.
    OSError
        If it cannot be written.
    """
    with suppress(OSError, AttributeError):  # other systems, and file systems without nameless files or links
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
        try:
            os.write(descriptor, data)
            os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)  # a descriptor has the link followed
            return
        finally:
            os.close(descriptor)
    with path.open("xb", buffering=0) as file:
        try:
            file.write(data)
        except OSError:
            path.unlink(missing_ok=True)
            raise


NEW = ".new"
"""Suffix of a file that is being written."""


def write_atomically(path: Path, *data: "bytes | memoryview[int]") -> None:
    """Write a file, given in parts, beside its path, flush it to the disk, then rename it."""
    beside = path.with_name(path.name + NEW)
    try:
        beside.unlink(missing_ok=True)  # what a killed run left, or a link that would be followed
        with beside.open("xb") as file:
            file.writelines(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
