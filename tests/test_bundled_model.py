"""The models that ship: whole, documented, and good for what their cards say."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from commands import roadseg
from shared import tiles

from roadseg.metrics.pixels import FULL, break_even_level, count_pixels, exact, no_pixels, relaxed
from roadseg.model.card import bundled_models, read_card
from roadseg.model.weights import load_model

ROOT = Path(__file__).parent.parent
MODELS = sorted(bundled_models())


def test_a_model_is_bundled() -> None:
    assert "compact" in MODELS


@pytest.mark.parametrize("name", MODELS)
def test_card_is_complete(name: str) -> None:
    network, card = load_model(bundled_models()[name])
    assert card.name == name
    assert card.width == network.width
    for text in (card.description, card.training_data, card.licence, card.attribution, card.hash, card.created):
        assert text
    assert card.licence.startswith("Apache-2.0 (SPDX)")
    assert "CC-BY-SA-2.0 or ODbL-1.0 (SPDX)" in card.licence
    assert "no legal advice" in card.licence
    assert card.attribution.startswith("© OpenStreetMap contributors")
    assert "public domain" not in card.attribution  # no licence of the imagery is known
    assert {"relaxed break-even", "IoU"} <= {figure.name for figure in card.measurements}
    assert all(figure.command for figure in card.measurements)
    assert card.mean != (0.5, 0.5, 0.5)


@pytest.mark.parametrize("name", MODELS)
def test_finds_the_roads_of_the_sample_scene(name: str, tmp_path: Path) -> None:
    done = roadseg("predict", ROOT / "sample_data/scene.tif", "-o", tmp_path / "roads.tif", "--model", name, "-q")
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "roads.tif") as roads, rasterio.open(ROOT / "sample_data/mask.tif") as truth:
        counts = count_pixels(roads.read(1), truth.read(1))
    level = round(read_card(bundled_models()[name]).threshold * FULL)
    assert relaxed(counts).f1[level] >= 0.80


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_dev_figures_are_the_cards(name: str, tmp_path: Path) -> None:
    dev = tiles("dev")
    images = sorted((dev / "images").glob("*.tif"))
    options = ["--model", name, "--no-recalibrate", "-q"]
    done = roadseg("predict", *images, "-o", f"{tmp_path}/", *options, timeout=1200)
    assert done.returncode == 0, done.stderr
    counts = no_pixels()
    for image in images:
        with rasterio.open(tmp_path / image.name) as roads, rasterio.open(dev / "masks" / image.name) as truth:
            counts += count_pixels(roads.read(1), truth.read(1))
    curve = relaxed(counts)
    level = break_even_level(curve)
    assert level is not None
    card = read_card(bundled_models()[name])
    home = card.measurements[0].data
    stated = {figure.name: figure.value for figure in card.measurements if figure.data == home}
    assert stated["relaxed break-even"] == pytest.approx((curve.precision[level] + curve.recall[level]) / 2, abs=5e-4)
    assert stated["best IoU"] == pytest.approx(np.nanmax(exact(counts).iou), abs=5e-4)
