"""From pixels to the ground: where lines lie, how long and how wide roads are, whatever the grid."""

from dataclasses import fields, replace

import numpy as np
import pytest
import rasterio
import rasterio.warp
import shapely
from affine import Affine
from tracing import circle, graph_of, shuffled, strips, town, trace

from roadseg.raster.grid import Grid
from roadseg.raster.ground import Ground, metre_steps, plane_steps
from roadseg.roads.centerlines.geometry import to_ground
from roadseg.roads.repair.repair import RepairLimits, repair

UTM = Ground("a projected CRS", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))


def network(road, ground=UTM, limits=None, **options):
    graph = trace(road, np.where(road, 200, 0).astype(np.uint8))
    return to_ground(repair(graph, limits or RepairLimits(), pixel_size=ground.pixel_size), ground, **options)


def sizes(transform):
    a, b, _, d, e, _ = tuple(transform)[:6]
    return float(np.hypot(b, e)), float(np.hypot(a, d))


def ground_of(transform, shape, *, degrees=None, unit=1.0):
    """Return the ground of a grid, with steps measured in degrees if given, else in plain metres."""
    transform = tuple(transform)[:6]
    if degrees is None:
        return Ground("crs", transform, tuple(size * unit for size in sizes(transform)))
    steps = metre_steps(transform, shape, degrees)
    middle = steps(np.array([[shape[0] / 2, shape[1] / 2]]))[0]
    return Ground("crs", transform, tuple(np.hypot(*middle)), steps)


