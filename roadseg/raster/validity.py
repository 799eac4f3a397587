"""Which pixels of an image are valid.

A pixel is nodata if any of these says so: a nodata value in all bands, unless there is a mask band, which counts
instead, as in GDAL; an alpha band or mask band of 0; a hole between the sources of a mosaic (VRT); or NaN or infinity
in one of the bands.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from roadseg.errors import RoadsegError
from roadseg.raster.files import MOSAIC_LEVELS, is_mosaic, open_raster
from roadseg.windows import Window, all_valid


@dataclass(frozen=True)
class Validity:
    """How a file marks its nodata pixels.

    Parameters
    ----------
    bands
        Numbers of the bands that are read.
    shape
        Height and width of the file.
    sources
        (n, 4) row, col, row_stop, col_stop of the sources of a mosaic, outside of which nothing is valid;
        None if the file marks its holes itself.
    """

    bands: tuple[int, ...]
    shape: tuple[int, int]
    sources: NDArray[np.float64] | None

    def of(
        self, file: DatasetReader, values: NDArray[Any], window: Window, shape: tuple[int, int] | None = None
    ) -> NDArray[np.bool_]:
        """Return which pixels of a window are valid; read-only if nothing marks any as nodata.

        Parameters
        ----------
        file
            The file or one of its overviews.
        values
            The window as it was read, (bands, height, width).
        window
            Place in ``file``.
        shape
            Height and width of ``values``; None if they are those of the window.
        """
        shape = shape or (window.height, window.width)
        valid = all_valid(shape)
        for band in values:
            if np.issubdtype(band.dtype, np.floating):
                valid = valid & np.isfinite(band)
        flags = file.mask_flag_enums[self.bands[0] - 1]
        place = RasterWindow(window.col, window.row, window.width, window.height)
        if MaskFlags.per_dataset in flags or MaskFlags.alpha in flags:
            valid = valid & (file.read_masks(self.bands[0], window=place, out_shape=shape) > 0)
        elif MaskFlags.nodata in flags:
            marks = [file.nodatavals[band - 1] for band in self.bands]
            valid = valid & np.any([band != mark for band, mark in zip(values, marks, strict=True)], axis=0)
        if ColorInterp.alpha in file.colorinterp and MaskFlags.alpha not in flags:
            # GDAL ignores it beside a nodata value or a mask, and where it is not the last band
            alpha = file.colorinterp.index(ColorInterp.alpha) + 1
            valid = valid & (file.read(alpha, window=place, out_shape=shape) > 0)
        if self.sources is not None:
            scale = np.array([file.height / self.shape[0], file.width / self.shape[1]] * 2)
            valid = valid & _covered(self.sources * scale, window, shape)
        return valid

    def description(self, file: DatasetReader) -> str:
        """Return how the file marks nodata, for people."""
        if self.sources is not None:
            return "holes between the sources"
        flags = {flag.name for flag in file.mask_flag_enums[0]}
        if "all_valid" in flags and ColorInterp.alpha in file.colorinterp:
            return "alpha band"
        marks = {
            "alpha": "alpha band",
            "per_dataset": "mask band",
            "nodata": f"nodata {file.nodata:.12g}" if file.nodata is not None else "",
        }
        return next((text for flag, text in marks.items() if flag in flags), "none marked")


def validity_of(file: DatasetReader, bands: tuple[int, ...]) -> Validity:
    """Find out how a file marks its nodata pixels."""
    return Validity(bands, (file.height, file.width), _mosaic_sources(file))


def _mosaic_sources(file: DatasetReader, levels: int = MOSAIC_LEVELS) -> NDArray[np.float64] | None:
    """Return (n, 4) row, col, row_stop, col_stop of a VRT's sources, where nothing else marks its holes.

    Of a source that is such a mosaic, too, those are its own sources.
    """
    if file.driver != "VRT" or MaskFlags.all_valid not in file.mask_flag_enums[0]:
        return None
    tree = ET.fromstring(file.tags(ns="xml:VRT")["xml:VRT"])  # noqa: S314
    sources = [source for source in tree.iterfind("./VRTRasterBand/*") if source.find("DstRect") is not None]
    places: set[tuple[float, ...]] = set()
    inner: dict[str, NDArray[np.float64] | None] = {}
    for source in sources:
        name, place = _source_name(source, file.name), _rectangle(source, "DstRect")
        if name not in inner:
            inner[name] = _sources_of(name, levels - 1)
        parts = inner[name]
        if parts is None or source.find("SrcRect") is None:
            places.add(tuple(place))
        else:
            places.update(map(tuple, _placed(parts, _rectangle(source, "SrcRect"), place).tolist()))
    return np.array(sorted(places)).reshape(-1, 4) if sources else None


def _source_name(source: ET.Element, mosaic: str) -> str:
    """Return the name of a source as GDAL opens it."""
    named = source.find("SourceFilename")
    name = (named.text or "") if named is not None else ""
    relative = named is not None and named.get("relativeToVRT") == "1"
    return str(Path(mosaic).parent / name) if relative else name


def _rectangle(source: ET.Element, kind: str) -> NDArray[np.float64]:
    """Return row, col, row_stop, col_stop of a source's ``SrcRect`` or ``DstRect``."""
    rect = source.find(kind)
    assert rect is not None
    row, col, height, width = (float(rect.attrib[side]) for side in ("yOff", "xOff", "ySize", "xSize"))
    return np.array([row, col, row + height, col + width])


def _sources_of(name: str, levels: int) -> NDArray[np.float64] | None:
    """Return the sources of a mosaic in a mosaic, None if it is none or marks its holes itself."""
    if not levels or not (name.lower().endswith(".vrt") or is_mosaic(Path(name))):
        return None
    try:
        with open_raster(name) as file:
            return _mosaic_sources(file, levels)
    except (RoadsegError, RasterioError):  # reading its pixels will say so
        return None


def _placed(parts: NDArray[np.float64], window: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rectangles (n, 4) that lie in a window of a source, where that window is placed in the mosaic."""
    corner, size = np.tile(window[:2], 2), np.tile(window[2:] - window[:2], 2)
    inside = np.concatenate([np.maximum(parts[:, :2], window[:2]), np.minimum(parts[:, 2:], window[2:])], axis=1)
    inside = inside[(inside[:, :2] < inside[:, 2:]).all(axis=1)]
    moved: NDArray[np.float64] = (inside - corner) / size * np.tile(place[2:] - place[:2], 2) + np.tile(place[:2], 2)
    return moved


def _covered(rectangles: NDArray[np.float64], window: Window, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which of ``shape`` pixels over a window lie in a rectangle (row, col, row_stop, col_stop)."""
    covered = np.zeros(shape, dtype=np.bool_)
    step = np.array([shape[0] / window.height, shape[1] / window.width] * 2)
    corner = np.array([window.row, window.col] * 2)
    edges = np.floor((rectangles - corner) * step + 0.5).clip(0, [*shape, *shape]).astype(np.intp)
    inside = (edges[:, 0] < edges[:, 2]) & (edges[:, 1] < edges[:, 3])
    for top, left, bottom, right in edges[inside]:
        covered[top:bottom, left:right] = True
    return covered
