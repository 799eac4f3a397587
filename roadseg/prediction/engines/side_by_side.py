"""Batches that a CPU computes side by side, each in a thread of its own.

    all threads on one batch      ▒▒▒▒│▒▒▒▒│▒▒▒▒       each layer waits for the slowest thread
    one thread per batch          ▒▒▒▒▒▒▒▒▒▒▒▒         nobody waits
                                  ▒▒▒▒▒▒▒▒▒▒▒▒

That is faster, above all on processors that are busy otherwise, and the answers do not depend on how many there are.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from roadseg.files.processors import thread_count

_MOST = 16
"""Most batches at a time, which bounds memory; where there are more processors, each batch gets several."""

Given = TypeVar("Given")
Found = TypeVar("Found")


class SideBySide:
    """Computes batches side by side.

    Parameters
    ----------
    prepare
        Called in each thread, before its first batch, with the number of threads that it may use itself.

    Attributes
    ----------
    batches
        How many batches are computed at a time.
    threads
        How many threads each of them may use.
    """

    def __init__(self, prepare: Callable[[int], object] = lambda _: None) -> None:
        count = thread_count()
        self.batches = min(count, _MOST)
        self.threads = count // self.batches
        self._prepare = prepare
        self._pools: dict[int, ThreadPoolExecutor] = {}

    def __call__(self, function: Callable[[Given], Found], batches: Iterable[Given]) -> Iterator[Found]:
        """Yield the answers of a function for all batches, in order; one batch more than needed is ready to start."""
        pool, busy = self._pool(), deque[Future[Found]]()
        for batch in batches:
            busy.append(pool.submit(function, batch))
            if len(busy) > self.batches:
                yield busy.popleft().result()
        while busy:
            yield busy.popleft().result()

    def _pool(self) -> ThreadPoolExecutor:
        """Return the threads of this process; a forked one has a pool without its threads, and would wait for ever."""
        found = self._pools.get(os.getpid())
        if found is None:
            given = (self.threads,)
            made = ThreadPoolExecutor(self.batches, "roadseg-batch", initializer=self._prepare, initargs=given)
            found = self._pools.setdefault(os.getpid(), made)
        return found
