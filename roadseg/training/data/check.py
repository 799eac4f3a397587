"""A check of training data before hours are spent: what is odd about each pair, and what makes training impossible."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from roadseg.errors import RoadsegError, counted, shortened
from roadseg.model.device import choose_device
from roadseg.progress import Listener
from roadseg.raster.labelled_scene import VOID
from roadseg.raster.picture import write_picture
from roadseg.settings import DataSettings, TrainSettings
from roadseg.training.data.alignment import CLEAR, Fit, best_shift, fit_at_shifts
from roadseg.training.data.contact_sheet import THUMB_PX, SheetEntry, Thumbnail, draw_contact_sheet, draw_labels
from roadseg.training.data.file_tiles import FileTile
from roadseg.training.data.load import MOSTLY_ROAD, collect_pairs, load_training_data
from roadseg.training.data.memory import lacking_memory
from roadseg.training.data.validate import at_gsd, open_pairs, shared_gsd
from roadseg.windows import SCAN_PX, Window, square_windows

_ON_SHEET = 24
"""Most pairs on the contact sheet."""

_ALIGN_PX = 1536
_OFF_PX = 5
_MOSTLY = 0.5

Counts = NDArray[np.float32]


@dataclass(frozen=True)
class PairReport:
    """What a pair of image and mask holds.

    Parameters
    ----------
    name
        File name of the image.
    size, pixel
        Width × height in pixels, and metres per pixel, as text.
    known
        Share of its pixels that are labelled.
    road
        Share of those that are road.
    remarks
        What is odd about it, the worst first.
    oddness
        Sort key: odd pairs come first.
    thumb
        A small picture; None if the pair cannot be read.
    fit
        How well the labels fit the image at each shift, if that can be measured.
    """

    name: str
    size: str
    pixel: str
    known: float
    road: float
    remarks: tuple[str, ...]
    oddness: float
    thumb: Thumbnail | None
    fit: Fit | None = None


@dataclass(frozen=True)
class CheckReport:
    """What a check of all pairs found.

    Parameters
    ----------
    pairs
        The pairs, odd ones first.
    summary
        What would be trained on, in words.
    obstacles
        What makes training impossible.
    """

    pairs: tuple[PairReport, ...]
    summary: str
    obstacles: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what was found as JSON-ready values."""
        named = ("name", "size", "pixel", "known", "road", "remarks")
        pairs = [{name: getattr(pair, name) for name in named} for pair in self.pairs]
        return {"pairs": pairs, "summary": self.summary, "obstacles": list(self.obstacles)}

    def remarks(self) -> dict[str, list[str]]:
        """Return each remark with the names of the pairs it was made about, the worst first."""
        names: dict[str, list[str]] = {}
        for pair in self.pairs:
            for remark in pair.remarks:
                names.setdefault(remark, []).append(pair.name)
        return names


def check_training_data(
    data: DataSettings, output: Path, settings: TrainSettings, *, device: str = "auto", sheet: Path, listener: Listener
) -> CheckReport:
    """Check all training pairs, and draw a contact sheet with odd ones first.

    Parameters
    ----------
    data, output, settings
        As of ``load_training_data``.
    device
        Device that is to train, whose memory must suffice.
    sheet
        PNG to write.
    listener
        Callbacks for warnings and progress, which is counted in pairs.

    Raises
    ------
    RoadsegError
        If there are no pairs at all, all are far too coarse, the sheet cannot be written, or there is no such device.
    """
    lacking = lacking_memory(settings, choose_device(device)[0])
    pairs, _, unusable = collect_pairs(data, output, listener)
    unusable = list(unusable)
    listener.start(len(pairs), 0)
    try:
        tiles = open_pairs(pairs, data, listener, unusable.append)
    except RoadsegError as error:
        tiles, unusable = [], unusable or [str(error)]
    if settings.pixel_m:
        shared_gsd(tiles, settings.pixel_m)
    reports = []
    for tile in tiles:
        try:
            reports.append(inspect_pair(at_gsd([tile], settings.pixel_m)[0], settings.crop))
        except RoadsegError as error:
            unusable.append(str(error))
        listener.advance(1)
    fits = [report.fit for report in reports if report.fit is not None]
    together = _misplaced(fits) if len(fits) > 1 else ""
    if together:
        listener.warn(f"taken together, {together}; are images and labels of the same ground and CRS?")
    reports += [PairReport("unusable", "", "", 0.0, 0.0, (message,), math.inf, None) for message in unusable]
    reports.sort(key=lambda report: -report.oddness)
    if reports:
        write_picture(sheet, draw_contact_sheet([_sheet_entry(report) for report in reports[:_ON_SHEET]]))
    obstacles, summary = _dry_run(data, output, settings)
    if unusable and not data.skip_unreadable:
        obstacles = [
            f"{counted(len(unusable), 'pair')} cannot be used; repair the files, or skip them with --skip-unreadable"
        ]
    if lacking:
        obstacles.append(lacking)
    return CheckReport(tuple(reports), summary, tuple(obstacles))