def curve(seed, row, shape=(500, 620)):
    """A road from side to side whose direction sways."""
    rng = np.random.default_rng(seed)
    col = np.linspace(30, shape[1] - 30, 120)
    sway = sum(rng.uniform(3, 14) * np.sin(2 * np.pi * (col / rng.uniform(180, 420) + rng.random())) for _ in range(3))
    return np.stack([row + sway, col], axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_lines_lie_on_the_true_centerlines(seed):
    rng = np.random.default_rng(seed)
    rows = 60 + 95 * np.arange(5)
    ways = [curve(10 * seed + i, row) for i, row in enumerate(rows)]
    widths = rng.uniform(6, 12, len(ways))
    found = network(strips((500, 620), *zip(widths, ways, strict=True)))
    truth = [shapely.LineString(way[:, ::-1] * (1, -1) + (0.5, -0.5)) for way in ways]
    assert len(found) == len(ways)
    true, made = shapely.MultiLineString(truth), shapely.MultiLineString(list(found.lines()))
    steps = shapely.line_interpolate_point(found.lines()[:, None], np.linspace(0, 1, 400), normalized=True).ravel()
    off = shapely.distance(steps, true)
    assert off.mean() <= 0.6
    assert np.quantile(off, 0.95) <= 1.5
    back = shapely.line_interpolate_point(np.array(truth)[:, None], np.linspace(0, 1, 400), normalized=True).ravel()
    assert (off <= 3).mean() >= 0.99
    assert (shapely.distance(back, made) <= 3).mean() >= 0.98
    assert found.length_m.sum() == pytest.approx(true.length, rel=5e-3)
    nearest = [int(np.argmin(shapely.distance(truth, shapely.centroid(line)))) for line in found.lines()]
    assert np.abs(found.width_m - widths[nearest]).mean() <= 0.3


def test_the_middle_of_a_pixel_is_half_a_pixel_off_its_corner():
    found = to_ground(
        graph_of([(0, 1, [(3, c) for c in range(3, 9)])], [(3, 2), (3, 9)]),
        replace(UTM, transform=(2.0, 0, 500_000, 0, -2.0, 4e6)),
    )
    assert found.nodes.tolist() == [[500_005.0, 3_999_993.0], [500_019.0, 3_999_993.0]]
    assert found.vertices.tolist() == found.nodes.tolist()


TURN = np.radians(30)
GRIDS = {
    "north up": (Affine(1, 0, 4e5, 0, -1, 5e6), 1.0),
    "south up": (Affine(1, 0, 4e5, 0, 1, 5e6), 1.0),
    "rotated": (Affine(np.cos(TURN), np.sin(TURN), 1e6, np.sin(TURN), -np.cos(TURN), 6e6), 1.0),
    "half metre": (Affine(0.5, 0, 3e6, 0, -0.5, 9e6), 1.0),
    "feet": (Affine(2, 0, 3e6, 0, -2, 9e6), 0.3048),
}


@pytest.mark.parametrize("name", GRIDS)
def test_lengths_and_widths_are_metres_on_any_grid(name):
    transform, unit = GRIDS[name]
    road = strips((151, 261), (9, [(30, 20), (110, 240)]), (6, [(120, 30), (60, 75)]))
    plain = network(road, limits=RepairLimits(min_length=0))
    ground = ground_of(transform, road.shape, unit=unit)
    found = to_ground(repair(trace(road), RepairLimits(min_length=0)), ground)
    scale = sizes(transform)[0] * unit
    np.testing.assert_allclose(found.length_m, plain.length_m * scale, rtol=1e-9)
    np.testing.assert_allclose(found.width_m, plain.width_m * scale, rtol=1e-9)
    back = np.array([~transform @ tuple(xy) for xy in found.vertices])
    np.testing.assert_allclose(back, plain.vertices * (1, -1), atol=1e-6)
    np.testing.assert_allclose(shapely.length(found.lines()) * unit, found.length_m, rtol=1e-9)


def test_lengths_and_widths_in_degrees_at_60_north_are_metres():
    """Pixels twice as high as wide in metres; roads in three directions, 9 m wide."""
    east, north = 111_412.84 * np.cos(np.radians(60)) - 93.5 * np.cos(np.radians(180)), 111_412.2
    transform = Affine(1 / east, 0, 25.0, 0, -1 / north, 60.0)
    squeezed = transform @ Affine.scale(1.0, 2.0)
    shape = (140, 260)
    rows, cols = np.indices(shape)
    road, ways = np.zeros(shape, bool), [((15, 60), (120, 60)), ((20, 100), (29, 240)), ((60, 100), (110, 230))]
    for start, stop in ways:
        along = (np.array(stop) - start) * (2, 1)
        off = np.stack([2 * rows, cols], axis=-1) - np.array(start) * (2, 1)
        share = np.clip(off @ along / (along @ along), 0, 1)
        road |= np.hypot(*np.moveaxis(off - share[..., None] * along, -1, 0)) <= 4.5
    ground = ground_of(squeezed, shape, degrees=lambda xy: xy)
    np.testing.assert_allclose(ground.pixel_size, (2, 1), rtol=2e-3)
    found = network(road, ground, limits=RepairLimits(max_gap=0))
    apart = (found.nodes[found.ends[:, 0]] - found.nodes[found.ends[:, 1]]) * (east, north)
    np.testing.assert_allclose(found.length_m, np.hypot(*apart.T), rtol=1.2e-2)
    assert sorted(found.length_m.round(-1)) == [150, 170, 200]
    np.testing.assert_allclose(found.width_m, 9, atol=0.3)


def test_web_mercator_metres_are_not_metres():
    radius, latitude = 6_378_137.0, 60.0

    def degrees(xy):
        return np.degrees(np.stack([xy[:, 0] / radius, 2 * np.arctan(np.exp(xy[:, 1] / radius)) - np.pi / 2], axis=1))

    y = radius * np.log(np.tan(np.pi / 4 + np.radians(latitude) / 2))
    road = strips((121, 221), (9, [(60, 10), (60, 210)]))
    found = network(road, ground_of(Affine(2, 0, 3e6, 0, -2, y), road.shape, degrees=degrees))
    assert found.length_m[0] == pytest.approx(200, abs=2)
    assert found.width_m[0] == pytest.approx(9, abs=0.2)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", Affine(1e-5, 0, 25.0, 0, -2e-5, 60.0)),
        ("EPSG:3857", Affine(2, 0, 3e6, 0, -2, 8.4e6)),
        ("EPSG:2263", Affine(3, 1, 9.8e5, 1, -3, 2e5)),
        ("EPSG:32633", Affine.translation(5e5, 6e6) @ Affine.rotation(30) @ Affine.scale(0.5, -0.5)),
    ],
)
def test_steps_agree_with_the_grid_of_the_raster(crs, transform):
    """Steps measured in degrees, to which rasterio reprojects x, y, are as long as the grid says."""

    def degrees(xy):
        return np.stack(rasterio.warp.transform(crs, "EPSG:4326", xy[:, 0].tolist(), xy[:, 1].tolist()), axis=1)

    grid = Grid(rasterio.CRS.from_user_input(crs).to_wkt(), transform, 300, 401)
    steps = metre_steps(tuple(transform)[:6], (300, 401), degrees)(np.array([[149.5, 200.0]]))[0]
    np.testing.assert_allclose(np.hypot(*steps), grid.pixel_size_m(), rtol=1e-4)


