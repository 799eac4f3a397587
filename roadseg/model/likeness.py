"""Whether a scene looks like what a model was trained on: a few numbers per band, and the range the model saw.

Training notes between which values 98 of 100 crops lie, as augmentation left them: brightness (mean), contrast
(standard deviation) and cast (distance of a band's mean from that of all bands). A scene outside of them is
unlike anything the model knows, and its roads deserve a look before they are trusted.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from roadseg.model.card import ModelCard

Floats = NDArray[np.float64]
Ranges = Mapping[str, Sequence[Sequence[float]]]
"""By fact, (low, high) of each band."""

_KEPT = (1.0, 99.0)
_COARSER = 1.15
_WORDS = {"brightness": ("darker", "brighter"), "contrast": ("flatter", "harsher"), "cast": ("weaker", "stronger")}


def facts_of(pixels: NDArray[np.floating], valid: NDArray[np.bool_]) -> dict[str, Floats]:
    """Return the facts of an image, (bands,) each.

    Parameters
    ----------
    pixels
        (bands, height, width) on the 0–1 scale.
    valid
        (height, width); some pixel must be.
    """
    known = pixels[:, valid].astype(np.float64)
    brightness = known.mean(axis=1)
    return {"brightness": brightness, "contrast": known.std(axis=1), "cast": brightness - brightness.mean()}


def ranges_of(facts: Sequence[Mapping[str, Floats]]) -> dict[str, list[list[float]]]:
    """Return between which values nearly all images lie."""
    stacked = {name: np.stack([one[name] for one in facts]) for name in facts[0]}
    return {name: np.percentile(all_, _KEPT, axis=0).T.round(4).tolist() for name, all_ in stacked.items()}


def remarks(
    card: ModelCard,
    sample: tuple[NDArray[np.floating], NDArray[np.bool_]] | None,
    pixel_m: tuple[float, float] | None,
) -> list[str]:
    """Say what of a scene lies outside of what a model saw.

    Parameters
    ----------
    card
        Of the model.
    sample
        Pixels of the scene as the model sees them, and which are known; see ``Scene.sample``.
    pixel_m
        Size of the scene's own pixels in metres, down and across; None if it is not known.
    """
    found = []
    coarsest = max((card.gsd_m, *(card.gsd_range_m or ())))
    if pixel_m and max(pixel_m) > _COARSER * coarsest:
        found.append(f"pixels of {max(pixel_m):.3g} m (trained on {coarsest:g} m)")
    if sample is not None and card.seen:
        found += unlike(facts_of(*sample), card.seen)
    return found


def unlike(facts: Mapping[str, Floats], seen: Ranges) -> list[str]:
    """Say what of an image lies outside the ranges; the empty list if all is alike."""
    found = []
    for name, ranges in seen.items():
        for band, (value, (low, high)) in enumerate(zip(facts[name], ranges, strict=True), 1):
            if not low <= value <= high:
                how = _WORDS[name][int(value > high)]
                found.append(f"band {band} {how} ({name} {value:.2f}, trained on {low:.2f} to {high:.2f})")
    return found
