"""Drawn roads, and a slow, plain tracer: thick roads become a PixelGraph by way of scikit-image, pixel by pixel."""

import itertools
from dataclasses import replace

import numpy as np
from scipy import ndimage
from skimage.morphology import skeletonize

from roadseg.roads.pixel_graph import PixelGraph
from roadseg.roads.repair.edges import take_edges


def strips(shape, *roads):
    """Draw roads: each is (width, [(row, col), ...]); a pixel is road if its centre is within half a width."""
    drawn = np.zeros(shape, dtype=bool)
    for width, line in roads:
        for start, stop in itertools.pairwise(np.asarray(line, dtype=float)):
            low = np.maximum(np.floor(np.minimum(start, stop) - width / 2), 0).astype(int)
            high = np.maximum(np.ceil(np.maximum(start, stop) + width / 2), 0).astype(int)
            window = np.s_[low[0] : high[0] + 1, low[1] : high[1] + 1]
            off = np.stack(np.indices(drawn[window].shape), axis=-1) + low - start
            along = stop - start
            share = np.clip((off @ along) / max(along @ along, 1e-9), 0, 1)
            drawn[window] |= np.hypot(*np.moveaxis(off - share[..., None] * along, -1, 0)) <= width / 2
    return drawn


def circle(middle, radius, sides=72):
    """Return (sides + 1, 2) row, col of a closed polygon on a circle."""
    turn = np.linspace(0, 2 * np.pi, sides + 1)
    return np.stack([middle[0] + radius * np.sin(turn), middle[1] + radius * np.cos(turn)], axis=1)


def town(seed=0, shape=(300, 341)):
    """Draw crooked roads with bumps, gaps and crossings."""
    rng = np.random.default_rng(seed)
    roads = []
    for _ in range(9):
        start, turn = rng.uniform(20, 280, 2), rng.uniform(0, 2 * np.pi)
        way = start + np.cumsum(
            np.stack([np.sin(turn + np.linspace(0, 0.6, 25)), np.cos(turn + np.linspace(0, 0.6, 25))], 1) * 8, 0
        )
        roads.append((rng.uniform(5, 10), way))
    road = strips(shape, *roads)
    for row, col in rng.integers(0, 300, (12, 2)):
        road[row : row + 12, col : col + 9] = False
    return road


AROUND = [(-1, 0), (0, 1), (1, 0), (0, -1), (-1, -1), (-1, 1), (1, 1), (1, -1)]


def graph_of(edges, nodes, *, at_border=(), level=200, area=7, inferred=(), areal=()):
    """Build a graph by hand: ``edges`` are (u, v, [(row, col), ...]), ``nodes`` [(row, col), ...]."""
    places = [np.array(list(way), dtype=np.int32).reshape(-1, 2) for _, _, way in edges]
    count = sum(map(len, places))
    return PixelGraph(
        nodes=np.array(nodes, dtype=float).reshape(-1, 2),
        at_border=np.isin(np.arange(len(nodes)), at_border),
        ends=np.array([(u, v) for u, v, _ in edges], dtype=np.int64).reshape(-1, 2),
        starts=np.concatenate([[0], np.cumsum([len(way) for way in places])]).astype(np.int64),
        places=np.concatenate([np.empty((0, 2), np.int32), *places]),
        area=np.full(count, area, dtype=np.uint16),
        level=np.full(count, level, dtype=np.uint8),
        inferred=np.isin(np.arange(len(edges)), inferred),
        areal=np.isin(np.arange(len(edges)), areal),
    )


def shuffled(graph, seed):
    """Return the same graph with nodes and edges in another order, some edges the other way round."""
    rng = np.random.default_rng(seed)
    names = rng.permutation(len(graph.nodes))
    moved = replace(
        graph,
        nodes=graph.nodes[np.argsort(names)],
        at_border=graph.at_border[np.argsort(names)],
        ends=names[graph.ends],
    )
    edges = rng.permutation(len(graph.ends))
    return take_edges(moved, edges, turned=rng.random(len(edges)) < 0.5, all_nodes=True)


def trace(road, levels=None, known=None, *, thin=skeletonize):
    """Trace the centerlines of a (rows, cols) bool mask; ``known`` is where the raster has values."""
    road = _filled(road)
    line = thin(road)
    known = np.ones(road.shape, bool) if known is None else known
    levels = np.where(road, 254, 0).astype(np.uint8) if levels is None else levels
    area = _areas(road, line)
    near = _neighbours(line)
    clusters = _clusters(near)
    node = {place: i for i, members in enumerate(clusters) for place in members}
    nodes = [np.mean(members, axis=0) for members in clusters]
    edges, seen = [], set()
    for start in sorted(node):
        for step in near[start]:
            if (start, step) in seen or node.get(step) == node[start]:
                continue
            way, before, here = [], start, step
            seen.add((start, step))
            while here not in node:
                way.append(here)
                onward = [place for place in near[here] if place != before]
                before, here = here, onward[0]
            seen.add((here, before))
            if len(way) > 2 or node[start] != node[here]:
                edges.append((node[start], node[here], way))
    graph = graph_of(edges, nodes)
    to_open = ndimage.distance_transform_edt(np.pad(known, 1))[1:-1, 1:-1]
    border = [min(to_open[place] for place in members) <= 7 for members in clusters]
    object.__setattr__(graph, "at_border", np.array(border, dtype=bool))
    object.__setattr__(graph, "area", area[tuple(graph.places.T)].astype(np.uint16))
    object.__setattr__(graph, "level", levels[tuple(graph.places.T)])
    return graph


def _filled(road):
    """Fill holes of up to three pixels, which drawing leaves where roads part."""
    holes, count = ndimage.label(~road)
    return road | (np.bincount(holes.ravel(), minlength=count + 1) <= 3)[holes]


def _areas(road, line):
    if not line.any():
        return np.zeros(road.shape)
    row, col = ndimage.distance_transform_edt(~line, return_distances=False, return_indices=True)
    flat = (row * road.shape[1] + col)[road]
    return np.bincount(flat, minlength=road.size).reshape(road.shape)


def _neighbours(line):
    """Diagonal neighbours count only where no common straight neighbour joins the two anyway."""
    pixels = set(map(tuple, np.argwhere(line).tolist()))
    near = {}
    for row, col in pixels:
        straight = [(row + i, col + j) for i, j in AROUND[:4] if (row + i, col + j) in pixels]
        near[row, col] = straight + [
            (row + i, col + j)
            for i, j in AROUND[4:]
            if (row + i, col + j) in pixels and (row + i, col) not in pixels and (row, col + j) not in pixels
        ]
    return near


def _clusters(near):
    """Touching pixels of degree three or more are one node; so is every end, and one pixel of each ring."""
    many = {place for place, others in near.items() if len(others) >= 3}
    clusters, done = [], set()
    for place in sorted(near):
        if place in done or (place not in many and len(near[place]) == 2):
            continue
        members = queue = [place]
        done.add(place)
        while queue:
            queue = sorted({other for here in queue if here in many for other in near[here]} & many - done)
            done.update(queue)
            members = members + queue
        clusters.append(sorted(members))
    rest = set(near)
    while True:
        queue = [place for members in clusters for place in members if place in rest]
        rest.difference_update(queue)
        while queue:
            onward = [place for place in near[queue.pop()] if place in rest]
            rest.difference_update(onward)
            queue += onward
        if not rest:
            return clusters
        clusters.append([min(rest)])
