"""The road network as tables, shapes and a networkx graph."""

import sys

import numpy as np
import pytest
import shapely
from tracing import strips, town, trace

from roadseg.errors import RoadsegError
from roadseg.raster.ground import Ground
from roadseg.roads.centerlines.geometry import to_ground
from roadseg.roads.repair.repair import RepairLimits, repair


@pytest.fixture(scope="module")
def roads():
    return to_ground(repair(trace(town(1)), RepairLimits()), Ground("crs", (1.0, 0.0, 5e5, 0.0, -1.0, 4e6)))


def test_the_table_has_one_row_per_edge_and_all_columns(roads):
    table = roads.table()
    named = "geometry u v length_m width_m probability_mean probability_min inferred areal component"
    assert list(table) == named.split()
    assert {len(column) for column in table.values()} == {len(roads)}
    np.testing.assert_allclose(shapely.length(table["geometry"]), table["length_m"])
    points = roads.node_table()["geometry"]
    for side, node in ((0, table["u"]), (-1, table["v"])):
        assert shapely.equals(shapely.get_point(table["geometry"], side), points[node]).all()


def test_the_node_table_knows_degrees(roads):
    nodes = roads.node_table()
    assert nodes["node"].tolist() == list(range(len(roads.nodes)))
    np.testing.assert_array_equal(nodes["degree"], np.bincount(roads.ends.ravel()))
    assert len(roads.junctions()) == (nodes["degree"] >= 3).sum() > 0
    assert nodes["at_border"].dtype == bool


def test_networkx_has_the_same_shape(roads):
    networkx = pytest.importorskip("networkx")
    graph = roads.to_networkx()
    assert isinstance(graph, networkx.MultiGraph)
    assert (graph.number_of_nodes(), graph.number_of_edges()) == (len(roads.nodes), len(roads))
    assert [graph.degree(i) for i in range(len(roads.nodes))] == roads.degree.tolist()
    assert networkx.number_connected_components(graph) == roads.component.max() + 1
    assert graph.graph["crs"] == "crs"
    for u, v, key, row in graph.edges(keys=True, data=True):
        assert {u, v} == set(roads.ends[key].tolist())
        assert row["length_m"] == roads.length_m[key]
        assert row["geometry"].coords[0] in (graph.nodes[u]["pos"], graph.nodes[v]["pos"])
    assert graph.size(weight="length_m") == pytest.approx(roads.length_m.sum())


def test_networkx_keeps_parallel_edges_and_loops():
    pytest.importorskip("networkx")
    eye = [(5, [(60, 10), (60, 60), (40, 110), (60, 160), (60, 210)]), (5, [(60, 60), (80, 110), (60, 160)])]
    ring = [(105 + 20 * np.sin(a), 60 + 20 * np.cos(a)) for a in np.linspace(0, 2 * np.pi, 40)]
    roads = to_ground(repair(trace(strips((141, 221), *eye, (5, ring))), RepairLimits()), Ground())
    graph = roads.to_networkx()
    assert graph.number_of_edges() == len(roads) == 5
    assert sum(u == v for u, v in graph.edges()) == 1


def test_a_missing_networkx_is_named_with_the_cure(roads, monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(RoadsegError, match=r"pip install 'roadseg\[graph\]'"):
        roads.to_networkx()
