"""Checkpoints: all there or not there, in one file or in several small ones.

The parts of a checkpoint are written beside each other, and only when the last one is complete are those
of the step before removed. Whatever stops the writing, a full disk too, the last good one stays.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from roadseg.errors import OutputError, TrainingError
from roadseg.files import write_atomically

_NAME = re.compile(r"checkpoint-(\d+)-(\d+)-of-(\d+)\.safetensors")
_MIB = 1 << 20


def write_checkpoint(
    folder: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any], *, part_mib: float = 0, half: bool = False
) -> None:
    """Write a checkpoint of a step, then remove older ones.

    Parameters
    ----------
    folder
        Where to; it exists.
    tensors
        Named numbers.
    about
        What goes into JSON; ``about["step"]`` is the step.
    part_mib
        Largest size of a file (one tensor is never split); 0 writes one.
    half
        16-bit numbers: float16 for weights, bfloat16 for the rest, which needs the range more than the digits.

    Raises
    ------
    OutputError
        If it cannot be written; the one before is still there.
    """
    step = int(about["step"])
    if step in _complete(folder):
        return
    stored = {name: _narrowed(name, value) if half else value for name, value in tensors.items()}
    parts = list(_packed({name: value.contiguous() for name, value in stored.items()}, part_mib * _MIB))
    paths = [folder / f"checkpoint-{step}-{i}-of-{len(parts)}.safetensors" for i in range(1, len(parts) + 1)]
    notes = [{"roadseg": json.dumps(about if path == paths[0] else {"step": step})} for path in paths]
    try:
        for path, part, note in zip(paths, parts, notes, strict=True):
            write_atomically(path, save(part, note))  # save_file would lock other users out
    except OSError as error:
        for path in paths:
            path.unlink(missing_ok=True)
        kept = max(_complete(folder), default=None)
        good = f"the one of step {kept} is kept" if kept is not None else "there is none yet"
        raise OutputError(
            f"cannot write the checkpoint of step {step} ({error.strerror}; {good}); make room"
        ) from error
    remove_checkpoints(folder, keep=step)


def read_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read the newest complete checkpoint, None if there is none.

    Raises
    ------
    TrainingError
        If it is damaged.
    """
    complete = _complete(folder)
    if not complete:
        return None
    paths = complete[max(complete)]
    tensors: dict[str, Tensor] = {}
    try:
        for path in paths:
            with safe_open(path, "pt") as file:
                tensors |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                if path == paths[0]:
                    about = json.loads((file.metadata() or {})["roadseg"])
        int(about["step"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise TrainingError(f"{paths[0]} is not a checkpoint of roadseg; move it away to start anew") from error
    return {k: v.float() if v.dtype in {torch.float16, torch.bfloat16} else v for k, v in tensors.items()}, about


def remove_checkpoints(folder: Path, *, keep: int | None = None) -> None:
    """Remove checkpoints of other steps, unfinished files too."""
    for path in folder.glob("checkpoint-*") if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match is None or int(match[1]) != keep:
            path.unlink(missing_ok=True)


def _complete(folder: Path) -> dict[int, list[Path]]:
    """Return the files of each step that has all of them, in order."""
    found: dict[tuple[int, int], dict[int, Path]] = {}
    for path in folder.glob("checkpoint-*.safetensors") if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match:
            step, part, parts = map(int, match.groups())
            found.setdefault((step, parts), {})[part] = path
    return {step: [files[i] for i in sorted(files)] for (step, parts), files in found.items() if len(files) == parts}


def _packed(tensors: Mapping[str, Tensor], limit: float) -> Iterable[dict[str, Tensor]]:
    """Put tensors into parts, the largest first, each into the first part with room for it."""
    if not limit:
        return [dict(tensors)]
    parts: list[dict[str, Tensor]] = []
    sizes: list[int] = []
    for name, value in sorted(tensors.items(), key=lambda item: -item[1].nbytes):
        size = value.nbytes + 256  # the header's line
        place = next((i for i, used in enumerate(sizes) if used + size <= limit - _MIB / 4), len(parts))
        if place == len(parts):
            parts.append({})
            sizes.append(0)
        parts[place][name] = value
        sizes[place] += size
    return parts


def _narrowed(name: str, value: Tensor) -> Tensor:
    if value.ndim < 4 or not value.dtype.is_floating_point:
        return value
    return value.to(torch.bfloat16 if name.startswith("optimizer.") else torch.float16)
