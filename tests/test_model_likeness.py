"""Scenes that look like the training data, and scenes that do not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from worlds import write_raster

from roadseg.info import describe_scene, scene_properties
from roadseg.model.card import ModelCard, read_card
from roadseg.model.likeness import colour_statistics, outside_ranges, ranges_of, unlike_training
from roadseg.model.weights import load_model
from roadseg.predict import load_model as load_engine
from roadseg.predict import predict
from roadseg.progress import Listener
from roadseg.raster.scene import Scene
from roadseg.raster.scene_settings import SceneSettings
from roadseg.training.save import save_model

RNG = np.random.default_rng(0)


def crop(light: float = 0.4, spread: float = 0.1, cast: float = 0.0) -> np.ndarray:
    tint = np.array([cast, 0, -cast])[:, None, None]
    return light + tint + spread * RNG.standard_normal((3, 20, 30))


KNOWN = np.ones((20, 30), np.bool_)
SEEN = {"brightness": [[0.25, 0.55]] * 3, "contrast": [[0.05, 0.2]] * 3, "cast": [[-0.06, 0.06]] * 3}


def test_ranges_hold_nearly_all() -> None:
    ranges = ranges_of([colour_statistics(crop(light), KNOWN) for light in np.linspace(0.3, 0.5, 101)])
    assert ranges["brightness"] == pytest.approx(np.array([[0.302, 0.498]] * 3), abs=0.03)
    assert ranges["contrast"] == pytest.approx(np.array([[0.1, 0.1]] * 3), abs=0.02)


def test_facts_leave_unknown_pixels_out() -> None:
    pixels, valid = crop(), KNOWN.copy()
    valid[:, 10:] = False
    facts = colour_statistics(pixels, valid)
    assert facts["brightness"] == pytest.approx(pixels[:, :, :10].mean((1, 2)))
    assert facts["contrast"] == pytest.approx(pixels[:, :, :10].std((1, 2)))
    assert facts["cast"].sum() == pytest.approx(0)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (crop(), []),
        (crop(light=0.1), ["band 1 darker", "band 2 darker", "band 3 darker"]),
        (crop(light=0.8), ["band 1 brighter", "band 2 brighter", "band 3 brighter"]),
        (crop(spread=0.01), ["band 1 flatter", "band 2 flatter", "band 3 flatter"]),
        (crop(cast=0.12), ["band 1 stronger (cast 0.1", "band 3 weaker (cast -0.1"]),
    ],
)
def test_what_is_unlike_is_named(image: np.ndarray, words: list[str]) -> None:
    found = outside_ranges(colour_statistics(image, KNOWN), SEEN)
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))


def test_coarse_pixels_are_told_and_fine_ones_are_not() -> None:
    card = ModelCard("m", gsd_range_m=(0.8, 1.2), seen=SEEN)
    assert unlike_training(card, (crop(), KNOWN), (0.1, 0.1)) == []
    assert unlike_training(card, None, None) == []
    assert unlike_training(card, (crop(), KNOWN), (1.1, 2.0)) == ["pixels of 2 m (trained on 1.2 m)"]
    assert unlike_training(ModelCard("m"), (crop(), KNOWN), (1.1, 1.1)) == []


def test_predict_and_info_say_so_in_one_line(tmp_path: Path, model_file: Path) -> None:
    network, card = load_model(model_file)
    model = tmp_path / "m.safetensors"
    save_model(model, network, replace(card, seen=SEEN))
    light, dark = (tmp_path / f"{name}.tif" for name in ("light", "dark"))
    pixels = (np.tile(crop(), (1, 5, 5)).clip(0, 1) * 255).astype(np.uint8)
    write_raster(light, pixels)
    write_raster(dark, pixels // 6)
    assert read_card(model).seen == SEEN
    for scene, alike in ((light, True), (dark, False)):
        warned: list[str] = []
        loaded = load_engine(model, device="cpu")
        predict(
            scene, tmp_path / f"{scene.stem}.out.tif", model=loaded, overlap=16, listener=Listener(warn=warned.append)
        )
        told = dict(describe_scene(scene_properties(str(scene), str(model))))["for tiny"]
        if alike:
            assert (warned, told) == ([], "within what it was trained on")
        else:
            assert len(warned) == 1
            assert "dark.tif is unlike the training data of tiny: band 1 darker" in warned[0]
            assert told.startswith("band 1 darker")
    assert "no colours to compare" in dict(describe_scene(scene_properties(str(dark), str(model_file))))["for tiny"]


def test_predict_names_holes_that_are_not_marked_as_nodata(tmp_path: Path, model_file: Path) -> None:
    network, card = load_model(model_file)
    model, scene = tmp_path / "m.safetensors", tmp_path / "mosaic.tif"
    save_model(model, network, replace(card, seen={name: [[-9.0, 9.0]] * 3 for name in SEEN}))
    pixels = (np.tile(crop(), (1, 5, 5)).clip(0.05, 0.95) * 255).astype(np.uint8)
    pixels[:, :, :75] = 0
    pixels[:, 90:, 86:] = RNG.choice([0, 255], (1, 10, 64))  # shadows and bright roofs
    loaded = load_engine(model, device="cpu")
    for nodata in (None, 0):
        warned: list[str] = []
        write_raster(scene, pixels, nodata=nodata)
        listener = Listener(warn=warned.append)
        predict(scene, tmp_path / "out.tif", model=loaded, overlap=16, overwrite=True, listener=listener)
        assert len(warned) == (nodata is None)
        for said in warned:
            assert said.startswith(f"{scene} is about 5"), said
            assert said.endswith(
                " % plain black, which nothing marks as nodata; if nothing was photographed there, mark it: "
                "gdal_translate -of VRT -a_nodata 0 SCENE marked.vrt"
            )


@pytest.mark.parametrize(("dtype", "fill"), [("uint16", 0), ("int16", -9999), ("float32", -9999), ("uint16", 65535)])
def test_predict_names_holes_of_other_types_by_their_value(
    tmp_path: Path, model_file: Path, dtype: str, fill: int
) -> None:
    network, card = load_model(model_file)
    model, scene = tmp_path / "m.safetensors", tmp_path / "mosaic.tif"
    save_model(model, network, replace(card, seen={name: [[-9.0, 9.0]] * 3 for name in SEEN}))
    ground = (1000 * (1 + np.tile(crop(), (1, 5, 5)))).astype(dtype)
    holed = ground.copy()
    holed[:, :, :75] = fill
    loaded = load_engine(model, device="cpu")
    for pixels, options in ((holed, {}), (ground, {}), (holed, {"range": (0, 2000)})):
        warned: list[str] = []
        write_raster(scene, pixels)
        listener = Listener(warn=warned.append)
        predict(scene, tmp_path / "out.tif", model=loaded, overlap=16, overwrite=True, listener=listener, **options)
        assert len(warned) == (pixels is holed and not options), warned
        for said in warned:
            assert f" % {fill} in all bands, which nothing marks as nodata" in said
            assert said.endswith(f"-a_nodata {fill} SCENE marked.vrt")


def test_info_says_at_which_pixels_a_fine_scene_is_read(tmp_path: Path, model_file: Path) -> None:
    network, card = load_model(model_file)
    model = tmp_path / "m.safetensors"
    save_model(model, network, replace(card, finest_gsd_m=0.63 * card.gsd_m))
    pixel = 0.3 * card.gsd_m
    scene = write_raster(
        tmp_path / "fine.tif", np.zeros((3, 40, 50), np.uint8), transform=Affine(pixel, 0, 2e5, 0, -pixel, 9e5)
    )
    for path, gsd_m in ((model, 0.63 * card.gsd_m), (model_file, card.gsd_m)):
        found = scene_properties(str(scene), str(path))
        assert found["model"]["gsd_m"] == pytest.approx(gsd_m)
        assert dict(describe_scene(found))["for tiny"].startswith(f"read at {gsd_m:g} m per pixel; ")


def test_a_scene_without_known_pixels_is_like_any(tmp_path: Path) -> None:
    hole = write_raster(tmp_path / "hole.tif", np.zeros((3, 40, 50), np.uint8), nodata=0)
    with Scene(str(hole), SceneSettings()) as scene:
        assert scene.sample() is None


def test_a_sample_comes_from_all_over_a_scene(tmp_path: Path) -> None:
    wide = np.zeros((3, 300, 2000), np.uint8)
    wide[:, :, 1800:] = 255
    path = write_raster(tmp_path / "wide.tif", wide)
    with Scene(str(path), SceneSettings()) as scene:
        found = scene.sample()
    assert found is not None
    assert found[0].shape[0] == 3
    assert found[0].min() == 0
    assert found[0].max() == 1
