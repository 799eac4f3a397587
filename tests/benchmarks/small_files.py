"""Checkpoints split into small 16-bit files and joined again, for machines that hand results over piecemeal."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

MIB = 1 << 20


def split_checkpoint(folder: Path, *, part_mib: float = 15) -> None:
    """Replace the checkpoint in a folder by parts of at most so many MiB; a tensor is never cut.

    Weights become float16, optimizer state bfloat16: half the size, but the run resumes less exactly.
    """
    for path in list(folder.glob("checkpoint-*.safetensors")):
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: _narrowed(name, file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        parts = list(_packed(tensors, part_mib * MIB))
        for number, part in enumerate(parts, 1):
            save_file(part, folder / f"part-{number}-of-{len(parts)}-{path.name}", metadata if number == 1 else None)
        path.unlink()


def join_checkpoint(folder: Path) -> None:
    """Put the parts in a folder together again, as the checkpoint they were; incomplete ones are left alone."""
    parts = sorted(folder.glob("part-*-checkpoint-*.safetensors"))
    if not parts or len(parts) != int(parts[0].name.split("-")[3]):
        return
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for path in parts:
        with safe_open(path, "pt") as file:
            metadata |= file.metadata() or {}
            tensors |= {name: _widened(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, folder / parts[0].name.split("-", 4)[4], metadata)
    for path in parts:
        path.unlink()


def _packed(tensors: Mapping[str, Tensor], limit: float) -> Iterable[dict[str, Tensor]]:
    """Put tensors into parts, the largest first, each into the first part with room for it."""
    parts: list[dict[str, Tensor]] = []
    sizes: list[int] = []
    for name, value in sorted(tensors.items(), key=lambda item: -item[1].nbytes):
        size = value.nbytes + 256  # with its line in the header
        index = next((i for i, used in enumerate(sizes) if used + size <= limit - MIB / 4), len(parts))
        if index == len(parts):
            parts.append({})
            sizes.append(0)
        parts[index][name] = value
        sizes[index] += size
    return parts


def _narrowed(name: str, value: Tensor) -> Tensor:
    if value.ndim < 4 or not value.dtype.is_floating_point:
        return value
    return value.to(torch.bfloat16 if name.startswith("optimizer.") else torch.float16)


def _widened(value: Tensor) -> Tensor:
    return value.float() if value.dtype in {torch.float16, torch.bfloat16} else value
