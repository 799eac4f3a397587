"""The algorithms as plain data, and the command line that a set of parameters stands for. Needs no QGIS.

Each parameter names the option it becomes. A parameter without a value leaves its option out, so roadseg's own defaults
hold, whatever they are.
"""

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, Queue
from typing import Any, Literal

Kind = Literal["raster", "file", "text", "number", "choice", "flag", "extent", "to raster", "to vector", "to file"]

RASTERS, VECTORS = ("tif", "tiff"), ("gpkg", "fgb", "geojson", "geojsonl", "parquet")
"""Endings of the outputs that the command writes, and QGIS may offer."""

_LOOKS_EVERY_S, _PATIENCE_S = 0.1, 1.5
_PERCENT = re.compile(r"(\d+)%")
_OPTION = re.compile(r"--[a-z][a-z-]*")


@dataclass(frozen=True)
class Parameter:
    """One parameter of an algorithm.

    Parameters
    ----------
    name, label
        For QGIS: the key, and what people read.
    option
        The option of the command; empty for a positional argument.
    kind
        What is asked for.
    optional, advanced
        Whether it may stay empty, and whether it is folded away in the dialog.
    choices
        Of a choice; the first one is the default.
    """

    name: str
    label: str
    option: str
    kind: Kind
    optional: bool = False
    advanced: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Algorithm:
    """A roadseg command as an algorithm of the toolbox."""

    name: str
    title: str
    help: str
    parameters: tuple[Parameter, ...]
    fixed: tuple[str, ...] = field(default=())


_DEVICE = Parameter("DEVICE", "Device", "--device", "choice", advanced=True, choices=("auto", "cpu", "cuda", "mps"))
_GSD = Parameter(
    "GSD", "Pixel size in metres, for imagery without a CRS", "--gsd", "number", optional=True, advanced=True
)
_THRESHOLD = Parameter("THRESHOLD", "Threshold (0 to 1)", "--threshold", "number", optional=True, advanced=True)

ALGORITHMS = (
    Algorithm(
        "predict",
        "Predict roads",
        "Road probability of aerial imagery, and on request a road network and a mask.",
        (
            Parameter("INPUT", "Imagery", "", "raster"),
            Parameter("MODEL", "Model (file, or the name of a bundled one)", "--model", "text", optional=True),
            Parameter("EXTENT", "Part to predict", "--bbox", "extent", optional=True),
            Parameter("TTA", "Average eight flips and turns (better, 8 times slower)", "--tta", "flag", advanced=True),
            _THRESHOLD,
            _GSD,
            _DEVICE,
            Parameter("OUTPUT", "Road probability", "-o", "to raster"),
            Parameter("MASK", "Road mask", "--mask", "to raster", optional=True),
            Parameter("VECTOR", "Road network", "--vector", "to vector", optional=True),
        ),
        ("--overwrite", "--progress"),
    ),
    Algorithm(
        "vectorize",
        "Vectorize roads",
        "A road network, or road areas, from a raster of road probability or a road mask.",
        (
            Parameter("INPUT", "Road probability or mask", "", "raster"),
            Parameter("AS", "Roads as", "--as", "choice", choices=("lines", "polygons")),
            Parameter("BRIDGE", "Longest gap to close, in metres", "--bridge", "number", optional=True, advanced=True),
            Parameter(
                "MIN_LENGTH",
                "Shortest separate road, in metres",
                "--min-length",
                "number",
                optional=True,
                advanced=True,
            ),
            _THRESHOLD,
            Parameter("OUTPUT", "Roads", "-o", "to vector"),
        ),
        ("--overwrite", "--progress"),
    ),
    Algorithm(
        "evaluate",
        "Evaluate roads",
        "Scores of predicted roads against true ones, as a report.",
        (
            Parameter("PREDICTION", "Predicted roads (raster or vector file)", "", "file"),
            Parameter("TRUTH", "True roads (raster or vector file)", "", "file"),
            Parameter("NETWORK", "Score rasters as networks", "--network", "flag"),
            Parameter(
                "RESAMPLE", "Resample the prediction to the grid of the truth", "--resample", "flag", advanced=True
            ),
            Parameter("REPORT", "Report", "--report", "to file"),
        ),
        ("--overwrite", "--progress"),
    ),
    Algorithm(
        "compare",
        "Compare roads with a map",
        "Predicted roads that a map lacks, roads of the map that were not seen, and those that match.",
        (
            Parameter("ROADS", "Predicted roads (vector file or raster)", "", "file"),
            Parameter("MAP", "Road lines of a map", "", "file"),
            Parameter("CLASSES", "Road classes of the map, separated by commas", "--classes", "text", optional=True),
            Parameter("BUFFER", "Distance within which lines match, in metres", "--buffer", "number", optional=True),
            Parameter("AOI", "Polygons to compare inside of", "--aoi", "file", optional=True, advanced=True),
            Parameter("OUTPUT", "Changes (GeoPackage)", "-o", "to vector"),
        ),
        ("--overwrite",),
    ),
)


