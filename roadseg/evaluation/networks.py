"""Score road networks as graphs: APLS, TOPO, completeness, correctness, quality and junctions.

Both sides come from vector files, or are extracted from rasters as ``roadseg vectorize`` does. They are brought
to metres on the ground together, so all lengths are true whatever the CRS of either.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from roadseg.errors import SceneError, shortened
from roadseg.evaluation import scores
from roadseg.evaluation.clip import clip
from roadseg.evaluation.extracted import extract_roads
from roadseg.evaluation.pairs import ScoredPair, crs_cure, is_vector_file
from roadseg.metrics.apls import apls, standard_error
from roadseg.metrics.graph import RoadGraph, road_graph
from roadseg.metrics.lines import compare_lines
from roadseg.metrics.topo import topo
from roadseg.progress import Listener
from roadseg.raster.crs import reproject, same_crs, with_x_near
from roadseg.raster.metric_crs import Lines, choose_metric_crs, to_metres
from roadseg.roads.files.read import read_lines
from roadseg.settings import EvaluateSettings, VectorizeSettings

_TRUE_ROADS = VectorizeSettings(min_area_m2=0, max_hole_m2=0, min_length_m=0, bridge_m=0)
"""Extraction that neither drops, fills nor bridges anything: every road of a truth counts."""


def score_networks(pairs: Sequence[ScoredPair], settings: EvaluateSettings, listener: Listener) -> scores.Scores:
    """Score predicted networks against true ones.

    Parameters
    ----------
    pairs
        At least one, of vector files or rasters.
    settings
        Settings for the threshold of rasters, the buffer, and the distance of junctions.
    listener
        Gets a sentence about each pair, and the progress.

    Raises
    ------
    SceneError
        If a file cannot be read, holds no lines, or only one of a pair has a CRS.
    """
    counted: list[scores.NetworkCounts] = []
    notes: list[str] = []
    clipped: list[str] = []
    measured_in: set[str] = set()
    for pair in pairs:
        read = _read_graphs(pair, settings, listener)
        truth, prediction = read.truth, read.prediction
        for path, graph in ((pair.truth, truth), (pair.prediction, prediction)):
            if not graph.edges:
                notes.append(f"{path} holds no road with a length")
        notes += _apart(pair, truth, prediction, settings.buffer_m)
        counts = _count(pair.name, truth, prediction, settings, listener)
        notes += _estimated(counts)
        counted.append(counts)
        measured_in.add(read.measured_in)
        clipped += [pair.name] if read.clipped else []
        listener.report(f"{pair.name}: {len(truth.edges)} edges of truth, {len(prediction.edges)} predicted")
    if clipped:
        notes.append(f"scored only where both sides have data: {shortened(clipped)}")
    used: dict[str, scores.Setting] = {
        "measured in": "; ".join(sorted(measured_in)),
        "buffer_m": settings.buffer_m,
        "junction_m": settings.junction_m,
    }
    figures = scores.network_figures(counted, buffer_m=settings.buffer_m, junction_m=settings.junction_m)
    rows = scores.worst_first([scores.network_row(image) for image in counted])
    return scores.Scores("networks", used, figures, rows, notes)


def _count(
    name: str, truth: RoadGraph, prediction: RoadGraph, settings: EvaluateSettings, listener: Listener
) -> scores.NetworkCounts:
    """Compare two graphs in all ways, with progress in percent."""
    listener.start(100, 0, "%")
    lines = compare_lines(
        truth,
        prediction,
        buffer_m=settings.buffer_m,
        junction_m=settings.junction_m,
        advance=lambda share: listener.advance(5 * share),
    )
    paths = apls(truth, prediction, advance=lambda share: listener.advance(45 * share))
    walks = topo(truth, prediction, advance=lambda share: listener.advance(50 * share))
    return scores.NetworkCounts(name, paths, walks, lines)


def _apart(pair: ScoredPair, truth: RoadGraph, prediction: RoadGraph, buffer_m: float) -> list[str]:
    """Return a note if the rectangles around two networks lie farther apart than a buffer."""
    if not truth.edges or not prediction.edges:
        return []
    (low, high), (other_low, other_high) = (
        (xy.min(axis=0), xy.max(axis=0)) for xy in (np.concatenate(graph.edges) for graph in (truth, prediction))
    )
    gap_m = float(np.hypot(*np.maximum(0, np.maximum(low - other_high, other_low - high))))
    if gap_m <= buffer_m:
        return []
    return [f"{pair.prediction} and {pair.truth} lie {gap_m / 1000:,.2f} km apart; check that the CRS of both is right"]


def _estimated(counts: scores.NetworkCounts) -> list[str]:
    """Return notes on the figures that were estimated from a sample, because the networks are large."""
    notes: list[str] = []
    ways = (counts.paths.truth_to_prediction, counts.paths.prediction_to_truth)
    if any(way.sources < way.control_points for way in ways):
        sources, points = sum(way.sources for way in ways), sum(way.control_points for way in ways)
        error = standard_error(counts.paths)
        notes.append(
            f"{counts.name}: APLS is estimated from the paths of {sources:,} of {points:,} control points "
            f"(standard error {error:.4f}), because the networks are large"
        )
    if counts.walks.walked < counts.walks.partners:
        notes.append(
            f"{counts.name}: TOPO is estimated from {counts.walks.walked:,} of {counts.walks.partners:,} starts, "
            "because the networks are large"
        )
    return notes


@dataclass(frozen=True)
class _Network:
    """The roads of a file as lines, and where they were looked for, if they were extracted from a raster."""

    path: Path
    lines: Lines
    crs: str | None
    ground: Any = None


@dataclass(frozen=True)
class _Graphs:
    """Both sides in metres, the CRS they are measured in, and whether roads were left out, see ``_where_seen``."""

    truth: RoadGraph
    prediction: RoadGraph
    measured_in: str
    clipped: bool


def _read_graphs(pair: ScoredPair, settings: EvaluateSettings, listener: Listener) -> _Graphs:
    """Return the truth and the prediction as graphs, on the ground that both were looked for on."""
    prediction = _read_network(pair.prediction, VectorizeSettings(threshold=settings.threshold), listener)
    truth = _read_network(pair.truth, _TRUE_ROADS, listener)
    if (prediction.crs is None) != (truth.crs is None) and prediction.lines and truth.lines:
        lacking = prediction if prediction.crs is None else truth
        raise SceneError(f"{lacking.path} has no CRS and its partner has one; {crs_cure(lacking.path)}")
    true, predicted = _where_seen(truth, prediction), _where_seen(prediction, truth)
    first = true if true.lines else predicted
    metric = choose_metric_crs(first.lines, first.crs)
    true_graph, predicted_graph = (
        road_graph(_on_earth(to_metres(side.lines, side.crs, metric), side.path)) for side in (true, predicted)
    )
    clipped = true is not truth or predicted is not prediction
    return _Graphs(true_graph, predicted_graph, metric.description, clipped)


def _where_seen(side: _Network, other: _Network) -> _Network:
    """Return the roads of one side where the other has data; the side itself if none lie elsewhere."""
    if other.ground is None or not side.lines:
        return side
    xy = np.concatenate(side.lines)
    if side.crs and other.crs and not other.ground.is_empty:
        xmin, _, xmax, _ = other.ground.bounds
        xy = xy if same_crs(side.crs, other.crs) else reproject(xy, side.crs, other.crs)
        xy = with_x_near(xy, other.crs, (xmin + xmax) / 2)
    lines = np.split(xy, np.cumsum([len(line) for line in side.lines])[:-1])
    inside, _ = clip(lines, other.ground)
    if inside and np.array_equal(np.concatenate(inside), xy):
        return side
    return replace(side, lines=inside, crs=other.crs)


_AROUND_THE_EARTH_M = 4.01e7


def _on_earth(lines: Lines, path: Path) -> Lines:
    """Return lines in metres; raise SceneError if they are spread wider than the Earth is around."""
    spread_m = float(np.ptp(np.concatenate([np.zeros((1, 2)), *lines][bool(lines) :]), axis=0).max())
    if spread_m > _AROUND_THE_EARTH_M:
        raise SceneError(f"{path} spans {spread_m / 1000:,.0f} km, more than the Earth; give its true CRS")
    return lines


def _read_network(path: Path, settings: VectorizeSettings, listener: Listener) -> _Network:
    """Return the lines of a vector file, or those extracted from a raster."""
    if is_vector_file(path):
        return _Network(path, *read_lines(path))
    roads = extract_roads(path, settings, listener)
    return _Network(path, roads.lines, roads.network.crs, roads.ground)
