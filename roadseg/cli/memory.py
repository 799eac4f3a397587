"""Memory that a command frees is kept for what it allocates next.

glibc gives large arrays back to the system when they are freed, and the end of its heap, too. For the next ones the
system hands out other pages, and clears each of them first, which took a third of the processor time of ``predict`` but
for the network. Kept memory is found again by what asks for it next if all threads share one heap, which also takes
less of it than a heap for each thread.

Only commands do this: a process that imports roadseg is its user's. Source: mallopt(3), and glibc's manual,
"Malloc Tunable Parameters".
"""

import ctypes
import os
import sys
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Numbers of malloc.h."""

_KEPT_BYTES = 128 << 20
"""Of the end of the heap, as much may be free."""

ALL_BYTES = -1
"""As much as there is: each step of training needs what the one before has freed."""

_LARGEST_BYTES = (64 << 20, 32 << 20)
"""Larger arrays are given back; before 2.35 glibc allows 32 MiB at most. A block of a raster has 36 MiB."""

_FOR_WORKERS = {
    "MALLOC_MMAP_THRESHOLD_": f"{min(_LARGEST_BYTES)}",
    "MALLOC_TRIM_THRESHOLD_": f"{_KEPT_BYTES}",
    "MALLOC_ARENA_MAX": "1",
}
"""The same in the environment of processes that are started."""


def keep_freed_memory(kept_bytes: int = _KEPT_BYTES) -> bool:
    """Ask glibc to keep what is freed, and so much of it at the end of its heap; return whether it does.

    Other C libraries are left alone, and so is one that the environment has settings for.
    """
    tuned = "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform != "linux" or tuned or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    with suppress(OSError, AttributeError, ValueError):  # what is not glibc has no such function or version
        process = ctypes.CDLL(None)
        process.gnu_get_libc_version  # noqa: B018
        kept = any(process.mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST_BYTES)
        if kept and process.mallopt(_TRIM_THRESHOLD, kept_bytes) and process.mallopt(_ARENA_MAX, 1):
            os.environ.update(_FOR_WORKERS)
            return True
    return False
