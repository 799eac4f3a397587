"""Whether a scene looks like a model's training data: three statistics per band, and their ranges on the model card.

Brightness is the mean, contrast the standard deviation, and cast a band's mean minus the mean of all bands. The card
stores the range that 98 % of the augmented training crops lie in. Roads found in a scene outside these
ranges should be checked before they are used.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from roadseg.model.card import ModelCard

Floats = NDArray[np.float64]
Ranges = Mapping[str, Sequence[Sequence[float]]]
"""(low, high) of each band, by name of the statistic."""

_PERCENTILES = (1.0, 99.0)
_COARSER = 1.15
_RUN, _HOLES = 32, 0.01
"""Pixels in a row that are all black or all white in a hole, and the least share of a scene worth a word."""
_WORDS = {"brightness": ("darker", "brighter"), "contrast": ("flatter", "harsher"), "cast": ("weaker", "stronger")}


def colour_statistics(pixels: NDArray[np.floating], valid: NDArray[np.bool_]) -> dict[str, Floats]:
    """Return brightness, contrast and cast of an image, (bands,) float64 each.

    Parameters
    ----------
    pixels
        (bands, height, width) on the 0–1 scale.
    valid
        (height, width) bool with at least one valid pixel.
    """
    values = pixels[:, valid].astype(np.float64)
    brightness = values.mean(axis=1)
    return {"brightness": brightness, "contrast": values.std(axis=1), "cast": brightness - brightness.mean()}


def ranges_of(statistics: Sequence[Mapping[str, Floats]]) -> dict[str, list[list[float]]]:
    """Return the range of each statistic over images, by band: percentiles 1 and 99."""
    stacked = {name: np.stack([of_image[name] for of_image in statistics]) for name in statistics[0]}
    return {name: np.percentile(rows, _PERCENTILES, axis=0).T.round(4).tolist() for name, rows in stacked.items()}


def unlike_training(
    card: ModelCard,
    sample: tuple[NDArray[np.floating], NDArray[np.bool_]] | None,
    pixel_m: tuple[float, float] | None,
) -> list[str]:
    """Return a phrase for each difference between a scene and the training data.

    Parameters
    ----------
    card
        Model card.
    sample
        Pixels of the scene as the model sees them, and which of them are valid; see ``Scene.sample``.
    pixel_m
        Height and width of the scene's own pixels in metres; None if unknown.
    """
    found = []
    coarsest = max((card.gsd_m, *(card.gsd_range_m or ())))
    if pixel_m and max(pixel_m) > _COARSER * coarsest:
        found.append(f"pixels of {max(pixel_m):.3g} m (trained on {coarsest:g} m)")
    if sample is not None and card.seen:
        found += outside_ranges(colour_statistics(*sample), card.seen)
    return found


def unmarked_hole(pixels: NDArray[np.floating], valid: NDArray[np.bool_]) -> tuple[int, float] | None:
    """Return level (0 or 1) and share of what looks like holes of a mosaic; None without, or if any are marked.

    Shadows are black and roofs white, too, but hardly ever so evenly: only runs of black or white along rows count.

    Parameters
    ----------
    pixels, valid
        Of windows all over a scene: (bands, n, side) on the 0–1 scale, and which are known, (n, side).
    """
    runs = valid.shape[1] // _RUN
    if not runs or not valid.all():
        return None
    found = []
    for level in (0, 1):
        plain = (pixels == level).all(axis=0)
        in_runs = plain[:, : runs * _RUN].reshape(-1, runs, _RUN).all(axis=2).mean()
        found.append((in_runs, level, float(plain.mean())))
    in_runs, level, share = max(found)
    return (level, share) if in_runs >= _HOLES else None


def outside_ranges(statistics: Mapping[str, Floats], seen: Ranges) -> list[str]:
    """Return a phrase for each statistic of a band that lies outside its range."""
    found = []
    for name, ranges in ((name, ranges) for name, ranges in seen.items() if name in _WORDS):
        for band, (value, (low, high)) in enumerate(zip(statistics[name], ranges, strict=True), 1):
            if not low <= value <= high:
                below, above = _WORDS[name]
                word = above if value > high else below
                found.append(f"band {band} {word} ({name} {value:.2f}, trained on {low:.2f} to {high:.2f})")
    return found
