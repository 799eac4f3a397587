"""Blocks on a device: rows of pixels go there once, windows are cut and blended there, bytes come back.

    host     pixels of a row of windows ──▶                                              ──▶ rows of the core, uint8
    device              windows ─▶ batches ─▶ model ─▶ strip ─▶ blended with the last one

All batches have one size, so that the same kernels compute every window; they run on across rows and blocks, and only
the last one is padded. The blending is that of ``blend``, operation by operation, where at most two windows overlap
on each axis. The host stays a few rows behind what it has sent, so the device always has work.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roadseg.errors import ModelError
from roadseg.prediction.blend import shares
from roadseg.prediction.block import NAN, has_nan
from roadseg.prediction.engines.torch_transfers import Transfers
from roadseg.prediction.prepared_block import PreparedBlock
from roadseg.raster.encoding import LEVELS, NODATA
from roadseg.settings import PixelType
from roadseg.windows import Block, Window

_ROWS_BEHIND = 3
"""Rows of windows that the host may be behind; at 33 windows each they keep any device busy."""


@dataclass
class _Row:
    """A row of windows on its way: pixels to cut windows from, and the probabilities that have come so far."""

    block: PreparedBlock
    index: int
    pixels: Tensor | None  # (bands, window_px, width) on the device; None if no window is needed
    waiting: int  # windows that are still to be predicted
    answers: list[Tensor] = field(default_factory=list)  # (n, window_px, window_px) each

    @property
    def cols(self) -> list[int]:
        """The columns of its needed windows."""
        return [int(col) for col in np.flatnonzero(self.block.needed[self.index])]


_Part = tuple[PreparedBlock, Window, Callable[[], NDArray[Any]] | None]
"""Rows of a block's core: their place, and what waits for their values and returns them; None if all are nodata."""


