"""Shifts of colour: what they say, on the 0–1 scale, clipped and rounded."""

import numpy as np
import pytest

from roadseg.training.shifts import SHIFTS, Bytes, gains

IMAGE = np.random.default_rng(0).integers(0, 256, (3, 13, 17), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("warm", IMAGE / 255 * np.array([1.3, 1, 0.65])[:, None, None]),
        ("cool", IMAGE / 255 * np.array([0.7, 1, 1.3])[:, None, None]),
        ("green", IMAGE / 255 * np.array([0.8, 1.2, 0.8])[:, None, None]),
        ("grey", np.broadcast_to(IMAGE.mean(0) / 255, IMAGE.shape)),
        ("haze", 0.5 * IMAGE / 255 + 0.4),
        ("dark", 0.4 * IMAGE / 255),
        ("bright", 1.4 * IMAGE / 255 + 0.1),
        ("contrast", (IMAGE / 255 - 0.4) * 2 + 0.4),
    ],
)
def test_shifts_do_what_their_names_say(name: str, values: Bytes) -> None:
    shifted = next(shift for title, shift in SHIFTS.items() if title.startswith(name))(IMAGE)
    assert shifted.dtype == np.uint8
    assert np.abs(shifted - 255 * values.clip(0, 1)).max() <= 0.51


def test_noise_has_its_strength_and_is_the_same_each_time() -> None:
    flat = np.full((3, 200, 210), 128, np.uint8)
    noisy = SHIFTS["noise of 0.06"](flat)
    assert noisy.std() / 255 == pytest.approx(0.06, rel=0.02)
    assert np.array_equal(noisy, SHIFTS["noise of 0.06"](flat))


@pytest.mark.parametrize("bands", [1, 2, 4])
def test_shifts_keep_the_shape_of_any_number_of_bands(bands: int) -> None:
    image = np.full((bands, 5, 7), 100, np.uint8)
    assert all(shift(image).shape == image.shape for shift in SHIFTS.values())
    assert gains(0.5, 2)(image)[:, 0, 0].tolist() == [50, 200, 100, 100][:bands]
