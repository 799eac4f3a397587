"""How many processors this process may use, and how many threads to do some work with."""

import os

_MOST_FILE_THREADS = 4


def processor_count() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_count() -> int:
    """Return how many threads to compute with: the processors this process may use, or ``OMP_NUM_THREADS`` if fewer."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(processor_count(), int(wanted)) if wanted.isdecimal() and int(wanted) else processor_count()


def file_threads() -> int:
    """Return how many threads read or write files beside a computation: one for every four processors, up to four."""
    return min(_MOST_FILE_THREADS, max(1, processor_count() // 4))
