"""Evaluate: how good predicted roads are, against the truth.

``evaluate`` is the whole chain: pairs of files are found, counted block by block (rasters) or compared
as graphs (networks), the counts of all pairs are added, and only then divided. Rasters are read
once for everything that depends on no threshold, and once more for what does.
"""

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

import roadseg
from roadseg.errors import OutputError, SceneError
from roadseg.evaluation import scores
from roadseg.evaluation.rasters import Counter, Pair, find_pairs, is_network, kind_of
from roadseg.evaluation.report import html
from roadseg.files import check_target, write_atomically
from roadseg.metrics import cldice, pixels
from roadseg.metrics.apls import apls
from roadseg.metrics.graph import road_graph
from roadseg.metrics.lines import compare_lines
from roadseg.metrics.topo import topo
from roadseg.progress import Listener
from roadseg.raster.metric_crs import Lines, choose_metric_crs, to_metres
from roadseg.raster.probability import open_probability
from roadseg.roads.extract import extract
from roadseg.roads.files.read import read_lines
from roadseg.roads.network import RoadNetwork
from roadseg.settings import EvaluateOutputs, EvaluateSettings, VectorizeSettings

_TRUE_ROADS = VectorizeSettings(min_area_m2=0, max_hole_m2=0, min_length_m=0, bridge_m=0)
"""A network is made of true roads as they are: nothing is dropped, filled or bridged."""


def evaluate(
    prediction: Path,
    truth: Path,
    outputs: EvaluateOutputs | None = None,
    settings: EvaluateSettings | None = None,
    *,
    images: Path | None = None,
    command: str = "",
    listener: Listener | None = None,
) -> scores.Scores:
    """Score predicted roads and write what was asked for.

    Parameters
    ----------
    prediction, truth
        Two rasters, two vector files, or two folders of either, matched by stem.
    outputs
        A report, a JSON file, a map of the errors (a folder of them for several rasters).
    settings
        How.
    images
        The imagery, a file or a folder of files with the same stems, for the report's pictures.
    command
        Noted in the outputs.
    listener
        Who wants to hear what happens.

    Raises
    ------
    SceneError
        If files cannot be compared; the sentence tells what to do.
    OutputError
        If an output cannot be written.
    """
    outputs, settings, listener = outputs or EvaluateOutputs(), settings or EvaluateSettings(), listener or Listener()
    pairs, notes = find_pairs(prediction, truth, images)
    several = len(pairs) > 1
    _check_outputs(outputs, settings, pairs, several=several)
    vectors = {is_network(path) for pair in pairs for path in (pair.prediction, pair.truth)}
    if len(vectors) > 1 and not settings.network:
        raise SceneError(
            f"{prediction} and {truth} are a raster and a vector file; give two of one kind, or add --network"
        )
    if vectors == {True} or settings.network:
        if outputs.errors:
            raise OutputError("--errors maps the errors of rasters; leave it out for networks")
        found = _score_networks(pairs, settings, notes, listener)
    else:
        found = _score_rasters(pairs, outputs.errors, settings, notes, listener)
    inputs = {"command": command, "prediction": str(prediction), "truth": str(truth)}
    found = replace(found, settings={**inputs, **found.settings})
    for note in found.notes:
        listener.report(note)
    if outputs.json:
        _write(outputs.json, json.dumps(as_json(found), indent=1, ensure_ascii=False))
    if outputs.report:
        _write(outputs.report, html(found, version=roadseg.__version__))
    return found


def as_json(found: scores.Scores) -> dict[str, object]:
    """Return scores as JSON-ready values; null stands for a ratio with nothing to divide by."""
    curve = [asdict(curve) for curve in found.curves]
    plain = {
        "roadseg": roadseg.__version__,
        "kind": found.kind,
        "settings": found.settings,
        "notes": found.notes,
        "figures": [asdict(figure) for figure in found.figures],
        "images": [{"name": image.name, **image.values} for image in found.images],
        "curves": curve,
    }
    cleaned = _without_nan(plain)
    assert isinstance(cleaned, dict)
    return cleaned


def _score_networks(
    pairs: Sequence[Pair], settings: EvaluateSettings, notes: list[str], listener: Listener
) -> scores.Scores:
    counted, grounds = [], []
    for pair in pairs:
        predicted, crs = _lines(pair.prediction, VectorizeSettings(threshold=settings.threshold), listener)
        true, true_crs = _lines(pair.truth, _TRUE_ROADS, listener)
        if (crs is None) != (true_crs is None) and predicted and true:
            lacking = pair.prediction if crs is None else pair.truth
            raise SceneError(f"{lacking} has no CRS and its partner has one; assign it, with ogr2ogr -a_srs")
        ground = choose_metric_crs(true or predicted, true_crs if true else crs)
        graphs = [road_graph(to_metres(lines, own, ground)) for lines, own in ((true, true_crs), (predicted, crs))]
        for path, graph in zip((pair.truth, pair.prediction), graphs, strict=True):
            if not graph.edges:
                notes.append(f"{path} holds no road with a length")
        near = compare_lines(graphs[0], graphs[1], buffer_m=settings.buffer_m, junction_m=settings.junction_m)
        counted.append(scores.NetworkImage(pair.name, apls(graphs[0], graphs[1]), topo(graphs[0], graphs[1]), near))
        grounds.append(ground.name)
        listener.report(f"{pair.name}: {len(graphs[0].edges)} edges of truth, {len(graphs[1].edges)} predicted")
    figures = scores.network_figures(counted, buffer_m=settings.buffer_m, junction_m=settings.junction_m)
    rows = scores.worst_first([scores.network_row(image) for image in counted])
    told: dict[str, scores.Setting] = {
        "measured in": "; ".join(sorted(set(grounds))),
        "buffer_m": settings.buffer_m,
        "junction_m": settings.junction_m,
    }
    return scores.Scores("networks", told, figures, rows, notes)


