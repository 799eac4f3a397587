"""Centerlines have the mask's topology and its widths, and do not depend on blocks or workers."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import group_lives
from hypothesis import given, settings
from hypothesis import strategies as st
from road_passes import passes_over, silent
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from roadseg.roads.centerlines.extract import centerlines_of
from roadseg.roads.mask.clean import Cleaning

PLAIN = Cleaning()


class Raster:
    """Levels in memory, read window by window; fails on demand."""

    def __init__(self, levels, failure=None):
        self.levels, self.failure = levels, failure

    def __call__(self, window):
        if self.failure:
            raise self.failure
        return self.levels[window.slices()].copy()


def lines_of(levels, block_px=10**5, workers=1, cleaning=PLAIN, on_block=silent):
    with passes_over(Raster(levels), *levels.shape, block_px=block_px, workers=workers) as passes:
        return centerlines_of(passes, cleaning, on_block)


def assert_same(one, other):
    for name in one.__dataclass_fields__:
        here, there = getattr(one, name), getattr(other, name)
        assert here.dtype == there.dtype, name
        assert np.array_equal(here, there), name


def topology(graph):
    """Return the number of components and loops of a graph."""
    size = len(graph.nodes)
    links = coo_array((np.ones(len(graph.ends)), graph.ends.T), shape=(size, size))
    count = connected_components(links, directed=False)[0]
    return count, len(graph.ends) - size + count


def topology_of_mask(levels):
    """Return the number of its components by 8 neighbours and of its holes by 4."""
    road = levels >= 127
    return ndimage.label(road, np.ones((3, 3)))[1], ndimage.label(np.pad(~road, 1, constant_values=True))[1] - 1


def noise(seed, height, width, smooth, unknown=0.03):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.random((height, width)), smooth)
    levels = (field.ravel().argsort().argsort().reshape(field.shape) * 254.99 / field.size).astype(np.uint8)
    blotches = ndimage.gaussian_filter(rng.random((height, width)), 2)
    levels[blotches > np.quantile(blotches, 1 - unknown)] = 255
    return levels


def drawing(height, width, *ways, thickness=1):
    levels = np.zeros((height, width), np.uint8)
    for way in ways:
        cv2.polylines(levels, [np.array(way)[:, ::-1].astype(np.int32)], False, 254, thickness)
    return levels


def circle(row, col, radius, around=1.0):
    angle = np.linspace(0, 2 * np.pi * around, 200)
    return np.column_stack([row + radius * np.sin(angle), col + radius * np.cos(angle)]).round()


WORLDS = {
    "straight": ([[(50, 20), (50, 130)]], 1, 0),
    "oblique": ([[(20, 20), (61, 130)]], 1, 0),
    "ring": ([circle(55, 70, 35)], 1, 1),
    "T": ([[(30, 20), (30, 130)], [(30, 75), (90, 75)]], 1, 0),
    "X": ([[(50, 20), (50, 130)], [(10, 75), (90, 75)]], 1, 0),
    "X at 33 degrees": ([[(50, 20), (50, 130)], [(20, 29), (80, 121)]], 1, 0),
    "Y": ([[(90, 75), (50, 75)], [(50, 75), (20, 40)], [(50, 75), (20, 110)]], 1, 0),
    "lollipop": ([circle(40, 75, 25), [(65, 75), (100, 75)]], 1, 1),
    "theta": ([circle(55, 70, 35), [(55, 35), (55, 105)]], 1, 2),
    "figure 8": ([circle(30, 70, 20), circle(70, 70, 20)], 1, 2),
    "two ways between the same nodes": ([circle(55, 70, 30), [(55, 10), (55, 40)], [(55, 100), (55, 140)]], 1, 1),
    "crossing that leaves through the border": ([[(50, -20), (50, 170)], [(-20, 75), (130, 75)]], 1, 0),
    "two parallel roads": ([[(30, 20), (30, 130)], [(42, 20), (42, 130)]], 2, 0),
    "dead ends": ([[(20, 20), (30, 40)], [(60, 20), (60, 40)], [(90, 100), (70, 130)]], 3, 0),
}


@pytest.mark.parametrize("thickness", [1, 2, 9])
@pytest.mark.parametrize("name", WORLDS)
def test_topology_is_that_of_the_drawing_in_any_blocks(name, thickness):
    ways, components, loops = WORLDS[name]
    levels = drawing(113, 151, *ways, thickness=thickness)
    graph = lines_of(levels)
    assert topology(graph) == topology_of_mask(levels) == (components, loops)
    for block_px in (75, 40):
        assert_same(lines_of(levels, block_px), graph)


@pytest.mark.parametrize("gap", [1, 3])
def test_parallel_roads_stay_two(gap):
    levels = drawing(60, 200, [(20, 10), (20, 190)], thickness=1)
    levels[17:24], levels[24 + gap : 31 + gap] = 254, 254
    assert topology(lines_of(levels, 50)) == (2, 0)


@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 130),
    width=st.integers(1, 130),
    smooth=st.sampled_from([0.4, 1, 2, 4, 12]),
    block_px=st.integers(20, 140),
)
@settings(max_examples=15)
def test_random_blocks_give_the_graph_of_a_single_block(seed, height, width, smooth, block_px):
    levels = noise(seed, height, width, smooth)
    for cleaning in (PLAIN, Cleaning(180, 110, 12, 20)):
        graph = lines_of(levels, cleaning=cleaning)
        assert_same(lines_of(levels, block_px, cleaning=cleaning), graph)


@given(seed=st.integers(0, 10**6), smooth=st.sampled_from([0.7, 1.5, 3]))
@settings(max_examples=12)
def test_components_and_loops_are_those_of_the_mask(seed, smooth):
    levels = noise(seed, 140, 97, smooth, unknown=0)
    graph = lines_of(levels, 60)
    components, loops = topology(graph)
    assert components == topology_of_mask(levels)[0]
    assert topology_of_mask(levels)[1] * 0.95 - 1 <= loops <= topology_of_mask(levels)[1]
    filled = lines_of(levels, 60, cleaning=Cleaning(max_hole_px=12))
    road = ndimage.label(levels < 127)
    large = ndimage.sum_labels(levels < 127, road[0], np.arange(1, road[1] + 1)) > 12
    inner = np.setdiff1d(np.flatnonzero(large) + 1, np.concatenate([s.ravel() for s in _sides(road[0])]))
    assert topology(filled)[1] == len(inner)


def _sides(labels):
    return labels[0], labels[-1], labels[:, 0], labels[:, -1]


@pytest.mark.parametrize("degrees", [0, 10, 26.6, 38, 45, 52, 71, 90])
@pytest.mark.parametrize("width_px", [3, 5.5, 8, 11.3])
def test_area_over_length_is_the_width(width_px, degrees):
    row, col = np.mgrid[:420, :420] - 210
    across = row * math.cos(math.radians(degrees)) - col * math.sin(math.radians(degrees)) + 0.3
    along = col * math.cos(math.radians(degrees)) + row * math.sin(math.radians(degrees))
    levels = np.where((np.abs(across) < width_px / 2) & (np.abs(along) < 180), 254, 0).astype(np.uint8)
    graph = lines_of(levels, 150)
    edge = int(np.diff(graph.starts).argmax())
    places = graph.places[graph.starts[edge] : graph.starts[edge + 1]]
    area = graph.area[graph.starts[edge] : graph.starts[edge + 1]]
    some = slice(30, -30)
    reached = np.linalg.norm(places[some][-1] - places[some][0]) * (1 + 1 / (len(places[some]) - 1))
    assert area[some].sum() / reached == pytest.approx((levels > 0).sum() / 360, abs=0.15)


def test_away_from_junctions_crossing_roads_are_as_wide_as_single_ones():
    levels = drawing(600, 700, *[[(at, -9), (at + 40, 710)] for at in range(40, 560, 60)], thickness=9)
    crossed = levels | drawing(600, 700, *[[(-9, at), (610, at + 50)] for at in range(30, 660, 60)], thickness=9)
    single, both = lines_of(levels), lines_of(crossed)
    parts = [slice(a + 9, b - 9) for a, b in zip(both.starts[:-1], both.starts[1:], strict=True) if b - a > 30]
    away = np.concatenate([both.area[part] for part in parts])
    assert len(away) > 3000
    assert float(away.mean()) == pytest.approx(float(single.area.mean()), abs=0.15)


def test_no_pixel_counts_twice_and_few_not_at_all():
    levels = noise(4, 200, 300, 4, unknown=0)
    graph = lines_of(levels)
    assert 0.85 < graph.area.sum() / (levels >= 127).sum() <= 1


def test_levels_are_those_of_the_raster_along_the_line():
    levels = noise(4, 200, 150, 3)
    graph = lines_of(levels, 64)
    assert np.array_equal(graph.level, levels[graph.places[:, 0], graph.places[:, 1]])
    assert len(np.unique(graph.level)) > 50


def test_ends_near_nodata_are_marked_as_at_the_border():
    levels = drawing(200, 300, [(60, -10), (60, 310)], [(140, 60), (140, 240)], thickness=9)
    levels[120:170, :75] = 255
    for graph in (lines_of(levels), lines_of(levels, 70)):
        flags = {(round(row), col > 150): flag for (row, col), flag in zip(graph.nodes, graph.at_border, strict=True)}
        assert flags == {(60, False): True, (60, True): True, (140, False): True, (140, True): False}


@pytest.mark.parametrize("block_px", [1000, 200, 313])
def test_a_car_park_becomes_a_line_around_it(block_px):
    levels = drawing(500, 620, [(240, 0), (240, 620)], thickness=9)
    levels[90:390, 150:450] = 254
    graph = lines_of(levels, block_px)
    assert_same(graph, lines_of(levels))
    assert topology(graph) == (1, 1)
    length = np.diff(graph.starts)
    assert 2 * 150 <= length[graph.areal].sum() <= 4 * 300
    outside = [np.ptp(graph.places[a:b, 1]) for a, b in zip(graph.starts[:-1], graph.starts[1:], strict=True)]
    assert not graph.areal[(length > 100) & (np.array(outside) < 160)].any()


def test_a_solid_square_is_areal_and_a_smaller_one_is_not():
    levels = np.zeros((330, 340), np.uint8)
    levels[10:310, 20:320] = 254
    assert lines_of(levels).areal.any()
    levels[:] = 0
    levels[10:130, 20:140] = 254
    assert not lines_of(levels).areal.any()


@pytest.mark.parametrize("value", [0, 255])
def test_empty_and_nodata_rasters_have_no_lines(value):
    graph = lines_of(np.full((50, 130), value, np.uint8), 40)
    assert (len(graph.nodes), len(graph.ends)) == (0, 0)


def test_a_raster_full_of_road_has_one_line_around_it():
    graph = lines_of(np.full((400, 333), 254, np.uint8), 150)
    assert topology(graph) == (1, 1)
    assert graph.areal.all()


def test_workers_change_nothing_and_progress_adds_up(given_away):
    levels = noise(8, 500, 430, 2)
    done = []
    one = lines_of(levels, 150, cleaning=Cleaning(160, 120, 15, 15), on_block=done.append)
    assert sum(done) == pytest.approx(levels.size / 1e6)
    assert_same(lines_of(levels, 150, workers=2, cleaning=Cleaning(160, 120, 15, 15)), one)
    assert given_away.count("_call") > 3


def test_the_raster_is_read_once_except_where_holes_were_filled():
    levels, windows = np.zeros((150, 260), np.uint8), []
    levels[40:80, 20:240] = np.arange(220, dtype=np.uint8) // 2 + 140

    def read(window):
        windows.append(window)
        return levels[window.slices()]

    def traced(cleaning):
        with passes_over(read, 150, 260, block_px=100) as passes:
            return centerlines_of(passes, cleaning, silent)

    graph = traced(PLAIN)
    assert sum(window.area for window in windows) == levels.size
    assert np.array_equal(graph.level, levels[graph.places[:, 0], graph.places[:, 1]])
    levels[45:75, 100:130], windows[:] = 3, []
    graph = traced(Cleaning(max_hole_px=900))
    assert np.array_equal(graph.level, levels[graph.places[:, 0], graph.places[:, 1]])
    assert graph.level.min() == 3
    assert levels.size < sum(window.area for window in windows) < 1.1 * levels.size


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_error_of_the_reader_is_raised_and_no_file_remains(tmp_path, workers):
    read = Raster(np.zeros((100, 90), np.uint8), OSError("no such tile"))
    how = {"block_px": 20, "workers": workers, "folder": tmp_path}
    with pytest.raises(OSError, match="no such tile"), passes_over(read, 100, 90, **how) as passes:
        centerlines_of(passes, PLAIN, silent)
    assert not list(tmp_path.iterdir())
    assert not multiprocessing.active_children()


PATIENT = """
import sys, time
from pathlib import Path
import numpy as np
from road_passes import passes_over
from roadseg.roads.centerlines.extract import centerlines_of
from roadseg.roads.mask.clean import Cleaning

