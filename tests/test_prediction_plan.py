"""A plan settles grids, areas and outputs before the first block."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from worlds import picture, write_raster

from roadseg.errors import ModelError, SceneError
from roadseg.model.card import ModelCard
from roadseg.prediction.plan import ScenePlan, describe, plan_scene, scene_settings
from roadseg.raster.encoding import MASK
from roadseg.raster.scene import Scene
from roadseg.settings import PredictOutputs, PredictSettings

CARD = ModelCard(name="drawn", window_px=64, threshold=0.4)
ROADS = PredictOutputs(Path("roads.tif"))


def planned(folder: Path, pixel_m: float, settings: PredictSettings, outputs: PredictOutputs = ROADS) -> ScenePlan:
    transform = Affine.translation(236_789, 901_234) @ Affine.scale(pixel_m, -pixel_m)
    path = write_raster(folder / "scene.tif", picture(90, 130).astype(np.uint8), transform=transform)
    with Scene(str(path), scene_settings(CARD, settings)) as scene:
        return plan_scene(scene, CARD, settings, outputs)


def test_at_the_models_resolution_blocks_are_written_as_they_are_predicted(tmp_path: Path) -> None:
    plan = planned(tmp_path, 1.0, PredictSettings(overlap_px=16))
    assert not plan.regrids
    assert plan.grid_out == plan.grid_model
    assert plan.predicted == plan.written


def test_at_another_resolution_the_scenes_grid_is_written_unless_the_models_is_asked_for(tmp_path: Path) -> None:
    settings = PredictSettings(overlap_px=16)
    plan = planned(tmp_path, 2.0, settings)
    assert plan.regrids
    assert (plan.grid_out.height, plan.grid_model.height) == (90, 180)
    assert [product.name for product in plan.predicted] == ["model"]
    other = planned(tmp_path, 2.0, replace(settings, grid="model"))
    assert not other.regrids
    assert other.grid_out == plan.grid_model


@pytest.mark.parametrize("mask", [None, Path("mask.tif")])
def test_every_raster_has_a_path_and_the_probability_comes_first(tmp_path: Path, mask: Path | None) -> None:
    plan = planned(tmp_path, 1.0, PredictSettings(overlap_px=16), replace(ROADS, mask=mask))
    assert [path for _, path in plan.rasters] == [ROADS.raster, *([mask] if mask else [])]
    assert plan.written[0].name == "probability"
    assert (MASK.name in [product.name for product in plan.written]) == bool(mask)


def test_the_threshold_is_the_models_unless_one_is_given(tmp_path: Path) -> None:
    assert planned(tmp_path, 1.0, PredictSettings(overlap_px=16)).threshold == 0.4
    assert planned(tmp_path, 1.0, PredictSettings(overlap_px=16, threshold=0.7)).threshold == 0.7


def test_a_layer_of_the_whole_world_is_named_in_part(tmp_path: Path) -> None:
    path = tmp_path / "world.vrt"
    band = '<VRTRasterBand dataType="Byte" band="{}"/>'
    bands, side = "".join(map(band.format, (1, 2, 3))), 2**25
    place = "<GeoTransform>-20037508.34,1.194,0,20037508.34,0,-1.194</GeoTransform><SRS>EPSG:3857</SRS>"
    path.write_text(f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}">{place}{bands}</VRTDataset>', "utf-8")
    with Scene(str(path), scene_settings(CARD, PredictSettings())) as scene:
        with pytest.raises(SceneError, match=r"has 33,554,432 × 33,554,432 px, more than .* with --bbox"):
            plan_scene(scene, CARD, PredictSettings(), ROADS)
        part = PredictSettings(bbox=(0.0, 0.0, 10_000.0, 10_000.0))
        assert len(plan_scene(scene, CARD, part, ROADS).blocks) < 20


def test_windows_must_be_larger_than_their_overlap(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"windows of 64 px.* cannot overlap by 64 px; ask for less than 64"):
        planned(tmp_path, 1.0, PredictSettings(overlap_px=64))


@pytest.mark.parametrize(
    ("across", "down", "said"),
    [
        (1, 1, "of 1 m used as they are"),
        (2, 2.01, "of 2.01 m read at 1 m (× 2.006)"),
        (0.9, 1.5, "of 0.9 × 1.5 m read at 1 m (× 0.900, 1.500)"),
    ],
)
def test_both_sides_of_pixels_are_stated_where_they_differ(
    tmp_path: Path, across: float, down: float, said: str
) -> None:
    transform = Affine.translation(236_789, 901_234) @ Affine.scale(across, -down)
    path = write_raster(tmp_path / "scene.tif", picture(90, 130).astype(np.uint8), transform=transform)
    settings = PredictSettings(overlap_px=16)
    with Scene(str(path), scene_settings(CARD, settings)) as scene:
        sentence = describe(scene, plan_scene(scene, CARD, settings, ROADS), CARD, "device cpu")
    assert f"130 × 90 px {said}" in sentence


def test_of_an_area_its_own_size_is_stated_first(tmp_path: Path) -> None:
    transform = Affine.translation(236_789, 901_234) @ Affine.scale(1, -1)
    path = write_raster(tmp_path / "scene.tif", picture(90, 130).astype(np.uint8), transform=transform)
    settings = PredictSettings(overlap_px=16, bbox=(236_799, 901_194, 236_849, 901_234))
    with Scene(str(path), scene_settings(CARD, settings)) as scene:
        sentence = describe(scene, plan_scene(scene, CARD, settings, ROADS), CARD, "device cpu")
    assert "scene.tif: 50 × 40 px (out of 130 × 90) of 1 m used as they are" in sentence
