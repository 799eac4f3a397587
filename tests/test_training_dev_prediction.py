"""Dev tiles predicted: at their own resolution, or at another one and brought onto their pixels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from engines import Identity
from worlds import write_raster

from roadseg.model.card import ModelCard, Sureness
from roadseg.predict import predict
from roadseg.prediction.engines.engine import LoadedModel
from roadseg.progress import Listener
from roadseg.raster.encoding import quantize
from roadseg.settings import DevFolder
from roadseg.training.data.file_tiles import DevArea
from roadseg.training.data.load import load_dev_areas
from roadseg.training.dev_prediction import DevTile, KeptPredictions, half_in_scene, predict_tile
from roadseg.training.dev_score import DevScorer
from roadseg.windows import Window

HEIGHT, WIDTH, NODATA = 80, 104, 20


class Brightness(Identity):
    """Calls bright pixels road, and fills nodata with a dark colour."""

    mean = (0.1, 0.1, 0.1)


@pytest.fixture
def area(tmp_path: Path) -> DevArea:
    """Return a tile of 0.5 m with bright roads, labelled right, and no data in a corner."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[30:44] = mask[:, 61:71] = 1
    image = np.repeat(20 + 200 * mask[None], 3, axis=0)
    image[:, :NODATA, :NODATA] = 0
    transform = Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)
    for side, pixels, nodata in (("images", image, 0), ("masks", mask[None], 255)):
        (tmp_path / side).mkdir()
        write_raster(tmp_path / side / "a.tif", pixels, crs="EPSG:32633", transform=transform, nodata=nodata)
    (found,) = load_dev_areas(DevFolder(tmp_path), bands=3, gsd_m=0.5, listener=Listener())
    return found


def reads_at(gsd_m: float, window_px: int = 224) -> ModelCard:
    """Return the card of a model that reads at a resolution of its own, in windows of this size."""
    return ModelCard("m", gsd_m=gsd_m, window_px=window_px)


def far_from_edges(tile: DevTile) -> np.ndarray:
    """Return which pixels are valid and more than two pixels from an edge of a road, (height, width)."""
    road, (height, width) = tile.label == 1, tile.label.shape
    around = [np.roll(road, (down, right), (0, 1)) for down in range(-2, 3) for right in range(-2, 3)]
    inside = np.zeros((height, width), bool)
    inside[2:-2, 2:-2] = True
    return inside & tile.valid & (np.all(around, axis=0) | ~np.any(around, axis=0))


@pytest.mark.parametrize("gsd_m", [0.5, 1.0, 0.8, 0.3])
def test_what_is_read_at_another_resolution_lies_where_the_labels_are(area: DevArea, gsd_m: float) -> None:
    for window in (area.window, Window(13, 7, 61, 90)):
        tile = predict_tile(DevArea(area.tile, window), Brightness(), card=reads_at(gsd_m, 32))
        assert tile.probability.shape == tile.valid.shape == tile.label.shape == (window.height, window.width)
        sure = far_from_edges(tile)
        assert sure.mean() > 0.4
        np.testing.assert_array_equal((tile.probability > 0.5)[sure], (tile.label == 1)[sure])
        invalid = window.intersection(Window(0, 0, NODATA, NODATA))
        assert invalid.area - 80 <= (~tile.valid).sum() <= invalid.area + 80
        assert not tile.valid[: invalid.height - 2, : invalid.width - 2].any()


