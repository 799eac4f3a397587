"""Engines that see every window upside down: a second opinion from the same model."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from roadseg.prediction.engines.engine import Engine
from roadseg.prediction.engines.group import EngineGroup, share_turn


class TurnedEngine:
    """An engine whose windows are turned by 180 degrees, and its answers back."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.batch_size, self.description, self.library = engine.batch_size, engine.description, engine.library
        self.device, self.precision, self.numerics = engine.device, engine.precision, engine.numerics
        share_turn(self, engine)

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[NDArray[np.float32]]:
        """Map (n, bands, h, w) uint8, or float32 on a 0–1 scale, to (n, h, w) float32 in [0, 1]."""
        for answer in self._engine(np.ascontiguousarray(batch[..., ::-1, ::-1]) for batch in batches):
            yield answer[..., ::-1, ::-1]


def turned(engine: Engine) -> Engine:
    """Return an engine, or a group of them, that sees every window upside down."""
    if isinstance(engine, EngineGroup):
        return EngineGroup([TurnedEngine(one) for one in engine.engines], "upside down")
    return TurnedEngine(engine)
