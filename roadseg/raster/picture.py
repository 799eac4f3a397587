"""Pictures of a scene, or of its road probability, with the roads drawn over it.

Roads are drawn as probability, as lines or as areas. The colours are safe for colour-blind readers; lines have a
dark casing, so that they stand out from bright ground too.
"""

from pathlib import Path

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray

from roadseg.files.outputs import write_output
from roadseg.raster.encoding import dequantize
from roadseg.raster.files import open_raster

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]

PREVIEW_PX = 2000
"""Longest side of a preview."""

_ROAD_COLOUR = (255, 210, 0)
_INFERRED_COLOUR = (80, 220, 255)
_JUNCTION_COLOUR = (255, 255, 255)
_DEAD_END_COLOUR = (255, 95, 60)
_CASING_COLOUR = (25, 20, 10)

_FRACTION_BITS = 4
_FINER = 4
_WIDEST_PX = 64
_DASH_PX, _GAP_PX = 6.0, 5.0
_DOT_PX = 2.5
_UNKNOWN_WIDTH_PX = 2
_ROOM_PX = 14


def preview_size(height: int, width: int) -> tuple[int, int]:
    """Return the height and width of a preview of a raster."""
    shrink = max(1.0, max(height, width) / PREVIEW_PX)
    return max(1, round(height / shrink)), max(1, round(width / shrink))


