"""Labels that lie off are noticed, and those that do not are not."""

import cv2
import numpy as np
import pytest
from shared import tiles

from roadseg.training.data.alignment import CLEAR, Shift, best_shift, fit_at_shifts


def world(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw a field of bushes with three roads in it, paler than the ground."""
    rng = np.random.default_rng(seed)
    label = np.zeros((260, 330), np.uint8)
    for ends in (((10, 20), (320, 90)), ((60, 0), (110, 259)), ((0, 230), (329, 150))):
        cv2.line(label, *ends, 1, 7)
    ground = cv2.GaussianBlur(rng.normal(90, 40, (260, 330)).astype(np.float32), (0, 0), 2)
    grey = np.where(label == 1, 140, ground) + rng.normal(0, 4, label.shape)
    return np.stack([grey, grey * 0.95, grey * 0.9]).clip(0, 255).astype(np.uint8), label


def shift_of(image: np.ndarray, label: np.ndarray) -> Shift | None:
    fit = fit_at_shifts(image, label)
    return None if fit is None else best_shift([fit])


@pytest.mark.parametrize(("rows", "cols"), [(0, 0), (9, -6), (-15, 11), (0, 20)])
def test_the_shift_is_found(rows: int, cols: int) -> None:
    image, label = world()
    found = shift_of(image, np.roll(label, (-rows, -cols), (0, 1)))
    assert found is not None
    assert (abs(found.rows - rows), abs(found.cols - cols)) <= (1, 1)
    assert found.clear > CLEAR


def test_tiles_together_tell_what_none_tells_alone() -> None:
    fits = []
    for seed in range(10):
        image, label = world(seed)
        noise = np.random.default_rng(seed + 100).normal(0, 140, image.shape[1:])
        faint = (image + noise).clip(0, 255).astype(np.uint8)
        fit = fit_at_shifts(faint, np.roll(label, (-9, 6), (0, 1)))
        assert fit is not None
        fits.append(fit)
    assert sorted(best_shift([fit]).clear for fit in fits)[5] < CLEAR
    together = best_shift(fits)
    assert (abs(together.rows - 9), abs(together.cols + 6)) <= (1, 1)
    assert together.clear > CLEAR


def test_unrelated_labels_are_not_believed() -> None:
    found = shift_of(world(1)[0], np.ascontiguousarray(world(2)[1][::-1, ::-1]))
    assert found is None or found.clear < CLEAR


@pytest.mark.parametrize("value", [0, 1, 255])
def test_nothing_to_see_says_nothing(value: int) -> None:
    image, label = world()
    assert shift_of(image, np.full_like(label, value)) is None
    assert shift_of(image[:, :60], label[:60]) is None


def test_a_flat_image_says_nothing() -> None:
    assert shift_of(np.full((3, 260, 330), 90, np.uint8), world()[1]) is None


@pytest.mark.slow
def test_real_tiles_are_rarely_suspected_and_often_caught() -> None:
    """Each fourth training tile, as it is and with its labels moved by 14 and -11 px."""
    import rasterio

    folder, suspected, caught, count = tiles("train"), 0, 0, 0
    for mask in sorted((folder / "masks").iterdir())[::4]:
        with rasterio.open(folder / "images" / mask.name) as image, rasterio.open(mask) as file:
            values, label = image.read(), file.read(1)
        still, moved = shift_of(values, label), shift_of(values, np.roll(label, (-14, 11), (0, 1)))
        count += 1
        suspected += bool(still and still.clear >= CLEAR and np.hypot(*still[:2]) > 5)
        caught += bool(moved and moved.clear >= CLEAR and np.hypot(moved.rows - 14, moved.cols + 11) <= 5)
    assert suspected <= 1
    assert caught >= 0.6 * count


def test_edges_beyond_what_is_labelled_say_nothing() -> None:
    image, label = np.zeros((3, 200, 220), np.uint8), np.zeros((200, 220), np.uint8)
    label[40:48], label[100:] = 1, 255
    image[:, 120:, ::7] = 200
    assert fit_at_shifts(image, label) is None
