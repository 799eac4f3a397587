"""Crops: fair, reproducible, and never from the void."""

import numpy as np
import pytest

from roadseg.errors import TrainingError
from roadseg.training.dataset import VOID, Tile, Tiles


def tile(name: str, height: int, width: int, *, seed: int = 0) -> Tile:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    label = np.zeros((height, width), dtype=np.uint8)
    label[:, width // 2 : width // 2 + 7] = 1
    return Tile(name, image, label, np.ones((height, width), dtype=bool))


def test_same_step_draws_same_crops() -> None:
    tiles = Tiles([tile("a", 70, 110), tile("b", 90, 64, seed=1)], crop=32)
    first, again, later = (tiles.draw(6, seed=4, step=step) for step in (9, 9, 10))
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.images, later.images)


def test_image_and_label_are_cut_from_one_place() -> None:
    source = tile("a", 70, 110)
    marked = Tile("a", np.stack([source.label * 200] * 3), source.label, source.valid)
    batch = Tiles([marked], crop=32).draw(20, seed=0, step=0)
    assert np.array_equal(batch.images[:, 0], batch.labels * 200)


def test_tiles_are_drawn_in_proportion_to_labelled_area() -> None:
    large, small = tile("large", 160, 160), tile("small", 80, 80)
    small.image[:] = 7
    tiles = Tiles([large, small], crop=32)
    batch = tiles.draw(2000, seed=0, step=0)
    share = np.mean([np.all(image == 7) for image in batch.images])
    assert share == pytest.approx(80 * 80 / (160 * 160 + 80 * 80), abs=0.03)


def test_void_is_avoided() -> None:
    half = tile("half", 100, 200)
    half.label[:, 110:] = VOID
    batch = Tiles([half], crop=40).draw(100, seed=0, step=0)
    assert (batch.labels != VOID).mean(axis=(1, 2)).min() >= 0.5


def test_statistics_leave_void_pixels_out() -> None:
    one = tile("one", 60, 80)
    one.image[:, :, 40:] = 255
    one.label[:, 47:] = VOID
    one.label[:, 40:47] = VOID
    one.label[5:9, :20] = 1
    mean, std = Tiles([one], crop=16).pixel_statistics()
    known = one.image[:, :, :40] / 255
    assert mean == pytest.approx(known.mean(axis=(1, 2)))
    assert std == pytest.approx(known.std(axis=(1, 2)))


def test_unknown_pixels_get_the_mean_colour() -> None:
    one = tile("one", 40, 50)
    one.valid[:, :9] = False
    Tiles([one], crop=16).fill((0.2, 0.4, 0.6))
    assert [np.unique(band[:, :9]).tolist() for band in one.image] == [[51], [102], [153]]


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        ([], "no training tiles"),
        (
            [Tile("t", np.zeros((3, 40, 50), np.uint8), np.zeros((40, 50), np.uint8), np.ones((40, 50), bool))],
            "one class",
        ),
        (
            [Tile("t", np.zeros((3, 40, 50), np.uint8), np.full((40, 50), VOID, np.uint8), np.ones((40, 50), bool))],
            "void",
        ),
    ],
)
def test_useless_tiles_are_refused(tiles: list[Tile], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        Tiles(tiles, crop=32)
