"""Contact sheets: small pictures with captions, such as each training image alone and with its labels on it."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

THUMB_PX = 320
"""Longest side of a picture on the sheet."""

_ROAD = np.array([255, 196, 0], np.float32)
_VOID = np.array([200, 0, 200], np.float32)
_CAPTION_PX, _GAP_PX, _STRIPE_PX = 46, 8, 8
_FONT = cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1
"""Face, size and thickness of captions."""

_INK, _ALARM = (20, 20, 20), (190, 0, 0)


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of a pair.

    Parameters
    ----------
    image
        (rows, cols, 3) uint8.
    road, void
        (rows, cols) float32 shares of road and void in each picture element.
    """

    image: NDArray[np.uint8]
    road: NDArray[np.float32]
    void: NDArray[np.float32]


@dataclass(frozen=True)
class SheetEntry:
    """An entry of the sheet.

    Parameters
    ----------
    pictures
        Up to two pictures side by side, (rows, cols, 3) uint8.
    title
        Caption above them.
    remark
        Second line of the caption, in red; may be empty.
    """

    pictures: Sequence[NDArray[np.uint8]]
    title: str
    remark: str = ""


def draw_contact_sheet(
    entries: Sequence[SheetEntry], *, columns: int = 2, side_px: int = THUMB_PX
) -> NDArray[np.uint8]:
    """Draw a contact sheet, row by row.

    Parameters
    ----------
    entries
        At least one.
    columns
        Entries in a row.
    side_px
        Longest side of the pictures.

    Returns
    -------
    (3, height, width) uint8.
    """
    columns = min(columns, len(entries))
    width = min(max(_wanted_width(entry) for entry in entries), 2 * (side_px + _GAP_PX))
    rows = []
    for first in range(0, len(entries), columns):
        part = entries[first : first + columns]
        height = max((picture.shape[0] for entry in part for picture in entry.pictures), default=0)
        cells = [_cell(entry, height + _CAPTION_PX + _GAP_PX, width) for entry in part]
        cells += [np.full_like(cells[0], 255)] * (columns - len(cells))
        rows.append(np.concatenate(cells, axis=1))
    return np.ascontiguousarray(np.concatenate(rows).transpose(2, 0, 1))


def draw_labels(thumb: Thumbnail) -> NDArray[np.uint8]:
    """Draw roads (amber) and void (violet stripes) on an image; (rows, cols, 3) uint8."""
    row, col = np.indices(thumb.road.shape)
    stripes = (row + col) // _STRIPE_PX % 2 == 0
    image = thumb.image.astype(np.float32) * 0.7
    void = (thumb.void * stripes)[..., None] * 0.8
    road = np.sqrt(thumb.road)[..., None] * 0.85
    mixed = image * (1 - void) + _VOID * void
    return np.asarray(np.rint(mixed * (1 - road) + _ROAD * road), dtype=np.uint8)


def _wanted_width(entry: SheetEntry) -> int:
    texts = [cv2.getTextSize(_plain(text), *_FONT)[0][0] + _GAP_PX for text in (entry.title, entry.remark)]
    return int(max(*texts, sum(picture.shape[1] + _GAP_PX for picture in entry.pictures)))


def _cell(entry: SheetEntry, height: int, width: int) -> NDArray[np.uint8]:
    cell = np.full((height, width, 3), 255, np.uint8)
    face, size, thickness = _FONT
    for line, (text, colour) in enumerate(((entry.title, _INK), (entry.remark, _ALARM))):
        cv2.putText(cell, _plain(text), (4, 17 + 20 * line), face, size, colour, thickness, cv2.LINE_AA)
    left = _GAP_PX // 2
    for picture in entry.pictures:
        cell[_CAPTION_PX : _CAPTION_PX + picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + _GAP_PX
    return cell


def _plain(text: str) -> str:
    return text.encode("ascii", "replace").decode()[:96]
