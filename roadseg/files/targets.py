"""Output files before any work: their names, the folders for them, and whether they may be written."""

import itertools
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from roadseg.errors import OutputError, not_utf8
from roadseg.files import win32
from roadseg.files.inputs import RASTERS, VECTORS, unique_stems
from roadseg.files.outputs import ADDED, as_utf8, behind_links, patiently

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Outputs = TypeVar("Outputs", bound="DataclassInstance")

GEOTIFF, PNG, HTML, MODEL = (".tif", ".tiff"), (".png",), (".html", ".htm"), (".safetensors",)
"""Extensions of what roadseg writes."""

_OTHERS = (".svg", ".pdf", ".webp", ".nc", ".onnx", ".pt", ".pth", ".ckpt", ".csv", ".txt", ".gz")
_EXTENSIONS = {*GEOTIFF, *HTML, *MODEL, *RASTERS, *VECTORS, *_OTHERS}
"""Extensions that stand for a format."""

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
    for field in wanted:
        check_folder_name(getattr(folders, field))
    return [
        (name, replace(folders, **{field: getattr(folders, field) / f"{stem}{end}" for field, end in wanted.items()}))
        for name, stem in zip(inputs, unique_stems(inputs), strict=True)
    ]


def check_folder_name(folder: Path) -> None:
    """Raise OutputError if a folder for the outputs of several inputs is not there and named like a file."""
    if folder.suffix.lower() in _EXTENSIONS and not folder.is_dir():
        raise OutputError(
            f"{folder} is named like a file, and the outputs of several inputs go into a folder; name one"
        )


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
    _check_length(target)
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
    if os.name == "nt" and place.exists():
        _check_not_open(target, place)


def _check_not_open(target: Path, place: Path) -> None:
    """Raise OutputError if another program has a file open, which Windows lets nobody rename then, nor replace."""
    try:
        patiently(lambda: place.rename(place))
    except PermissionError as error:
        raise OutputError(f"{target} is open in another program; close it there, or choose another name") from error


_LONGEST_PATH, _ADDED_TO_PATH = 259, 62
"""Letters of a path that Windows takes where long paths are off, and those that blocks beside an output add to its."""


def _check_length(target: Path) -> None:
    """Raise OutputError if an output's name or path, with what working folders add to it, is too long for its disk."""
    if os.name == "nt" and not win32.are_long_paths_on():
        longest = _LONGEST_PATH - _ADDED_TO_PATH
        if len(str(target.absolute())) > longest:
            raise OutputError(
                f"{target} has a path of more than {longest} letters; choose a shorter one, or turn on "
                "Windows' long paths"
            )
    with suppress(OSError, AttributeError, ValueError):  # systems that do not say how long names may be
        longest = os.pathconf(target.parent, "PC_NAME_MAX") - ADDED
        if len(os.fsencode(target.name)) > longest:
            raise OutputError(f"{target} has a name of more than {longest} bytes; give it a shorter one")


def check_extension(target: Path, wanted: Sequence[str]) -> None:
    """Raise OutputError if the extension of an output is that of another format than it will have."""
    if target.suffix.lower() in _EXTENSIONS.difference(wanted):
        raise OutputError(
            f"{target} would hold another format than its name says; give it the extension {wanted[0]}, or none"
        )


def check_local(target: Path) -> None:
    """Raise OutputError if an output is stdout, a URL or one of GDAL's virtual paths, or its path is not UTF-8."""
    name = str(target)
    if name == "-":
        raise OutputError("- is stdout, to which only -o of predict and vectorize writes; name a file")
    if _REMOTE.match(target.as_posix()):
        shown = re.sub(r"^(\w+:)/+", r"\1//", target.as_posix())  # a Path drops the second slash
        raise OutputError(
            f"{shown} is not a local file; outputs are written to local disks, so name a file and upload it afterwards"
        )
    place = str(behind_links(target))
    if as_utf8(place) != os.fsencode(place):
        raise OutputError(not_utf8(name, "choose another path"))
    if any(ord(letter) < 32 for letter in name):
        raise OutputError(f"{name!a} has a line break or another control character in its name; choose another")


def check_not_input(target: Path, inputs: Iterable[Path]) -> None:
    """Raise OutputError if an output is one of the inputs, also by another name of the same file."""
    if target.exists() and any(path.exists() and target.samefile(path) for path in inputs):
        raise OutputError(f"{target} is also the input; choose another output")


PARTIAL = ".partial"
"""Ending of the folder beside an output that holds what an interrupted run, or parts of one, have made of it."""


def check_distinct(targets: Sequence[Path]) -> None:
    """Raise OutputError if two outputs are the same file, also by another name of it."""
    for first, second in itertools.combinations(targets, 2):
        both_exist = first.exists() and second.exists()
        if behind_links(first) == behind_links(second) or (both_exist and first.samefile(second)):
            raise OutputError(f"{second} is named twice; give each output its own name")
        for made, other in ((first, second), (second, first)):
            if behind_links(other) == behind_links(made).with_name(f"{made.name}{PARTIAL}"):
                raise OutputError(f"{other} is the folder in which {made} is made; choose another name")
