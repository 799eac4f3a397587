"""What an evaluation found, in one form for rasters and networks: figures, images, and how they came.

A figure carries its definition, so that a number never travels without it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from roadseg.metrics import apls, cldice, lines, pixels, topo

Setting = str | float | bool | None


@dataclass(frozen=True)
class Figure:
    """A number from 0 to 1 (or NaN: nothing to divide by), its name, and what it means."""

    name: str
    value: float
    definition: str


@dataclass(frozen=True)
class ImageScore:
    """The figures of one image or network."""

    name: str
    values: dict[str, float]
    picture: str = ""


@dataclass(frozen=True)
class PrecisionRecall:
    """A precision–recall curve over the thresholds, and its break-even point if it has one."""

    name: str
    threshold: list[float]
    precision: list[float]
    recall: list[float]
    break_even: int | None


@dataclass(frozen=True)
class Scores:
    """Everything there is to tell.

    Parameters
    ----------
    kind
        ``pixels`` or ``networks``.
    settings
        What was compared, and with which constants.
    figures
        Over all images together.
    images
        One by one, the worst first.
    notes
        Sentences on what was recognized, assumed, or missing.
    curves
        Of rasters of probabilities.
    """

    kind: str
    settings: dict[str, Setting]
    figures: list[Figure]
    images: list[ImageScore]
    notes: list[str] = field(default_factory=list)
    curves: list[PrecisionRecall] = field(default_factory=list)


@dataclass(frozen=True)
class PixelImage:
    """The counts of one raster."""

    name: str
    counts: pixels.PixelCounts
    skeletons: cldice.ClDiceCounts | None = None
    picture: str = ""


@dataclass(frozen=True)
class NetworkImage:
    """The counts of one network."""

    name: str
    paths: apls.AplsCounts
    walks: topo.TopoCounts
    lines: lines.LineCounts


def pooled(images: Sequence[PixelImage]) -> pixels.PixelCounts:
    """Add up the counts of at least one image."""
    total = images[0].counts
    for image in images[1:]:
        total += image.counts
    return total


def pixel_figures(images: Sequence[PixelImage], level: int, *, is_mask: bool) -> list[Figure]:
    """Return the figures of rasters at a threshold, at the best one, and at the break-even point."""
    total = pooled(images)
    exact, relaxed = pixels.exact(total), pixels.relaxed(total)
    threshold = level / pixels.FULL
    at = "of the mask" if is_mask else f"at threshold {threshold:.3f}"
    slack = f"{total.slack_px:g} px, {total.neighbourhood}"
    found = [
        Figure("IoU", exact.iou[level], f"road pixels in both / in either, {at}, pooled over images"),
        Figure("F1", exact.f1[level], f"harmonic mean of precision and recall, {at}, pooled"),
        Figure("precision", exact.precision[level], f"share of predicted road that is road, {at}, pooled"),
        Figure("recall", exact.recall[level], f"share of road that is predicted, {at}, pooled"),
        *_means(images, level, at),
        Figure("relaxed precision", relaxed.precision[level], f"predicted road within {slack} of road, {at}, pooled"),
        Figure("relaxed recall", relaxed.recall[level], f"road within {slack} of predicted road, {at}, pooled"),
        Figure("relaxed F1", relaxed.f1[level], "harmonic mean of the two"),
    ]
    best, even = pixels.best_level(exact.iou), pixels.break_even_level(relaxed)
    if not is_mask and best is not None:
        where = f"at threshold {best / pixels.FULL:.3f}, the best for these images, pooled"
        found.append(Figure("best IoU", exact.iou[best], where))
        found.append(
            Figure("best F1", float(max(exact.f1[~(exact.f1 != exact.f1)])), "at its own best threshold, pooled")
        )
    if not is_mask and even is not None:
        middle = (relaxed.precision[even] + relaxed.recall[even]) / 2
        where = f"relaxed precision = recall ({slack}) at threshold {even / pixels.FULL:.3f}, pooled"
        found.append(Figure("break-even point", middle, where))
    skeletons = [image.skeletons for image in images if image.skeletons]
    if skeletons:
        value = cldice.cldice(sum(skeletons, cldice.ClDiceCounts()))
        found.append(Figure("clDice", value, f"middle lines on the other mask, {cldice.SKELETONIZER}, {at}, pooled"))
    return found


def pixel_row(image: PixelImage, level: int) -> ImageScore:
    """Return the figures of one raster."""
    exact, relaxed = pixels.exact(image.counts), pixels.relaxed(image.counts)
    values = {
        "IoU": exact.iou[level],
        "precision": exact.precision[level],
        "recall": exact.recall[level],
        "relaxed precision": relaxed.precision[level],
        "relaxed recall": relaxed.recall[level],
        "relaxed F1": relaxed.f1[level],
    }
    if image.skeletons:
        values["clDice"] = cldice.cldice(image.skeletons)
    known = image.counts.pixels.sum()
    values["road share"] = image.counts.road.sum() / known if known else math.nan
    return ImageScore(image.name, {key: float(value) for key, value in values.items()}, image.picture)


def curves(counts: pixels.PixelCounts) -> list[PrecisionRecall]:
    """Return the relaxed and the exact precision–recall curve."""
    threshold = [level / pixels.FULL for level in range(pixels.THRESHOLDS)]
    found = []
    slack = f"relaxed, {counts.slack_px:g} px {counts.neighbourhood}"
    for name, curve in ((slack, pixels.relaxed(counts)), ("exact", pixels.exact(counts))):
        even = pixels.break_even_level(curve)
        found.append(PrecisionRecall(name, threshold, curve.precision.tolist(), curve.recall.tolist(), even))
    return found


def network_figures(images: Sequence[NetworkImage], *, buffer_m: float, junction_m: float) -> list[Figure]:
    """Return the figures of networks, their counts added up."""
    first, *rest = images
    paths, walks, near = first.paths, first.walks, first.lines
    for image in rest:
        paths, walks, near = paths + image.paths, walks + image.walks, near + image.lines
    similar = f"CosmiQ's: control points every {apls.SPACING_M:g} m, snapped within {apls.SNAP_M:g} m"
    walk, how = topo.topo_score(walks), topo.TopoSettings()
    walked = (
        f"Sat2Graph's: starts every {how.start_every_m:.1f} m, walks of {how.walk_m:.0f} m, "
        f"marbles every {how.marble_every_m:.1f} m, matched within {how.match_m:.1f} m and 45°"
    )
    ratio = lines.line_score(near)
    within = f"within {buffer_m:g} m of"
    found = [
        Figure("APLS", apls.apls_score(paths), f"path lengths alike, harmonic mean of both ways; {similar}"),
        Figure("APLS truth → prediction", apls.similarity(paths.truth_to_prediction), "paths of the truth kept"),
        Figure("APLS prediction → truth", apls.similarity(paths.prediction_to_truth), "predicted paths that are true"),
        Figure("TOPO F1", walk.f1, f"harmonic mean of the two; {walked}"),
        Figure("TOPO precision", walk.precision, "marbles of the prediction that match, mean over paired starts"),
        Figure("TOPO recall", walk.recall, "marbles of the truth that match, times the share of starts paired"),
        Figure("completeness", ratio.completeness, f"length of the truth {within} the prediction"),
        Figure("correctness", ratio.correctness, f"length of the prediction {within} the truth"),
        Figure("quality", ratio.quality, "correct length / (predicted + missed length)"),
        Figure(
            "junction precision", ratio.junction_precision, f"predicted junctions paired {within[:6]} {junction_m:g} m"
        ),
        Figure("junction recall", ratio.junction_recall, f"true junctions paired {within[:6]} {junction_m:g} m"),
    ]
    if rest:
        rows = [network_row(image).values["APLS"] for image in images]
        found.insert(1, _mean("mean APLS", rows, "mean over networks"))
    return found


def network_row(image: NetworkImage) -> ImageScore:
    """Return the figures of one network."""
    walk, ratio = topo.topo_score(image.walks), lines.line_score(image.lines)
    values = {
        "APLS": apls.apls_score(image.paths),
        "TOPO F1": walk.f1,
        "completeness": ratio.completeness,
        "correctness": ratio.correctness,
        "quality": ratio.quality,
        "junction precision": ratio.junction_precision,
        "junction recall": ratio.junction_recall,
    }
    return ImageScore(image.name, values)


def worst_first(rows: Sequence[ImageScore]) -> list[ImageScore]:
    """Sort by the first figure, the lowest first and NaN last."""
    first = [next(iter(row.values.values())) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: (math.isnan(first[i]), first[i], rows[i].name))
    return [rows[i] for i in order]


def _means(images: Sequence[PixelImage], level: int, at: str) -> list[Figure]:
    if len(images) < 2:
        return []
    curves_of = [pixels.exact(image.counts) for image in images]
    return [
        _mean("mean IoU", [float(c.iou[level]) for c in curves_of], f"mean over images, {at}"),
        _mean("mean F1", [float(c.f1[level]) for c in curves_of], f"mean over images, {at}"),
    ]


def _mean(name: str, values: Sequence[float], definition: str) -> Figure:
    """Average what can be said, and tell how many could not."""
    said = [value for value in values if not math.isnan(value)]
    left_out = f", {len(values) - len(said)} without road left out" if len(said) < len(values) else ""
    return Figure(name, sum(said) / len(said) if said else math.nan, definition + left_out)
