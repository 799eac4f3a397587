"""The provenance of a model: what training writes on its card about data, terms and settings."""

from dataclasses import asdict, replace
from typing import Any

from roadseg.model.card import ModelCard
from roadseg.settings import CardTexts, TrainSettings
from roadseg.training.data.load import TrainingData
from roadseg.training.loop import Trainer
from roadseg.training.seen import seen_ranges


def card_of_run(
    texts: CardTexts, trainer: Trainer, data: TrainingData, start: ModelCard | None, teacher: ModelCard | None
) -> ModelCard:
    """Return the card of a trained model, before it is calibrated.

    Parameters
    ----------
    texts
        Texts that were given; they take precedence.
    trainer, data
        The finished run, and the data it was trained on.
    start, teacher
        Cards of the model that training started from, and of the one it learned from.
    """
    continued = start.finest_gsd_m if start and start.gsd_m == data.gsd_m else None
    facts = {"processes": trainer.processes.size, "steps_taken": trainer.step}
    return ModelCard(
        **asdict(complete_texts(texts, data.description(), start, teacher)),
        mean=trainer.mean,
        std=trainer.std,
        gsd_m=data.gsd_m,
        gsd_range_m=data.gsd_range_m,
        finest_gsd_m=trainer.settings.finest_gsd_m or continued,
        seen=seen_ranges(data.tiles, trainer.settings),
        recipe=recipe_for_card(trainer.settings, start, teacher, **facts),
    )


def complete_texts(
    texts: CardTexts, data: str, start: ModelCard | None = None, teacher: ModelCard | None = None
) -> CardTexts:
    """Complete the texts of a card from the training tiles, and from the models that training started or learned from.

    Parameters
    ----------
    texts
        Texts that were given; they take precedence.
    data
        The tiles in words.
    start, teacher
        Cards of the model that training started from, and of the one it learned from. Their terms hold for the new
        model too, unless others are given.
    """
    data_texts = [texts.training_data or data]
    for relation, card in (("continued from", start), ("learned from", teacher)):
        if card is not None:
            is_new = card.training_data and card.training_data not in data_texts[0]
            data_texts.append(f"{relation} {card.name}" + (f", trained on {card.training_data}" if is_new else ""))
    terms: list[CardTexts | ModelCard] = [texts, *(card for card in (start, teacher) if card)]
    return replace(
        texts,
        training_data="; ".join(data_texts),
        licence=next((one.licence for one in terms if one.licence), ""),
        attribution=next((one.attribution for one in terms if one.attribution), ""),
    )


def recipe_for_card(
    settings: TrainSettings, start: ModelCard | None, teacher: ModelCard | None = None, **facts: Any
) -> dict[str, Any]:
    """Return every setting, and facts about the run; the recipe of the model it started from is nested.

    Parameters
    ----------
    settings
        Settings of this run.
    start, teacher
        Cards of the model that training started from, and of the one it learned from.
    facts
        Other facts, such as the number of processes.
    """
    recipe = {name: value for name, value in asdict(settings).items() if value is not None}
    if start is not None:
        recipe["start"] = as_start(start)
    if teacher is not None:
        recipe["teacher"] = {"name": teacher.name, "hash": teacher.hash}
    return {**recipe, **facts}


def as_start(card: ModelCard) -> dict[str, Any]:
    """Return what the recipe of a model says of the one it started from."""
    return {"name": card.name, "hash": card.hash, "recipe": card.recipe}
