"""Inputs that once took minutes: bounds on processor time that a slow machine keeps, and on what is counted."""

import resource
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from commands import roadseg
from road_rasters import UTM, UTM_NORTH_UP
from streets import city
from worlds import write_raster

from roadseg.metrics.apls import apls
from roadseg.metrics.graph import edge_pieces, road_graph
from roadseg.metrics.topo import TopoSettings, _sample


def seconds(*arguments: object) -> float:
    """Return the processor time of a command that succeeds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = roadseg(*arguments, "-q", timeout=1800)
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_network(path: Path, lines: list[np.ndarray]) -> Path:
    shapes = shapely.to_wkb(np.array([shapely.LineString(line) for line in lines]))
    pyogrio.raw.write(path, shapes, [], [], geometry_type="LineString", crs=UTM, layer="roads")
    return path


def test_a_line_is_searched_in_pieces_of_64_segments():
    line = np.stack([np.arange(1001.0), np.zeros(1001)], axis=1)
    line[:, 1] = np.arange(1001) % 2
    pieces = edge_pieces(road_graph([line]))
    assert len(pieces.lines) == 16
    assert shapely.get_num_points(pieces.lines).max() == 65


def test_paths_of_a_long_road_are_sampled():
    graph = road_graph([np.array([[0.0, 0], [1.3e6, 0]])])
    counts = apls(graph, graph).truth_to_prediction
    assert counts.control_points > 25_000
    assert counts.sources == 512


def test_no_more_than_some_twenty_thousand_starts_are_walked():
    xy = np.random.default_rng(0).uniform(0, 1e5, (60_000, 2))
    assert 19_000 < len(_sample(xy, TopoSettings())) < 21_000


@pytest.mark.slow
def test_a_road_of_900_km_is_scored_within_a_minute(tmp_path):
    x = np.arange(0, 900_001, 25.0)
    road = np.stack([400_000 + x, 5_300_000 + 500 * np.sin(x / 2000)], axis=1)
    files = [write_network(tmp_path / f"{name}.gpkg", [road + shift]) for name, shift in (("a", 0.0), ("b", 1.5))]
    assert seconds("evaluate", *files) < 60


@pytest.mark.slow
def test_two_hundred_thousand_edges_are_scored_within_four_minutes(tmp_path):
    network = write_network(tmp_path / "a.gpkg", city(0, side=317))
    assert len(pyogrio.raw.read(network)[2]) > 190_000
    assert seconds("evaluate", network, network) < 240


@pytest.mark.slow
def test_noise_is_extracted_within_a_minute(tmp_path):
    noise = np.random.default_rng(0).integers(0, 2, (1, 4000, 4000), dtype=np.uint8)
    raster = write_raster(tmp_path / "noise.tif", noise, transform=UTM_NORTH_UP, crs=UTM, nodata=255)
    assert seconds("vectorize", raster, "-o", tmp_path / "o.gpkg") < 60
