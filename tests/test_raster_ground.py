"""Steps of pixels in metres: true to the ellipsoid wherever a raster lies, also at a pole, where directions turn."""

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from roadseg.raster.crs import reproject
from roadseg.raster.grid import Grid
from roadseg.raster.ground import ground_of


def in_space(lonlat: np.ndarray) -> np.ndarray:
    """Return longitude, latitude on WGS 84 as metres from the centre of the Earth."""
    lon, lat = np.radians(lonlat).T
    flat = 1 / 298.257223563
    normal = 6_378_137 / np.sqrt(1 - flat * (2 - flat) * np.sin(lat) ** 2)
    low = normal * (1 - flat) ** 2 * np.sin(lat)
    return np.stack([normal * np.cos(lat) * np.cos(lon), normal * np.cos(lat) * np.sin(lon), low], axis=1)


@pytest.mark.parametrize(
    ("crs", "pixel", "left", "top"),
    [
        ("EPSG:3413", 1, -500, 400),  # the pole in the middle
        ("EPSG:3413", 30, -3_000, 4_000),  # the pole near a corner
        ("EPSG:3031", 100, -40_000, 50_000),
        ("EPSG:3413", 30, -20_000, -2_000_000),
        ("EPSG:3857", 2, 1_500_000, 6_900_000),
        ("EPSG:4326", 0.0003, 24.9, 60.3),
        ("EPSG:26986", 1, 236_000, 901_000),
    ],
)
def test_steps_are_as_long_as_on_the_ellipsoid(crs, pixel, left, top):
    height, width = 900, 1100
    ground = ground_of(Grid(CRS.from_user_input(crs).to_wkt(), Affine(pixel, 0, left, 0, -pixel, top), height, width))
    places = np.random.default_rng(0).uniform(0, (height, width), (2000, 2))
    steps = []
    for move in ((0.5, 0), (0, 0.5)):
        ends = [in_space(reproject(ground.xy(places + np.multiply(move, sign)), crs, "EPSG:4326")) for sign in (1, -1)]
        steps.append(ends[0] - ends[1])
    metres = ground.metres(places)
    for axis, step in enumerate(steps):
        assert np.allclose(np.linalg.norm(metres[:, :, axis], axis=1), np.linalg.norm(step, axis=1), rtol=3e-5)
    turned = np.linalg.norm(np.cross(*steps), axis=1)
    assert np.allclose(np.abs(np.linalg.det(metres)), turned, rtol=5e-5)
