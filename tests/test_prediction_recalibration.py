"""Probabilities are raised where the model is unsure of the roads it finds, for the whole scene alike."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from engines import Constant, Identity, model_of
from worlds import NORTH_UP, picture, write_raster

from roadseg.errors import OutputError
from roadseg.model.card import Sureness
from roadseg.predict import predict
from roadseg.prediction import recalibration
from roadseg.prediction.recalibration import becomes_half, recalibrated
from roadseg.progress import Listener
from roadseg.training.sureness import sureness
from roadseg.windows import Block, Window


@pytest.fixture
def scene(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_raster(Path("scene.tif"), picture(300, 520).astype(np.uint8), transform=NORTH_UP)


def written(path="roads.tif"):
    with rasterio.open(path) as file:
        return file.read(1), file.tags()


@pytest.mark.parametrize(
    ("share", "half"),
    [(1.0, 0.5), (0.15, 0.5), (0.0875, 1 / (1 + (0.83 / 0.17) ** 0.5)), (0.025, 0.17), (0.0, 0.17)],
)
def test_the_less_sure_the_lower_the_probability_that_becomes_a_half(share, half):
    assert becomes_half(share, 0.5) == pytest.approx(half, abs=5e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_logits_move_by_one_amount_and_those_of_ground_stay_low(dtype):
    probability = np.array([[0, 0.1, 0.2, 0.5, 0.9, 1]], np.float32)
    values = probability if dtype == np.float32 else np.append(np.rint(probability * 254), 255).astype(np.uint8)[None]
    block = Block(Window(0, 0, *values.shape), values, np.ones(values.shape, dtype=bool))
    raised = recalibrated(block, 0.2).values
    assert raised.dtype == dtype
    scale = 1 if dtype == np.float32 else 254
    odds = 4 * probability[0, :-1] / (1 - probability[0, :-1])
    odds = np.where(odds < 1, odds**3, odds)
    assert raised[0, :5] / scale == pytest.approx(odds / (1 + odds), abs=3 / 254)
    assert raised[0, 5] == scale
    if dtype == np.uint8:
        assert raised[0, 6] == 255


@pytest.mark.parametrize(
    ("answer", "raised"), [(0.6, 0.6 * 0.83 / (0.6 * 0.83 + 0.4 * 0.17)), (0.96, 0.96), (0.25, 0.25)]
)
def test_unsure_models_are_raised_and_others_are_not(scene, answer, raised):
    done = predict(scene, "roads.tif", model=model_of(Constant(answer), sure_share=0.6), mask="mask.tif")
    levels, tags = written()
    assert set(np.unique(levels)) == {round(254 * raised)} or abs(levels - 254 * raised).max() <= 1
    assert done.recalibrated == (0.17 if answer == 0.6 else 0.5)
    assert tags.get("ROADSEG_RECALIBRATED") == ("0.17" if answer == 0.6 else None)
    assert (written("mask.tif")[0] == (answer > 0.5)).all()


@pytest.mark.parametrize(("sure_share", "options"), [(None, {}), (0.6, {"recalibrate": False})])
def test_probabilities_stay_if_that_is_wanted_or_the_card_does_not_say_how_sure_it_is(scene, sure_share, options):
    done = predict(scene, "roads.tif", model=model_of(Constant(0.6), sure_share=sure_share), **options)
    levels, tags = written()
    assert done.recalibrated is None
    assert "ROADSEG_RECALIBRATED" not in tags
    assert (levels == round(254 * 0.6)).all()


def test_blocks_and_scales_and_types_agree(scene):
    options = {"model": model_of(Identity(), sure_share=0.6), "overwrite": True}
    first = predict(scene, "roads.tif", **options)
    assert first.recalibrated is not None
    assert first.recalibrated < 0.5
    whole = written()[0]
    predict(scene, "roads.tif", block=224, **options)
    np.testing.assert_array_equal(written()[0], whole)
    predict(scene, "roads.tif", dtype="float32", **options)
    assert abs(written()[0] * 254 - whole).max() < 4  # the levels below are raised apart


def test_blocks_of_another_recalibration_are_refused(scene, monkeypatch):
    from roadseg import predict as module

    def stop(*_):
        raise OutputError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_rasters", stop)
        with pytest.raises(OutputError, match="stopped"):
            predict(scene, "roads.tif", model=model_of(Constant(0.6), sure_share=0.6))
    with pytest.raises(OutputError, match="left by a run that differs in its recalibration"):
        predict(scene, "roads.tif", model=model_of(Constant(0.6)))


def test_parts_and_a_killed_run_give_the_bytes_of_one(scene, monkeypatch):
    options = {"model": model_of(Identity(), sure_share=0.6), "block": 224}
    predict(scene, "whole.tif", mask="whole_mask.tif", **options)
    predict(scene, "roads.tif", mask="mask.tif", part="1/2", **options)
    store, stored = recalibration.store_block, []

    def stop(*given):
        if stored:
            raise KeyboardInterrupt
        stored.append(store(*given))

    with monkeypatch.context() as patch:
        patch.setattr(recalibration, "store_block", stop)
        with pytest.raises(KeyboardInterrupt):
            predict(scene, "roads.tif", mask="mask.tif", **options)
    done = predict(scene, "roads.tif", mask="mask.tif", **options)
    assert done.blocks_resumed == done.blocks > 1
    for one, other in (("roads.tif", "whole.tif"), ("mask.tif", "whole_mask.tif")):
        assert Path(one).read_bytes() == Path(other).read_bytes()


def test_every_output_is_of_the_raised_probability(scene):
    model, outputs = model_of(Identity(), sure_share=0.6), {"mask": "mask.tif", "vector": "roads.gpkg"}
    for gsd in (1.0, 1.7):
        done = predict(scene, "roads.tif", model=model, gsd=gsd, overwrite=True, preview="p.png", **outputs)
        levels, _ = written()
        mask, _ = written("mask.tif")
        assert done.recalibrated < 0.5
        np.testing.assert_array_equal(mask == 1, (levels >= 127) & (levels < 255))
        assert done.road_fraction == (mask == 1).sum() / (mask < 2).sum()
        raised = levels[levels < 255].mean()
        predict(scene, "roads.tif", model=model, gsd=gsd, overwrite=True, recalibrate=False)
        assert raised > written()[0][levels < 255].mean() + 5


@pytest.mark.parametrize(("rows", "half"), [(300, 0.17), (8, 0.29), (4, 0.46), (1, 0.5)])
def test_where_hardly_any_road_is_found_little_is_changed(tmp_path, monkeypatch, rows, half):
    monkeypatch.chdir(tmp_path)
    values = np.full((3, 3000, 600), 20, np.uint8)
    values[:, :rows] = 153  # 0.6
    scene = write_raster(Path("scene.tif"), values, transform=NORTH_UP)
    done = predict(scene, "roads.tif", model=model_of(Identity(), sure_share=0.6))
    assert done.recalibrated == pytest.approx(half, abs=0.03)


def test_of_several_scales_the_first_one_is_judged(scene):
    model = model_of(Identity(), sure_share=0.01)
    alone = predict(scene, "roads.tif", model=model)
    several = predict(scene, "roads.tif", model=model, scales=(1, 0.63), overwrite=True)
    other = predict(scene, "roads.tif", model=model, scales=(0.63,), overwrite=True)
    assert several.recalibrated == alone.recalibrated != other.recalibrated


def test_where_the_model_is_far_from_sure_it_warns(scene):
    warnings, reports = list[str](), list[str]()
    for answer in (0.6, 0.96):
        model, listener = model_of(Constant(answer), sure_share=0.6), Listener(reports.append, warnings.append)
        predict(scene, "roads.tif", model=model, overwrite=True, listener=listener)
    assert len(warnings) == 1
    told = "scene.tif: the model is sure of few of the roads it finds here (0 %; 60 % in imagery it knows)"
    assert warnings[0].startswith(told)
    assert "roadseg adapt" in warnings[0]
    told = "the model is sure of enough of the roads it finds here (100 %; 60 % in imagery it knows); prob"
    assert told in "\n".join(reports)


@pytest.mark.parametrize(("sure_from", "half"), [(0.95, 0.5), (0.97, 0.17)])
def test_the_card_says_from_which_probability_a_pixel_surely_is_road(scene, sure_from, half):
    model = model_of(Constant(0.96), sure_share=0.6, sure_from=sure_from)
    assert predict(scene, "roads.tif", model=model).recalibrated == half


def test_sure_is_the_fifth_of_possible_roads_a_model_is_surest_of():
    counts = np.zeros(256, np.int64)
    counts[76], counts[77], counts[100], counts[200], counts[201], counts[255] = 50, 5, 2, 1, 2, 70
    assert sureness(counts) == Sureness(200 / 254 + 1 / 254, 0.2)
    assert sureness(np.full(256, 7)) == Sureness(219 / 254, 36 / 178)
    assert sureness(np.zeros(256, np.int64)) is None
