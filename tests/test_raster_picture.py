"""Pictures, looked at pixel by pixel."""

import cv2
import numpy as np
import pytest

from roadseg.errors import OutputError
from roadseg.raster.picture import draw_areas, draw_lines, grey, overlay, preview_size, write_picture

YELLOW, BLUE, WHITE, RED = (255, 210, 0), (80, 220, 255), (255, 255, 255), (255, 95, 60)
GROUND = np.array([90, 110, 100])


def ground(height=60, width=100):
    return np.repeat(GROUND.astype(np.uint8), height * width).reshape(3, height, width)


def looks_like(picture, row, col, colour, slack=16):
    return np.abs(picture[:, row, col].astype(int) - colour).max() <= slack


def touched(picture):
    """Return where a picture of the plain ground was painted on."""
    return (picture != picture[:, :1, :1]).any(axis=0)


def one_line(points, *, width=6.0, guess=False, **options):
    vertices = np.array(points, dtype=float)
    starts = np.array([0, len(vertices)])
    return draw_lines(ground(), vertices, starts, width_px=np.array([width]), inferred=np.array([guess]), **options)


def across(picture, col, colour):
    """Return how many pixels of a column have a colour."""
    return sum(looks_like(picture, row, col, colour, slack=60) for row in range(picture.shape[1]))


def test_a_line_lies_where_it_should_with_a_dark_casing():
    picture = one_line([(20, -5), (20, 120)])
    assert looks_like(picture, 20, 50, YELLOW)
    assert picture[:, 16, 50].max() < 80
    assert picture[:, 24, 50].max() < 80
    assert not touched(picture)[[14, 26]].any()
    assert touched(picture)[20].all()


@pytest.mark.parametrize(("width", "drawn"), [(0.2, 1), (np.nan, 2), (1.0, 1), (4.0, 4), (9.0, 9), (1e9, 60)])
def test_a_line_is_as_wide_as_its_road_but_can_be_seen(width, drawn):
    assert abs(across(one_line([(30, -90), (30, 190)], width=width), 50, YELLOW) - drawn) <= 1
    assert abs(across(one_line([(-90, -60), (150, 180)], width=width), 60, YELLOW) - min(60, drawn * 2**0.5)) <= 2


def test_rows_are_not_columns():
    picture = one_line([(5, 80), (55, 80)])
    assert touched(picture)[5:55, 80].all()
    assert not touched(picture)[:, :70].any()


def test_whole_numbers_are_the_middles_of_pixels():
    picture = one_line([(20, -5), (20, 120)], width=3.0)
    assert looks_like(picture, 19, 50, YELLOW)
    assert np.abs(picture[:, 14:20].astype(int) - picture[:, 26:20:-1]).max() <= 70


def test_a_guess_is_dashed_in_another_colour_and_has_dashes_at_both_ends():
    picture = one_line([(20, 5), (20, 95)], guess=True, width=3.0)
    blue = np.array([looks_like(picture, 20, col, BLUE) for col in range(100)])
    assert blue[6]
    assert blue[94]
    assert not any(looks_like(picture, 20, col, YELLOW, slack=60) for col in range(100))
    assert np.count_nonzero(np.diff(blue.astype(int)) == 1) >= 5
    assert not touched(picture)[20, 8:92].all()


def test_dashes_follow_bends_and_short_guesses_stay_whole():
    bent = one_line([(50, 10), (10, 10), (10, 90)], guess=True, width=2.0)
    assert touched(bent)[8:13, 50:90].any()
    assert touched(bent)[20:45, 8:13].any()
    assert not touched(bent)[20:, 30:].any()
    short = one_line([(20, 50), (20, 54)], guess=True, width=2.0)
    assert all(looks_like(short, 20, col, BLUE) for col in range(50, 55))


