"""Tracing and merging give the graph that a plain walk over the whole raster gives."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.roads.centerlines.merge import MeasuredBlock, merge_blocks
from roadseg.roads.centerlines.trace import trace_block
from roadseg.roads.mask.store import BlockGrid
from roadseg.thinning import thin
from roadseg.windows import Window

AROUND = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


def traced(lines, block_px=10**6):
    """Trace a raster of lines block by block; area and level are the number of each pixel."""
    height, width = lines.shape
    framed = np.pad(lines, 1)
    blocks = []
    for block in BlockGrid(height, width, block_px).blocks():
        part = trace_block(np.ascontiguousarray(framed[block.grown(1).slices(Window(-1, -1, 0, 0))]), block, width)
        number = part.places[:, 0] * width + part.places[:, 1]
        some = np.zeros(len(part.closed), np.int64)
        blocks.append(MeasuredBlock(part, part.first % 3 == 0, number.astype(np.uint16), number.astype(np.uint8), some))
    return merge_blocks(blocks, width)


class Walk:
    """A plain walk over lines, pixel by pixel, into nodes (row, col) and edges (u, v, places) in their order."""

    def __init__(self, lines):
        self.pixels = set(zip(*(axis.tolist() for axis in np.nonzero(lines)), strict=True))
        self.node_of = {}
        self.nodes()
        self.edges = {*self.between_nodes()}
        self.edges |= {*self.rings()}

    def links(self, pixel):
        row, col = pixel
        for down, right in AROUND:
            corner = down and right and ({(row + down, col), (row, col + right)} & self.pixels)
            if (row + down, col + right) in self.pixels and not corner:
                yield row + down, col + right

    def nodes(self):
        squares = [{(r, c), (r + 1, c), (r, c + 1), (r + 1, c + 1)} for r, c in self.pixels]
        many = {pixel for pixel in self.pixels if len([*self.links(pixel)]) > 2}
        junctions = many.union(*(square for square in squares if square <= self.pixels))
        self.junctions = junctions
        for pixel in sorted(junctions):
            found = [] if pixel in self.node_of else [pixel]
            for member in found:
                self.node_of[member] = pixel
                found += [other for other in self.links(member) if other in junctions and other not in found]
        for pixel in sorted(self.pixels - junctions):
            if len([*self.links(pixel)]) < 2:
                self.node_of[pixel] = pixel

    def follow(self, way, stops):
        while way[-1] not in stops:
            way.append(next(other for other in self.links(way[-1]) if other != way[-2]))
        return way

    def between_nodes(self):
        for start in self.node_of:
            for second in self.links(start):
                way = self.follow([start, second], self.node_of)
                u, v, way = self.node_of[start], self.node_of[way[-1]], tuple(way[1:-1])
                if way or u != v:
                    yield (u, v, way) if (u, way[:1]) <= (v, way[-1:]) else (v, u, way[::-1])

    def rings(self):
        on_edges = {pixel for *_, way in self.edges for pixel in way}
        for pixel in sorted(self.pixels - self.node_of.keys() - on_edges):
            if pixel not in on_edges:
                way = self.follow([pixel, min(self.links(pixel))], {pixel})
                self.node_of[pixel] = pixel
                on_edges |= {*way}
                yield pixel, pixel, tuple(way[1:-1])

    def result(self):
        firsts = sorted(set(self.node_of.values()))
        middles = [np.mean([one for one, first in self.node_of.items() if first == this], axis=0) for this in firsts]
        numbers = {first: number for number, first in enumerate(firsts)}
        rings = {u for u, v, way in self.edges if u == v and u not in self.junctions}
        edges = sorted(((numbers[u], numbers[v], way) for u, v, way in self.edges), key=lambda e: (*e[:2], e[2][:1]))
        return np.array(middles).reshape(-1, 2), firsts, edges, rings


def assert_is_plain(graph, lines):
    nodes, firsts, edges, rings = Walk(lines).result()
    assert np.array_equal(graph.nodes, nodes)
    flagged = [first not in rings and (first[0] * lines.shape[1] + first[1]) % 3 == 0 for first in firsts]
    assert graph.at_border.tolist() == flagged
    assert graph.ends.tolist() == [[u, v] for u, v, _ in edges]
    ways = [graph.places[a:b].tolist() for a, b in zip(graph.starts[:-1], graph.starts[1:], strict=True)]
    assert ways == [[list(pixel) for pixel in way] for _, _, way in edges]
    number = graph.places[:, 0] * lines.shape[1] + graph.places[:, 1]
    assert np.array_equal(graph.area, number.astype(np.uint16))
    assert np.array_equal(graph.level, number.astype(np.uint8))


def random_lines(seed, height, width, kind):
    rng = np.random.default_rng(seed)
    if kind == "salt":
        return (rng.random((height, width)) < rng.uniform(0.02, 0.7)).astype(np.uint8)
    field = cv2.GaussianBlur(rng.random((height, width)).astype(np.float32), (0, 0), 1.2)
    return thin((field > np.quantile(field, rng.uniform(0.2, 0.8))).astype(np.uint8))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 33),
    width=st.integers(1, 33),
    kind=st.sampled_from(["salt", "thinned"]),
    block_px=st.integers(3, 35),
)
def test_blocks_give_the_graph_of_a_walk_over_the_whole_raster(seed, height, width, kind, block_px):
    lines = random_lines(seed, height, width, kind)
    assert_is_plain(traced(lines, block_px), lines)


SHAPES = {
    "pixel": ["#"],
    "two pixels": ["##"],
    "three pixels": ["#..", ".##"],
    "square of four": ["##", "##"],
    "staircase": ["##...", ".##..", "..##.", "...##"],
    "ring of eight": ["###", "#.#", "###"],
    "ring of four": [".#.", "#.#", ".#."],
    "T": ["#####", "..#..", "..#.."],
    "X": ["#...#", ".#.#.", "..#..", ".#.#.", "#...#"],
    "lollipop": [".##....", "#..####", ".##...."],
    "theta": [".#####.", "#..#..#", "#..#..#", "#..#..#", ".#####."],
    "figure 8": [".##...##.", "#..#.#..#", "#...#...#", "#..#.#..#", ".##...##."],
    "parallel edges": ["...###...", "###...###", "...###..."],
    "rings in a ring": ["#######", "#.....#", "#..#..#", "#.#.#.#", "#..#..#", "#.....#", "#######"],
    "diagonal dots": ["#.#.#", ".#.#."],
}


@pytest.mark.parametrize("block_px", [1, 2, 3, 100])
@pytest.mark.parametrize("name", SHAPES)
def test_small_shapes_in_any_blocks_give_the_graph_of_a_walk(name, block_px):
    lines = np.array([[letter == "#" for letter in row] for row in SHAPES[name]]).astype(np.uint8)
    for turned in (lines, lines[::-1], lines.T):
        framed = np.pad(turned, ((0, 1), (2, 0)))
        assert_is_plain(traced(framed, block_px), framed)


@pytest.mark.parametrize(
    ("name", "nodes", "edges"),
    [
        ("pixel", 1, 0),
        ("two pixels", 2, 1),
        ("square of four", 1, 0),
        ("staircase", 2, 1),
        ("ring of eight", 1, 1),
        ("ring of four", 1, 1),
        ("T", 4, 3),
        ("X", 5, 4),
        ("lollipop", 2, 2),
        ("theta", 2, 3),
        ("figure 8", 1, 2),
        ("parallel edges", 4, 4),
        ("rings in a ring", 2, 2),
    ],
)
def test_small_shapes_have_the_expected_nodes_and_edges(name, nodes, edges):
    graph = traced(np.array([[letter == "#" for letter in row] for row in SHAPES[name]]).astype(np.uint8))
    assert (len(graph.nodes), len(graph.ends)) == (nodes, edges)


def test_a_line_that_crosses_one_seam_a_thousand_times_is_one_edge():
    lines = np.zeros((20, 1100), np.uint8)
    col = np.arange(50, 1050)
    lines[9 + col % 2, col] = 1
    assert_is_plain(traced(lines, 10), lines)
    graph = traced(lines, 10)
    assert len(graph.ends) == 1
    assert len(graph.places) == 998


def test_a_junction_at_the_corner_of_four_blocks_is_one_node():
    lines = np.zeros((20, 20), np.uint8)
    lines[np.arange(20), np.arange(20)] = 1
    lines[np.arange(20), 19 - np.arange(20)] = 1
    graph = traced(lines, 10)
    assert_is_plain(graph, lines)
    assert len(graph.ends) == 4
    assert [9.5, 9.5] in graph.nodes.tolist()


def test_no_blocks_give_an_empty_graph():
    graph = merge_blocks([], 7)
    assert (len(graph.nodes), len(graph.ends), len(graph.places)) == (0, 0, 0)
    assert graph.starts.tolist() == [0]
