"""Rough labels: shifts against the roads that a model sees are found, and edges of drawn roads are void."""

import cv2
import numpy as np
import pytest

from roadseg.training.data.file_tiles import shifted
from roadseg.training.data.map_errors import find_shifts, probability_at_shifts, with_uncertain_edges

REACH = 12


def crossing(seed: int) -> np.ndarray:
    """Draw two crossing streets of 7 pixels, (150, 170) uint8."""
    rng = np.random.default_rng(seed)
    label = np.zeros((150, 170), np.uint8)
    for ends in (((0, rng.integers(40, 110)), (169, rng.integers(40, 110))), ((rng.integers(50, 120), 0), (80, 149))):
        cv2.line(label, *(tuple(map(int, end)) for end in ends), color=1, thickness=7)
    return label


def seen(label: np.ndarray, seed: int, *, clear: float = 0.6) -> np.ndarray:
    """Draw what a weak model makes of streets: blurred, with holes and false roads."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.random((15, 17), dtype=np.float32), label.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.GaussianBlur(label.astype(np.float32), (0, 0), 2) * clear * coarse * 2 + 0.2 * coarse**2)


def found(labels: list[np.ndarray], probabilities: list[np.ndarray]) -> list[tuple[int, int]]:
    fits = [probability_at_shifts(p, label, reach_px=REACH) for p, label in zip(probabilities, labels, strict=True)]
    return find_shifts(fits, [int((label == 1).sum()) for label in labels])


@pytest.mark.parametrize("shift", [(0, 0), (4, -3), (-8, 5), (0, 9)])
def test_the_shift_of_a_whole_map_is_found(shift):
    roads = [crossing(seed) for seed in range(6)]
    labels = [shifted(label, (-shift[0], -shift[1])) for label in roads]
    for one in found(labels, [seen(label, seed) for seed, label in enumerate(roads)]):
        assert np.hypot(one[0] - shift[0], one[1] - shift[1]) <= 1.5


def test_each_plot_has_its_own_shift_and_one_that_shows_little_that_of_all():
    roads = [crossing(seed) for seed in range(8)]
    moved = [(4, 3)] * 6 + [(-5, -3), (4, 3)]
    labels = [shifted(label, (-row, -col)) for label, (row, col) in zip(roads, moved, strict=True)]
    probabilities = [seen(label, seed) for seed, label in enumerate(roads)]
    probabilities[7] = np.full_like(probabilities[7], 0.01)
    for one, (row, col) in zip(found(labels, probabilities), moved, strict=True):
        assert np.hypot(one[0] - row, one[1] - col) <= 2


def test_nothing_moves_where_the_model_sees_nothing():
    labels = [crossing(seed) for seed in range(3)]
    noise = [np.random.default_rng(seed).random((150, 170), dtype=np.float32) for seed in range(3)]
    assert found(labels, noise) == [(0, 0)] * 3
    assert found([np.zeros((150, 170), np.uint8)], noise[:1]) == [(0, 0)]
    assert found([crossing(0)[:20, :20]], [noise[0][:20, :20]]) == [(0, 0)]


@pytest.mark.parametrize(
    ("width", "gsd", "core", "outside"), [(7, 1.0, 5, 3), (8, 0.5, 6, 6), (3, 1.0, 1, 3), (2, 1.0, 2, 3)]
)
def test_edges_are_void_inside_and_outside(width, gsd, core, outside):
    label = np.zeros((60, 80), np.uint8)
    label[:, 30 : 30 + width] = 1
    label[:5] = 255
    row = with_uncertain_edges(label, gsd)[30]
    assert (row == 1).sum() == core
    assert (row == 255).sum() == width - core + 2 * outside
    assert (row == 0).sum() == 80 - width - 2 * outside
    assert (with_uncertain_edges(label, gsd)[0] == 255).all()
