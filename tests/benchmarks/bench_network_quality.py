"""What repair is worth: networks of predicted dev tiles against those of the true masks, repair by repair.

    pytest -m benchmark -s tests/benchmarks/bench_network_quality.py

Needs the Massachusetts tiles beside the repository. Probabilities are taken from the folder
``ROADSEG_PREDICTIONS`` (one uint8 raster per tile, under the tile's name) or predicted with the bundled model,
some seconds per tile. Both networks come from the same tracing; the truth is pruned and its junctions
are merged, and nothing else is done to it. Completeness, correctness and quality within 5 m, junctions within
10 m and APLS of all tiles together. Defaults of the repairs were chosen with this table.
"""

import os
import time
from dataclasses import replace
from pathlib import Path

import measuring
import numpy as np
import pytest
import rasterio
from shared import tiles as shared_tiles

from roadseg.files.workers import WorkerPool
from roadseg.metrics.apls import apls, apls_score
from roadseg.metrics.graph import road_graph
from roadseg.metrics.lines import LineCounts, compare_lines, line_score
from roadseg.predict import load_model, predict_scene
from roadseg.raster.ground import Ground
from roadseg.roads.centerlines.extract import centerlines_of
from roadseg.roads.centerlines.geometry import to_ground
from roadseg.roads.extract import LOW_SHARE
from roadseg.roads.mask.clean import Cleaning
from roadseg.roads.mask.passes import local_passes
from roadseg.roads.mask.store import BlockGrid
from roadseg.roads.repair.repair import RepairLimits, repair
from roadseg.settings import PredictOutputs, PredictSettings

LEVEL = 0.5 * 254
ON = RepairLimits(road_level=LEVEL)
OFF = replace(ON, min_length=0, spur=0, max_gap=0, merge_junctions=False)
TRUTH = replace(OFF, spur=None, merge_junctions=True)
WAYS = {
    "off": OFF,
    "all on (defaults)": ON,
    "only spurs": replace(OFF, spur=ON.spur),
    "only gaps": replace(OFF, max_gap=ON.max_gap),
    "only junctions": replace(OFF, merge_junctions=True),
    "only small pieces": replace(OFF, min_length=ON.min_length),
    "all but spurs": replace(ON, spur=0),
    "all but gaps": replace(ON, max_gap=0),
    "all but junctions": replace(ON, merge_junctions=False),
    "all but small pieces": replace(ON, min_length=0),
    "all on, gaps to 25 m": replace(ON, max_gap=25),
    "all on, gaps to 60 m": replace(ON, max_gap=60),
    "all on, pieces from 20 m": replace(ON, min_length=20),
    "all on, pieces from 80 m": replace(ON, min_length=80),
}


def predictions(folder):
    """Return where the predicted tiles lie; predict them there if nobody has."""
    if "ROADSEG_PREDICTIONS" in os.environ:
        return Path(os.environ["ROADSEG_PREDICTIONS"])
    model = load_model(device="cpu")
    for image in sorted((shared_tiles("dev") / "images").glob("*.tif*")):
        predict_scene(str(image), PredictOutputs(folder / f"{image.stem}.tif"), model, PredictSettings(pixel_m=1.0))
    return folder


def traced(levels, high, low):
    """Trace a raster of levels that fits into memory."""
    cleaning = Cleaning(high=round(high), low=round(low), min_area_px=60, max_hole_px=60)

    def read(window):
        return levels[window.row : window.row + window.height, window.col : window.col + window.width]

    with WorkerPool(read, 1) as pool, local_passes(pool, BlockGrid(*levels.shape, 2048), None) as passes:
        return centerlines_of(passes, cleaning, lambda _: None)


def graph_of(pixels):
    network = to_ground(pixels, Ground())
    return road_graph(np.split(network.vertices, network.starts[1:-1]) if len(network) else [])


@pytest.mark.benchmark
def test_each_repair_on_the_dev_tiles(tmp_path):
    folder, pairs = predictions(tmp_path), []
    for path in sorted((shared_tiles("dev") / "masks").glob("*.tif")):
        with rasterio.open(path) as mask, rasterio.open(folder / path.name) as predicted:
            truth, levels = mask.read(1), predicted.read(1)
        known = (truth != 255) & (levels != 255)
        levels = np.where(known, levels, 255).astype(np.uint8)
        true = np.where(known, np.where(truth == 1, 254, 0), 255).astype(np.uint8)
        pairs.append(
            (levels, traced(levels, LEVEL, LOW_SHARE * LEVEL), graph_of(repair(traced(true, 127, 127), TRUTH)))
        )
    measures = ["completeness", "correctness", "quality", "junctions P", "junctions R", "APLS"]
    rows: list[list[object]] = [["repair", *measures, "km", "gaps", "s"]]
    for name, limits in WAYS.items():
        counts, paths, gaps, seconds = LineCounts(), [], 0, 0.0
        for levels, pixels, truth in pairs:
            before = time.process_time()
            repaired = repair(pixels, limits, levels_at=lambda at, levels=levels: levels[at[:, 0], at[:, 1]])
            seconds += time.process_time() - before
            found = graph_of(repaired)
            counts += compare_lines(truth, found, buffer_m=5.0)
            paths.append(apls(truth, found))
            gaps += int(repaired.inferred.sum())
        s = line_score(counts)
        ratios = (s.completeness, s.correctness, s.quality, s.junction_precision, s.junction_recall)
        together = apls_score(sum(paths[1:], paths[0]))
        rows.append([name, *(f"{r:.4f}" for r in (*ratios, together)), counts.prediction_m / 1000, gaps, seconds])
    measuring.show(f"{len(pairs)} dev tiles", rows)
