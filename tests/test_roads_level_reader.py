"""Levels at scattered places are those of the raster, whoever reads them and whatever was read ahead."""

import operator
import time
from types import SimpleNamespace

import numpy as np
import pytest
from road_rasters import write_levels

from roadseg.files.workers import WorkerPool
from roadseg.raster.probability import TILE_PX, open_probability
from roadseg.roads import level_reader as module
from roadseg.roads.level_reader import level_reader

HEIGHT, WIDTH = 2 * TILE_PX + 70, TILE_PX + 33


@pytest.fixture
def raster(tmp_path):
    levels = np.random.default_rng(3).integers(0, 255, (HEIGHT, WIDTH)).astype(np.uint8)
    opened, _ = open_probability(write_levels(tmp_path / "levels.tif", levels))
    yield SimpleNamespace(opened=opened, levels=levels)
    opened.close()


def places_all_over(count=3000):
    return np.random.default_rng(4).integers((-9, -9), (HEIGHT + 9, WIDTH + 9), (count, 2)).astype(np.int32)


def expected(levels, places):
    padded = np.pad(levels, 9, constant_values=255)
    return padded[places[:, 0] + 9, places[:, 1] + 9]


@pytest.mark.parametrize("few", [0, 10_000])
@pytest.mark.parametrize("workers", [1, 2])
def test_levels_are_those_of_the_raster(raster, tmp_path, monkeypatch, workers, few):
    monkeypatch.setattr(module, "_FEW_PLACES", few)
    places = places_all_over()
    with WorkerPool(raster.opened, workers) as pool, level_reader(pool, tmp_path) as levels:
        levels.read_ahead(np.argwhere(raster.levels == 7).astype(np.int32))
        np.testing.assert_array_equal(levels(places), expected(raster.levels, places))
        np.testing.assert_array_equal(levels(places[:7]), expected(raster.levels, places[:7]))
        assert levels(places[:0]).shape == (0,)
    assert [path.name for path in tmp_path.iterdir()] == ["levels.tif"]


@pytest.mark.parametrize("most", [1, 2000])
def test_tiles_are_read_ahead_by_others(raster, tmp_path, monkeypatch, most):
    """Once they are, the raster is not asked for them again; the others still are read from it."""
    monkeypatch.setattr(module, "_MOST_TILES", most)
    monkeypatch.setattr(module, "_TILES_AT_ONCE", 1)
    ahead = np.array([(5, 5), (TILE_PX, WIDTH - 1), (HEIGHT - 1, 0), (7, 7)], np.int32)
    indices = [0, 3, 4]
    with WorkerPool(raster.opened, 2) as pool, level_reader(pool, tmp_path) as levels:
        levels.read_ahead(ahead)
        windows = [levels._tiles.window(tile) for tile in indices]
        deadline = time.monotonic() + 20
        while sum(levels._tiles.read(window) is not None for window in windows) < min(most, 3):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        list(pool.map(operator.is_, range(4)))
        stored = [tile for tile in range(6) if levels._tiles.read(levels._tiles.window(tile)) is not None]
        assert stored == indices[:most]
        asked = []
        monkeypatch.setattr(type(raster.opened), "_wanted", lambda _, window: asked.append(window) or zeros(window))
        known = expected(raster.levels, ahead)
        np.testing.assert_array_equal(levels(ahead), known if most > 1 else known * [1, 0, 0, 1])
        assert len(asked) == 3 - len(stored)


def zeros(window):
    return np.zeros((window.height, window.width), np.uint8)


def test_one_process_reads_nothing_ahead(raster, tmp_path):
    with WorkerPool(raster.opened, 1) as pool, level_reader(pool, tmp_path) as levels:
        levels.read_ahead(np.zeros((1, 2), np.int32))
        assert levels._tiles.read(levels._tiles.window(0)) is None


def test_a_tile_that_cannot_be_read_ahead_is_an_error_only_where_it_is_needed(raster, tmp_path):
    raster.opened.path = tmp_path / "gone.tif"
    with WorkerPool(raster.opened, 2) as pool, level_reader(pool, tmp_path) as levels:
        levels.read_ahead(np.zeros((1, 2), np.int32))
        assert list(pool.map(operator.is_, range(4))) == [False] * 4


def test_levels_are_read_in_parts_that_share_no_tile(monkeypatch, tmp_path):
    tiles = []

    class Raster:
        grid = SimpleNamespace(height=30 * TILE_PX, width=900)

        def at(self, places, _):
            tiles.append({(row // TILE_PX, col // TILE_PX) for row, col in places.tolist()})
            return (places.sum(axis=1) % 251).astype(np.uint8)

    class Pool:
        shared, workers = Raster(), 2

        def map(self, function, tasks):
            return (function(self.shared, task) for task in tasks)

    monkeypatch.setattr(module, "_FEW_PLACES", 3)
    places = np.random.default_rng(1).integers(0, (30 * TILE_PX, 900), (4000, 2)).astype(np.int32)
    with level_reader(Pool(), tmp_path) as levels:
        np.testing.assert_array_equal(levels(places), places.sum(axis=1) % 251)
        assert len(tiles) > 10
        assert sum(map(len, tiles)) == len(set().union(*tiles))
        few = places[places[:, 0] < TILE_PX]
        np.testing.assert_array_equal(levels(few), few.sum(axis=1) % 251)
