"""What each stage from probability to centerlines costs, against the script one would write first.

    pip install --no-deps sknw
    pytest -m benchmark -s tests/benchmarks/bench_vectorize.py

One process, everything from memory. The script is scikit-image's skeletonize, sknw's graph and shapely's lines; it
cleans nothing, and is left out where sknw is not installed. ``ROADSEG_BENCHMARK_MPX`` sets the size of the scenes.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import measuring
import numpy as np
import pytest
import shapely
from drawing import DENSE, RURAL, road_probability
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from roadseg.files.workers import WorkerPool
from roadseg.roads.centerlines import extract
from roadseg.roads.mask import clean
from roadseg.roads.mask.clean import Cleaning
from roadseg.roads.mask.passes import BlockPass, local_passes
from roadseg.roads.mask.store import BlockGrid
from roadseg.windows import Window

MPX = float(os.environ.get("ROADSEG_BENCHMARK_MPX", "16.8"))
CLEANING = Cleaning(high=127, low=76, min_area_px=60, max_hole_px=60)
HAS_SKNW = find_spec("sknw") is not None
STAGES = {
    "clean": ((clean, "_ROADS"), (clean, "_HOLES")),
    "thin": ((extract, "_LINES"),),
    "trace": ((extract, "trace_block"),),
    "area, level, border": ((extract, "TRACED"),),
    "merge": ((extract, "merge_blocks"),),
}


def by_roadseg(levels: NDArray[np.uint8]) -> dict[str, float]:
    """Return the processor seconds of each stage, and of all."""
    spent = dict.fromkeys(STAGES, 0.0)

    def watched(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            before = time.process_time()
            result = function(*arguments)
            spent[stage] += time.process_time() - before
            return result

        return run

    def read(window: Window) -> NDArray[np.uint8]:
        return levels[window.slices()]

    with pytest.MonkeyPatch.context() as patch:
        for stage, places in STAGES.items():
            for module, name in places:
                watch = getattr(module, name)
                if isinstance(watch, BlockPass):
                    patch.setattr(module, name, replace(watch, function=watched(stage, watch.function)))
                else:
                    patch.setattr(module, name, watched(stage, watch))
        before = time.process_time()
        with WorkerPool(read, 1) as pool, local_passes(pool, BlockGrid(*levels.shape, 2048), None) as passes:
            extract.centerlines_of(passes, CLEANING, lambda _: None)
        total = time.process_time() - before
    spent["area, level, border"] -= spent["trace"]
    return {**spent, "all": total}


def by_script(levels: NDArray[np.uint8]) -> dict[str, float]:
    """Return the processor seconds of the usual script, and the number of its lines."""
    import sknw

    before = time.process_time()
    graph = sknw.build_sknw(skeletonize(levels >= CLEANING.high).astype(np.uint16), multi=True, iso=True)
    lines = [shapely.LineString(edge["pts"]) for *_, edge in graph.edges(data=True) if len(edge["pts"]) > 1]
    return {"all": time.process_time() - before, "lines": len(lines)}


@pytest.mark.benchmark
def test_stages_against_the_usual_script():
    side = round((MPX * 1e6) ** 0.5)
    rows: list[tuple[object, ...]] = [("scene", "stage", "ms/Mpx", "script ms/Mpx", "ratio")]
    for scene, per_mpx in (("dense", DENSE), ("rural", RURAL)):
        levels = road_probability(side - 32, side + 32, per_mpx=per_mpx)
        turns = [(by_roadseg(levels), by_script(levels) if HAS_SKNW else {}) for _ in range(measuring.ROUNDS)]
        runs, scripts = zip(*turns, strict=True)
        assert scene == "rural" or scripts[0].get("lines", 1)  # a small rural scene may have none
        scale = 1e9 / levels.size
        script = min(run.get("all", np.nan) for run in scripts) * scale
        road = f"{scene}, {100 * (levels >= CLEANING.high).mean():.1f} % road"
        for stage in (*STAGES, "all"):
            ours = min(run[stage] for run in runs) * scale
            last = (f"{script:.0f}", f"{script / ours:.1f}") if stage == "all" else ("", "")
            rows.append((road, stage, f"{ours:.1f}", *last))
    measuring.show("Probability to centerlines, processor time of one core, best of the rounds", rows)
