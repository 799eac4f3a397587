"""Probabilities are raised where the model is unsure of the roads it finds, for the whole scene alike."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from engines import Constant, Identity, model_of
from worlds import NORTH_UP, picture, write_raster

from roadseg.errors import ModelError, OutputError, UsageError
from roadseg.predict import predict
from roadseg.prediction.recalibration import becomes_half, recalibrated
from roadseg.raster.encoding import sure_share
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
    [(None, 0.5), (1.0, 0.5), (0.4, 0.5), (0.3, 1 / (1 + (0.85 / 0.15) ** 0.5)), (0.2, 0.15), (0.0, 0.15)],
)
def test_the_less_sure_the_lower_the_probability_that_becomes_a_half(share, half):
    assert becomes_half(share, 0.5) == pytest.approx(half)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_logits_move_by_one_amount(dtype):
    probability = np.array([[0, 0.1, 0.2, 0.5, 0.9, 1]], np.float32)
    values = probability if dtype == np.float32 else np.append(np.rint(probability * 254), 255).astype(np.uint8)[None]
    block = Block(Window(0, 0, *values.shape), values, np.ones(values.shape, dtype=bool))
    assert recalibrated(block, 0.5) is block
    odds = 4 * probability[0, :-1] / (1 - probability[0, :-1])
    raised = recalibrated(block, 0.2).values
    assert raised.dtype == dtype
    scale = 1 if dtype == np.float32 else 254
    assert raised[0, :5] / scale == pytest.approx(odds / (1 + odds), abs=1.5 / 254)
    assert raised[0, 5] == scale
    if dtype == np.uint8:
        assert raised[0, 6] == 255


@pytest.mark.parametrize(
    ("answer", "raised"), [(0.6, 0.6 * 0.85 / (0.6 * 0.85 + 0.4 * 0.15)), (0.95, 0.95), (0.3, 0.3)]
)
def test_unsure_models_are_raised_and_others_are_not(scene, answer, raised):
    done = predict(
        scene, "roads.tif", model=model_of(Constant(answer), sure_share=0.6), recalibrate=True, mask="mask.tif"
    )
    levels, tags = written()
    assert set(np.unique(levels)) == {round(254 * raised)} or abs(levels - 254 * raised).max() <= 1
    assert done.recalibrated == (0.15 if answer == 0.6 else 0.5)
    assert tags.get("ROADSEG_RECALIBRATED") == ("0.15" if answer == 0.6 else None)
    assert (written("mask.tif")[0] == (answer > 0.5)).all()


def test_without_the_option_nothing_changes(scene):
    done = predict(scene, "roads.tif", model=model_of(Constant(0.6)))
    levels, tags = written()
    assert done.recalibrated is None
    assert "ROADSEG_RECALIBRATED" not in tags
    assert (levels == round(254 * 0.6)).all()


def test_blocks_and_scales_and_types_agree(scene):
    options = {"model": model_of(Identity(), sure_share=0.6), "recalibrate": True, "overwrite": True}
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
            predict(scene, "roads.tif", model=model_of(Constant(0.6), sure_share=0.6), recalibrate=True)
    with pytest.raises(OutputError, match="left by a run with another recalibration"):
        predict(scene, "roads.tif", model=model_of(Constant(0.6)))


def test_it_is_not_shared(scene):
    with pytest.raises(UsageError, match="--recalibrate cannot be shared by --part or --dask"):
        predict(scene, "roads.tif", model=model_of(Constant(0.6), sure_share=0.6), recalibrate=True, part="1/2")


def test_a_card_that_does_not_say_how_sure_it_is_at_home(scene):
    with pytest.raises(ModelError, match=r"does not say how sure it is at home.*calibrate it again with roadseg train"):
        predict(scene, "roads.tif", model=model_of(Constant(0.6)), recalibrate=True)
    assert not Path("roads.tif").exists()


def test_too_little_road_tells_nothing():
    counts = np.zeros(256, np.int64)
    counts[126], counts[127], counts[229], counts[255] = 50, 3, 1, 70
    assert sure_share(counts) == 0.25
    assert sure_share(counts, fewest=5) is None
