"""The stages of training that led to a model, read from the recipe on its card."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from roadseg.errors import ModelError
from roadseg.settings import TrainSettings

_SETTINGS = {field.name for field in fields(TrainSettings)}


@dataclass(frozen=True)
class TrainingStage:
    """One stage of training.

    Parameters
    ----------
    number
        From 1; None where ``settings`` holds facts about the stages before together.
    start
        The model it started from; empty for the stage before.
    settings
        Its steps and what differs from the stage before, in the first from the defaults; those in tables have names
        with a dot.
    """

    number: int | None
    start: str
    settings: dict[str, Any]


def training_stages(recipe: Mapping[str, Any]) -> list[TrainingStage]:
    """Return the stages of training that a card's recipe describes, the oldest first.

    A recipe holds the settings of a run and, under ``start``, the recipe of the model it started from; instead of that
    it may list ``stages``.

    Raises
    ------
    ModelError
        If the recipe is of another form.
    """
    try:
        return _stages(recipe)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"the recipe on the model card is damaged ({error}); get the model again") from error


def _stages(recipe: Mapping[str, Any]) -> list[TrainingStage]:
    stages: list[TrainingStage] = []
    before, number = {**_flat(asdict(TrainSettings())), "processes": 1}, 0
    for start, settings in _unfolded(recipe):
        if start is None:
            stages.append(TrainingStage(None, "", settings))
            continue
        if settings.get("steps_taken") == settings.get("steps"):
            settings.pop("steps_taken", None)
        steps = {"steps": settings["steps"]} if "steps" in settings else {}
        changed = {name: value for name, value in settings.items() if before.get(name) != value}
        number += 1
        stages.append(TrainingStage(number, start, {**steps, **changed}))
        before |= settings
    return stages


def _unfolded(recipe: Mapping[str, Any]) -> list[tuple[str | None, dict[str, Any]]]:
    """Return what each stage started from and all its settings, the oldest first; None for facts about several."""
    start, listed = recipe.get("start"), recipe.get("stages")
    found: list[tuple[str | None, dict[str, Any]]] = []
    origin = str(start or "random weights")
    if isinstance(start, Mapping):
        found += _unfolded(start.get("recipe") or {})
        origin = f"{start.get('name')} ({str(start.get('hash'))[:12]})"
    shared = _flat({name: value for name, value in recipe.items() if name not in {"start", "stages"}})
    if not listed:
        return [*found, (origin, shared)] if shared else found
    facts = {name: shared.pop(name) for name in list(shared) if name.partition(".")[0] not in _SETTINGS}
    for done, stage in enumerate(listed):
        settings = {**shared, **_flat(stage)}
        named = str(settings.pop("from", origin))
        follows = done > 0 and named in {origin, f"stage {done}"}
        found.append(("" if follows else named, settings))
    return [*found, (None, facts)] if facts else found


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings with dotted names instead of nested tables, in the types that JSON gives back."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat
