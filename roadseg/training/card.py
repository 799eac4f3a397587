"""Where a model comes from: what training writes on its card about data, terms and settings."""

from dataclasses import asdict, replace
from typing import Any

from roadseg.model.card import ModelCard
from roadseg.settings import CardTexts, TrainSettings


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
