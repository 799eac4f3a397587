"""``roadseg evaluate``: the right numbers, one clear sentence for bad input, whole outputs or none."""

import gzip
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from rasterio.env import get_gdal_config
from rasterio.errors import NotGeoreferencedWarning
from shapely.geometry import LineString, MultiLineString, Point
from sklearn.metrics import f1_score, jaccard_score
from streets import city
from typer.testing import CliRunner

from roadseg.cli import app
from roadseg.errors import OutputError, RoadsegError, SceneError, UsageError
from roadseg.evaluate import as_json, evaluate, evaluate_files
from roadseg.evaluation.pairs import find_scored_pairs
from roadseg.metrics import pixels
from roadseg.metrics.error_classes import COVERED, FALSE_NEGATIVE, FALSE_POSITIVE, TRUE_POSITIVE
from roadseg.progress import Listener
from roadseg.raster.encoding import LEVELS
from roadseg.raster.files import open_raster
from roadseg.settings import EvaluateOutputs, EvaluateSettings

UTM = "EPSG:32619"
ORIGIN = np.array([300_000.0, 4_600_000.0])


def roads(seed, height=150, width=211, thickness=7):
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width), np.uint8)
    for _ in range(7):
        (r0, r1), (c0, c1) = rng.integers(0, height, 2).tolist(), rng.integers(0, width, 2).tolist()
        cv2.line(image, (c0, r0), (c1, r1), 1, thickness)
    return image


def guess(label, seed):
    """Probabilities that resemble a label: blurred, shifted, noisy."""
    rng = np.random.default_rng(seed)
    blurred = cv2.GaussianBlur(np.roll(label, 4, axis=1).astype(np.float32), (0, 0), 2)
    return np.clip(blurred + rng.normal(0, 0.15, label.shape), 0, 1).astype(np.float32)


