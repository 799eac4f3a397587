"""Memory: what is free for tiles, and whether a training step fits."""

import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from roadseg.files import win32
from roadseg.files.control_groups import control_groups, group_numbers
from roadseg.settings import TrainSettings

if TYPE_CHECKING:
    import torch

KEPT_BYTES = 89
"""Bytes that a step keeps for its backward pass, per pixel of its crops and channel of the first level, in float32."""


_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def free_bytes() -> int:
    """Return the bytes that this process may still allocate: the machine's, or those of its control groups if fewer."""
    return min([_free_of_machine(), *_free_of_groups()])


def lacking_memory(settings: TrainSettings, device: "torch.device") -> str:
    """Return in words that a step needs more memory than there is, and the cure; empty if it may fit.

    The whole batch must fit into the memory of a CPU, where the system would end the process. On CUDA it is a single
    crop, in two bytes a number, as batches are split there.
    """
    if device.type == "cpu":
        crops, room = float(settings.batch), free_bytes()
    elif device.type == "cuda":
        import torch

        crops, room = 0.5, torch.cuda.mem_get_info(device)[1]
    else:
        return ""
    need = crops * settings.crop**2 * settings.width * KEPT_BYTES
    if need <= room:
        return ""
    return (
        f"a step takes at least {readable_size(need)} of memory, and there are {readable_size(room)} for {device}; "
        "free some, or train with a smaller --crop, --batch or --width"
    )


def readable_size(size: float) -> str:
    """Return a number of bytes in kB, MB or GB, with about two digits."""
    unit, name = next(((unit, name) for unit, name in _UNITS if size >= 0.9995 * unit), _UNITS[-1])
    return f"{size / unit:.2g} {name}" if size < 9.95 * unit else f"{size / unit:,.0f} {name}"


def _free_of_machine() -> int:
    if sys.platform == "win32":
        return win32.free_memory()
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, OSError, ValueError):
        return 4 << 30


def _free_of_groups() -> list[int]:
    found = []
    for group in control_groups("memory"):
        limit = group_numbers(group, "memory.max") or group_numbers(group, "memory.limit_in_bytes")
        used = group_numbers(group, "memory.current") or group_numbers(group, "memory.usage_in_bytes")
        if limit and used and limit[0] < math.inf:
            found.append(max(0, int(limit[0] - used[0]) + _cached_bytes(group)))
    return found


def _cached_bytes(group: Path) -> int:
    """Return the bytes of files that a group keeps and would give up; version 1 counts those of groups below apart."""
    try:
        lines = (group / "memory.stat").read_text("utf-8").splitlines()
    except OSError:
        return 0
    sizes = [int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "total_inactive_file "))]
    return max(sizes, default=0)