def read(window):
    time.sleep(0.02)
    return np.full((window.height, window.width), 254, np.uint8)

if __name__ == "__main__":
    folder, workers = Path(sys.argv[1]), int(sys.argv[2])
    say = lambda _: print("a block", flush=True)
    with passes_over(read, 9000, 9100, block_px=90, workers=workers, folder=folder) as passes:
        centerlines_of(passes, Cleaning(), say)
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_leaves_no_file_and_no_process(tmp_path, workers):
    script, folder = tmp_path / "patient.py", tmp_path / "folder"
    script.write_text(PATIENT, "utf-8")
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder), str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 (ignored in background jobs)
    )
    assert process.stdout.readline() == b"a block\n"
    assert list(folder.iterdir())
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode not in {0, None}
    assert b"KeyboardInterrupt" in said
    assert not list(folder.iterdir())
    for _ in range(300):
        if not group_lives(process.pid):
            return
        time.sleep(0.1)
    pytest.fail("a worker hangs")


def test_invalid_settings_raise_value_error():
    with pytest.raises(ValueError, match="low ≤ high"):
        Cleaning(high=100, low=120)
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        lines_of(np.zeros((5, 6), np.uint8), workers=0)


@pytest.mark.slow
@pytest.mark.parametrize("block_px", [4096, 2048, 1000, 313])
def test_blocks_of_all_sizes_on_a_large_raster(block_px):
    levels = noise(2, 2300, 4700, 3)
    cleaning = Cleaning(150, 120, 40, 40)
    assert_same(lines_of(levels, block_px, cleaning=cleaning), lines_of(levels, cleaning=cleaning))


