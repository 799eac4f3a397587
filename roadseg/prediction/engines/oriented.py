"""Engines that see every window turned or mirrored: further opinions from the same model."""

import copy
from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from roadseg.prediction.engines.engine import Engine
from roadseg.prediction.engines.group import EngineGroup, engines_of, share_turn
from roadseg.prediction.engines.symmetries import SYMMETRIES, Orientation, back, seen

UPSIDE_DOWN: Orientation = (2, False)

OTHERS = [orientation for orientation in SYMMETRIES if orientation != (0, False)]
"""The orientations besides the one that windows have."""


@runtime_checkable
class _Averaging(Engine, Protocol):
    tta: bool
    """Whether answers are means over the symmetries of a window."""


class OrientedEngine:
    """An engine whose windows are turned or mirrored, and its answers back."""

    def __init__(self, engine: Engine, orientation: Orientation) -> None:
        self._engine, self._orientation = engine, orientation
        self.batch_size, self.description, self.library = engine.batch_size, engine.description, engine.library
        self.device, self.precision, self.numerics = engine.device, engine.precision, engine.numerics
        share_turn(self, engine)

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[NDArray[np.float32]]:
        """Map (n, bands, h, w) uint8, or float32 on a 0–1 scale, h = w, to (n, h, w) float32 in [0, 1]."""
        for answer in self._engine(seen(batch, self._orientation) for batch in batches):
            yield back(answer, self._orientation)


def oriented(engine: Engine, orientation: Orientation) -> Engine:
    """Return an engine, or a group of them, that sees every window turned or mirrored."""
    return _each(engine, [OrientedEngine(one, orientation) for one in engines_of(engine)])


def averages(engine: Engine) -> bool:
    """Return whether the answers of an engine are means over the symmetries of a window."""
    return all(isinstance(one, _Averaging) and one.tta for one in engines_of(engine))


def without_average(engine: Engine) -> Engine:
    """Return an engine, or a group of them, that answers for windows as they are, with the same model."""
    return _each(engine, [_plain(one) for one in engines_of(engine)])


def _plain(engine: Engine) -> Engine:
    if not isinstance(engine, _Averaging):
        return engine
    plain = copy.copy(engine)
    plain.tta = False
    share_turn(plain, engine)
    return plain


def _each(engine: Engine, engines: list[Engine] | list[OrientedEngine]) -> Engine:
    return EngineGroup(engines, "as before") if isinstance(engine, EngineGroup) else engines[0]