class BlockStream:
    """A stream of blocks through a device.

    Parameters
    ----------
    predict
        Maps windows (n, bands, window_px, window_px) on the device to probabilities (n, window_px, window_px) there.
    batch_size
        Returns how many windows it takes at once; fewer after memory has run out.
    transfers
        Copies to and from the device.
    dtype
        What comes back: probabilities, or the bytes they are stored as.
    at_once
        How many batches ``predict`` is given at once.
    """

    def __init__(
        self,
        predict: Callable[[Tensor], Tensor],
        batch_size: Callable[[], int],
        transfers: Transfers,
        dtype: PixelType,
        *,
        at_once: int = 1,
    ) -> None:
        self._predict, self._batch_size, self._transfers, self._dtype = predict, batch_size, transfers, dtype
        self._at_once = at_once
        self._shares: dict[tuple[int, int], Tensor] = {}

    def __call__(self, blocks: Iterable[PreparedBlock], on_rows: Callable[[int], None]) -> Iterator[Block]:
        """Yield the cores of blocks, in order.

        Raises
        ------
        ModelError
            If the model returns NaN for a useful pixel.
        """
        out: NDArray[Any] = np.empty((0, 0))
        for block, part, arrived in _behind(self._blended(self._predicted(blocks)), _ROWS_BEHIND):
            core = block.planned.core
            if (part.row, part.col) == (core.row, core.col):
                out = np.empty((core.height, core.width), dtype=self._dtype)
            place = part.slices(core)
            if arrived:
                out[place] = _checked(arrived(), block.useful[place])
            else:
                out[place] = NODATA if self._dtype == "uint8" else 0
            on_rows(part.area)
            if part.row_stop == core.row_stop:
                yield Block(core, out, block.useful)
            del block  # else its pixels would stay in memory while the next one is awaited

    @torch.inference_mode()
    def _predicted(self, blocks: Iterable[PreparedBlock]) -> Iterator[_Row]:
        """Yield rows of windows whose predictions have all been sent to the device."""
        rows: deque[_Row] = deque()
        for block in blocks:
            for index in range(len(block.needed)):
                rows.append(self._sent(block, index))
                while sum(row.waiting for row in rows) >= self._batch_size() * self._at_once:
                    self._predict_batches(rows)
                while rows and not rows[0].waiting:
                    yield rows.popleft()
            del block
        while rows:
            if rows[0].waiting:
                self._predict_batches(rows)
            else:
                yield rows.popleft()

    def _sent(self, block: PreparedBlock, index: int) -> _Row:
        """Send the pixels of a row of windows to the device."""
        count = int(block.needed[index].sum())
        first = block.planned.row_starts[index] - block.planned.row_starts[0]
        pixels = block.values[:, first : first + block.planned.window_px]
        return _Row(block, index, self._transfers.up(pixels) if count else None, count)

    def _predict_batches(self, rows: Iterable[_Row]) -> None:
        """Predict the next windows of rows, as many as are taken at once; the last batch is padded with empty ones."""
        batch_size = self._batch_size()
        missing = batch_size * self._at_once
        taken: list[tuple[_Row, int]] = []
        windows: list[Tensor] = []
        for row in rows:
            count = min(row.waiting, missing)
            if count and row.pixels is not None:
                windows += _cut(row.pixels, row.cols[len(row.cols) - row.waiting :][:count], row.block)
                row.waiting, missing = row.waiting - count, missing - count
                taken.append((row, count))
            if not row.waiting:
                row.pixels = None
        if missing % batch_size:
            windows.append(windows[0].new_zeros((missing % batch_size, *windows[0].shape[1:])))
        answers, first = self._predict(torch.cat(windows)), 0  # (batch, window_px, window_px)
        for row, count in taken:
            row.answers.append(answers[first : first + count])
            first += count

    @torch.inference_mode()
    def _blended(self, rows: Iterable[_Row]) -> Iterator[_Part]:
        """Yield the parts of blocks from top to bottom."""
        tail: Tensor | None = None
        for row in rows:
            planned, starts, size = row.block.planned, row.block.planned.row_starts, row.block.planned.window_px
            start, core = starts[row.index], planned.core
            stop = starts[row.index + 1] if row.index + 1 < len(starts) else start + size
            part = Window(start, core.col, stop - start, core.width).intersection(core)
            if row.answers:
                strip = self._strip(row)[:, core.col - planned.col_starts[0] :][:, : core.width]
                if row.index and tail is not None:
                    strip[: len(tail)] = self._mean(tail, strip[: len(tail)], size, axis=0)
                tail = strip[stop - start :]
                done = strip[part.row - start : part.row_stop - start]
            if part.area:
                yield row.block, part, self._transfers.down(self._stored(done)) if row.answers else None
            if not row.answers:
                tail = None

    def _strip(self, row: _Row) -> Tensor:
        """Blend a row of windows, (window_px, extent.width)."""
        answers, starts, size = self._all_answers(row), row.block.planned.col_starts, row.block.planned.window_px
        stride = starts[1] - starts[0] if len(starts) > 1 else size
        body = answers[..., :stride]  # (n, size, stride): what no window before covers, but for the overlap
        if stride < size:
            left, right = answers[:-1, :, stride:], answers[1:, :, : size - stride]
            body = body.clone()
            body[1:, :, : size - stride] = self._mean(left, right, size, axis=1)
        return torch.cat([body.transpose(0, 1).flatten(1), answers[-1, :, stride:]], dim=1)

    def _all_answers(self, row: _Row) -> Tensor:
        """Return (n, window_px, window_px) for all windows of a row; those that were not needed are 0."""
        answers = row.answers[0] if len(row.answers) == 1 else torch.cat(row.answers)
        needed = row.block.needed[row.index]
        if needed.all():
            return answers
        everywhere: Tensor = answers.new_zeros((len(needed), *answers.shape[1:]))
        first = 0
        for start, stop in _runs(row.cols):
            everywhere[start:stop] = answers[first : first + stop - start]
            first += stop - start
        return everywhere

    def _mean(self, before: Tensor, new: Tensor, size: int, *, axis: int) -> Tensor:
        """Return the mean of two overlapping windows, down (axis 0) or across (axis 1), as ``blend`` does."""
        overlap = before.shape[axis - 2]
        if (size, overlap) not in self._shares:
            share = shares((0, size - overlap), size)[1][:overlap]
            self._shares[size, overlap] = torch.from_numpy(share).to(self._transfers.device)
        shared = self._shares[size, overlap]
        return before + (new - before) * (shared if axis else shared[:, None])

    def _stored(self, probability: Tensor) -> Tensor:
        """Return probabilities as they are stored; NaN becomes nodata."""
        if self._dtype != "uint8":
            return probability
        levels = (probability * LEVELS).round_().clamp_(0, LEVELS)
        return torch.where(probability.isnan(), float(NODATA), levels).to(torch.uint8)


def _checked(values: NDArray[Any], useful: NDArray[np.bool_]) -> NDArray[Any]:
    """Return stored values with nodata where they are not useful; raise ModelError for NaN where they are."""
    stored = values.dtype == np.uint8
    if ((values == NODATA) & useful).any() if stored else has_nan(values, useful):
        raise ModelError(NAN)
    return np.where(useful, values, np.uint8(NODATA)) if stored else values


def _cut(pixels: Tensor, cols: list[int], block: PreparedBlock) -> list[Tensor]:
    """Return views of windows, (n, bands, window_px, window_px) for each run of neighbours."""
    starts, size = block.planned.col_starts, block.planned.window_px
    stride = starts[1] - starts[0] if len(starts) > 1 else size
    windows = pixels.unfold(2, size, stride).permute(2, 0, 1, 3)  # (windows, bands, window_px, window_px)
    return [windows[start:stop] for start, stop in _runs(cols)]


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Return the first and the end of each run of successive numbers."""
    cuts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(numbers)) if b != a + 1), len(numbers)]
    return [(numbers[a], numbers[b - 1] + 1) for a, b in pairwise(cuts)]


def _behind(parts: Iterable[_Part], count: int) -> Iterator[_Part]:
    """Yield parts, each after ``count`` more have been asked for."""
    waiting: deque[_Part] = deque()
    for part in parts:
        waiting.append(part)
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting
