"""Recipes and configuration files: every setting of a training run, from one of three places.

The command line takes precedence over the ``--config`` file, and that over the recipe. A file is TOML with
the fields of ``TrainSettings`` and a table ``[augment]``; an unknown name is refused with the nearest one.
"""

import difflib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from roadseg.errors import TrainingError, UsageError, shortened
from roadseg.model.card import find_model, read_card
from roadseg.settings import AugmentSettings, DataSettings, RecipeSettings, TrainSettings
from roadseg.settings.data import check_labels
from roadseg.settings.option import AnyPath, changed_flags, checked, declared, fitted, from_options

DEFAULT = TrainSettings()
"""The best recipe measured: cross-entropy and Dice, Muon, flips, turns and changes of light, averaged weights."""

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

ADAPT = replace(
    DEFAULT,
    steps=600,
    learning_rate=5e-4,
    schedule="flat",
    warmup_steps=30,
    average_decay=0.99,
    checkpoint_minutes=0.5,
)
"""For a trained model and little ground: a low rate and an average over some hundred steps, so that it may stop at any
time."""

_CALIBRATE = {"start", "steps", "dev", "pixel_m", "bands", "calibration", "shift_tiles", "finest_gsd_m", "dtype"}
"""Settings of training and data that count in a calibration, too."""

RECIPES: Mapping[str, TrainSettings] = {"default": DEFAULT, "paper": PAPER}


def read_config(path: Path) -> dict[str, Any]:
    """Read a TOML file of settings.

    Raises
    ------
    TrainingError
        If it cannot be read; its settings are checked by ``merge_settings``.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"cannot read {path} ({error.strerror}); check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} is not TOML ({error}); --print-config prints an example") from error


def settings_from_options(options: Mapping[str, Any]) -> TrainSettings:
    """Return the settings of a run: its options over ``--set``, over ``--config``, over the recipe.

    A model to start from fixes the width and the upsampling, unless they are set.

    Raises
    ------
    UsageError
        If ``--set`` names no setting, or gives it a value that does not fit.
    TrainingError
        If ``--config`` does.
    ModelError
        If the model to start from cannot be read.
    """
    run = from_options(RecipeSettings, options)
    layers: list[tuple[str, Mapping[str, Any]]] = [(str(run.config), read_config(run.config))] if run.config else []
    merge_settings(RECIPES[run.recipe], *layers)
    try:
        layers += [("--set", parse_assignment(text)) for text in run.assignments]
        layers.append(("options", checked(TrainSettings, options)))
        start = merge_settings(RECIPES[run.recipe], *layers).start
    except TrainingError as error:  # the file is right
        raise UsageError(str(error)) from error
    if start is not None:
        card = read_card(find_model(start))
        layers.insert(0, (start, {"width": card.width, "upsample": card.upsample}))
    return merge_settings(RECIPES[run.recipe], *layers)


def _check_partners(source: DataSettings) -> None:
    """Raise UsageError if an option is given without the one that it is about."""
    partners = (
        ("--dev-fraction", bool(source.dev_fraction), ("dev_split", "dev_block_m")),
        ("--labels", source.labels is not None, ("cache",)),
    )
    for partner, is_given, names in partners:
        alone = changed_flags(source, *names)
        if alone and not is_given:
            raise UsageError(f"{alone[0]} belongs to {partner}; give both")


def data_from_options(
    data: AnyPath | Sequence[AnyPath] | None, options: Mapping[str, Any], *, needed: bool
) -> DataSettings:
    """Return where training data come from.

    Parameters
    ----------
    data, options
        Arguments of ``train``.
    needed
        Whether there must be data to train on.

    Raises
    ------
    UsageError
        If there are none, or two kinds of them, or options of labels without labels.
    """
    if data is None:
        data = []
    elif isinstance(data, str | os.PathLike):
        data = [data]
    source = from_options(DataSettings, options, data=tuple(map(Path, data)))
    check_labels(source)
    _check_partners(source)
    if needed and source.dev and source.dev_fraction:
        raise UsageError("--dev and --dev-fraction both say which tiles are kept for validation; choose one")
    scenes = bool(source.images or source.labels)
    if (source.data and scenes) or (needed and not source.data and not scenes):
        raise UsageError("train needs folders or CSV files of images and masks, or scenes with --labels")
    return source


def refuse_training_options(source: DataSettings, options: Mapping[str, Any]) -> None:
    """Refuse data and options that change nothing where a model is only calibrated; a ``--config`` file may hold any.

    Raises
    ------
    UsageError
        If one of them is given.
    """
    run, trained = from_options(RecipeSettings, options), checked(TrainSettings, options).keys() - _CALIBRATE
    idle = [
        *map(str, source.data),
        *changed_flags(source, *({one.field for one in declared(DataSettings)} - _CALIBRATE)),
        *(str(one.option.flag).partition("/")[0] for one in declared(TrainSettings) if one.field in trained),
        *(f"--set {text}" for text in run.assignments if not parse_assignment(text).keys() & _CALIBRATE),
        *changed_flags(run, "recipe"),
    ]
    if idle:
        raise UsageError(
            f"--steps 0 only calibrates the model of --from on the tiles of --dev; leave out {shortened(idle)}, as "
            "that only concerns training"
        )


def merge_settings(recipe: TrainSettings, *layers: tuple[str, Mapping[str, Any]]) -> TrainSettings:
    """Lay settings over a recipe.

    Parameters
    ----------
    recipe
        Settings to start from.
    layers
        Where settings come from, for messages, and the settings by name; later ones take precedence.

    Raises
    ------
    TrainingError
        If a name is unknown or a value does not fit.
    """
    settings = recipe
    for source, layer in layers:
        settings = _laid_over(settings, layer, source)
    return settings


def parse_assignment(text: str) -> dict[str, Any]:
    """Read ``name=value`` or ``augment.name=value``; a value that is no TOML is taken for a word.

    Raises
    ------
    TrainingError
        If there is no equals sign.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise TrainingError(f"--set must be name=value, not {text!r}")
    try:
        found = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        found = value.strip()
    first, _, second = name.strip().partition(".")
    return {first: {second: found}} if second else {first: found}


