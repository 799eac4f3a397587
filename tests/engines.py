"""Engines whose answers are known: identity, constant, and one that depends on the place in the window."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import DeviceError
from roadseg.model.card import ModelCard
from roadseg.prediction.engines.engine import Engine, LoadedModel


class Identity:
    """An engine that answers the first band it sees, on the 0–1 scale."""

    description = library = device = precision = numerics = "Identity engine"

    def __init__(self, batch_size: int = 3) -> None:
        self.batch_size = batch_size
        self.windows = 0

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[NDArray[np.float32]]:
        for batch in batches:
            self.windows += len(batch)
            scale = np.float32(255 if batch.dtype == np.uint8 else 1)
            yield batch[:, 0].astype(np.float32) / scale


class Constant:
    """An engine that answers one value everywhere."""

    description = library = device = precision = numerics = "Constant engine"

    def __init__(self, value: float, batch_size: int = 5) -> None:
        self.value, self.batch_size = np.float32(value), batch_size

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[NDArray[np.float32]]:
        for batch in batches:
            yield np.full((len(batch), *batch.shape[2:]), self.value)


class Placed:
    """An engine whose answer differs with the place in the window, as a real network's does near borders."""

    description = library = device = precision = numerics = "Placed engine"

    def __init__(self, batch_size: int = 4) -> None:
        self.batch_size = batch_size

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[NDArray[np.float32]]:
        for batch in batches:
            rows, cols = (np.linspace(0, 1, n, dtype=np.float32) for n in batch.shape[2:])
            yield (batch[:, 0].astype(np.float32) / np.float32(255) + rows[:, None] * cols) / np.float32(2)


class Stops:
    """The identity engine, which fails after ``after`` windows."""

    description = library = device = precision = numerics = "Identity engine"

    def __init__(self, after: int, error: BaseException | None = None) -> None:
        self.batch_size, self.after, self.windows = 3, after, 0
        self.error = error or DeviceError("stopped")

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[NDArray[np.float32]]:
        for answer in Identity()(batches):
            self.windows += len(answer)
            if self.windows > self.after:
                raise self.error
            yield answer


def model_of(engine: Engine, **card: Any) -> LoadedModel:
    """Return an engine with the card of a model of one-metre RGB, unless ``card`` says otherwise."""
    return LoadedModel(engine, ModelCard(name="drawn", **card))
