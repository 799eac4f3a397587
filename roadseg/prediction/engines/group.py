"""Several devices that share the blocks of a scene, and several scenes that share a device.

    blocks ──┬──▶ engine on cuda:0, in a thread of its own ──┬──▶ finished blocks
             └──▶ engine on cuda:1                         ──┘

An engine takes one caller at a time; of scenes that are predicted at once, each waits for its turn.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import DeviceError, shortened
from roadseg.prediction.engines.engine import Engine

_LOOK_EVERY_S = 0.2
"""On Windows only a wait that ends by itself can be interrupted."""


class EngineGroup:
    """Engines of one model on several devices of one kind, used as one; ``on_each`` runs them side by side.

    Raises
    ------
    DeviceError
        If they compute differently.
    """

    def __init__(self, engines: Sequence[Engine], why: str) -> None:
        self.engines, first = tuple(engines), engines[0]
        kinds = list(dict.fromkeys(engine.numerics for engine in engines))
        if len(kinds) > 1:
            raise DeviceError(
                f"the devices compute differently ({shortened(kinds)}); give --precision, or name some with --device"
            )
        self.library, self.precision, self.numerics = first.library, first.precision, first.numerics
        self.batch_size = first.batch_size
        self.device = ",".join(engine.device for engine in engines)
        self.description = f"devices {self.device} ({why}), {self.precision}, batches of {self.batch_size}"

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[NDArray[np.float32]]:
        """Map batches on the first device."""
        return self.engines[0](batches)


def on_each(engine: Engine, work: Callable[[Engine], None], stop: Callable[[], None]) -> None:
    """Do work with an engine, or with each one of a group in a thread of its own; call ``stop`` when one fails."""
    engines = engines_of(engine)
    if len(engines) == 1:
        with turn_of(engine):
            work(engine)
        return

    def with_turn(one: Engine) -> None:
        with turn_of(one):
            work(one)

    with ThreadPoolExecutor(len(engines), "roadseg-engine") as pool:
        waiting = {pool.submit(with_turn, one) for one in engines}
        try:
            while waiting:
                done, waiting = wait(waiting, _LOOK_EVERY_S, FIRST_EXCEPTION)
                for future in done:
                    future.result()
        except BaseException:
            stop()
            raise


def engines_of(engine: Engine) -> tuple[Engine, ...]:
    """Return the engines of a group; of another engine, itself."""
    return engine.engines if isinstance(engine, EngineGroup) else (engine,)


_turns: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()
_turns_lock = threading.Lock()


def share_turn(engine: Engine, other: Engine) -> None:
    """Let an engine wait for its turn together with another one, which it uses."""
    lock = turn_of(other)
    with _turns_lock:
        _turns[engine] = lock


def turn_of(engine: Engine) -> threading.Lock:
    """Return the lock that a caller holds while it uses an engine."""
    with _turns_lock:
        return _turns.setdefault(engine, threading.Lock())
