"""roadseg adapt: better on ground that was kept apart, or nothing written; rough maps; clear words for bad data."""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import torch
from affine import Affine
from commands import Said
from shapely import LineString
from worlds import names_in, write_raster

from roadseg.adapt import AdaptResult, adapt
from roadseg.errors import OutputError, TrainingError, UsageError
from roadseg.evaluate import evaluate
from roadseg.files.lock import locked
from roadseg.model.card import ModelCard, find_model, read_card
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import load_model
from roadseg.predict import load_model as load_predictor
from roadseg.predict import predict
from roadseg.progress import Listener
from roadseg.settings import AdaptSettings
from roadseg.training.data.labelled_plots import load_ground, load_other_place, typical_pixel_m
from roadseg.training.data.plots import MOST, squares
from roadseg.training.original import find_original
from roadseg.training.pseudo_labels import SURE_GROUND, SURE_ROAD, labels_from
from roadseg.training.save import save_model
from roadseg.windows import Window

pytestmark = pytest.mark.usefixtures("open_files_stay")

SIDE = 320
CORNER = (500_000, 5_000_000)
UTM = "EPSG:32633"


def streets() -> list[LineString]:
    """Return three streets across and three down, in pixels."""
    places = (60, 160, 250)
    across = [LineString([(0, y), (SIDE, y + 30)]) for y in places]
    return [*across, *(LineString([(x, 0), (x - 25, SIDE)]) for x in places)]


