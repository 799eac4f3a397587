"""Lines of pixels, sets of pixels, and rays that stop at the first one they hit."""

import numpy as np
import pytest

from roadseg.roads.repair.pixel_lines import line_pixels
from roadseg.roads.repair.pixel_set import PixelSet, first_hit


@pytest.mark.parametrize("four_connected", [True, False])
def test_lines_run_straight_from_pixel_to_pixel(four_connected):
    rng = np.random.default_rng(3)
    start, stop = rng.integers(-30, 30, (2, 200, 2))
    stop[0] = start[0]
    drawn = line_pixels(start, stop, four_connected=four_connected)
    for i in range(200):
        way = drawn.pixels[drawn.starts[i] : drawn.starts[i + 1]]
        np.testing.assert_array_equal(way[[0, -1]], [start[i], stop[i]])
        steps = np.abs(np.diff(way, axis=0))
        assert (steps.sum(axis=1) == 1).all() if four_connected else (steps.max(axis=1, initial=0) <= 1).all()
        across = stop[i] - start[i]
        off = np.abs(np.cross(np.append(across, 0), np.pad(way - start[i], ((0, 0), (0, 1))))[:, 2])
        assert (off <= 0.8 * max(np.hypot(*across), 1)).all()


def test_a_set_holds_what_was_added_within_reach():
    rng = np.random.default_rng(4)
    places = np.unique(rng.integers(0, 700, (4000, 2)), axis=0)
    near = np.array([[100, 640], [660, 30]])
    pixels = PixelSet(near, 40)
    pixels.add(places)
    rows, cols = np.indices((700, 700))
    held, truth = pixels.contains(rows, cols), np.zeros((700, 700), bool)
    truth[tuple(places.T)] = True
    assert not (held & ~truth).any()
    for row, col in near:
        area = np.s_[row - 40 : row + 41, max(col - 40, 0) : col + 41]
        np.testing.assert_array_equal(held[area], truth[area])
    assert not pixels.contains(rows - 5000, cols + 100_000).any()


def test_the_first_pixel_on_the_way_is_hit():
    pixels = PixelSet(np.array([[50, 50]]), 60)
    pixels.add(np.array([[50, 53], [50, 70], [20, 50]]))
    far = np.array([[0, 40], [0, 10], [-40, 0], [30, 30], [0, 0]], dtype=float)
    met = first_hit(pixels, np.full((5, 2), 50), far, skip=4)
    assert met.tolist() == [[50, 70], [-1, -1], [20, 50], [-1, -1], [-1, -1]]


@pytest.mark.parametrize("turn", np.linspace(0, 2 * np.pi, 13))
def test_no_ray_slips_through_an_oblique_line(turn):
    """Pixels of a diagonal touch at corners only; a ray at a right angle to it must not pass between."""
    line = line_pixels(np.array([[10, 90]]), np.array([[90, 10]]), four_connected=False).pixels
    pixels = PixelSet(line, 60)
    pixels.add(line)
    start = np.array([[30, 30], [31, 30], [30, 31], [70, 69], [69, 70], [70, 70]])
    far = np.array([[1, 1]] * 3 + [[-1, -1]] * 3) * 50 + 5 * np.array([np.sin(turn), np.cos(turn)])
    assert (first_hit(pixels, start, far, skip=0) >= 0).all()