def read_reduced(path: Path, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read a probability raster at reduced size: probability and validity, (height, width) each."""
    with open_raster(path) as file:
        return dequantize(file.read(1, out_shape=(height, width), resampling=rasterio.enums.Resampling.average))


def overlay(rgb: Bytes, probability: NDArray[np.float32], *, threshold: float, reduction: float) -> Bytes:
    """Colour the roads in a picture.

    Parameters
    ----------
    rgb
        (3, height, width) uint8.
    probability
        (height, width) float32 in [0, 1].
    threshold
        Probability of full colour.
    reduction
        Pixels of the scene in one of the picture, along a side. Colour fades to nothing at four fifths of the
        threshold, and at a quarter of it where many pixels become one, so that roads stay visible.

    Returns
    -------
    (3, height, width) uint8.
    """
    low = threshold * min(max(0.8 / reduction, 0.25), 0.8)
    strength = ((probability - low) / max(threshold - low, 1e-6)).clip(0, 1) * 0.85
    colour = np.array(_ROAD_COLOUR, dtype=np.float32)[:, None, None]
    grey: NDArray[np.float32] = rgb.mean(axis=0, keepdims=True) * 0.5 + rgb * 0.5
    mixed = np.rint(grey * (1 - strength) + colour * strength)
    return np.asarray(mixed, dtype=np.uint8)


def grey(probability: NDArray[np.float32], valid: NDArray[np.bool_]) -> Bytes:
    """Return a probability as (3, height, width) uint8: dark ground, light roads, white nodata."""
    level = np.where(valid, np.rint(30 + 150 * probability), 255).astype(np.uint8)
    return np.repeat(level[None], 3, axis=0)


def draw_lines(
    rgb: Bytes,
    vertices: Floats,
    starts: NDArray[np.int64],
    *,
    width_px: Floats,
    inferred: NDArray[np.bool_],
    junctions: Floats | None = None,
    dead_ends: Floats | None = None,
) -> Bytes:
    """Draw roads over a picture as lines.

    Parameters
    ----------
    rgb
        (3, height, width) uint8.
    vertices
        (vertices, 2) row, col; whole numbers are the centres of the picture's pixels.
    starts
        (lines + 1,): line ``i`` owns the vertices from ``starts[i]`` up to ``starts[i + 1]``.
    width_px
        (lines,) widths of the roads in pixels of the picture; less than 1 is drawn as 1, NaN as 2.
    inferred
        (lines,) bool: bridged gaps, which are dashed, in another colour.
    junctions, dead_ends
        (n, 2) row, col of dots. All are left out where they would hide the roads: if the picture has fewer
        than 14 × 14 px for each.

    Returns
    -------
    (3, height, width) uint8.
    """
    lines = np.split(_fixed(vertices), starts[1:-1]) if len(width_px) else []
    width = (np.rint(np.nan_to_num(width_px, nan=_UNKNOWN_WIDTH_PX).clip(1, _WIDEST_PX) * _FINER) / _FINER).tolist()
    seen = [(line, w) for line, w, guess in zip(lines, width, inferred, strict=True) if not guess]
    guessed = [
        (dash, width[i])
        for i in np.flatnonzero(inferred)
        for dash in _dashes(vertices[starts[i] : starts[i + 1]], width[i])
    ]
    shape = rgb.shape[1], rgb.shape[2]
    picture = _pale(rgb)
    _blend(picture, _strokes(shape, seen + guessed, wider=2), _CASING_COLOUR, 0.75)
    _blend(picture, _strokes(shape, seen), _ROAD_COLOUR, 0.95)
    _blend(picture, _strokes(shape, guessed), _INFERRED_COLOUR, 1.0)
    for places, colour in ((dead_ends, _DEAD_END_COLOUR), (junctions, _JUNCTION_COLOUR)):
        if places is not None and len(places) * _ROOM_PX**2 <= shape[0] * shape[1]:
            _blend(picture, _dots(shape, places, _DOT_PX + 1.5), _CASING_COLOUR, 1.0)
            _blend(picture, _dots(shape, places, _DOT_PX), colour, 1.0)
    return _finished(picture)


def draw_areas(rgb: Bytes, vertices: Floats, starts: NDArray[np.int64]) -> Bytes:
    """Draw roads over a picture as areas with a cased outline.

    Parameters
    ----------
    rgb
        (3, height, width) uint8.
    vertices
        (vertices, 2) row, col; whole numbers are the centres of the picture's pixels.
    starts
        (rings + 1,): ring ``i`` owns the vertices from ``starts[i]`` up to ``starts[i + 1]``. Pixels inside an odd
        number of rings are road.

    Returns
    -------
    (3, height, width) uint8.
    """
    rings = np.split(_fixed(vertices), starts[1:-1]) if len(vertices) else []
    shape = rgb.shape[1], rgb.shape[2]
    inside = np.zeros(shape, np.uint8)
    cv2.fillPoly(inside, rings, 255, cv2.LINE_AA, _FRACTION_BITS)
    closed = [(np.concatenate([ring, ring[:1]]), 1.0) for ring in rings]
    picture = _pale(rgb)
    _blend(picture, _strokes(shape, closed, wider=2), _CASING_COLOUR, 0.5)
    _blend(picture, inside, _ROAD_COLOUR, 0.5)
    _blend(picture, _strokes(shape, closed), _ROAD_COLOUR, 1.0)
    return _finished(picture)


def write_picture(target: Path, rgb: Bytes, *, staged: Path | None = None) -> None:
    """Write (3, height, width) uint8 as a PNG, or as a staged file that is to become it.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    write_output(target, as_png(rgb), staged=staged)


def as_png(rgb: Bytes) -> bytes:
    """Return (3, height, width) uint8 as the bytes of a PNG."""
    _, png = cv2.imencode(".png", np.ascontiguousarray(rgb[::-1].transpose(1, 2, 0)))
    return bytes(png)


def _pale(rgb: Bytes) -> NDArray[np.float32]:
    """Return a picture as (height, width, 3) float32, half desaturated, so that drawings stand out."""
    mixed = rgb.mean(axis=0, keepdims=True, dtype=np.float32) * 0.5 + rgb * np.float32(0.5)
    return np.ascontiguousarray(mixed.transpose(1, 2, 0))


def _finished(picture: NDArray[np.float32]) -> Bytes:
    return np.ascontiguousarray(np.rint(picture).astype(np.uint8).transpose(2, 0, 1))


def _fixed(places: Floats) -> NDArray[np.int32]:
    """Return (n, 2) row, col as col, row in OpenCV's fixed point."""
    return np.asarray(np.rint(places[:, ::-1] * 2**_FRACTION_BITS), dtype=np.int32)


def _strokes(shape: tuple[int, int], lines: list[tuple[NDArray[np.int32], float]], *, wider: float = 0.0) -> Bytes:
    """Return the coverage of each pixel by lines of given widths, 0 to 255.

    They are drawn on finer pixels and averaged, because OpenCV's antialiased lines only have odd widths.
    """
    cover = np.zeros((shape[0] * _FINER, shape[1] * _FINER), np.uint8)
    by_width: dict[float, list[NDArray[np.int32]]] = {}
    for line, width in lines:
        by_width.setdefault(width, []).append(line * _FINER + (_FINER - 1) * 2 ** (_FRACTION_BITS - 1))
    for width, same in by_width.items():
        thickness = max(1, round((width + wider) * _FINER))
        cv2.polylines(cover, same, False, 255, thickness, cv2.LINE_8, _FRACTION_BITS)
    return np.asarray(cv2.resize(cover, shape[::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _dots(shape: tuple[int, int], places: Floats, radius_px: float) -> Bytes:
    cover = np.zeros(shape, np.uint8)
    for col, row in _fixed(places).tolist():
        cv2.circle(
            cover, (col, row), round(radius_px * 2**_FRACTION_BITS), 255, cv2.FILLED, cv2.LINE_AA, _FRACTION_BITS
        )
    return cover


def _blend(picture: NDArray[np.float32], cover: Bytes, colour: tuple[int, int, int], opacity: float) -> None:
    """Blend a colour into the covered pixels of (height, width, 3)."""
    rows, cols = np.nonzero(cover)
    strength = cover[rows, cols, None] * np.float32(opacity / 255)
    picture[rows, cols] += (np.array(colour, dtype=np.float32) - picture[rows, cols]) * strength


def _dashes(line: Floats, width_px: float) -> list[NDArray[np.int32]]:
    """Cut a line into dashes. It begins and ends with one; gaps make room for the round ends of dashes."""
    gap, along = _GAP_PX + width_px, np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    count = max(1, round((along[-1] + gap) / (_DASH_PX + gap)))
    dash = along[-1] / (count + (count - 1) * gap / _DASH_PX)
    parts = []
    for begin in np.arange(count) * dash * (1 + gap / _DASH_PX):
        inner = along[(along > begin) & (along < begin + dash)]
        at = np.concatenate([[begin], inner, [begin + dash]])
        parts.append(_fixed(np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], axis=1)))
    return parts
