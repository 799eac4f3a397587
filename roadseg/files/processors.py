"""How many processors this process may use, and how many threads to do some work with."""

import math
import os

from roadseg.files.control_groups import control_groups, group_numbers

_MOST_FILE_THREADS = 4


def processor_count() -> int:
    """Return how many processors this process may use: those it may run on, or fewer where its time is limited."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([count, *_quotas()])


def thread_count() -> int:
    """Return how many threads to compute with: the processors this process may use, or ``OMP_NUM_THREADS`` if fewer."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(processor_count(), int(wanted)) if wanted.isdecimal() and int(wanted) else processor_count()


def file_threads() -> int:
    """Return how many threads read or write files beside a computation: one for every four processors, up to four."""
    return min(_MOST_FILE_THREADS, max(1, processor_count() // 4))


def _quotas() -> list[int]:
    """Return the time that control groups grant, in processors, rounded up."""
    found = []
    for group in control_groups("cpu"):
        quota = group_numbers(group, "cpu.max") or [
            *group_numbers(group, "cpu.cfs_quota_us"), *group_numbers(group, "cpu.cfs_period_us"),
        ]  # fmt: skip
        if len(quota) == 2 and 0 < quota[0] < math.inf and quota[1] > 0:
            found.append(math.ceil(quota[0] / quota[1]))
    return found
