"""The models that ship: whole, documented, and good for what their cards say."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from commands import roadseg

from roadseg.metrics.pixels import FULL, break_even_level, count_pixels, exact, no_pixels, relaxed
from roadseg.model.card import bundled_models, read_card
from roadseg.model.weights import load_model

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data" / "massachusetts_roads" / "dev"
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
@pytest.mark.skipif(not SHARED.is_dir(), reason="the Massachusetts dev tiles are not here")
def test_dev_figures_of_the_default_model_are_the_cards(tmp_path: Path) -> None:
    images = sorted((SHARED / "images").glob("*.tif"))
    done = roadseg("predict", *images, "-o", f"{tmp_path}/", "-q", timeout=1200)
    assert done.returncode == 0, done.stderr
    counts = no_pixels()
    for image in images:
        with rasterio.open(tmp_path / image.name) as roads, rasterio.open(SHARED / "masks" / image.name) as truth:
            counts += count_pixels(roads.read(1), truth.read(1))
    curve = relaxed(counts)
    level = break_even_level(curve)
    assert level is not None
    measured = {
        "relaxed break-even": (curve.precision[level] + curve.recall[level]) / 2,
        "best IoU": np.nanmax(exact(counts).iou),
    }
    default = "resunet" if "resunet" in MODELS else "compact"
    for figure in read_card(bundled_models()[default]).measurements:
        if figure.name in measured:
            assert figure.value == pytest.approx(measured[figure.name], abs=5e-4)
