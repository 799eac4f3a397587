"""Where a model comes from: what its card says about data, terms and every stage of training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from roadseg.model.card import ModelCard
from roadseg.settings import CardTexts, TrainSettings

_SETTINGS = {field.name for field in fields(TrainSettings)}


def complete_texts(
    about: CardTexts, data: str, start: ModelCard | None = None, teacher: ModelCard | None = None
) -> CardTexts:
    """Complete what a card says: what was left out comes from the tiles, and from models that had a part in it.

    Parameters
    ----------
    about
        What the user says.
    data
        The tiles in words.
    start, teacher
        Cards of the model it went on from, and of the one it learned from. Their terms go on to hold for what was
        made of them, unless others are named.
    """
    said = [about.training_data or data]
    for how, card in (("went on from", start), ("learned from", teacher)):
        if card is not None:
            news = card.training_data and card.training_data not in said[0]
            said.append(f"{how} {card.name}" + (f", trained on {card.training_data}" if news else ""))
    terms: list[CardTexts | ModelCard] = [about, *(card for card in (start, teacher) if card)]
    return replace(
        about,
        training_data="; ".join(said),
        licence=next((one.licence for one in terms if one.licence), ""),
        attribution=next((one.attribution for one in terms if one.attribution), ""),
    )


@dataclass(frozen=True)
class TrainingStage:
    """One stage of training.

    Parameters
    ----------
    number
        From 1; None where ``settings`` holds facts about the stages before together.
    start
        What it went on from; empty for the stage before.
    settings
        Its steps and what differs from the stage before, in the first from the defaults; those in tables have names
        with a dot.
    """

    number: int | None
    start: str
    settings: dict[str, Any]


def training_stages(recipe: Mapping[str, Any]) -> list[TrainingStage]:
    """Return the stages of training that a card's recipe tells of, the oldest first.

    A recipe is what ``recipe_of`` makes; instead of nesting earlier ones it may list ``stages``.
    """
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
    """Return what each stage went on from and all its settings, the oldest first; facts about several are of None."""
    start, listed = recipe.get("start"), recipe.get("stages")
    rest = _flat({name: value for name, value in recipe.items() if name not in {"start", "stages"}})
    found: list[tuple[str | None, dict[str, Any]]] = []
    origin = str(start or "random weights")
    if isinstance(start, Mapping):
        found += _unfolded(start.get("recipe") or {})
        origin = f"{start.get('name')} ({str(start.get('hash'))[:12]})"
    if not listed:
        return [*found, (origin, rest)] if rest else found
    facts = {name: rest.pop(name) for name in list(rest) if name.partition(".")[0] not in _SETTINGS}
    for number, stage in enumerate(listed):
        settings = {**rest, **_flat(stage)}
        named = str(settings.pop("from", origin))
        found.append(("" if number and named in {origin, f"stage {number}"} else named, settings))
    return [*found, (None, facts)] if facts else found


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings with those of tables among them, as JSON would give them back."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def recipe_for_card(
    settings: TrainSettings, start: ModelCard | None, teacher: ModelCard | None = None, **facts: Any
) -> dict[str, Any]:
    """Return every setting, and facts about the run; a model gone on from is nested with its own recipe.

    Parameters
    ----------
    settings
        Of this run.
    start, teacher
        Cards of the model it went on from, and of the one it learned from.
    facts
        For example how many processes took part.
    """
    recipe = {name: value for name, value in asdict(settings).items() if value is not None}
    if start is not None:
        recipe["start"] = {"name": start.name, "hash": start.hash, "recipe": start.recipe}
    if teacher is not None:
        recipe["teacher"] = {"name": teacher.name, "hash": teacher.hash}
    return {**recipe, **facts}