def inspect_pair(tile: FileTile, crop: int) -> PairReport:
    """Read a pair from end to end, and report what it holds and what is odd about it.

    Raises
    ------
    RoadsegError
        If it cannot be read.
    """
    thumb, known, road = _scan(tile)
    fit = _fit(tile, thumb)
    shifted = _misplaced([fit]) if fit is not None else ""
    # What is odd, and how much: larger numbers come first, in the report and on the sheet.
    remarks: list[tuple[float, str]] = []
    if not known:
        remarks.append((50.0, "nothing is labelled: every pixel is void"))
    elif not road:
        remarks.append((10.0, "no road is labelled; right if there is none"))
    elif road == known:
        remarks.append((40.0, "everything labelled is road"))
    elif road > MOSTLY_ROAD * known:
        remarks.append((20.0, "most of it is road; are 0 and 1 swapped?"))
    elif known < _MOSTLY * tile.grid.window.area:
        remarks.append((2.0, "most of it is void"))
    if min(tile.shape) < crop:
        remarks.append(
            (5.0, f"smaller than a crop of {crop} px, so it is mirrored at its borders; choose a smaller --crop")
        )
    if shifted:
        remarks.append((30.0, shifted))
    share = road / known if known else 0.0
    height, width = tile.shape
    return PairReport(
        tile.pair.image.name,
        f"{width} × {height}",
        f"{tile.pixel_m:.3g}" if tile.pixel_m else "unknown",
        known / tile.grid.window.area,
        share,
        tuple(text for _, text in sorted(remarks, reverse=True)),
        sum(weight for weight, _ in remarks) + share,
        thumb,
        fit,
    )


def _scan(tile: FileTile) -> tuple[Thumbnail, int, int]:
    """Read a tile once: return a thumbnail, and the numbers of its labelled and of its road pixels."""
    factor = -(-max(tile.shape) // THUMB_PX)
    rows, cols = (-(-n // factor) for n in tile.shape)
    image, shares = np.zeros((rows, cols, 3), np.uint8), np.zeros((2, rows, cols), np.float32)
    known = road = 0
    for window in square_windows(tile.grid.window, max(1, SCAN_PX // factor) * factor):
        found = tile.labelled(window)
        known += int(np.count_nonzero(found.label != VOID))
        road += int(np.count_nonzero(found.label == 1))
        size = -(-window.width // factor), -(-window.height // factor)
        row, col = window.row // factor, window.col // factor
        place = np.s_[row : row + size[1], col : col + size[0]]
        rgb = found.image[:3] if len(found.image) >= 3 else found.image[[0, 0, 0]]
        image[place] = cv2.resize(np.ascontiguousarray(rgb.transpose(1, 2, 0)), size, interpolation=cv2.INTER_AREA)
        for share, flags in zip(shares, (found.label == 1, found.label == VOID), strict=True):
            share[place] = cv2.resize(flags.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return Thumbnail(image, shares[0], shares[1]), known, road


def _fit(tile: FileTile, thumb: Thumbnail) -> Fit | None:
    """Measure how well labels fit at each shift, in the window with the most road."""
    factor = -(-max(tile.shape) // THUMB_PX)
    side = max(1, _ALIGN_PX // factor)
    around = cv2.boxFilter(thumb.road, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    row, col = np.unravel_index(int(around.argmax()), around.shape)
    height, width = (min(n, _ALIGN_PX) for n in tile.shape)
    top, left = (
        min(max(0, int(middle) * factor - size // 2), n - size)
        for middle, size, n in zip((row, col), (height, width), tile.shape, strict=True)
    )
    found = tile.labelled(Window(top, left, height, width))
    return fit_at_shifts(found.image, found.label)


def _misplaced(fits: Sequence[Fit]) -> str:
    """Return in which direction labels would fit better, and how far; empty if they fit where they are."""
    shift = best_shift(fits)
    if shift.clear < CLEAR or math.hypot(shift.rows, shift.cols) <= _OFF_PX:
        return ""
    moves = []
    if shift.rows:
        moves.append(f"{abs(shift.rows)} px {'down' if shift.rows > 0 else 'up'}")
    if shift.cols:
        moves.append(f"{abs(shift.cols)} px {'right' if shift.cols > 0 else 'left'}")
    return f"labels seem misplaced: they would fit better {' and '.join(moves)}"


def _sheet_entry(report: PairReport) -> SheetEntry:
    pictures = (report.thumb.image, draw_labels(report.thumb)) if report.thumb else ()
    return SheetEntry(pictures, f"{report.name}  {100 * report.road:.1f} % road", "; ".join(report.remarks))


def _dry_run(data: DataSettings, output: Path, settings: TrainSettings) -> tuple[list[str], str]:
    """Do what training does before its first step; return what stops it, and what would be trained on."""
    warnings: list[str] = []
    try:
        found = load_training_data(data, output, settings, Listener(warn=warnings.append))
    except RoadsegError as error:
        return [str(error)], ""
    left_out = f"; left out: {shortened(warnings, 2)}" if warnings and data.skip_unreadable else ""
    return [], f"{found.summary}; {found.gsd_m:g} m per pixel{left_out}"
