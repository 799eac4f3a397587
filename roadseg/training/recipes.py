"""Recipes and configuration files: every setting of a training run, from one of three places.

The command line wins over the file given with ``--config``, and that over the recipe. A file is TOML with
the fields of ``TrainSettings`` and a table ``[augment]``; an unknown name is refused with the nearest one.
"""

import difflib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from roadseg.errors import TrainingError
from roadseg.settings import AugmentSettings, TrainSettings

DEFAULT = TrainSettings()
"""What is measured to be better: cross-entropy and Dice, Muon, flips, turns and light, averaged weights."""

PAPER = TrainSettings(
    steps=187_500,
    batch=8,
    crop=224,
    pool=30_000,
    augment=AugmentSettings(flips=False, quarter_turns=False, gamma=0.0, contrast=0.0, brightness=0.0, balance=0.0),
    loss="mse",
    dice_weight=0.0,
    optimizer="sgd",
    learning_rate=1e-3,
    momentum=0.0,
    weight_decay=0.0,
    warmup_steps=0,
    schedule="steps",
    drop_at=(0.4, 0.8),
    drop_factor=0.1,
    clip_norm=0.0,
    average_decay=0.0,
)
"""Zhang, Liu and Wang (2018): 30,000 random crops, 50 epochs in batches of 8 (187,500 steps), plain stochastic
gradient descent with a rate of 0.001, times 0.1 every 20 epochs, squared error of the sigmoid map."""

RECIPES: Mapping[str, TrainSettings] = {"default": DEFAULT, "paper": PAPER}


def read_config(path: Path) -> dict[str, Any]:
    """Read a TOML file of settings.

    Raises
    ------
    TrainingError
        If it cannot be read; what it says is checked by ``settled``.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"cannot read {path} ({error.strerror}); check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} is not TOML ({error}); --print-config shows how one looks") from error


def settled(recipe: TrainSettings, *layers: tuple[str, Mapping[str, Any]]) -> TrainSettings:
    """Lay settings over a recipe.

    Parameters
    ----------
    recipe
        What holds where nothing else is said.
    layers
        Where settings come from, for messages, and the settings; later ones win.

    Raises
    ------
    TrainingError
        If a name is unknown or a value does not fit.
    """
    settings = recipe
    for source, layer in layers:
        settings = _laid_over(settings, layer, source)
    _check(settings)
    return settings


def assignment(text: str) -> dict[str, Any]:
    """Read ``name=value`` or ``augment.name=value``; a value that is no TOML is taken for a word.

    Raises
    ------
    TrainingError
        If there is no equals sign.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise TrainingError(f"--set wants name=value, not {text!r}")
    try:
        found = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        found = value.strip()
    first, _, second = name.strip().partition(".")
    return {first: {second: found}} if second else {first: found}


def as_toml(settings: TrainSettings) -> str:
    """Return settings as a TOML file that says all of them; a setting of None is left out."""
    flat = [(f.name, getattr(settings, f.name)) for f in fields(settings)]
    lines = [f"{name} = {_toml(value)}" for name, value in flat if value is not None and not is_dataclass(value)]
    lines += ["", "[augment]", *(f"{name} = {_toml(value)}" for name, value in asdict(settings.augment).items())]
    return "\n".join(lines) + "\n"


def _laid_over(settings: Any, layer: Mapping[str, Any], source: str) -> Any:
    kinds = get_type_hints(type(settings))
    changes: dict[str, Any] = {}
    for name, value in layer.items():
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, 1, 0.5)
            cure = f"did you mean {near[0]}?" if near else "--print-config lists them all"
            raise TrainingError(f"{source} sets {name!r}, which is no setting; {cure}")
        if is_dataclass(kinds[name]):
            if not isinstance(value, Mapping):
                raise TrainingError(f"{source} sets {name} to {value!r}; it is a table of settings")
            changes[name] = _laid_over(getattr(settings, name), value, source)
        else:
            changes[name] = _fitting(value, kinds[name], name, source)
    return replace(settings, **changes)


def _fitting(value: Any, kind: Any, name: str, source: str) -> Any:
    """Return a value in the type a setting has."""
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    if isinstance(kind, UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    if choices and value in choices:
        return value
    if get_origin(kind) is tuple and isinstance(value, list | tuple) and all(map(_is_number, value)):
        return tuple(float(one) for one in value)
    if kind is float and _is_number(value) and math.isfinite(value):
        return float(value)
    if kind in {bool, int, str} and type(value) is kind:
        return value
    wanted = " or ".join(choices) if choices else _WORDS.get(kind, "a list of numbers")
    raise TrainingError(f"{source} sets {name} to {value!r}; it must be {wanted}")


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word in quotes"}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_AT_LEAST = {
    "width": 1, "batch": 1, "crop": 8, "steps": 0, "pool": 0, "evaluations": 1, "dev_tiles": 1, "patience": 0,
    "shift_tiles": 0, "warmup_steps": 0, "seed": 0, "learning_rate": 0, "momentum": 0, "weight_decay": 0,
    "clip_norm": 0, "average_decay": 0, "focal_gamma": 0, "dice_weight": 0, "cldice_weight": 0, "drop_factor": 0,
    "checkpoint_minutes": 0, "checkpoint_part_mib": 0, "minutes": 0,
}  # fmt: skip


def _check(settings: TrainSettings) -> None:
    for name, least in _AT_LEAST.items():
        if getattr(settings, name) < least:
            raise TrainingError(f"{name} must be at least {least}, not {getattr(settings, name)}")
    for name, value in asdict(settings.augment).items():
        if value < 0:
            raise TrainingError(f"augment.{name} must be at least 0, not {value}")
    shares = {"drop_at": settings.drop_at, "teacher_weight": (settings.teacher_weight,)}
    for name, values in shares.items():
        if any(not 0 <= value <= 1 for value in values):
            raise TrainingError(f"{name} must be from 0 to 1, not {', '.join(map(str, values))}")
    for name in ("average_decay", "momentum"):
        if getattr(settings, name) >= 1:
            raise TrainingError(f"{name} must be below 1, not {getattr(settings, name)}")
    _check_pixels(settings)


def _check_pixels(settings: TrainSettings) -> None:
    if settings.crop % 8:
        raise TrainingError(f"crop must be a multiple of 8, not {settings.crop}")
    if settings.pixel_m is not None and settings.pixel_m <= 0:
        raise TrainingError(f"pixel_m must be above 0, not {settings.pixel_m}")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