def draw(roads: list[LineString], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw dark streets on bright ground; return image (3, SIDE, SIDE) and mask."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for road in roads:
        ends = (tuple(int(v) for v in end) for end in road.coords)
        cv2.line(mask, *ends, color=1, thickness=7)
    noise = np.random.default_rng(seed).integers(-25, 25, (3, SIDE, SIDE))
    return (170 - 110 * mask + noise).astype(np.uint8), mask


def on_the_ground(lines: list[LineString], *, pixel_m: float = 1.0) -> np.ndarray:
    """Return lines in pixels as lines in metres of UTM."""
    place = np.array(CORNER)
    return shapely.transform(np.array(lines, dtype=object), lambda xy: place + xy * (pixel_m, -pixel_m))


def write_roads(path: Path, lines: list[LineString], *, crs: str | None = UTM, pixel_m: float = 1.0) -> Path:
    """Write lines given in pixels as residential roads."""
    shapes = shapely.to_wkb(on_the_ground(lines, pixel_m=pixel_m))
    fields = [np.array(["residential"] * len(lines), dtype=object)]
    pyogrio.raw.write(path, shapes, fields, ["highway"], crs=crs, geometry_type="LineString")
    return path


def write_scene(place: Path) -> Path:
    """Write a scene of 320 m."""
    image, _ = draw(streets())
    return write_raster(place / "scene.tif", image, crs=UTM, transform=Affine(1, 0, CORNER[0], 0, -1, CORNER[1]))


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Write the scene into the test's folder."""
    return write_scene(tmp_path)


@pytest.fixture
def roads(tmp_path: Path) -> Path:
    """Write its roads."""
    return write_roads(tmp_path / "roads.gpkg", streets())


@dataclass(frozen=True)
class Adapted:
    """The bundled model adapted to the scene: the folder with all files, the result, and what was said."""

    place: Path
    result: AdaptResult
    said: list[str]


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    """Adapt the bundled model to the scene and its roads."""
    place, said = tmp_path_factory.mktemp("adapted"), []
    scene, roads = write_scene(place), write_roads(place / "roads.gpkg", streets())
    output, listener = place / "mine.safetensors", Listener(said.append, said.append)
    return Adapted(
        place, adapt(scene, output, labels=roads, steps=25, minutes=30, labels_are="exact", listener=listener), said
    )


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model of width 4 that knows nothing yet."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    save_model(path, ResUNet(width=4), ModelCard("start", window_px=64, licence="CC0", training_data="nothing"))
    return path


def folder(tmp_path: Path, count: int = 3, *, crs: str | None = UTM) -> Path:
    """Write tiles with masks."""
    place = tmp_path / "tiles"
    for side in ("images", "masks"):
        (place / side).mkdir(parents=True)
    for number in range(count):
        image, mask = draw(streets(), number)
        transform = Affine(1, 0, CORNER[0] + number * SIDE, 0, -1, CORNER[1]) if crs else Affine.identity()
        write_raster(place / "images" / f"{number}.tif", image, crs=crs, transform=transform)
        write_raster(place / "masks" / f"{number}.tif", mask[None], crs=crs, transform=transform, nodata=255)
    return place


def test_a_map_makes_a_model_that_finds_the_roads(adapted: Adapted) -> None:
    place, result, said = adapted.place, adapted.result, adapted.said
    output = place / "mine.safetensors"
    assert result.after.relaxed_f1 > max(0.8, result.before.relaxed_f1 + 0.1)
    assert (result.steps, result.finish_steps) == (25, 12)
    assert names_in(place) == ["mine.run", "mine.safetensors", "roads.gpkg", "scene.tif"]
    assert names_in(place / "mine.run") == ["before_after.png", "labels"]
    assert cv2.imread(str(result.picture)) is not None
    card = load_model(output)[1]
    assert (card.name, card.width, card.gsd_range_m) == ("mine", 16, (1.0, 1.0))
    assert "compact adapted to scene.tif with roads of roads.gpkg" in card.description
    assert "continued from compact, trained on" in card.training_data
    assert card.measurements[0].value == result.after.relaxed_f1
    assert f"{result.before.relaxed_f1:.4f} before adapting" in card.measurements[0].definition
    assert "before these areas were learned from, too" in card.measurements[0].definition
    assert (card.recipe["steps_taken"], card.recipe["finish_steps"]) == (25, 12)
    assert "learned from these areas, too, in 12 more steps, which is not in these figures" in said[-2]
    assert said[-1] == f"next: roadseg predict {place / 'scene.tif'} -o roads.tif --model {output}"
    assert said[0].startswith("all labelled roads lie within 0.3 km, so the figures hold for that ground alone")
    assert any(
        f"relaxed F1 {result.before.relaxed_f1:.2f} → {result.after.relaxed_f1:.2f}" in sentence for sentence in said
    )


def test_masks_without_crs_and_a_place_that_is_only_scored(start: Path, tmp_path: Path) -> None:
    tiles = folder(tmp_path, crs=None)
    other = folder(tmp_path / "other", 1, crs=None)
    result = adapt(tiles, tmp_path / "mine.safetensors", gsd=1.0, model=str(start), dev=other, steps=5, anyway=True)
    assert result.elsewhere_before is not None
    assert result.elsewhere_after is not None
    assert (result.before.tiles, result.elsewhere_after.tiles) == (3, 1)
    assert json.loads(json.dumps(result.to_dict()))["output"] == str(tmp_path / "mine.safetensors")


def test_images_that_do_not_say_how_wide_their_pixels_are_bring_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels of 0.25 m taken for 1 m teach nothing, and the labels are not to blame."""
    tiles, said, card = folder(tmp_path, 2, crs=None), list[str](), ModelCard("start", gsd_m=0.5)
    load_ground([tiles], AdaptSettings(), card, tmp_path / "run", Listener(said.append, said.append))
    assert said == [
        f"no CRS with known metres in 2 of 2 images ({tiles / 'images' / '0.tif'} and 1 more); their pixels are "
        "assumed to be 0.5 m wide, give their size with --gsd if they are not"
    ]
    load_other_place(AdaptSettings(dev=tiles), card, Listener(said.append, said.append))
    assert len(said) == 2
    load_ground([tiles], AdaptSettings(pixel_m=1.0), card, tmp_path / "run", Listener(said.append, said.append))
    placed = folder(tmp_path / "utm", 1)
    load_ground([placed], AdaptSettings(), card, tmp_path, Listener(said.append, said.append))
    assert len(said) == 2
    monkeypatch.chdir(placed)
    found = load_ground([Path()], AdaptSettings(pixel_m=0.3), card, tmp_path, Listener(said.append, said.append))
    assert f"of {placed.name} (" in found.description()
    assert said[2:] == ["--gsd 0.3 changes nothing: all images say how wide their pixels are"]


def test_the_place_that_is_only_scored_is_read_with_the_bands_asked_for(tmp_path: Path) -> None:
    other = folder(tmp_path, 1)
    settings = AdaptSettings(dev=other, bands=(3, 2, 1))
    (area,) = load_other_place(settings, ModelCard("start"), Listener())
    assert area.tile.settings.bands == (3, 2, 1)
    with rasterio.open(other / "masks" / "0.tif", "r+") as mask:
        mask.write(np.zeros((1, SIDE, SIDE), np.uint8))
    with pytest.raises(TrainingError, match="the dev tiles hold no road to score against"):
        load_other_place(settings, ModelCard("start"), Listener())


def test_the_figures_before_are_those_of_what_predict_writes(tmp_path: Path) -> None:
    """A model that calls few pixels road and is sure of none has its probabilities raised."""
    torch.manual_seed(0)
    network = ResUNet(width=4)
    with torch.no_grad():
        network.head.weight *= 20  # most logits are between -3 and 1 then
        network.head.bias.fill_(-1.58)
    for name, sure_share in (("unsure", 0.6), ("unjudged", None)):
        card = ModelCard(name, window_px=64, sure_share=sure_share)
        save_model(tmp_path / f"{name}.safetensors", network, card)
    tiles, other, roads = folder(tmp_path), folder(tmp_path / "other", 1), tmp_path / "roads.tif"
    results, said = [], list[str]()
    for name in ("unsure", "unjudged"):
        model, output = str(tmp_path / f"{name}.safetensors"), tmp_path / f"{name}-mine.safetensors"
        results.append(
            adapt(tiles, output, model=model, dev=other, steps=1, anyway=True, listener=Listener(said.append))
        )
        done = predict(other / "images" / "0.tif", roads, model=load_predictor(model, device="cpu"), overwrite=True)
        assert done.recalibrated == (0.17 if name == "unsure" else None)
        figures = evaluate(roads, other / "masks" / "0.tif").figures
        assert results[-1].elsewhere_before is not None
        assert results[-1].elsewhere_before.relaxed_f1 == pytest.approx(figures["relaxed F1"], abs=0.005)
    assert results[0].before.iou != results[1].before.iou
    assert sum("(before: with probabilities raised, as predict does there)" in sentence for sentence in said) == 1


@pytest.mark.parametrize(
    ("pixel_m", "asked", "read_at"),
    [(0.05, None, 0.5), (0.25, None, 0.5), (0.3, None, 0.6), (0.46, None, 1.0), (1.0, None, 1.0), (0.25, 1.0, 1.0)],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_fine_images_are_read_at_twice_their_pixel_size(
    tmp_path: Path, scene: Path, pixel_m: float, asked: float | None, read_at: float
) -> None:
    tiles = folder(tmp_path, 1, crs=None)
    fine = Affine(pixel_m, 0, CORNER[0], 0, -pixel_m, CORNER[1])
    write_raster(scene, draw(streets())[0], crs=UTM, transform=fine)
    drawn = AdaptSettings(labels=Path("roads.gpkg"))
    for data, settings in ((tiles, AdaptSettings(pixel_m=pixel_m)), (scene, drawn)):
        found = typical_pixel_m([data], settings)
        assert found == pytest.approx(pixel_m, rel=1e-3)
        original = find_original(settings).reading_at(found, asked, Listener())
        assert (original.card.gsd_m, original.card.finest_gsd_m) == (read_at, None)
    assert typical_pixel_m([tiles], AdaptSettings()) is None


def test_pixels_that_suit_no_image_are_not_the_images_fault(tmp_path: Path) -> None:
    original = find_original(AdaptSettings(start="compact"))
    with pytest.raises(TrainingError, match=r"--model-gsd 0\.2 asks for far finer pixels than the images have, 1 m"):
        original.reading_at(1.0, 0.2, Listener())
    card = replace(original.card, gsd_m=50.0)
    with pytest.raises(TrainingError, match=r"at 50 m per pixel no tile .* choose a smaller --model-gsd"):
        load_ground([folder(tmp_path, 1)], AdaptSettings(), card, tmp_path / "run", Listener())


def test_what_reading_finer_costs_is_said_against_what_predict_reads_such_images_at() -> None:
    said: list[str] = []
    original = find_original(AdaptSettings(start="compact"))
    for finest_m, wanted_m in ((None, None), (0.63, None), (0.63, 0.63), (0.63, 0.6), (0.63, 1.0)):
        before = replace(original.before, finest_gsd_m=finest_m)
        replace(original, before=before).reading_at(0.25, wanted_m, Listener(said.append))
    assert [re.findall(r"\d[\d.]*", sentence) for sentence in said] == [
        ["0.5", "1", "4", "1"], ["0.5", "0.63", "1.6", "0.63"], ["1", "0.63", "0.4", "0.63"]
    ]  # fmt: skip


def test_a_model_that_reads_finer_is_compared_with_what_it_read_before(adapted: Adapted, tmp_path: Path) -> None:
    scene = write_raster(
        tmp_path / "fine.tif",
        draw(streets())[0].repeat(4, axis=1).repeat(4, axis=2),
        crs=UTM,
        transform=Affine(0.25, 0, CORNER[0], 0, -0.25, CORNER[1]),
    )
    good, output = str(adapted.place / "mine.safetensors"), tmp_path / "mine.safetensors"
    options: dict[str, Any] = {"labels": adapted.place / "roads.gpkg", "model": good, "steps": 1, "anyway": True}
    said: list[str] = []
    result = adapt(scene, output, labels_are="exact", listener=Listener(said.append), **options)
    assert "reads at 0.5 m per pixel instead of 1 m, so predicting takes 4 times as long; --model-gsd 1" in said[0]
    assert (read_card(Path(good)).gsd_m, read_card(output).gsd_m) == (1.0, 0.5)
    assert result.before.best_iou > adapted.result.after.best_iou - 0.04
    assert result.after.best_iou < result.before.best_iou - 0.05  # one step teaches no roads twice as wide


def test_ground_that_the_model_has_learned_from_before_brings_a_warning(
    scene: Path, roads: Path, start: Path, tmp_path: Path
) -> None:
    said: list[list[str]] = []
    for model, output in ((start, tmp_path / "first.safetensors"), (tmp_path / "first.safetensors", tmp_path / "2nd")):
        warnings: list[str] = []
        listener = Listener(warn=warnings.append)
        adapt(scene, output, labels=roads, model=model, steps=1, labels_are="exact", anyway=True, listener=listener)
        said.append([text for text in warnings if "has learned from" in text])
    assert said == [[], [said[1][0]]]
    assert said[1][0].startswith("first has learned from scene.tif with roads of roads.gpkg before")


def test_a_map_that_lies_metres_off_is_brought_onto_the_roads(scene: Path, adapted: Adapted, tmp_path: Path) -> None:
    good, said = adapted.place / "mine.safetensors", []
    off = write_roads(tmp_path / "off.gpkg", [shapely.affinity.translate(line, 6, 5) for line in streets()])
    result = adapt(
        scene, tmp_path / "mine.safetensors", labels=off, model=str(good), steps=1, listener=Listener(said.append),
        anyway=True,
    )  # fmt: skip
    moved = re.search(
        r"labels of 1 of 1 plot moved onto the roads the model sees, by a median of ([\d.]+) m", "".join(said)
    )
    assert moved
    assert float(moved[1]) == pytest.approx(np.hypot(6, 5), abs=1)
    assert result.before.relaxed_f1 > 0.9


def test_the_same_seed_gives_the_same_model_and_a_stopped_run_resumes(
    scene: Path, roads: Path, start: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"labels": roads, "model": str(start), "steps": 4, "anyway": True}
    cards = []

    for name, stopped_after in (("a", None), ("b", 1), ("c", 5)):  # 4 steps, and 2 of the finish
        output, steps = tmp_path / name / "mine.safetensors", itertools.count(1)
        output.parent.mkdir()

        def stop(_: float, steps: Iterator[int] = steps, last: int | None = stopped_after) -> None:
            if next(steps) == last:
                raise KeyboardInterrupt

        if stopped_after:
            with pytest.raises(KeyboardInterrupt):
                adapt(scene, output, listener=Listener(advance=stop), **options)
            assert f"checkpoint-{min(4, stopped_after)}.safetensors" in names_in(output.with_name("mine.run"))
            assert not output.exists()
        adapt(scene, output, **options)
        cards.append(read_card(output))
    assert cards[0].hash == cards[1].hash == cards[2].hash


@pytest.mark.parametrize("switch", [torch.no_grad, torch.inference_mode])
def test_gradients_are_computed_for_callers_without(
    scene: Path, roads: Path, start: Path, tmp_path: Path, switch: type
) -> None:
    options: Any = {"labels": roads, "model": start, "steps": 4, "anyway": True, "device": "cpu"}
    with switch():
        assert adapt(scene, tmp_path / "m.safetensors", **options).steps
        assert torch.is_grad_enabled() is False


def test_the_time_given_ends_training(scene: Path, roads: Path, start: Path, tmp_path: Path) -> None:
    result = adapt(
        scene, tmp_path / "mine.safetensors", labels=roads, model=str(start), steps=100_000, minutes=0.2, anyway=True
    )
    assert 0 < result.finish_steps <= result.steps < 100_000
    assert (tmp_path / "mine.safetensors").exists()
    assert names_in(tmp_path / "mine.run") == ["before_after.png", "labels"]


def test_a_model_that_is_no_better_is_not_written(scene: Path, start: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nonsense = [LineString(rng.integers(0, SIDE, (2, 2))) for _ in range(12)]
    roads = write_roads(tmp_path / "nonsense.gpkg", nonsense)
    torch.manual_seed(1)
    sure = ResUNet(width=4)
    with torch.no_grad():
        sure.head.bias.fill_(9.0)  # road everywhere, which nonsense cannot beat
    save_model(tmp_path / "sure.safetensors", sure, ModelCard("sure", window_px=64))
    with pytest.raises(
        TrainingError, match=r"not become better after 2 steps \(relaxed F1 .* written; see .*then check.*anyway"
    ):
        adapt(
            scene, tmp_path / "mine.safetensors", labels=roads, model=str(tmp_path / "sure.safetensors"), steps=2,
            labels_are="exact",
        )  # fmt: skip
    assert not (tmp_path / "mine.safetensors").exists()
    assert names_in(tmp_path / "mine.run") == ["before_after.png", "labels"]
    with pytest.raises(TrainingError, match=r"after \d of 150 steps .*then give it more time with --minutes, check"):
        adapt(
            scene, tmp_path / "mine.safetensors", labels=roads, model=str(tmp_path / "sure.safetensors"), minutes=0.1,
            labels_are="exact",
        )  # fmt: skip


def test_only_the_area_of_interest_is_learned_from(scene: Path, roads: Path, start: Path, tmp_path: Path) -> None:
    aoi = tmp_path / "aoi.geojson"
    x, y = CORNER
    shape = [[x, y], [x + 200, y], [x + 200, y - SIDE], [x, y - SIDE], [x, y]]
    aoi.write_text(
        json.dumps(
            {
                "type": "FeatureCollection",
                "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}},
                "features": [
                    {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [shape]}}
                ],
            }
        ),
        "utf-8",
    )
    place = Affine.translation(CORNER[0] + 5_000, CORNER[1]) @ Affine.scale(1, -1)
    untouched = write_raster(tmp_path / "untouched.tif", np.ones((3, 300, 300), np.uint8), crs=UTM, transform=place)
    said: list[str] = []
    adapt(
        [scene, untouched], tmp_path / "mine.safetensors", labels=roads, model=str(start), aoi=aoi, steps=2,
        anyway=True, listener=Listener(said.append),
    )  # fmt: skip
    assert any("(0.1 Mpx)" in sentence for sentence in said)


def elsewhere(lines: list[LineString]) -> list[LineString]:
    return [shapely.affinity.translate(line, 90_000, 0) for line in lines]


@pytest.mark.parametrize(
    ("lines", "crs", "words"),
    [
        (elsewhere(streets()), UTM, "lie in different places"),
        (streets(), None, "the labels have no CRS"),
        ([LineString([(5, 5), (12, 9)])], UTM, "too little road to learn from some and keep some"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*crs.*")
def test_labels_that_teach_nothing_are_refused_and_leave_nothing(
    say: Callable[..., Said], scene: Path, start: Path, tmp_path: Path, lines: list[LineString], crs: str, words: str
) -> None:
    bad = write_roads(tmp_path / "bad.gpkg", lines, crs=crs)
    done = say("adapt", scene, "--labels", bad, "--model", start, "-o", tmp_path / "mine.safetensors", "--steps", 2)
    assert done.status == 1
    assert words in done.error
    assert not list(tmp_path.glob("mine*"))


def test_roads_where_the_scene_has_no_pixels(
    say: Callable[..., Said], roads: Path, start: Path, tmp_path: Path
) -> None:
    place = Affine(1, 0, CORNER[0], 0, -1, CORNER[1])
    corner = write_raster(tmp_path / "corner.tif", draw(streets())[0][:, :40, :40], crs=UTM, transform=place)
    done = say("adapt", corner, "--labels", roads, "--model", start, "-o", tmp_path / "mine.safetensors")
    assert done.status == 1
    assert done.error == "no road of roads.gpkg lies where the images have pixels; add roads, or check --aoi"
    assert not list(tmp_path.glob("mine*"))


def test_empty_maps_and_void_masks(say: Callable[..., Said], scene: Path, start: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.gpkg"
    pyogrio.raw.write(empty, np.array([], dtype=object), [], [], crs=UTM, geometry_type="LineString")
    done = say("adapt", scene, "--labels", empty, "--model", start, "-o", tmp_path / "mine.safetensors")
    assert (done.status, "holds no roads" in done.error) == (1, True)
    tiles = folder(tmp_path, 2)
    for mask in (tiles / "masks").iterdir():
        write_raster(mask, np.full((1, SIDE, SIDE), 255, np.uint8), crs=UTM, nodata=255)
    done = say("adapt", tiles, "--model", start, "-o", tmp_path / "mine.safetensors")
    assert done.status == 1
    assert not list(tmp_path.glob("mine*"))


def test_what_is_read_is_not_the_output_and_one_run_at_a_time(
    say: Callable[..., Said], scene: Path, roads: Path, start: Path, tmp_path: Path
) -> None:
    for read, told in ((scene, ".safetensors"), (roads, ".safetensors"), (start, "is also the input")):
        before = read.read_bytes()
        done = say("adapt", scene, "--labels", roads, "--model", start, "-o", read, "--overwrite")
        assert (done.status, told in done.error) == (1, True)
        assert read.read_bytes() == before
    output = tmp_path / "mine.safetensors"
    with locked([output]), pytest.raises(OutputError, match="is being written by process"):
        adapt(scene, output, labels=roads, model=str(start))
    done = say("adapt", scene, "-o", output)
    assert (done.status, "--labels" in done.error) == (1, True)


def test_a_teacher_stands_in_for_labels(adapted: Adapted, scene: Path, start: Path, tmp_path: Path) -> None:
    """What the teacher is sure of, as predict finds it, is learned from; nothing is judged by it."""
    teacher, said = adapted.place / "mine.safetensors", list[str]()
    output = tmp_path / "own.safetensors"
    result = adapt(scene, output, teacher=teacher, model=start, steps=2, listener=Listener(said.append, said.append))
    assert said[0] == f"{teacher} looks for roads; what it is sure of is learned from in place of labels"
    picture = tmp_path / "own.run" / "before_after.png"
    assert said[2:-1] == [
        f"without labels nothing can be measured, after 2 steps; {picture} compares both models with what {teacher} is "
        "sure of"
    ]
    assert said[-1].startswith(f"next: roadseg predict {scene} ")
    card = load_model(output)[1]  # written, though two steps from nothing are no gain
    assert "of scene.tif with roads that mine.safetensors is sure of (0.1 Mpx)" in card.training_data
    assert "adapted to scene.tif with roads that mine.safetensors is sure of" in card.description
    assert card.measurements == ()
    assert result.steps == 2
    predict(scene, tmp_path / "seen.tif", model=teacher, engine="torch")
    with (
        rasterio.open(tmp_path / "seen.tif") as seen,
        rasterio.open(tmp_path / "own.run" / "labels" / "scene-0.tif") as mask,
    ):
        probability, label = seen.read(1) / 254, mask.read(1)
        assert (mask.crs, mask.transform) == (seen.crs, seen.transform)
    expected = np.select([probability >= SURE_ROAD, probability <= SURE_GROUND], [1, 0], 255)
    assert (label != expected).mean() < 0.002  # rounding to bytes, or to bfloat16
    assert (label == 1).mean() > 0.05
    assert (draw(streets())[1][label == 1] == 1).mean() > 0.9


def test_plots_of_a_teacher_lie_where_there_are_pixels(adapted: Adapted, tmp_path: Path) -> None:
    image = np.zeros((3, 3 * SIDE, 3 * SIDE), np.uint8)
    image[:, SIDE : 2 * SIDE, SIDE : 2 * SIDE] = draw(streets())[0]
    place = Affine.translation(*CORNER) @ Affine.scale(1, -1)
    scene = write_raster(tmp_path / "hole.tif", image, crs=UTM, transform=place, nodata=0)
    settings = AdaptSettings(teacher=str(adapted.place / "mine.safetensors"), start="compact")
    windows = squares(Window(0, 0, 3 * SIDE, 3 * SIDE), SIDE)
    teacher = find_original(replace(settings, start=settings.teacher))
    found = dict(labels_from(teacher, settings)(scene, windows, 3))
    assert list(found) == [windows[4]]
    assert set(np.unique(found[windows[4]]).tolist()) == {0, 1, 255}


def test_a_teacher_that_is_sure_of_nothing_leaves_nothing(
    say: Callable[..., Said], scene: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    blind = ResUNet(width=4)
    with torch.no_grad():
        blind.head.bias.fill_(-9.0)
    save_model(tmp_path / "blind.safetensors", blind, ModelCard("blind", window_px=64))
    done = say("adapt", scene, "--teacher", tmp_path / "blind.safetensors", "-o", tmp_path / "mine.safetensors")
    assert done.status == 1
    assert done.error.endswith(
        "blind.safetensors is sure of no road in the images; name another --teacher, or a map with --labels"
    )
    assert not list(tmp_path.glob("mine*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": "roads.gpkg"}, "--labels and --teacher both say where the roads are; leave --teacher out"),
        ({"labels_are": "rough"}, "--labels-are says how good a map or masks are; leave it out with --teacher"),
        ({"road_width": 7.0}, "--road-width belongs to --labels"),
    ],
)
def test_what_does_not_go_with_a_teacher(scene: Path, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        adapt(scene, tmp_path / "mine.safetensors", teacher="standard", **options)


def test_the_output_is_not_the_teacher(adapted: Adapted, scene: Path, start: Path) -> None:
    teacher = adapted.place / "mine.safetensors"
    with pytest.raises(OutputError, match="is also the input"):
        adapt(scene, teacher, teacher=teacher, model=start, overwrite=True)


def test_a_teacher_looks_at_no_more_plots_than_are_learned_from(scene: Path, tmp_path: Path) -> None:
    images = [tmp_path / f"{number}.tif" for number in range(MOST + 3)]
    for image in images:
        image.symlink_to(scene)
    asked: list[Path] = []

    def find(image: Path, windows: Sequence[Window], most: int) -> Iterator[tuple[Window, np.ndarray]]:
        asked.append(image)
        yield windows[0], draw(streets())[1]

    settings, labels = AdaptSettings(teacher="standard"), tmp_path / "labels"
    ground = load_ground(images, settings, read_card(find_model("compact")), labels, Listener(), find)
    assert len(ground.plots) == len(asked) == len(set(asked)) == MOST
    assert not ground.are_truth