def test_a_shear_is_taken_into_account():
    """Rows lean by 45 degrees: a road down the rows is longer, and as wide across as before."""
    transform = (1.0, 1.0, 0.0, 0.0, -1.0, 0.0)
    ground = Ground("crs", transform, (2**0.5, 1.0), plane_steps(transform, 1.0))
    found = network(strips((221, 121), (9, [(10, 60), (210, 60)])), ground)
    assert found.length_m[0] == pytest.approx(200 * 2**0.5, abs=5)
    assert found.width_m[0] == pytest.approx(9 / 2**0.5, abs=0.2)
    assert shapely.length(found.lines())[0] == pytest.approx(found.length_m[0])


def test_the_scale_may_change_over_a_raster():
    """Over 20 degrees of latitude a degree of longitude shrinks; lines measure it where they lie."""
    transform = (0.1, 0.0, 0.0, 0.0, -0.1, 60.0)
    steps = metre_steps(transform, (400, 300), lambda xy: xy)
    row = np.array([[0.0, 10.0], [150.0, 200.0], [399.0, 290.0]])
    latitude = np.radians(60 - 0.1 * (row[:, 0] + 0.5))
    east = 6_378_137 * np.cos(latitude) / np.sqrt(1 - 0.00669437999014 * np.sin(latitude) ** 2)
    down, right = np.moveaxis(steps(row), 2, 0)
    np.testing.assert_allclose(np.linalg.norm(right, axis=1), np.radians(0.1) * east, rtol=2e-4)
    np.testing.assert_allclose((down * right).sum(axis=1), 0, atol=1e-3)


def test_a_raster_over_the_date_line_is_measured_too():
    steps = metre_steps(
        (0.01, 0, 179.0, 0, -0.01, 10.0), (50, 250), lambda xy: np.stack([(xy[:, 0] + 180) % 360 - 180, xy[:, 1]], 1)
    )
    across = steps(np.array([[25.0, 20.0], [25.0, 100.0], [25.0, 200.0]]))[:, :, 1]
    across = np.linalg.norm(across, axis=1)
    np.testing.assert_allclose(across, across[0], rtol=1e-6)


def test_without_a_crs_lengths_are_pixels():
    found = network(strips((81, 221), (9, [(40, 10), (40, 210)])), Ground())
    assert found.crs is None
    assert found.length_m[0] == pytest.approx(200, abs=2)


def test_edges_that_meet_share_the_very_same_point():
    turned = Affine(0.3, 0.4, 1_234_567.1, 0.4, -0.3, 7_654_321.9)
    found = to_ground(repair(trace(town(1)), RepairLimits()), ground_of(turned, (300, 341)))
    first, last = found.vertices[found.starts[:-1]], found.vertices[found.starts[1:] - 1]
    np.testing.assert_array_equal(first, found.nodes[found.ends[:, 0]])
    np.testing.assert_array_equal(last, found.nodes[found.ends[:, 1]])
    assert len(found) > 10


