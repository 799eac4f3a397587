"""Checkpoints: one file per step, complete or absent.

A new checkpoint is written before the one of the step before is removed. Whatever stops the writing, a full disk
included, the last good one stays.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from roadseg.errors import OutputError, TrainingError, one_line
from roadseg.files.outputs import patiently, write_atomically
from roadseg.model.card import ModelCard
from roadseg.settings import TrainSettings

_NAME = re.compile(r"checkpoint-(\d+)(?:-1-of-1)?\.safetensors")
"""The longer form is what earlier versions wrote."""

_MAY_CHANGE = {"checkpoint_minutes", "calibration", "dtype", "finest_gsd_m", "minutes", "shift_tiles"}
"""Settings that may differ between a checkpoint and the run that resumes from it."""

_MODELS = ("the model of --from", "the teacher")
"""Names for what identifies the models that a run depends on; earlier versions did not record them."""


class Checkpoint(NamedTuple):
    """The state of a run: its file, tensors by name, and everything that fits into JSON, ``step`` among it."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names start with a prefix, without it."""
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}

    @contextmanager
    def errors_as_damage(self) -> Iterator[None]:
        """Context manager in which content that does not fit the run raises TrainingError."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
            raise TrainingError(f"{self.path} is damaged ({one_line(error)}); move it away to start again") from error

    def tensors_like(self, prefix: str, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of a part; raise ValueError if they are not of these names and shapes."""
        found = self.part(prefix)
        shapes, wanted_shapes = ({name: value.shape for name, value in one.items()} for one in (found, wanted))
        if shapes != wanted_shapes:
            raise ValueError(f"its {prefix}* are not those of this model")
        return found

    def check_settings(self, wanted: Mapping[str, Any]) -> None:
        """Check that a run with these settings may resume from here.

        Raises
        ------
        TrainingError
            If one of them differs from the checkpoint's.
        """
        found = self.metadata.get("settings", {})
        unrecorded = {name for name in _MODELS if name not in found}
        differing = [name for name in wanted if name not in unrecorded and wanted[name] != found.get(name)]
        if differing:
            raise TrainingError(
                f"{self.path} was made with other settings or data ({', '.join(differing)}); "
                "use those, or --overwrite to start again"
            )


def facts_of_run(
    settings: TrainSettings, data: str, start: ModelCard | None, teacher: ModelCard | None, processes: int
) -> dict[str, Any]:
    """Return what must be the same when a run is resumed, as JSON gives it back.

    Parameters
    ----------
    settings, data, processes
        The settings of the run, a fingerprint of its data, and how many processes train.
    start, teacher
        The models that it depends on: their weights, normalization and calibration count.
    """
    fixed = {name: value for name, value in asdict(settings).items() if name not in _MAY_CHANGE}
    models = {
        name: [card.hash, list(card.mean), list(card.std), card.temperature, card.bias]
        for name, card in zip(_MODELS, (start, teacher), strict=True)
        if card
    }
    return {**fixed, "drop_at": list(settings.drop_at), "processes": processes, "training data": data, **models}


def write_checkpoint(folder: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write the checkpoint of ``metadata["step"]`` into an existing folder, then remove those of other steps.

    Raises
    ------
    OutputError
        If it cannot be written; the previous one is still there.
    """
    step = int(metadata["step"])
    if step in _steps(folder):
        return
    path = folder / f"checkpoint-{step}.safetensors"
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    try:
        # safetensors' save_file would create a file that other users cannot read
        write_atomically(path, save(contiguous, {"roadseg": json.dumps(metadata)}))
    except OSError as error:
        previous = max(_steps(folder), default=None)
        kept = f"the one of step {previous} is kept" if previous is not None else "there is none yet"
        raise OutputError(
            f"cannot write the checkpoint of step {step} ({error.strerror}; {kept}); make room"
        ) from error
    remove_checkpoints(folder, keep=step)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the newest checkpoint of a folder, None if there is none; its file is closed then, and can be removed.

    Raises
    ------
    TrainingError
        If it is damaged or holds numbers that are not finite.
    """
    steps = _steps(folder)
    if not steps:
        return None
    path = steps[max(steps)]
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
            metadata = json.loads((file.metadata() or {})["roadseg"])
        if metadata["step"] != max(steps):
            raise ValueError
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise TrainingError(f"{path} is not a checkpoint of roadseg; move it away to start again") from error
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise TrainingError(f"{path} holds numbers that are not finite; move it away to start again")
    return Checkpoint(path, tensors, metadata)


def is_resumable(folder: Path, facts: Mapping[str, Any]) -> bool:
    """Return whether a folder has a checkpoint from which a run with these facts resumes."""
    try:
        checkpoint = read_checkpoint(folder)
        if checkpoint:
            checkpoint.check_settings(facts)
    except TrainingError:
        return False
    return checkpoint is not None


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimizer as tensors named ``<parameter number>.<name>``."""
    states = optimizer.state_dict()["state"].items()
    return {f"{index}.{name}": value for index, state in states for name, value in state.items() if value is not None}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Set the state of an optimizer, which moves to the device what belongs there (AdamW's step count does not).

    Raises
    ------
    ValueError
        If it is not the state of such an optimizer.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    for group, numbers in zip(optimizer.param_groups, [group["params"] for group in groups], strict=True):
        for number, parameter in zip(numbers, group["params"], strict=True):
            found = {name: value.shape for name, value in state.get(number, {}).items()}
            shapes = dict.fromkeys(_state_names(group), parameter.shape)
            if found and found not in (shapes, {**shapes, "step": torch.Size()}):
                raise ValueError(f"the optimizer's state {number} is not that of this model")
    if not set(state) <= {number for group in groups for number in group["params"]}:
        raise ValueError("its optimizer has more parameters than this model")
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _state_names(group: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what an optimizer keeps of each parameter of a group, besides the step."""
    is_adamw = "betas" in group and group.get("muon") is None
    return ("exp_avg", "exp_avg_sq") if is_adamw else ("momentum_buffer",)


def remove_checkpoints(folder: Path, *, keep: int | None = None) -> None:
    """Remove the checkpoints of all steps but one, unfinished files included."""
    kept = _steps(folder).get(keep) if keep is not None else None
    for path in folder.glob("checkpoint-*") if folder.is_dir() else ():
        if path != kept:
            patiently(partial(path.unlink, missing_ok=True))


def _steps(folder: Path) -> dict[int, Path]:
    """Return the checkpoints of a folder by step."""
    paths = folder.glob("checkpoint-*.safetensors") if folder.is_dir() else ()
    return {int(match[1]): path for path in paths if (match := _NAME.fullmatch(path.name))}