def _lines(path: Path, how: VectorizeSettings, listener: Listener) -> tuple[Lines, str | None]:
    """Read the roads of a vector file, or make a network of a raster's; return lines and their CRS."""
    if is_network(path):
        return read_lines(path)
    levels, notes = open_probability(path)
    for note in notes:
        listener.report(note)
    with tempfile.TemporaryDirectory(prefix="roadseg-") as folder:
        roads = extract(levels, how, Path(folder), listener)
    levels.close()
    assert isinstance(roads, RoadNetwork)
    return [np.asarray(line) for line in np.split(roads.vertices, roads.starts[1:-1])] if len(roads) else [], roads.crs


def _score_rasters(
    pairs: Sequence[Pair], maps: Path | None, settings: EvaluateSettings, notes: list[str], listener: Listener
) -> scores.Scores:
    kinds = kind_of([pair.prediction for pair in pairs], notes), kind_of([pair.truth for pair in pairs], notes)
    is_mask = "probability" not in kinds[0]
    counter = Counter(kinds, settings, listener)
    listener.start(sum(map(counter.megapixels, pairs)) * 2, 0)
    counted = [scores.PixelImage(pair.name, counter.count(pair)) for pair in pairs]
    total = scores.pooled(counted)
    threshold, source = _threshold(settings, counter.noted)
    level = 1 if is_mask else pixels.level_of(threshold)
    notes += counter.notes + _empty_notes(total, level)
    rows = scores.worst_first([scores.pixel_row(image, level) for image in counted])
    shown = [row.name for row in rows if not math.isnan(row.values["IoU"])][: settings.worst]
    for index, pair in enumerate(pairs):
        target = (maps / f"{pair.name}.tif" if len(pairs) > 1 else maps) if maps else None
        done = counter.look_closer(pair, level, target, picture=pair.name in shown)
        counted[index] = replace(counted[index], skeletons=done[0], picture=done[1])
    rows = scores.worst_first([scores.pixel_row(image, level) for image in counted])
    figures = scores.pixel_figures(counted, level, is_mask=is_mask)
    told: dict[str, scores.Setting] = {
        "threshold": None if is_mask else threshold,
        "threshold from": "the masks" if is_mask else source,
        "slack": settings.slack,
        "slack unit": "m" if settings.slack_in_metres else "px",
        "neighbourhood": settings.neighbourhood,
        "known pixels": float(total.pixels.sum()),
        "road pixels": float(total.road.sum()),
        "images": float(len(pairs)),
        "skeletonizer": cldice.SKELETONIZER if settings.cldice else None,
    }
    return scores.Scores("pixels", told, figures, rows, notes, [] if is_mask else scores.curves(total))


def _threshold(settings: EvaluateSettings, noted: set[str]) -> tuple[float, str]:
    """Return the threshold and where it comes from."""
    if settings.threshold is not None:
        return settings.threshold, "given"
    if len(noted) == 1 and "" not in noted:
        return float(noted.pop()), "noted in the predictions"
    return 0.5, "default"


def _empty_notes(total: pixels.PixelCounts, level: int) -> list[str]:
    """Say what is undefined, and why."""
    if total.pixels.sum() == 0:
        return ["no pixel is known in both prediction and truth; nothing can be said"]
    notes = []
    if total.road.sum() == 0:
        notes.append("the truth holds no road; recall cannot be said, and any predicted road scores 0")
    if total.pixels[level:].sum() == 0:
        notes.append("nothing is predicted as road; precision cannot be said, and missed road scores 0")
    return notes


def _check_outputs(
    outputs: EvaluateOutputs, settings: EvaluateSettings, pairs: Sequence[Pair], *, several: bool
) -> None:
    inputs = [path for pair in pairs for path in (pair.prediction, pair.truth)]
    for path in outputs.paths():
        if several and path == outputs.errors:
            path.mkdir(exist_ok=True)
            targets = [path / f"{pair.name}.tif" for pair in pairs]
        else:
            targets = [path]
        for target in targets:
            check_target(target, overwrite=settings.overwrite, inputs=inputs)


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise OutputError(f"cannot write {path} ({error.strerror}); choose another place") from error