@pytest.mark.parametrize("simplify", [None, 0.0, 2.0, 50.0])
def test_loops_keep_a_shape_and_double_edges_keep_apart(simplify):
    eye = [(3, [(60, 10), (60, 60), (56, 110), (60, 160), (60, 210)]), (3, [(60, 60), (64, 110), (60, 160)])]
    road = strips((181, 221), *eye, (3, circle((130, 100), 12)), (3, circle((130, 40), 30)))
    found = network(road, simplify=simplify)
    lines = found.lines()
    loops = found.ends[:, 0] == found.ends[:, 1]
    assert loops.sum() == 2
    assert (shapely.get_num_coordinates(lines[loops]) >= 4).all()
    assert all(shapely.Polygon(line.coords).area > 200 for line in lines[loops])
    pair = [i for i in range(len(found)) if (found.ends == found.ends[i]).all(axis=1).sum() == 2]
    assert len(pair) == 2
    assert shapely.hausdorff_distance(*lines[pair]) > 4
    assert shapely.is_simple(lines).all()


def test_simplifying_moves_lines_no_farther_than_allowed():
    graph = repair(trace(town(3)), RepairLimits())
    fine, coarse = to_ground(graph, UTM, simplify=0), to_ground(graph, UTM, simplify=2.0)
    assert len(coarse.vertices) < len(to_ground(graph, UTM).vertices) < len(fine.vertices)
    assert (shapely.hausdorff_distance(fine.lines(), coarse.lines(), densify=0.1) <= 2.0 + 1e-9).all()


def test_the_order_of_rows_depends_on_the_shape_only():
    graph = repair(trace(town(2)), RepairLimits())
    one, other = to_ground(graph, UTM), to_ground(shuffled(graph, 5), UTM)
    for field in fields(one):
        if field.name != "crs":
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


@pytest.mark.parametrize("width", [4, 7, 11])
@pytest.mark.parametrize("turn", [0.1, 0.3, 0.7])
def test_width_is_area_over_length_away_from_junctions(width, turn):
    """A road with many side roads is not wider for them."""
    ahead, aside = np.array([np.sin(turn), np.cos(turn)]), np.array([np.cos(turn), -np.sin(turn)])
    middle = np.array([160.37, 159.81])
    sides = [(6, [middle + s * ahead, middle + s * ahead + 45 * aside]) for s in (-80, -20, 40)]
    found = network(strips((321, 321), (width, [middle - 130 * ahead, middle + 130 * ahead]), *sides))
    along = found.vertices[found.starts[1:] - 1] - found.vertices[found.starts[:-1]]
    main = np.abs(along @ (ahead[1], -ahead[0])) > 0.8 * np.hypot(*along.T)
    assert main.sum() == 4
    np.testing.assert_allclose(found.width_m[main], width, atol=0.35)
    assert np.abs(found.width_m[main] - width).mean() <= 0.2


def test_probabilities_are_those_along_an_edge():
    graph = graph_of([(0, 1, [(3, 1), (3, 2), (3, 3)]), (1, 2, [])], [(3, 0), (3, 4), (3, 5)])
    graph = replace(graph, level=np.array([254, 127, 0], np.uint8))
    found = to_ground(graph, UTM)
    assert found.probability_mean[0] == pytest.approx(0.5)
    assert found.probability_min[0] == 0
    assert np.isnan(found.probability_mean[1])
    assert np.isnan(to_ground(graph, UTM, probability=False).probability_mean).all()


def test_a_bridge_is_as_wide_as_the_roads_it_joins():
    road = strips((81, 261), (8, [(40, 10), (40, 110)]), (6, [(40, 135), (40, 250)]))
    found = network(road)
    assert found.inferred.sum() == 1
    assert found.width_m[found.inferred][0] == pytest.approx(found.width_m[~found.inferred].mean())
    assert 6 < found.width_m[found.inferred][0] < 8.4


def test_components_are_numbered_in_the_order_of_the_edges():
    roads = [(5, [(r, 10), (r, 190)]) for r in (30, 100, 170)]
    found = network(strips((201, 201), *roads, (5, [(100, 60), (60, 60)])), limits=RepairLimits(max_gap=0))
    assert found.component.tolist() == [0, 1, 1, 1, 2]


def test_an_empty_graph_gives_an_empty_network():
    found = to_ground(graph_of([], []), UTM)
    assert len(found) == len(found.lines()) == len(found.junctions()) == 0
    assert found.vertices.shape == (0, 2)
