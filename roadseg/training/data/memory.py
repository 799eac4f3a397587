"""Memory: what is free for tiles, and whether a training step fits."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from roadseg.settings import TrainSettings

if TYPE_CHECKING:
    import torch

_CGROUP = Path("/sys/fs/cgroup")

KEPT_BYTES = 89
"""Bytes that a step keeps for its backward pass, per pixel of its crops and channel of the first level, in float32."""


def free_bytes() -> int:
    """Return the bytes that this process may still allocate: the machine's, or its container's if fewer."""
    found = [_free_of_machine()]
    try:
        limit, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        cached = next(
            (
                int(line.split()[1])
                for line in (_CGROUP / "memory.stat").read_text().splitlines()
                if line.startswith("inactive_file ")
            ),
            0,
        )
        if limit != "max":
            found.append(max(0, int(limit) - int(used) + cached))
    except (OSError, ValueError):
        pass
    return min(found)


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
        f"a step takes at least {gigabytes(need)} of memory, and there are {gigabytes(room)} for {device}; "
        "choose a smaller --crop, --batch or --width"
    )


def gigabytes(size: float) -> str:
    """Return a number of bytes in GB, with about two digits."""
    return f"{size / 1e9:.2g} GB" if size < 9.95e9 else f"{size / 1e9:,.0f} GB"


def _free_of_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, OSError, ValueError):
        return 4 << 30
