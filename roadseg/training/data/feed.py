"""Batches drawn ahead by a thread, so that the device does not wait for the host.

Crop number i of a run depends only on the seed and i. So a resumed run sees the crops it would have seen, and several
processes see those that one would, each its share.
"""

import itertools
import queue
import threading
from collections.abc import Iterator
from contextlib import closing
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from roadseg.model.device import send
from roadseg.settings import TrainSettings
from roadseg.training.data.augment import margin_px
from roadseg.training.data.tiles import CropBatch, TileDataset
from roadseg.training.distributed import ProcessGroup

_AHEAD = 4


class Feed:
    """An endless iterator of batches; a context manager that ends its thread.

    Parameters
    ----------
    tiles
        Source of the crops.
    settings
        ``seed``, ``batch`` and ``pool``.
    processes
        The processes that share each batch.
    device
        Device that batches are copied to; memory is pinned for CUDA.
    first
        Step of the first batch.
    """

    def __init__(
        self, tiles: TileDataset, settings: TrainSettings, processes: ProcessGroup, device: torch.device, first: int
    ) -> None:
        self.tiles, self.settings, self.processes, self.device = tiles, settings, processes, device
        self._epoch, self._order = -1, np.zeros(0, np.intp)
        self._batches: queue.Queue[Tensor | BaseException] = queue.Queue(_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(first,), name="roadseg-feed", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            while not self._batches.empty():
                self._batches.get_nowait()
            self._thread.join(0.05)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images (n, bands, side, side) and labels (n, side, side), both uint8, on the device.

        The side is that of a crop with the ground around it that augmentation may rotate or zoom into view.
        """
        while True:
            batch = self._batches.get()
            if isinstance(batch, BaseException):
                raise batch
            pixels = send(batch, self.device)
            yield pixels[:, :-1], pixels[:, -1]

    def crop_numbers(self, step: int) -> list[int]:
        """Return the numbers of this process's crops in a step."""
        first = step * self.settings.batch * self.processes.size
        mine = range(self.settings.batch * self.processes.size)[self.processes.batch_slice(self.settings.batch)]
        return [self._in_pool(first + number) for number in mine]

    def _in_pool(self, number: int) -> int:
        """Map a crop of the run to one of the pool: each once per epoch, in a new order each epoch."""
        if not self.settings.pool:
            return number
        epoch, place = divmod(number, self.settings.pool)
        if epoch != self._epoch:
            self._order = np.random.default_rng([self.settings.seed, epoch, 2]).permutation(self.settings.pool)
            self._epoch = epoch
        return int(self._order[place])

    def _fill(self, step: int) -> None:
        batches = (self.crop_numbers(later) for later in itertools.count(step))
        try:
            margin = margin_px(self.settings.augment, self.settings.crop)
            with closing(self.tiles.stream(batches, seed=self.settings.seed, margin_px=margin)) as drawn:
                for batch in drawn:
                    if self._stopped.is_set():
                        break
                    self._put(self._tensor(batch))
        except BaseException as error:  # noqa: BLE001 (raised again where batches are taken)
            self._put(error)

    def _tensor(self, batch: CropBatch) -> Tensor:
        pixels = torch.from_numpy(batch.pixels)
        return pixels.pin_memory() if self.device.type == "cuda" else pixels

    def _put(self, batch: Tensor | BaseException) -> None:
        while not self._stopped.is_set():
            try:
                return self._batches.put(batch, timeout=0.1)
            except queue.Full:
                continue
        return None