def write(path, values, *, nodata=None, scale=None, crs=UTM, origin=(300_000.0, 4_600_000.0), pixel=1.0, tags=None):
    values = values if values.ndim == 3 else values[None]
    transform = None if origin is None else Affine(pixel, 0, origin[0], 0, -pixel, origin[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", height=values.shape[1], width=values.shape[2], count=len(values),
            dtype=values.dtype, nodata=nodata, crs=crs if origin else None, transform=transform,
        ) as file:  # fmt: skip
            file.write(values)
            file.update_tags(**(tags or {}))
            if scale:
                file.scales = (scale,) * len(values)
    return path


def write_levels(path, probability, **options):
    levels = np.where(np.isnan(probability), 255, np.rint(np.nan_to_num(probability) * LEVELS)).astype(np.uint8)
    return write(path, levels, nodata=255, scale=1 / LEVELS, **options)


def write_lines(path, lines, *, crs=UTM, kind="Unknown", driver=None):
    shapes = [line if hasattr(line, "geom_type") else LineString(line) for line in lines]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'crs' was not provided")
        pyogrio.raw.write(
            path, shapely.to_wkb(np.array(shapes, dtype=object)), field_data=[], fields=[], geometry_type=kind, crs=crs,
            driver=driver,
        )  # fmt: skip
    return path


def figure(found, name):
    return next(f.value for f in found.figures if f.name == name)


@pytest.fixture
def world(tmp_path):
    label = roads(1)
    label[:, -12:] = 255
    probability = guess(roads(1), 2)
    probability[:9] = np.nan
    write_levels(tmp_path / "roads.tif", probability)
    write(tmp_path / "truth.tif", label, nodata=255)
    return tmp_path


def known(world):
    with rasterio.open(world / "roads.tif") as p, rasterio.open(world / "truth.tif") as t:
        said, true = p.read(1), t.read(1)
    both = (said != 255) & (true != 255)
    return said[both], true[both] == 1


def test_figures_equal_those_of_scikit_learn_and_nodata_is_not_counted(world):
    found = evaluate_files(world / "roads.tif", world / "truth.tif")
    said, true = known(world)
    assert found.settings["valid pixels"] == said.size
    assert figure(found, "IoU") == pytest.approx(jaccard_score(true, said >= 127))
    assert figure(found, "F1") == pytest.approx(f1_score(true, said >= 127))
    best = max((true & (said >= v)).sum() / (true | (said >= v)).sum() for v in range(1, 255))
    assert figure(found, "best IoU") == pytest.approx(best)
    assert 0 < figure(found, "break-even point") < 1
    assert 0 < figure(found, "clDice") < 1
    at = evaluate_files(world / "roads.tif", world / "truth.tif", settings=EvaluateSettings(threshold=0.25))
    assert figure(at, "IoU") == pytest.approx(jaccard_score(true, said >= 64))
    figures = evaluate(world / "roads.tif", world / "truth.tif", cldice=False).figures
    assert {type(value) for value in figures.values()} == {float}


def test_scores_and_maps_do_not_depend_on_the_block_size(world):
    texts = set()
    for block in (40, 97, 4096):
        out = EvaluateOutputs(errors=world / f"errors{block}.tif")
        for shape in ("square", "disk"):
            settings = EvaluateSettings(block_px=block, neighbourhood=shape, overwrite=True)
            found = evaluate_files(world / "roads.tif", world / "truth.tif", out, settings)
            texts.add((shape, json.dumps(as_json(found))))
    assert len(texts) == 2
    charts = [rasterio.open(world / f"errors{block}.tif").read(1) for block in (40, 97, 4096)]
    assert (charts[0] == charts[1]).all()
    assert (charts[0] == charts[2]).all()


def test_the_map_of_errors_adds_up_to_the_relaxed_scores(world):
    found = evaluate_files(world / "roads.tif", world / "truth.tif", EvaluateOutputs(errors=world / "e.tif"))
    with rasterio.open(world / "e.tif") as chart, rasterio.open(world / "truth.tif") as truth:
        kinds, label = chart.read(1), truth.read(1)
        assert chart.nodata == 255
        assert chart.colormap(1)[FALSE_POSITIVE][:3] == (213, 94, 0)
        assert chart.tags()[f"ROADSEG_CLASS_{FALSE_POSITIVE}"] == "false: predicted, without road near"
        assert chart.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (chart.crs, chart.transform) == (truth.crs, truth.transform)
    right, false = (kinds == TRUE_POSITIVE).sum(), (kinds == FALSE_POSITIVE).sum()
    assert figure(found, "relaxed precision") == pytest.approx(right / (right + false))
    missed = ((kinds == FALSE_NEGATIVE) & (label == 1)).sum()
    road = ((label == 1) & (kinds != 255)).sum()
    assert figure(found, "relaxed recall") == pytest.approx(1 - missed / road)
    assert set(np.unique(kinds[(label == 1) & (kinds != 255)])) <= {TRUE_POSITIVE, FALSE_NEGATIVE, COVERED}
    assert not [p for p in world.iterdir() if p.name.startswith(".")]


def test_probabilities_as_floats_and_as_levels_score_alike(world):
    with rasterio.open(world / "roads.tif") as file:
        levels = file.read(1)
    floats = np.where(levels == 255, np.nan, levels / np.float32(LEVELS)).astype(np.float32)
    write(world / "floats.tif", floats, nodata=float("nan"))
    write(world / "untagged.tif", floats)
    scores = [
        as_json(evaluate_files(world / name, world / "truth.tif"))
        for name in ("roads.tif", "floats.tif", "untagged.tif")
    ]
    assert scores[0]["figures"] == scores[1]["figures"] == scores[2]["figures"]


def test_a_mask_has_one_threshold_and_no_curve(world):
    with rasterio.open(world / "roads.tif") as file:
        levels = file.read(1)
    mask = np.where(levels == 255, 255, levels >= 127).astype(np.uint8)
    write(world / "mask.tif", mask, nodata=255)
    found, reference = (evaluate_files(world / name, world / "truth.tif") for name in ("mask.tif", "roads.tif"))
    for name in ("IoU", "relaxed precision", "relaxed recall", "clDice"):
        assert figure(found, name) == figure(reference, name)
    assert found.curves == []
    assert found.settings["threshold"] is None
    assert not [f for f in found.figures if f.name in {"break-even point", "best IoU"}]


def test_the_threshold_stored_in_the_prediction_is_used_unless_one_is_given(tmp_path):
    label = roads(3)
    write_levels(tmp_path / "p.tif", guess(label, 1), tags={"ROADSEG_THRESHOLD": "0.3"})
    write(tmp_path / "t.tif", label)
    noted = evaluate_files(tmp_path / "p.tif", tmp_path / "t.tif")
    assert (noted.settings["threshold"], noted.settings["threshold from"]) == (0.3, "stored in the predictions")
    given = evaluate_files(tmp_path / "p.tif", tmp_path / "t.tif", settings=EvaluateSettings(threshold=0.3))
    assert figure(given, "IoU") == figure(noted, "IoU")
    assert given.settings["threshold from"] == "given"


def test_slack_in_metres_is_slack_in_pixels_of_their_size(tmp_path):
    label = roads(4)
    write_levels(tmp_path / "p.tif", guess(label, 1), pixel=0.5001)
    write(tmp_path / "t.tif", label, pixel=0.5001)
    metres = evaluate_files(tmp_path / "p.tif", tmp_path / "t.tif", settings=EvaluateSettings(slack="1.0m"))
    px = evaluate_files(tmp_path / "p.tif", tmp_path / "t.tif", settings=EvaluateSettings(slack=2))
    assert figure(metres, "relaxed F1") == figure(px, "relaxed F1") != figure(px, "F1")
    write(tmp_path / "nowhere.tif", label, origin=None)
    write_levels(tmp_path / "p0.tif", guess(label, 1), origin=None)
    with pytest.raises(SceneError, match="no CRS to measure metres in; give --slack in pixels"):
        evaluate_files(tmp_path / "p0.tif", tmp_path / "nowhere.tif", settings=EvaluateSettings(slack="1m"))


def test_tiles_of_several_pixel_sizes_have_no_slack_in_metres(tmp_path):
    for side in "pt":
        (tmp_path / side).mkdir()
    for name, pixel in (("a", 1.0), ("b", 0.5)):
        write(tmp_path / "t" / f"{name}.tif", roads(1), pixel=pixel)
        write_levels(tmp_path / "p" / f"{name}.tif", guess(roads(1), 1), pixel=pixel)
    settings = EvaluateSettings(slack="2m", cldice=False)
    with pytest.raises(SceneError, match=r"b\.tif has pixels of another size than the first"):
        evaluate_files(tmp_path / "p", tmp_path / "t", settings=settings)


def test_a_truth_of_0_and_255_is_recognized_and_reported(world):
    with rasterio.open(world / "truth.tif") as file:
        label = file.read(1)
    label[label == 255] = 0
    write(world / "t01.tif", label)
    write(world / "t255.tif", label * np.uint8(255))
    plain, bright = (evaluate_files(world / "roads.tif", world / name) for name in ("t01.tif", "t255.tif"))
    assert plain.figures == bright.figures
    assert bright.notes == [f"{world / 't255.tif'}: values 0 and 255, 255 taken for road"]
    marked = evaluate_files(world / "roads.tif", write(world / "void.tif", label * np.uint8(255), nodata=255))
    assert "the truth holds no road" in " ".join(marked.notes)


def test_a_truth_whose_0_is_nodata_is_reported(world):
    """gdal_rasterize -a_nodata 0 makes such; precision is 1, whatever is predicted."""
    with rasterio.open(world / "truth.tif") as file:
        label = file.read(1)
    label[label == 255] = 0
    scored = evaluate_files(world / "roads.tif", write(world / "roads_only.tif", label, nodata=0))
    assert figure(scored, "precision") == 1
    (note,) = scored.notes
    assert note.startswith("all valid pixels of the truth are road, so precision says nothing; where 0 is not road")


def test_in_a_folder_one_tile_with_1_settles_what_255_means(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "t").mkdir()
    void_only, with_road = np.zeros((40, 60), np.uint8), roads(5, 40, 60)
    void_only[:, :30] = 255
    for name, label in (("a", void_only), ("b", with_road)):
        write(tmp_path / "t" / f"{name}.tif", label)
        write_levels(tmp_path / "p" / f"{name}.tif", np.zeros((40, 60), np.float32))
    found = evaluate_files(tmp_path / "p", tmp_path / "t")
    assert found.settings["valid pixels"] == 2400 * 2 - 1200
    assert not any("255" in note for note in found.notes)


def test_folders_are_matched_by_stem_pooled_and_averaged(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "t").mkdir()
    for seed, name in enumerate("abc"):
        label = roads(seed, 90 + seed, 120)
        write(tmp_path / "t" / f"{name}.tif", label)
        write_levels(tmp_path / "p" / f"{name}.tif", guess(label, seed) ** (1 + 2 * seed))
    write(tmp_path / "t" / "lonely.tif", roads(9))
    found = evaluate_files(tmp_path / "p", tmp_path / "t", settings=EvaluateSettings(worst=2))
    single = {n: evaluate_files(tmp_path / "p" / f"{n}.tif", tmp_path / "t" / f"{n}.tif") for n in "abc"}
    ious = {name: figure(score, "IoU") for name, score in single.items()}
    assert figure(found, "mean IoU") == pytest.approx(np.mean(list(ious.values())))
    assert min(ious.values()) < figure(found, "IoU") < max(ious.values())
    assert [image.name for image in found.images] == sorted(ious, key=ious.get)
    assert [bool(image.picture) for image in found.images] == [True, True, False]
    assert any("without a partner" in note and "lonely" in note for note in found.notes)


def test_tiles_and_their_mosaic_score_alike_but_for_the_seams(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "t").mkdir()
    label = roads(7, 100, 240)
    probability = guess(label, 3)
    for name, place in (("a", np.s_[:, :120]), ("b", np.s_[:, 120:])):
        write(tmp_path / "t" / f"{name}.tif", label[place])
        write_levels(tmp_path / "p" / f"{name}.tif", probability[place])
    write_levels(tmp_path / "p.tif", probability)
    write(tmp_path / "t.tif", label)
    tiles, whole = (
        evaluate_files(tmp_path / "p", tmp_path / "t"),
        evaluate_files(tmp_path / "p.tif", tmp_path / "t.tif"),
    )
    for name in ("IoU", "precision", "recall", "best IoU"):
        assert figure(tiles, name) == pytest.approx(figure(whole, name), abs=1e-12)
    assert figure(tiles, "relaxed F1") == pytest.approx(figure(whole, "relaxed F1"), abs=0.02)


def test_rasters_on_other_grids_are_refused_with_the_cure(world):
    label, other = roads(1), roads(1, 140, 211)
    write_levels(world / "size.tif", guess(other, 1))
    write_levels(world / "shift.tif", guess(label, 1), origin=(300_000.5, 4_600_000.0))
    write_levels(world / "far.tif", guess(label, 1), origin=(390_000.0, 4_600_000.0))
    write_levels(world / "crs.tif", guess(label, 1), crs="EPSG:32618")
    for name, reason in (
        ("size.tif", "has 211 × 140 px against 211 × 150"),
        ("shift.tif", "lies up to 0.5 px off"),
        ("far.tif", "lies up to 90,000 px off"),
        ("crs.tif", "has another CRS (EPSG:32618 against EPSG:32619) than that of"),
    ):
        with pytest.raises(SceneError, match=re.escape(reason) + ".*add --resample"):
            evaluate_files(world / name, world / "truth.tif")


def test_resampling_brings_a_prediction_to_the_truths_grid(tmp_path):
    label = roads(8, 160, 220)
    write(tmp_path / "t.tif", label)
    fine = cv2.resize(guess(label, 1), (440, 320), interpolation=cv2.INTER_NEAREST)
    write_levels(tmp_path / "fine.tif", fine, pixel=0.5)
    write_levels(tmp_path / "same.tif", guess(label, 1))
    write_levels(tmp_path / "part.tif", guess(label, 1)[:80], pixel=1)
    write(tmp_path / "mask.tif", (fine >= 0.5).astype(np.uint8), pixel=0.5)
    resample = EvaluateSettings(resample=True)
    same = evaluate_files(tmp_path / "same.tif", tmp_path / "t.tif", settings=resample)
    found = evaluate_files(tmp_path / "fine.tif", tmp_path / "t.tif", settings=resample)
    assert figure(found, "IoU") == pytest.approx(figure(same, "IoU"), abs=0.01)
    assert same.notes == []
    assert any("resampled" in note for note in found.notes)
    part = evaluate_files(tmp_path / "part.tif", tmp_path / "t.tif", settings=resample)
    assert part.settings["valid pixels"] == pytest.approx(80 * 220, abs=220)
    mask = evaluate_files(tmp_path / "mask.tif", tmp_path / "t.tif", settings=resample)
    assert figure(mask, "IoU") == pytest.approx(figure(same, "IoU"), abs=0.01)


def test_a_raster_without_a_place_lies_on_its_partner_if_it_has_its_size(world):
    write(world / "plain.png.tif", roads(1), origin=None)
    found = evaluate_files(world / "roads.tif", world / "plain.png.tif")
    assert figure(found, "IoU") > 0.3
    write(world / "small.tif", roads(1, 40, 50), origin=None)
    with pytest.raises(SceneError, match="has 211 × 150 px against 50 × 40"):
        evaluate_files(world / "roads.tif", world / "small.tif")
    with pytest.raises(SceneError, match="no CRS, so it cannot be resampled"):
        evaluate_files(world / "roads.tif", world / "small.tif", settings=EvaluateSettings(resample=True))
    write_levels(world / "local.tif", guess(roads(1), 1), crs='LOCAL_CS["local",UNIT["metre",1]]')
    with pytest.raises(
        SceneError, match=r"local\.tif cannot be reprojected \(.*\); assign its true CRS, with gdal_edit"
    ):
        evaluate_files(world / "local.tif", world / "truth.tif", settings=EvaluateSettings(resample=True))


def test_rasters_without_a_place_have_a_map_of_errors(world):
    for name, values in (("p.tif", roads(2)), ("t.tif", roads(1))):
        write(world / name, values, origin=None)
    evaluate_files(world / "p.tif", world / "t.tif", EvaluateOutputs(errors=world / "e.tif"))
    with open_raster(world / "e.tif") as chart:
        assert chart.transform.is_identity
        assert chart.shape == roads(1).shape


def test_empty_and_nodata_rasters_have_undefined_scores(tmp_path):
    nothing, label = np.zeros((50, 70), np.float32), roads(2, 50, 70)
    write_levels(tmp_path / "none.tif", nothing)
    write_levels(tmp_path / "nan.tif", nothing * np.nan)
    write_levels(tmp_path / "some.tif", guess(label, 1))
    write(tmp_path / "empty.tif", np.zeros((50, 70), np.uint8))
    write(tmp_path / "label.tif", label)
    missed = evaluate_files(tmp_path / "none.tif", tmp_path / "label.tif")
    assert figure(missed, "IoU") == figure(missed, "recall") == figure(missed, "clDice") == 0
    assert np.isnan(figure(missed, "precision"))
    assert "precision is undefined" in missed.notes[0]
    invented = evaluate_files(tmp_path / "some.tif", tmp_path / "empty.tif")
    assert figure(invented, "IoU") == figure(invented, "precision") == 0
    assert np.isnan(figure(invented, "recall"))
    assert "the truth holds no road" in invented.notes[0]
    void = evaluate_files(tmp_path / "nan.tif", tmp_path / "label.tif", EvaluateOutputs(report=tmp_path / "void.html"))
    assert np.isnan(figure(void, "IoU"))
    assert "no pixel is valid" in void.notes[0]
    assert json.dumps(as_json(void), allow_nan=False)
    assert np.isnan(figure(evaluate_files(tmp_path / "none.tif", tmp_path / "empty.tif"), "IoU"))


BAD = {
    "bands": (np.zeros((3, 20, 30), np.uint8), {}, "has 3 bands where one is wanted"),
    "grey": (np.arange(600, dtype=np.uint8).reshape(20, 30), {}, "grey values but no scale"),
    "negative": (np.full((20, 30), -1, np.int16), {}, "holds -1 to -1, no road mask"),
    "large": (np.full((20, 30), 37.0, np.float32), {}, "not probabilities from 0 to 1"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_raster_that_is_no_prediction_is_refused(tmp_path, kind):
    values, options, sentence = BAD[kind]
    write(tmp_path / "bad.tif", values, **options)
    write(tmp_path / "t.tif", roads(1, 20, 30))
    with pytest.raises(SceneError, match=sentence):
        evaluate_files(tmp_path / "bad.tif", tmp_path / "t.tif")


def test_a_raster_that_is_no_truth_is_refused(tmp_path):
    write_levels(tmp_path / "p.tif", np.zeros((20, 30), np.float32))
    for name, values, sentence in (
        ("three.tif", np.zeros((3, 20, 30), np.uint8), "3 bands"),
        ("grey.tif", np.arange(600, dtype=np.uint8).reshape(20, 30), "grey values"),
        ("soft.tif", np.full((20, 30), 0.4, np.float32), "holds probabilities; a truth is 0 and 1"),
    ):
        with pytest.raises(SceneError, match=sentence):
            evaluate_files(tmp_path / "p.tif", write(tmp_path / name, values))
    float_truth = write(tmp_path / "float.tif", roads(1, 20, 30).astype(np.float32))
    assert figure(evaluate_files(tmp_path / "p.tif", float_truth), "recall") == 0


def test_files_that_cannot_be_paired_are_refused(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "t").mkdir()
    file = write(tmp_path / "p" / "a.tif", roads(1))
    write(tmp_path / "t" / "b.tif", roads(1))
    lines = write_lines(tmp_path / "a.gpkg", [[(0, 0), (1, 1)]])
    (tmp_path / "text.tif").write_text("no raster", "utf-8")
    (tmp_path / "t.tif.gz").write_bytes(gzip.compress(file.read_bytes()))
    for left, right, sentence in (
        (tmp_path / "p", tmp_path / "t", r"no file in .* has the stem of one in .* \(a against b\)"),
        (tmp_path / "p", file, r"p is a folder and \S+a\.tif is not"),
        (file, tmp_path / "t", r"t is a folder and \S+a\.tif is not"),
        (tmp_path / "gone.tif", file, "gone.tif does not exist; check the path"),
        (file, Path("https://host/t.tif"), "https://host/t.tif is not a file on this machine; download it first"),
        (lines, file, "a raster and a vector file"),
        (tmp_path / "text.tif", file, "not a raster that GDAL can open"),
        (file, tmp_path / "t.tif.gz", r"t\.tif\.gz cannot be read .*; unpack it first"),
        (lines, tmp_path / "t.tif.gz", r"t\.tif\.gz cannot be read .*; unpack it first"),
    ):
        with pytest.raises(SceneError, match=sentence):
            evaluate_files(left, right)
    write(tmp_path / "t" / "a.tif", roads(1))
    write(tmp_path / "t" / "a.png.vrt", roads(1))
    write(tmp_path / "t" / "a.tiff", roads(1))
    with pytest.raises(SceneError, match=r"holds a\.tif and a\.tiff; keep one"):
        evaluate_files(tmp_path / "p", tmp_path / "t")


def test_vector_files_are_told_by_what_they_hold_where_their_names_say_nothing(tmp_path):
    lines = [[(10, 10), (90, 10)], [(50, 10), (50, 80)]]
    truth = write_lines(tmp_path / "truth.gpkg", lines)
    (tmp_path / "lines.csv").write_text('WKT,id\n"LINESTRING (10 10,90 10)",1\n"LINESTRING (50 10,50 80)",2\n', "utf-8")
    (tmp_path / "table.csv").write_text("id,name\n1,a\n", "utf-8")
    with pytest.raises(SceneError, match=r"lines\.csv has no CRS.*ogr2ogr -a_srs"):
        evaluate_files(tmp_path / "lines.csv", truth)
    assert figure(evaluate_files(tmp_path / "lines.csv", tmp_path / "lines.csv"), "completeness") == 1
    with pytest.raises(SceneError, match=r"table\.csv is not a raster"):
        evaluate_files(tmp_path / "table.csv", tmp_path / "table.csv")
    geodatabase = tmp_path / "roads.gdb"
    write_lines(geodatabase, lines, kind="LineString", driver="OpenFileGDB")
    assert figure(evaluate_files(geodatabase, truth), "correctness") == 1


def test_a_geopackage_of_rasters_is_scored_pixel_by_pixel(world):
    rasterio.shutil.copy(world / "truth.tif", world / "truth.gpkg", driver="GPKG")
    scores = [evaluate_files(world / "roads.tif", world / name) for name in ("truth.tif", "truth.gpkg")]
    assert scores[0].figures == scores[1].figures


def test_outputs_are_not_replaced_unless_asked(world):
    out = EvaluateOutputs(report=world / "r.html", errors=world / "e.tif")
    evaluate_files(world / "roads.tif", world / "truth.tif", out)
    with pytest.raises(OutputError, match="exists; choose another name or add --overwrite"):
        evaluate_files(world / "roads.tif", world / "truth.tif", out)
    replace = EvaluateSettings(overwrite=True)
    evaluate_files(world / "roads.tif", world / "truth.tif", out, replace)
    with pytest.raises(OutputError, match="does not exist; create it first"):
        evaluate_files(world / "roads.tif", world / "truth.tif", EvaluateOutputs(errors=world / "no" / "e.tif"))
    with pytest.raises(OutputError, match="is also the input"):
        evaluate_files(world / "roads.tif", world / "truth.tif", EvaluateOutputs(errors=world / "roads.tif"), replace)
    rasterio.shutil.copy(world / "truth.tif", world / "truth.vrt", driver="VRT")
    before = (world / "truth.tif").read_bytes()
    with pytest.raises(OutputError, match="is also the input"):
        evaluate_files(world / "roads.tif", world / "truth.vrt", EvaluateOutputs(errors=world / "truth.tif"), replace)
    assert (world / "truth.tif").read_bytes() == before
    with pytest.raises(OutputError, match="named twice"):
        evaluate_files(world / "roads.tif", world / "truth.tif", EvaluateOutputs(world / "s", errors=world / "s"))
    assert not (world / "s").exists()


def test_an_error_leaves_no_half_made_map(world):
    write_levels(world / "bad.tif", guess(roads(1), 1))
    with rasterio.open(world / "bad.tif", "r+") as file:
        file.scales = (0.5,)
    with pytest.raises(SceneError, match="not probabilities"):
        evaluate_files(world / "bad.tif", world / "truth.tif", EvaluateOutputs(errors=world / "e.tif"))
    assert not [p.name for p in world.iterdir() if "e.tif" in p.name]


def test_the_report_needs_nothing_else_and_shows_the_worst(world):
    image = write(world / "scene.tif", np.random.default_rng(0).integers(0, 255, (3, 150, 211), dtype=np.uint8))
    out = EvaluateOutputs(report=world / "r.html", images=image)
    found = evaluate_files(world / "roads.tif", world / "truth.tif", out)
    page = (world / "r.html").read_text("utf-8")
    assert f"<td class=path>{world / 'roads.tif'}</td>" in page, "a path without blanks breaks on a phone"
    assert ".wide { overflow: visible; }" in page, "paper has no scroll bar: all columns are printed"
    assert not re.search(r'(?:src|href)=(?!"data:)', page)
    assert "@import" not in page
    assert page.count("data:image/png;base64,") == 1
    assert page.count("<polyline") == 2
    assert f"break-even {figure(found, 'break-even point'):.4f}" in page
    for entry in found.figures:
        assert f"<td class=n>{entry.value:.4f}</td>" in page
    assert "nan" not in page.split("base64")[0].lower()


def test_several_maps_go_into_a_folder(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "t").mkdir()
    for name in "ab":
        write(tmp_path / "t" / f"{name}.tif", roads(1))
        write_levels(tmp_path / "p" / f"{name}.tif", guess(roads(1), 1))
    with pytest.raises(OutputError, match=r"maps\.tif is named like a file, and the outputs of several .*; name one"):
        evaluate_files(tmp_path / "p", tmp_path / "t", EvaluateOutputs(errors=tmp_path / "maps.tif"))
    evaluate_files(tmp_path / "p", tmp_path / "t", EvaluateOutputs(errors=tmp_path / "maps"))
    assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == ["a.tif", "b.tif"]
    write(tmp_path / "t" / "b.tif", roads(1)[:-9])
    with pytest.raises(SceneError, match="grid"):
        evaluate_files(tmp_path / "p", tmp_path / "t", EvaluateOutputs(errors=tmp_path / "new" / "maps"))
    assert not (tmp_path / "new").exists()


# networks


def test_networks_are_scored_and_each_constant_named(tmp_path):
    truth = write_lines(tmp_path / "t.gpkg", [line + ORIGIN for line in city(1)])
    same = evaluate_files(truth, truth)
    assert [figure(same, n) for n in ("APLS", "TOPO F1", "junction recall")] == pytest.approx([1, 1, 1])
    assert figure(same, "quality") == pytest.approx(1)
    assert same.settings["measured in"] == UTM
    words = " ".join(f.definition for f in same.figures)
    for constant in ("50 m", "4 m", "55.6 m", "333 m", "5.6 m", "11.1 m", "45°", "3 m", "10 m"):
        assert constant in words
    part = write_lines(tmp_path / "p.geojson", [line + ORIGIN for line in city(1, keep=0.7)])
    fewer = evaluate_files(part, truth)
    assert figure(fewer, "APLS") < 0.9
    assert figure(fewer, "correctness") == pytest.approx(1, abs=1e-3)
    assert as_json(fewer) == as_json(evaluate_files(part, truth))


def reprojected(lines, target):
    from rasterio.warp import transform

    moved = []
    for line in lines:
        x, y = transform(UTM, target, (line[:, 0] + 300_000).tolist(), (line[:, 1] + 4_600_000).tolist())
        moved.append(np.stack([x, y], axis=1))
    return moved


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:2249"])
def test_degrees_feet_and_web_mercator_are_measured_in_metres(tmp_path, crs):
    pairs = city(2), city(2, keep=0.8, shift=1.0)
    scores = {}
    for system in (UTM, crs):
        files = [
            write_lines(tmp_path / f"{side}_{system[5:]}.gpkg", reprojected(lines, system), crs=system)
            for side, lines in zip("tp", pairs, strict=True)
        ]
        scores[system] = evaluate_files(files[1], files[0])
    assert "azimuthal equidistant" in scores[crs].settings["measured in"]
    for name in ("APLS", "completeness", "correctness", "junction recall"):
        assert figure(scores[crs], name) == pytest.approx(figure(scores[UTM], name), abs=0.01)
    mixed = evaluate_files(tmp_path / f"p_{crs[5:]}.gpkg", tmp_path / f"t_{UTM[5:]}.gpkg")
    assert figure(mixed, "APLS") == pytest.approx(figure(scores[UTM], "APLS"), abs=0.01)


def test_multi_parts_self_crossings_and_zero_lengths_do_no_harm(tmp_path):
    lines = city(3)
    plain = write_lines(tmp_path / "plain.gpkg", lines)
    odd = [MultiLineString([lines[0], lines[1]]), *lines[2:], LineString([(5, 5), (5, 5)])]
    assert (
        as_json(evaluate_files(write_lines(tmp_path / "odd.gpkg", odd), plain))["figures"]
        == (as_json(evaluate_files(plain, plain))["figures"])
    )
    bow = write_lines(tmp_path / "bow.gpkg", [[(0, 0), (100, 100), (100, 0), (0, 100)]])
    assert figure(evaluate_files(bow, bow), "APLS") == pytest.approx(1)


def test_empty_networks_are_reported(tmp_path):
    some = write_lines(tmp_path / "some.gpkg", city(1))
    none = write_lines(tmp_path / "none.gpkg", [], kind="LineString")
    points = write_lines(tmp_path / "points.gpkg", [Point(1, 2)])
    missed = evaluate_files(none, some)
    assert figure(missed, "APLS") == figure(missed, "completeness") == figure(missed, "TOPO F1") == 0
    assert f"{none} holds no road with a length" in missed.notes
    assert np.isnan(figure(evaluate_files(none, none), "APLS"))
    assert figure(evaluate_files(some, none), "APLS") == 0
    with pytest.raises(SceneError, match=r"points\.gpkg holds no lines"):
        evaluate_files(points, some)


def test_networks_in_different_places_are_reported(tmp_path):
    here = write_lines(tmp_path / "here.gpkg", [line + ORIGIN for line in city(1)])
    there = write_lines(tmp_path / "there.gpkg", [line + ORIGIN + (9000, 0) for line in city(1)])
    (note,) = evaluate_files(there, here).notes
    assert re.search(r"there\.gpkg and \S*here\.gpkg lie 8\.\d\d km apart; check that the CRS of both is right", note)
    assert not evaluate_files(here, here).notes


def test_a_missing_crs_is_assumed_on_both_sides_or_refused(tmp_path):
    placed = write_lines(tmp_path / "placed.gpkg", city(1))
    plain = write_lines(tmp_path / "plain.gpkg", city(1), crs=None)
    assert "taken for metres" in evaluate_files(plain, plain).settings["measured in"]
    with pytest.raises(SceneError, match=r"plain\.gpkg has no CRS and its partner has one; assign it"):
        evaluate_files(plain, placed)
    with pytest.raises(OutputError, match="maps the errors of rasters"):
        evaluate_files(placed, placed, EvaluateOutputs(errors=tmp_path / "e.tif"))


def test_folders_of_networks_add_up(tmp_path):
    for side in "pt":
        (tmp_path / side).mkdir()
    for seed in range(3):
        write_lines(tmp_path / "t" / f"{seed}.gpkg", city(seed))
        write_lines(tmp_path / "p" / f"{seed}.geojson", city(seed, keep=1 - seed / 5))
    found = evaluate_files(tmp_path / "p", tmp_path / "t", EvaluateOutputs(report=tmp_path / "r.html"))
    assert [image.name for image in found.images] == ["2", "1", "0"]
    assert figure(found, "mean APLS") == pytest.approx(np.mean([i.values["APLS"] for i in found.images]))
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "Road networks against truth" in page
    assert "<svg" not in page


# the command line


def run(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_the_command_prints_a_table_and_exits_with_the_right_status(world):
    done = run(world / "roads.tif", world / "truth.tif", "--slack", "2", "--neighbourhood", "disk")
    assert done.exit_code == 0
    assert re.search(r"^IoU +0\.\d{4}  road pixels in both / in either", done.stdout, re.MULTILINE)
    assert "2 px (disk)" in done.stdout
    failed = run(world / "roads.tif", world / "gone.tif")
    assert failed.exit_code == 1
    assert failed.stderr.count("\n") == 1
    assert "does not exist; check the path" in failed.stderr
    for wrong in ("three", "-2", "3 feet"):
        assert run(world / "roads.tif", world / "truth.tif", f"--slack={wrong}").exit_code == 2


def test_json_on_stdout_is_all_there_is_on_stdout(world):
    done = run(world / "roads.tif", world / "truth.tif", "--json", "--no-cldice", "--slack", "1.5m")
    scores = json.loads(done.stdout)
    assert scores["settings"]["slack unit"] == "m"
    assert {f["name"] for f in scores["figures"]} >= {"IoU", "break-even point"}
    assert "clDice" not in {f["name"] for f in scores["figures"]}
    assert len(scores["curves"][0]["precision"]) == 256


def test_evaluate_starts_without_torch(world):
    code = (
        "import sys; from roadseg.cli import app\n"
        f"app(['evaluate', {str(world / 'roads.tif')!r}, {str(world / 'truth.tif')!r}], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules and 'skimage' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_every_error_is_one_of_ours():
    assert issubclass(SceneError, RoadsegError)
    assert issubclass(OutputError, RoadsegError)


def test_rasters_are_scored_as_networks_on_demand(tmp_path):
    label = np.zeros((150, 211), np.uint8)
    label[56:65] = label[60:150, 96:105] = 1
    shifted = np.roll(label, 2, axis=0).astype(np.float32) * 0.9
    write(tmp_path / "truth.tif", label)
    write_levels(tmp_path / "roads.tif", shifted)
    settings = EvaluateSettings(network=True)
    found = evaluate_files(tmp_path / "roads.tif", tmp_path / "truth.tif", settings=settings)
    assert found.kind == "networks"
    assert figure(found, "APLS") > 0.9
    assert figure(found, "completeness") == pytest.approx(1, abs=0.02)
    lines = [[(300_000, 4_599_939.5), (300_211, 4_599_939.5)], [(300_100.5, 4_599_939.5), (300_100.5, 4_599_850)]]
    write_lines(tmp_path / "truth.gpkg", lines)
    mixed = evaluate_files(tmp_path / "roads.tif", tmp_path / "truth.gpkg", settings=settings)
    assert figure(mixed, "correctness") == pytest.approx(1, abs=0.05)
    shifted[56:70, 30:80] = 0
    write_levels(tmp_path / "gap.tif", shifted)
    assert figure(evaluate_files(tmp_path / "gap.tif", tmp_path / "truth.tif", settings=settings), "APLS") < 0.8


@pytest.mark.parametrize("truth", ["truth.tif", "truth.gpkg"])
def test_networks_are_scored_where_a_raster_has_data(tmp_path, truth):
    label = np.zeros((150, 211), np.uint8)
    label[56:65] = label[60:150, 96:105] = 1
    write(tmp_path / "truth.tif", label)
    beyond = [(300_000, 4_599_939.5), (300_500, 4_599_939.5)]  # the raster ends at 300,211
    write_lines(tmp_path / "truth.gpkg", [beyond, [(300_100.5, 4_599_939.5), (300_100.5, 4_599_850)]])
    levels = np.where(label, np.uint8(230), np.uint8(0))
    levels[:, 120:] = 255
    seen = write(tmp_path / "seen.tif", levels, nodata=255, scale=1 / LEVELS)
    for one, other, share in ((seen, tmp_path / truth, "completeness"), (tmp_path / truth, seen, "correctness")):
        found = evaluate_files(one, other, settings=EvaluateSettings(network=True))
        assert figure(found, share) > 0.95  # the whole truth: 0.7
        assert f"scored only where both sides have data: {one.stem}" in found.notes
    whole = evaluate_files(tmp_path / "truth.tif", tmp_path / "truth.tif", settings=EvaluateSettings(network=True))
    assert whole.notes == []
    empty = write(tmp_path / "empty.tif", np.full_like(levels, 255), nodata=255, scale=1 / LEVELS)
    nothing = evaluate_files(empty, tmp_path / truth, settings=EvaluateSettings(network=True))
    assert np.isnan(figure(nothing, "completeness"))


def test_gdal_keeps_little_of_what_is_scored(world, monkeypatch):
    """By default it keeps a twentieth of the machine's memory."""
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    count, kept = pixels.count_pixels, []

    def counted(*values, **options):
        kept.append(get_gdal_config("GDAL_CACHEMAX"))
        return count(*values, **options)

    monkeypatch.setattr(pixels, "count_pixels", counted)
    evaluate_files(world / "roads.tif", world / "truth.tif")
    assert set(kept) == {128 << 20}


def test_a_raster_and_lines_are_compared_only_on_request(tmp_path):
    write(tmp_path / "roads.tif", roads(1))
    write_lines(tmp_path / "truth.gpkg", [[(300_000, 4_599_940), (300_200, 4_599_940)]])
    with pytest.raises(SceneError, match="give two of one kind, or add --network"):
        evaluate_files(tmp_path / "roads.tif", tmp_path / "truth.gpkg")
    with pytest.raises(OutputError, match="--errors maps the errors of rasters"):
        evaluate_files(
            tmp_path / "roads.tif",
            tmp_path / "truth.gpkg",
            EvaluateOutputs(errors=tmp_path / "e.tif"),
            EvaluateSettings(network=True),
        )


def test_the_imagery_of_two_files_is_found_by_stem(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("roads.tif", "truth.tif", "images/roads.jpg", "images/other.jpg"):
        (tmp_path / name).touch()
    for images in (tmp_path / "images", tmp_path / "images/roads.jpg"):
        ((pair,), _) = find_scored_pairs(tmp_path / "roads.tif", tmp_path / "truth.tif", images)
        assert pair.image == tmp_path / "images/roads.jpg"


def test_options_that_change_nothing_are_named(tmp_path):
    raster, lines = write(tmp_path / "a.tif", roads(1)), write_lines(tmp_path / "a.gpkg", [[(0, 0), (9, 1)]])
    said = []
    listener = Listener(warn=said.append)
    evaluate(raster, raster, buffer=4, junction=5, listener=listener)
    evaluate(lines, lines, slack=5, cldice=False, threshold=0.4, listener=listener)
    evaluate(raster, raster, network=True, threshold=0.4, listener=listener)
    evaluate(raster, raster, threshold=0.4, listener=listener)
    shown = {"report": tmp_path / "r.html", "overwrite": True, "listener": listener}
    evaluate(lines, lines, images=raster, **shown)
    (tmp_path / "images").mkdir()
    evaluate(raster, raster, images=tmp_path / "images", **shown)
    assert said == [
        "--buffer and --junction changed nothing: rasters are scored; --network scores their networks",
        "--slack and --no-cldice changed nothing: networks are scored, not rasters",
        "--threshold changed nothing: lines have no probability to compare with it",
        f"--threshold changed nothing: {raster} is a mask",
        "--threshold changed nothing: the predictions are masks",
        "--images changed nothing: networks are scored, not rasters",
        f"--images changed nothing: no file in {tmp_path / 'images'} has the stem of a prediction",
    ]
    with pytest.raises(UsageError, match="--images are shown in the --report; give both"):
        evaluate(raster, raster, images=raster)