def test_dots_say_where_roads_meet_and_where_they_end():
    places = {"junctions": np.array([[20.0, 30.0]]), "dead_ends": np.array([[20.0, 70.0]])}
    picture = one_line([(20, 10), (20, 70)], **places)
    assert looks_like(picture, 20, 30, WHITE)
    assert looks_like(picture, 20, 70, RED)
    assert looks_like(picture, 20, 50, YELLOW)


def test_dots_that_would_hide_the_roads_are_left_out():
    many = np.random.default_rng(0).uniform(0, 60, (400, 2))
    assert np.array_equal(one_line([(20, 10), (20, 70)], junctions=many), one_line([(20, 10), (20, 70)]))


def test_nothing_to_draw_leaves_a_pale_scene():
    nothing, zero = np.zeros((0, 2)), np.zeros(1, dtype=np.int64)
    lines = draw_lines(ground(), nothing, zero, width_px=np.zeros(0), inferred=np.zeros(0, bool), junctions=nothing)
    assert np.array_equal(lines, draw_areas(ground(), nothing, zero))
    assert not touched(lines).any()
    assert np.abs(lines[:, 0, 0] - GROUND).max() <= 5


def test_the_scene_handed_in_is_not_painted_on():
    scene = ground()
    draw_areas(scene, np.array([(5.0, 5.0), (5.0, 40.0), (40.0, 20.0)]), np.array([0, 3]))
    assert np.array_equal(scene, ground())


def test_areas_are_filled_and_holes_are_not():
    square = np.array([(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 0.0)])
    rings = [square * 50 + (5, 10), square * 30 + (15, 20), square * 10 + (25, 30), square * 20 + (20, 75)]
    picture = draw_areas(ground(), np.concatenate(rings), np.arange(5) * 4)
    half = (GROUND.mean() / 2 + GROUND / 2 + YELLOW) / 2
    for row, col in ((10, 15), (30, 35), (30, 85)):
        assert looks_like(picture, row, col, half)
    for row, col in ((20, 25), (2, 2), (58, 70)):
        assert looks_like(picture, row, col, GROUND)
    for row, col in ((5, 30), (15, 30), (25, 35), (30, 75)):
        assert looks_like(picture, row, col, YELLOW)


def test_a_grey_picture_is_dark_where_no_road_is_and_white_where_nothing_is_known():
    probability = np.array([[0.0, 0.5, 1.0, np.nan]], dtype=np.float32)
    picture = grey(np.nan_to_num(probability), np.isfinite(probability))
    assert picture.shape == (3, 1, 4)
    dark, middle, light, unknown = picture[0, 0].astype(int)
    assert dark < middle < light < unknown == 255
    assert (picture == picture[0]).all()


def test_an_overlay_colours_roads_and_leaves_the_rest():
    probability = np.zeros((60, 100), np.float32)
    probability[10:20] = 0.6
    probability[20:30] = 0.3
    for reduction in (1, 8):  # where many pixels are one, a road has part of it
        picture = overlay(ground(), probability, threshold=0.5, reduction=reduction)
        assert looks_like(picture, 15, 50, YELLOW, slack=40)
        assert looks_like(picture, 40, 50, GROUND)
        assert looks_like(picture, 25, 50, GROUND) == (reduction == 1)


@pytest.mark.parametrize("size", [(4000, 1000), (1000, 9000), (50, 70), (100_000, 3)])
def test_a_preview_is_never_longer_than_two_thousand_pixels(size):
    height, width = preview_size(*size)
    assert max(height, width) == min(2000, *[max(size)])
    assert min(height, width) >= 1
    assert height / width == pytest.approx(size[0] / size[1], rel=0.01) or min(height, width) == 1


def test_a_picture_is_written_in_its_colours(tmp_path):
    picture = one_line([(20, -5), (20, 120)])
    write_picture(tmp_path / "roads.png", picture)
    assert np.array_equal(cv2.imread(str(tmp_path / "roads.png"))[..., ::-1].transpose(2, 0, 1), picture)


def test_a_picture_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    with pytest.raises(OutputError, match=r"roads\.png"):
        write_picture(tmp_path / "none" / "roads.png", ground())