@pytest.mark.parametrize("gsd_m", [0.5, 1.0])
def test_probabilities_are_raised_as_by_predict(area: DevArea, tmp_path: Path, gsd_m: float) -> None:
    """Roads are bright enough to be likely, but not to be sure; predict reads at the model's own resolution, too."""
    with rasterio.open(area.tile.pair.image, "r+") as file:
        file.write(file.read() // 3 * 2)
    model = LoadedModel(Brightness(), ModelCard("m", mean=Brightness.mean, gsd_m=gsd_m, sure_share=0.6))
    done = predict(area.tile.pair.image, tmp_path / "roads.tif", model=model, overlap=32)
    half = half_in_scene([predict_tile(area, Brightness(), card=reads_at(gsd_m))], Sureness(0.95, 0.6))
    assert half == done.recalibrated == 0.17
    tile = predict_tile(area, Brightness(), card=reads_at(gsd_m), half=0.17)
    with rasterio.open(tmp_path / "roads.tif") as file:
        levels = file.read(1)
    found = quantize(tile.probability, tile.valid)
    assert (found == levels).mean() > 0.99
    assert (levels[tile.label == 1] > 127).mean() > 0.9
    score = DevScorer([area], card=reads_at(gsd_m), half_in=lambda _: half).score(Brightness(), threshold=0.8)
    assert score.relaxed_f1 == 1
    with pytest.raises(ZeroDivisionError):
        1 / DevScorer([area], card=reads_at(gsd_m)).score(Brightness(), threshold=0.8).relaxed_f1


def test_much_finer_tiles_are_read_as_by_predict(area: DevArea, tmp_path: Path) -> None:
    card = ModelCard("m", mean=Brightness.mean, gsd_m=2.0, finest_gsd_m=0.75)
    predict(area.tile.pair.image, tmp_path / "roads.tif", model=LoadedModel(Brightness(), card))
    with rasterio.open(tmp_path / "roads.tif") as file:
        levels = file.read(1)
        assert file.tags()["ROADSEG_GSD_M"] == "1"
    for read_at, alike in ((card, True), (reads_at(2.0), False)):
        tile = predict_tile(area, Brightness(), card=read_at)
        apart = np.abs(quantize(tile.probability, tile.valid).astype(int) - levels)
        assert ((apart <= 1).mean() > 0.99) == alike


def test_sure_models_and_those_that_find_no_roads_are_not_raised(area: DevArea) -> None:
    sure = predict_tile(area, Brightness())
    assert half_in_scene([replace(sure, probability=sure.probability * 1.15)], Sureness(0.95, 0.6)) == 0.5
    assert half_in_scene([replace(sure, probability=sure.probability / 4)], Sureness(0.95, 0.6)) == 0.5


def test_a_resolution_of_their_own_costs_the_networks_no_score(area: DevArea) -> None:
    coarse = DevScorer([area], card=reads_at(1.0, 32))
    for scorer in (coarse, coarse.on([area, area])):
        score = scorer.score(Brightness(), threshold=0.5)
        assert score.relaxed_f1 == 1
        assert 0.9 < score.iou < 1


def test_the_card_says_how_large_windows_are_and_without_one_an_area_is_read_as_it_is(area: DevArea) -> None:
    seen = []
    for card in (reads_at(0.5, 48), reads_at(0.5), None):
        engine = Brightness()
        tile = predict_tile(area, engine, card=card)
        seen.append((engine.windows, tile.probability))
    (many, fine), (one, large), (alone, plain) = seen
    assert many > one == alone == 1
    for probability in (fine, large):
        np.testing.assert_array_equal(probability, plain)


@pytest.mark.parametrize("gsd_m", [0.5, 1.0])
def test_no_ground_is_predicted_twice_while_its_prediction_is_kept(area: DevArea, gsd_m: float) -> None:
    engine, kept = Brightness(), KeptPredictions()
    part = replace(area, window=Window(13, 7, 30, 40))
    predict_tile(area, engine, card=reads_at(gsd_m, 48), kept=kept)
    whole = engine.windows
    tile = predict_tile(part, engine, card=reads_at(gsd_m, 48), half=0.3, kept=kept)
    assert engine.windows == whole > 0
    assert 0 < kept.seconds(part, 48) < kept.seconds(area, 48)
    again = predict_tile(part, engine, card=reads_at(gsd_m, 48), half=0.3)
    assert engine.windows > whole
    for name in ("probability", "valid", "label"):
        np.testing.assert_array_equal(getattr(tile, name), getattr(again, name))


def test_predictions_are_dropped_where_there_is_no_room_and_other_bands_are_others(area: DevArea) -> None:
    engine, kept = Brightness(), KeptPredictions(most_px=1)
    left, right = (replace(area, window=Window(0, col, 80, 52)) for col in (0, 52))
    counts = []
    grey = replace(left, tile=replace(area.tile, settings=replace(area.tile.settings, bands=(1, 1, 1))))
    for place in (left, left, right, left, grey):
        engine.windows = 0
        predict_tile(place, engine, kept=kept)
        counts.append(engine.windows > 0)
    assert counts == [True, False, True, True, True]