def arguments(algorithm: Algorithm, values: Mapping[str, Any]) -> list[str]:
    """Return the arguments of the command for an algorithm.

    Parameters
    ----------
    algorithm
        One of ``ALGORITHMS``.
    values
        By parameter name: text, numbers, booleans, or four numbers for an extent. None and empty text leave an option
        out.
    """
    positional, options = [], []
    for parameter in algorithm.parameters:
        value = values.get(parameter.name)
        if value is None or value == "" or value is False:
            continue
        if not parameter.option:
            positional.append(str(value))
        elif value is True:
            options.append(parameter.option)
        else:
            options += [parameter.option, _text(value)]
    # A lone -- keeps files whose names begin with a dash from being taken for options.
    return [algorithm.name, *options, *algorithm.fixed, "--", *positional]


def with_labels(algorithm: Algorithm, text: str) -> str:
    """Return a message of the command with the labels of the dialog in place of the options that it has."""
    labels = {parameter.option: f"“{parameter.label}”" for parameter in algorithm.parameters}
    return _OPTION.sub(lambda found: labels.get(found[0], found[0]), text)


def progress_of(text: str) -> float | None:
    """Return the percentage that a line of progress states, None if it states none."""
    found = _PERCENT.search(text)
    return float(found[1]) if found else None


def lines_of(chunks: Iterator[bytes]) -> Iterator[str]:
    """Yield lines as they come; a carriage return, by which progress bars draw over themselves, ends one as well."""
    rest = b""
    for chunk in chunks:
        *whole, rest = re.split(rb"[\r\n]+", rest + chunk)
        yield from (line.decode("utf-8", "replace").strip() for line in whole if line.strip())
    if rest.strip():
        yield rest.decode("utf-8", "replace").strip()


def output_of(process: "subprocess.Popen[bytes]", is_canceled: Callable[[], bool]) -> Iterator[str]:
    """Yield the lines that a process prints until it ends; stop it once the user cancels, even while it is silent.

    It may clean up for 1.5 s, and is killed then: finished blocks are kept, and outputs appear only when complete.
    """
    lines: Queue[str | None] = Queue()
    threading.Thread(target=_put_lines, args=(process, lines), daemon=True).start()
    asked_s = None
    while True:
        if asked_s is None and is_canceled():
            asked_s = time.monotonic()
            process.terminate()
        elif asked_s is not None and time.monotonic() - asked_s > _PATIENCE_S:
            process.kill()
        try:
            line = lines.get(timeout=_LOOKS_EVERY_S)
        except Empty:
            continue
        if line is None:
            return
        yield line


def _put_lines(process: "subprocess.Popen[bytes]", lines: "Queue[str | None]") -> None:
    for line in lines_of(_chunks(process)):
        lines.put(line)
    lines.put(None)


def _chunks(process: Any) -> Iterator[bytes]:
    while chunk := os.read(process.stdout.fileno(), 4096):
        yield chunk


def _text(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(_text, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)
