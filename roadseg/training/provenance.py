"""Where a model comes from: what its card says about data, terms and every stage of training."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from roadseg.model.card import ModelCard
from roadseg.settings import TrainSettings


@dataclass(frozen=True)
class About:
    """What the card is to say about a model: its name, what it is for, its data and their terms."""

    name: str
    description: str = ""
    training_data: str = ""
    licence: str = ""
    attribution: str = ""


def told(about: About, data: str, start: ModelCard | None) -> About:
    """Complete what a card says: what was left out comes from the tiles, and from the model gone on from.

    Terms of the first model go on to hold for what was made of it, unless others are named.
    """
    training_data = about.training_data or data
    if start is None:
        return replace(about, training_data=training_data)
    earlier = f"{training_data}; went on from {start.name}" + (
        f", trained on {start.training_data}" if start.training_data else ""
    )
    return replace(
        about,
        training_data=earlier,
        licence=about.licence or start.licence,
        attribution=about.attribution or start.attribution,
    )


def recipe_of(settings: TrainSettings, start: ModelCard | None, **facts: Any) -> dict[str, Any]:
    """Return every setting, and facts about the run; a model gone on from is nested with its own recipe.

    Parameters
    ----------
    settings
        Of this run.
    start
        Card of the model it went on from.
    facts
        For example how many processes took part.
    """
    recipe = {name: value for name, value in asdict(settings).items() if value is not None}
    if start is not None:
        recipe["start"] = {"name": start.name, "hash": start.hash, "recipe": start.recipe}
    return {**recipe, **facts}