@pytest.mark.slow
def test_a_spiral_longer_than_131072_px_is_one_edge():
    levels = np.zeros((1200, 1000), np.uint8)
    top, left, bottom, right = 0, 0, 1199, 999
    while bottom - top > 8 and right - left > 8:
        levels[top, max(0, left - 4) : right + 1] = 254
        levels[top : bottom + 1, right] = 254
        levels[bottom, left : right + 1] = 254
        levels[top + 4 : bottom + 1, left] = 254
        top, left, bottom, right = top + 4, left + 4, bottom - 4, right - 4
    graph = lines_of(levels, 313)
    assert len(graph.ends) == 1
    assert len(graph.places) > 131_072
    assert_same(graph, lines_of(levels))


@pytest.mark.slow
def test_wide_rasters_and_very_many_nodes():
    levels = np.zeros((330, 40_000), np.uint8)
    for row in range(3, 325, 6):
        for col in range(0, 40_000, 12):
            levels[row, col + 2 : col + 8] = 254
    levels[1, 10:39_990] = 254
    graph = lines_of(levels, 2048)
    rows = len(range(3, 325, 6))
    assert len(graph.ends) == rows * len(range(0, 40_000, 12)) + 1
    assert len(graph.nodes) == 2 * len(graph.ends) > 300_000
    assert graph.nodes[:, 1].max() > 39_000
    assert np.diff(graph.starts).max() == 39_978
