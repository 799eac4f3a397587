"""Several views of a scene: what the mean and the uncertainty are of, where they are known; stopped runs go on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from engines import Constant, Identity, Placed, model_of
from worlds import NORTH_UP, names_in, picture, read_band, write_raster

from roadseg.errors import SceneError, UsageError
from roadseg.predict import PredictResult, predict_scene
from roadseg.prediction.engines.choose import load
from roadseg.prediction.engines.oriented import oriented
from roadseg.prediction.engines.symmetries import SYMMETRIES
from roadseg.progress import Listener
from roadseg.settings import EngineName, EngineSettings, PredictOutputs, PredictSettings

SIDE = 230


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    values = picture(SIDE, SIDE + 40).astype(np.uint8)
    values[:, 90:140, 100:180] = 7  # nodata
    return write_raster(tmp_path / "scene.tif", values, transform=NORTH_UP, nodata=7)


def run(scene: Path, output: Path, *scales: float, engine: Any = None, **options: Any) -> PredictResult:
    model = model_of(engine or Identity(), window_px=64)
    of_run = {name: options.pop(name) for name in ("listener", "share") if name in options}
    outputs = PredictOutputs(output, uncertainty=options.pop("uncertainty", None))
    asked = {"overlap_px": 16, "block_px": 96, "dtype": "float32", "scales": scales or None, **options}
    return predict_scene(str(scene), outputs, model, PredictSettings(**asked), **of_run)


def test_it_is_the_mean_of_what_each_scale_gives_alone(scene: Path, tmp_path: Path) -> None:
    one, finer, both, stored = (tmp_path / name for name in ("one.tif", "finer.tif", "both.tif", "bytes.tif"))
    run(scene, one, 1.0)
    run(scene, finer, 0.63)
    run(scene, both, 1.0, 0.63)
    run(scene, stored, 1.0, 0.63, dtype="uint8")
    each = [read_band(path) for path in (one, finer)]
    assert np.nanmax(np.abs(each[0] - each[1])) > 0.02
    assert np.array_equal(np.isnan(read_band(both)), np.isnan(each[0]))
    np.testing.assert_allclose(read_band(both), np.mean(each, axis=0), atol=1e-6)
    known = ~np.isnan(each[0])
    assert np.array_equal(read_band(stored) == 255, ~known)
    assert np.abs(read_band(stored)[known] / 254 - read_band(both)[known]).max() < 1.6 / 254
    assert names_in(tmp_path) == ["both.tif", "bytes.tif", "finer.tif", "one.tif", "scene.tif"]


@pytest.mark.parametrize("value", [0.37, 1.0])
def test_a_constant_network_gives_its_value_everywhere(scene: Path, tmp_path: Path, value: float) -> None:
    run(scene, tmp_path / "roads.tif", 1.0, 0.5, 2.0, engine=Constant(value), block_px=6144)
    values = read_band(tmp_path / "roads.tif")
    np.testing.assert_allclose(values[~np.isnan(values)], value, rtol=1e-6)


def test_only_an_area_is_predicted_and_gives_the_same_there(scene: Path, tmp_path: Path) -> None:
    with rasterio.open(scene) as file:
        left, bottom, right, top = file.bounds
    middle = (left + 60.0, bottom + 70.0, right - 50.0, top - 30.0)
    run(scene, tmp_path / "whole.tif", 1.0, 0.63)
    run(scene, tmp_path / "part.tif", 1.0, 0.63, bbox=middle)
    assert np.array_equal(
        read_band(tmp_path / "part.tif"), read_band(tmp_path / "whole.tif")[30:-70, 60:-50], equal_nan=True
    )


@pytest.mark.parametrize("scales", [(), (0.63,), (1.0, 0.63)])
def test_uncertainty_of_an_area_is_that_of_the_whole_there(
    scene: Path, tmp_path: Path, scales: tuple[float, ...]
) -> None:
    with rasterio.open(scene) as file:
        left, bottom, right, top = file.bounds
    whole, part = tmp_path / "whole.tif", tmp_path / "part.tif"
    run(scene, tmp_path / "a.tif", *scales, uncertainty=whole)
    run(
        scene,
        tmp_path / "b.tif",
        *scales,
        uncertainty=part,
        bbox=(left + 60.0, bottom + 70.0, right - 50.0, top - 30.0),
    )
    assert np.array_equal(read_band(part), read_band(whole)[30:-70, 60:-50], equal_nan=True)


@pytest.mark.parametrize("after_mpx", [0.02, 0.17])
def test_a_stopped_run_goes_on_to_the_same_bytes(scene: Path, tmp_path: Path, after_mpx: float) -> None:
    done = 0.0

    def stop(mpx: float) -> None:
        nonlocal done
        done += mpx
        if done > after_mpx:
            raise KeyboardInterrupt

    whole, stopped = tmp_path / "whole.tif", tmp_path / "stopped.tif"
    run(scene, whole, 1.0, 0.63)
    with pytest.raises(KeyboardInterrupt):
        run(scene, stopped, 1.0, 0.63, listener=Listener(advance=stop))
    assert names_in(tmp_path) == ["scene.tif", "stopped.tif.partial", "whole.tif"]
    run(scene, stopped, 1.0, 0.63)
    assert stopped.read_bytes() == whole.read_bytes()


def test_what_cannot_be_done_is_said(scene: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"same pixels at two of the --scales.*leave one out, or give the size"):
        run(scene, tmp_path / "roads.tif", 1.0, 0.95)
    with pytest.raises(UsageError, match=r"cannot be shared by --part or --dask; leave one"):
        run(scene, tmp_path / "roads.tif", 1.0, 0.63, share=(0, 2))
    assert names_in(tmp_path) == ["scene.tif"]


class Darker(Identity):
    """Answers less in the upper half of each window, so that a turned window has another answer."""

    def __call__(self, batches: Any) -> Any:
        for answer in super().__call__(batches):
            changed = answer.copy()
            changed[:, : answer.shape[1] // 2] *= 0.5
            yield changed


def test_uncertainty_is_how_far_a_window_and_its_turned_self_are_apart(scene: Path, tmp_path: Path) -> None:
    plain, both, spread = (tmp_path / name for name in ("plain.tif", "both.tif", "spread.tif"))
    run(scene, plain, engine=Darker())
    run(scene, both, engine=Darker(), uncertainty=spread)
    assert np.array_equal(read_band(both), read_band(plain), equal_nan=True)  # the probability stays what it is
    apart = read_band(spread)
    assert np.array_equal(np.isnan(apart), np.isnan(read_band(plain)))
    inner = apart[1:8, 1:8]  # of the first window alone: p/2 as it is, p turned
    np.testing.assert_allclose(inner, read_band(plain)[1:8, 1:8] / 2, atol=1e-6)
    run(scene, tmp_path / "same.tif", uncertainty=tmp_path / "none.tif")
    assert np.nanmax(read_band(tmp_path / "none.tif")) < 1e-6  # the identity sees the same upside down
    with rasterio.open(spread) as file:
        assert file.descriptions == ("standard deviation of road probability",)
        assert file.tags()["ROADSEG_SCENE"] == str(scene)


def test_uncertainty_of_two_scales_is_half_their_distance_on_the_grid_of_the_output(
    scene: Path, tmp_path: Path
) -> None:
    one, both, spread = (tmp_path / name for name in ("one.tif", "both.tif", "spread.tif"))
    run(scene, one, 2.0, grid="model", engine=Placed())
    run(scene, both, 2.0, 1.0, grid="model", uncertainty=spread, engine=Placed())
    apart = read_band(spread)
    np.testing.assert_allclose(apart, np.abs(read_band(one) - read_band(both)), atol=1e-6)
    assert np.nanmax(apart) > 0.02
    run(scene, both, 2.0, 1.0, uncertainty=spread, engine=Placed(), dtype="uint8", overwrite=True)
    with rasterio.open(both) as probability, rasterio.open(spread) as finer, rasterio.open(scene) as seen:
        assert (finer.shape, finer.transform, finer.nodata) == (seen.shape, seen.transform, 255)
        assert np.array_equal(finer.read(1) == 255, probability.read(1) == 255)
        levels = finer.read(1)
    assert (levels[levels != 255] / 254).mean() == pytest.approx(np.nanmean(apart), rel=0.1)


@pytest.mark.parametrize("name", ["torch", "onnx", "openvino"])
def test_uncertainty_of_test_time_augmentation_is_how_far_its_answers_are_apart(
    scene: Path, tmp_path: Path, model_file: Path, name: EngineName
) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(name, name))
    settings = EngineSettings("cpu", "float32", engine=name)
    plain, averaging = (load(str(model_file), replace(settings, tta=tta)) for tta in (False, True))
    mean, spread = tmp_path / "mean.tif", tmp_path / "spread.tif"
    asked = PredictSettings(overlap_px=16, block_px=96, dtype="float32")
    predict_scene(str(scene), PredictOutputs(mean, uncertainty=spread), averaging, asked)
    answers = []
    for number, orientation in enumerate(SYMMETRIES):
        one = tmp_path / f"{number}.tif"
        predict_scene(
            str(scene), PredictOutputs(one), replace(plain, engine=oriented(plain.engine, orientation)), asked
        )
        answers.append(read_band(one))
    np.testing.assert_allclose(read_band(mean), np.mean(answers, axis=0), atol=1e-5)
    np.testing.assert_allclose(read_band(spread), np.std(answers, axis=0), atol=1e-5)
    assert np.nanmax(read_band(spread)) > 0.02
    predict_scene(str(scene), PredictOutputs(tmp_path / "alone.tif"), averaging, asked)
    np.testing.assert_allclose(read_band(mean), read_band(tmp_path / "alone.tif"), atol=1e-5)  # still averages
