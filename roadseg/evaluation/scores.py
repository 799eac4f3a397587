"""The scores of an evaluation, in one form for rasters and networks: figures over all images, then image by image.

Every figure carries its definition, so that a number never travels without it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from roadseg.metrics import apls, cldice, control_points, lines, pixels, topo

Setting = str | float | bool | None


@dataclass(frozen=True)
class Figure:
    """A number from 0 to 1 (NaN if undefined: nothing to divide by), its name, and its definition."""

    name: str
    value: float
    definition: str


@dataclass(frozen=True)
class ImageScore:
    """The figures of one raster or network by name, and a picture of its errors as a base64 PNG."""

    name: str
    values: dict[str, float]
    picture: str = ""


@dataclass(frozen=True)
class PrecisionRecall:
    """A precision–recall curve over all thresholds, and the index of its break-even point if it has one."""

    name: str
    threshold: list[float]
    precision: list[float]
    recall: list[float]
    break_even: int | None


@dataclass(frozen=True)
class Scores:
    """The result of an evaluation.

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
        Sentences on what was assumed, left out, or undefined.
    curves
        Relaxed and exact, for rasters of probabilities only.
    """

    kind: str
    settings: dict[str, Setting]
    figures: list[Figure]
    images: list[ImageScore]
    notes: list[str] = field(default_factory=list)
    curves: list[PrecisionRecall] = field(default_factory=list)


@dataclass(frozen=True)
class RasterCounts:
    """The counts of one raster, and a picture of its errors as a base64 PNG."""

    name: str
    counts: pixels.PixelCounts
    skeletons: cldice.ClDiceCounts | None = None
    picture: str = ""


@dataclass(frozen=True)
class NetworkCounts:
    """The counts of one network."""

    name: str
    paths: apls.AplsCounts
    walks: topo.TopoCounts
    lines: lines.LineCounts


def pooled(images: Sequence[RasterCounts]) -> pixels.PixelCounts:
    """Add up the counts of at least one image."""
    total = images[0].counts
    for image in images[1:]:
        total += image.counts
    return total


def raster_figures(images: Sequence[RasterCounts], level: int, *, is_mask: bool) -> list[Figure]:
    """Return the figures of rasters at a threshold, at the best threshold, and at the break-even point."""
    total = pooled(images)
    exact, relaxed = pixels.exact(total), pixels.relaxed(total)
    at = "of the mask" if is_mask else f"at threshold {level / pixels.FULL:.3f}"
    slack = f"{total.slack_px:.4g} px ({total.neighbourhood})"
    figures = [
        Figure("IoU", exact.iou[level], f"road pixels in both / in either, {at}, pooled over images"),
        Figure("F1", exact.f1[level], f"harmonic mean of precision and recall, {at}, pooled"),
        Figure("precision", exact.precision[level], f"share of predicted road that is road, {at}, pooled"),
        Figure("recall", exact.recall[level], f"share of road that is predicted, {at}, pooled"),
        *_means(images, level, at),
        Figure(
            "relaxed precision",
            relaxed.precision[level],
            f"share of predicted road within {slack} of road, {at}, pooled",
        ),
        Figure(
            "relaxed recall", relaxed.recall[level], f"share of road within {slack} of predicted road, {at}, pooled"
        ),
        Figure("relaxed F1", relaxed.f1[level], "harmonic mean of relaxed precision and relaxed recall"),
    ]
    if not is_mask:
        figures += _over_all_thresholds(exact, relaxed, slack)
    skeletons = [image.skeletons for image in images if image.skeletons]
    if skeletons:
        value = cldice.cldice(sum(skeletons, cldice.ClDiceCounts()))
        definition = f"share of each centerline on the other mask, harmonic mean, {cldice.SKELETONIZER}"
        figures.append(Figure("clDice", value, f"{definition}, {at}, pooled"))
    return figures


def raster_row(image: RasterCounts, level: int) -> ImageScore:
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
    valid = image.counts.pixels.sum()
    values["road share"] = image.counts.road.sum() / valid if valid else math.nan
    return ImageScore(image.name, {key: float(value) for key, value in values.items()}, image.picture)


def curves(counts: pixels.PixelCounts) -> list[PrecisionRecall]:
    """Return the relaxed and the exact precision–recall curve."""
    threshold = [level / pixels.FULL for level in range(pixels.THRESHOLDS)]
    relaxed_name = f"relaxed, {counts.slack_px:.4g} px {counts.neighbourhood}"
    return [
        PrecisionRecall(
            name, threshold, ratios.precision.tolist(), ratios.recall.tolist(), pixels.break_even_level(ratios)
        )
        for name, ratios in ((relaxed_name, pixels.relaxed(counts)), ("exact", pixels.exact(counts)))
    ]


def network_figures(images: Sequence[NetworkCounts], *, buffer_m: float, junction_m: float) -> list[Figure]:
    """Return the figures of networks, their counts added up."""
    first, *rest = images
    paths, walks, near = first.paths, first.walks, first.lines
    for image in rest:
        paths, walks, near = paths + image.paths, walks + image.walks, near + image.lines
    constants = topo.TopoSettings()
    topo_score, line_score = topo.topo_score(walks), lines.line_score(near)
    spacing, snapping = control_points.SPACING_M, control_points.SNAP_M
    apls_form = f"as defined by CosmiQ: control points every {spacing:g} m, snapped within {snapping:g} m"
    topo_form = (
        f"as defined by Sat2Graph: starts every {constants.start_every_m:.1f} m, walks of {constants.walk_m:.0f} m, "
        f"marbles every {constants.marble_every_m:.1f} m, matched within {constants.match_m:.1f} m and 45°"
    )
    buffer, paired = f"within {buffer_m:g} m of", f"paired one to one within {junction_m:g} m"
    there, back = apls.similarity(paths.truth_to_prediction), apls.similarity(paths.prediction_to_truth)
    figures = [
        Figure("APLS", apls.apls_score(paths), f"harmonic mean of the two similarities of path lengths, {apls_form}"),
        Figure("APLS truth → prediction", there, "similarity of the truth's path lengths in the prediction"),
        Figure("APLS prediction → truth", back, "similarity of the prediction's path lengths in the truth"),
        Figure("TOPO F1", topo_score.f1, f"harmonic mean of TOPO precision and recall, {topo_form}"),
        Figure("TOPO precision", topo_score.precision, "share of the prediction's marbles matched, mean over pairs"),
        Figure("TOPO recall", topo_score.recall, "share of the truth's marbles matched, times that of starts paired"),
        Figure("completeness", line_score.completeness, f"share of the truth's length {buffer} the prediction"),
        Figure("correctness", line_score.correctness, f"share of the prediction's length {buffer} the truth"),
        Figure("quality", line_score.quality, "length predicted correctly / (length predicted + length missed)"),
        Figure("junction precision", line_score.junction_precision, f"share of predicted junctions {paired}"),
        Figure("junction recall", line_score.junction_recall, f"share of true junctions {paired}"),
    ]
    if rest:
        rows = [network_row(image).values["APLS"] for image in images]
        figures.insert(1, _mean("mean APLS", rows, "mean over networks"))
    return figures


def network_row(image: NetworkCounts) -> ImageScore:
    """Return the figures of one network."""
    topo_score, line_score = topo.topo_score(image.walks), lines.line_score(image.lines)
    values = {
        "APLS": apls.apls_score(image.paths),
        "TOPO F1": topo_score.f1,
        "completeness": line_score.completeness,
        "correctness": line_score.correctness,
        "quality": line_score.quality,
        "junction precision": line_score.junction_precision,
        "junction recall": line_score.junction_recall,
    }
    return ImageScore(image.name, values)


def worst_first(rows: Sequence[ImageScore]) -> list[ImageScore]:
    """Sort by the first figure, the lowest first and NaN last."""
    first = [next(iter(row.values.values())) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: (math.isnan(first[i]), first[i], rows[i].name))
    return [rows[i] for i in order]


def _means(images: Sequence[RasterCounts], level: int, at: str) -> list[Figure]:
    if len(images) < 2:
        return []
    ratios = [pixels.exact(image.counts) for image in images]
    return [
        _mean("mean IoU", [float(one.iou[level]) for one in ratios], f"mean over images, {at}"),
        _mean("mean F1", [float(one.f1[level]) for one in ratios], f"mean over images, {at}"),
    ]


def _mean(name: str, values: Sequence[float], definition: str) -> Figure:
    """Average the values that are defined, and state how many are not."""
    defined = [value for value in values if not math.isnan(value)]
    left_out = f", {len(values) - len(defined)} without road left out" if len(defined) < len(values) else ""
    return Figure(name, sum(defined) / len(defined) if defined else math.nan, definition + left_out)


def _over_all_thresholds(exact: pixels.PixelRatios, relaxed: pixels.PixelRatios, slack: str) -> list[Figure]:
    """Return the best scores and the break-even point, each if it exists."""
    figures = []
    best, even = pixels.best_level(exact.iou), pixels.break_even_level(relaxed)
    if best is not None:
        at = f"highest over all thresholds, at {best / pixels.FULL:.3f}, pooled"
        figures.append(Figure("best IoU", exact.iou[best], at))
        figures.append(Figure("best F1", float(np.nanmax(exact.f1)), "highest over all thresholds, pooled"))
    if even is not None:
        value = (relaxed.precision[even] + relaxed.recall[even]) / 2
        definition = f"where relaxed precision equals relaxed recall, {slack}, at {even / pixels.FULL:.3f}, pooled"
        figures.append(Figure("break-even point", value, definition))
    return figures
