"""Score road networks as graphs: APLS, TOPO, completeness, correctness, quality and junctions.

Both sides come from vector files, or are extracted from rasters as ``roadseg vectorize`` does. They are brought
to metres on the ground together, so all lengths are true whatever the CRS of either.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from roadseg.errors import SceneError
from roadseg.evaluation import scores
from roadseg.evaluation.extracted import extract_network, lines_of
from roadseg.evaluation.pairs import ScoredPair, crs_cure, is_vector_file
from roadseg.metrics.apls import apls, standard_error
from roadseg.metrics.graph import RoadGraph, road_graph
from roadseg.metrics.lines import compare_lines
from roadseg.metrics.topo import topo
from roadseg.progress import Listener
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
    measured_in: set[str] = set()
    for pair in pairs:
        truth, prediction, ground = _read_graphs(pair, settings, listener)
        for path, graph in ((pair.truth, truth), (pair.prediction, prediction)):
            if not graph.edges:
                notes.append(f"{path} holds no road with a length")
        notes += _apart(pair, truth, prediction, settings.buffer_m)
        counts = _count(pair.name, truth, prediction, settings, listener)
        notes += _estimated(counts)
        counted.append(counts)
        measured_in.add(ground)
        listener.report(f"{pair.name}: {len(truth.edges)} edges of truth, {len(prediction.edges)} predicted")
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


def _read_graphs(pair: ScoredPair, settings: EvaluateSettings, listener: Listener) -> tuple[RoadGraph, RoadGraph, str]:
    """Return the truth and the prediction as graphs in metres, and the name of the CRS they are measured in."""
    predicted, crs = _read_network(pair.prediction, VectorizeSettings(threshold=settings.threshold), listener)
    true, true_crs = _read_network(pair.truth, _TRUE_ROADS, listener)
    if (crs is None) != (true_crs is None) and predicted and true:
        lacking = pair.prediction if crs is None else pair.truth
        raise SceneError(f"{lacking} has no CRS and its partner has one; {crs_cure(lacking)}")
    ground = choose_metric_crs(true or predicted, true_crs if true else crs)
    truth, prediction = (
        road_graph(_on_earth(to_metres(lines, own_crs, ground), path))
        for lines, own_crs, path in ((true, true_crs, pair.truth), (predicted, crs, pair.prediction))
    )
    return truth, prediction, ground.description


_AROUND_THE_EARTH_M = 4.01e7


def _on_earth(lines: Lines, path: Path) -> Lines:
    """Return lines in metres; raise SceneError if they are spread wider than the Earth is around."""
    spread_m = float(np.ptp(np.concatenate([np.zeros((1, 2)), *lines][bool(lines) :]), axis=0).max())
    if spread_m > _AROUND_THE_EARTH_M:
        raise SceneError(f"{path} spans {spread_m / 1000:,.0f} km, more than the Earth; give its true CRS")
    return lines


def _read_network(path: Path, settings: VectorizeSettings, listener: Listener) -> tuple[Lines, str | None]:
    """Return the lines of a vector file, or those extracted from a raster, and their CRS."""
    if is_vector_file(path):
        return read_lines(path)
    network, _ = extract_network(path, settings, listener)
    return lines_of(network), network.crs