def to_toml(settings: TrainSettings) -> str:
    """Return settings as a TOML file that says all of them; a setting of None is left out."""
    flat = [(f.name, getattr(settings, f.name)) for f in fields(settings)]
    lines = [f"{name} = {_toml(value)}" for name, value in flat if value is not None and not is_dataclass(value)]
    lines += ["", "[augment]", *(f"{name} = {_toml(value)}" for name, value in asdict(settings.augment).items())]
    return "\n".join(lines) + "\n"


def _laid_over(settings: Any, layer: Mapping[str, Any], source: str) -> Any:
    fields_by_name = {one.field: one for one in declared(settings.__class__)}
    tables = {field.name for field in fields(settings) if is_dataclass(getattr(settings, field.name))}
    changes: dict[str, Any] = {}
    for name, value in layer.items():
        if name in tables:
            if not isinstance(value, Mapping):
                raise TrainingError(f"{source} sets {name} to {value!r}; it is a table of settings")
            changes[name] = _laid_over(getattr(settings, name), value, source)
        elif name in fields_by_name:
            one = fields_by_name[name]
            try:
                changes[name] = fitted(value, one.type, one.option, name)
            except UsageError as error:
                raise TrainingError(f"{source}: {error}") from error
        else:
            near = difflib.get_close_matches(name, [*fields_by_name, *tables], 1, 0.7)
            cure = f"did you mean {near[0]}?" if near else "--print-config lists them all"
            raise TrainingError(f"{source} sets {name!r}, which is not a setting; {cure}")
    return replace(settings, **changes)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
