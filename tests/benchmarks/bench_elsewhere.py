"""A model on other places, sensors and seasons than its training data, scored like ``roadseg evaluate``.

    pytest -m benchmark -s tests/benchmarks/bench_elsewhere.py
    PYTHONPATH=tests python tests/benchmarks/bench_elsewhere.py --model mine.safetensors --every 2
    PYTHONPATH=tests python tests/benchmarks/bench_elsewhere.py --thresholds 0.1 0.2 0.5 --read-at 1 0.63
    PYTHONPATH=tests python tests/benchmarks/bench_elsewhere.py --scales 1 0.63
    PYTHONPATH=tests python tests/benchmarks/bench_elsewhere.py --kinds
    PYTHONPATH=tests python tests/benchmarks/bench_elsewhere.py --sheets FOLDER --model standard

Needs the folder ``elsewhere`` beside the repository: folders of images/ and masks/ whose names end in their pixel size
in centimetres. Every image goes through ``roadseg predict`` and is scored on its own pixels with a slack of 3 m; counts
are pooled in a folder, every folder has the same weight in the mean. ``--read-at`` feeds images at other pixels than
the model chooses, in metres; several are predicted one by one. ``--scales`` takes their mean, like ``predict``.
``--kinds`` says which roads are found: those of the centre lines of the masks within 3 m of a pixel that is road, by
length; through roads are those left when dead ends are taken away again and again. ``--sheets`` draws a contact sheet
per folder of data, to look at: every image, and the roads found (blue; pale blue within the slack), false (orange) and
missed (yellow) on it, the worst first.
"""

import argparse
import base64
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import measuring
import numpy as np
import pytest
import rasterio
import shapely
import shared
from affine import Affine
from bench_shift import engine_for, read_model

from roadseg.evaluate import evaluate_files
from roadseg.evaluation.scores import ImageScore, Scores
from roadseg.metrics.pixels import dilate
from roadseg.predict import predict
from roadseg.prediction.engines.engine import LoadedModel
from roadseg.raster.picture import write_picture
from roadseg.raster.scene import Scene
from roadseg.raster.scene_settings import SceneSettings
from roadseg.roads.network import RoadNetwork
from roadseg.settings import EvaluateOutputs, EvaluateSettings
from roadseg.training.data.contact_sheet import SheetEntry, draw_contact_sheet
from roadseg.vectorize import vectorize

SLACK_M = 3.0

WIDE_M = 6.0

SHEET_PX = 400
"""Side of the pictures on a contact sheet."""

KINDS = ("through, wide", "through, narrow", "dead end, wide", "dead end, narrow")


def folders() -> list[Path]:
    """Return the folders of other places, or skip the test."""
    path = shared.ROOT / "data" / "elsewhere"
    if not path.exists():
        pytest.skip("imagery of other places is not beside the repository")
    return sorted(path.iterdir())


def through(network: RoadNetwork) -> np.ndarray:
    """Return which roads of a network are left when its dead ends are taken away again and again."""
    left, loose = np.ones(len(network), dtype=bool), ~network.at_border
    while True:
        ends = np.bincount(network.ends[left].ravel(), minlength=len(network.nodes))
        dead = left & ((ends == 1) & loose)[network.ends].any(axis=1)
        if not dead.any():
            return left
        left &= ~dead


def metres_found(mask: Path, found: Path, pixel_m: float) -> np.ndarray:
    """Return metres of the roads of a mask, by kind, and how many of them lie within 3 m of what was found, (2, 4)."""
    with rasterio.open(mask) as file:
        labels = file.read(1)
    road = ((labels == 1) if (labels == 1).any() else (labels == 255)).astype(np.uint8)
    with rasterio.open(found) as file:
        values = file.read(1)
    reached = dilate(((values >= 127) & (values < 255)).astype(np.uint8), SLACK_M / pixel_m, "disk")
    place = Affine(pixel_m, 0, 500_000, 0, -pixel_m, 5_000_000)
    profile = {"driver": "GTiff", "height": road.shape[0], "width": road.shape[1], "count": 1, "dtype": "uint8"}
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile, crs="EPSG:32633", transform=place) as file:
            file.write(road, 1)
        network = vectorize(memory.name).roads
    assert isinstance(network, RoadNetwork)
    kind = 2 * ~through(network) + (network.width_m < WIDE_M)
    points, edge = shapely.get_coordinates(shapely.segmentize(network.lines(), 1), return_index=True)
    cols, rows = (np.floor(axis).astype(int) for axis in ~place @ points.T)
    inside = (rows >= 0) & (rows < road.shape[0]) & (cols >= 0) & (cols < road.shape[1])
    hit = reached[rows[inside], cols[inside]] > 0
    counts = [np.bincount(kind[edge[inside]], weights, minlength=4) for weights in (np.ones(len(hit)), hit)]
    return np.array(counts)


def found_by_kind(folder: Path, model: LoadedModel, *, every: int) -> np.ndarray:
    """Return the shares of roads that are found in every n-th image of a folder, by kind, and how many km there are."""
    total = np.zeros((2, len(KINDS)))
    for image in sorted((folder / "images").iterdir())[::every]:
        with rasterio.open(image) as file, TemporaryDirectory() as made:
            pixel_m = float(folder.name.rpartition("_")[2]) / 100
            found = Path(made, "found.tif")
            predict(image, found, model=model, gsd=None if file.crs else pixel_m)
            total += metres_found(next((folder / "masks").glob(f"{image.stem}.*")), found, pixel_m)
    return np.concatenate([total[1] / np.maximum(total[0], 1), total[0] / 1000])


def scored(
    folder: Path,
    model: LoadedModel,
    *,
    every: int,
    scales: Sequence[float] | None = None,
    recalibrate: bool = True,
    pictured: bool = False,
) -> Scores:
    """Predict every n-th image of a folder and score them, with a picture of each one's errors if wanted."""
    images = sorted((folder / "images").iterdir())[::every]
    with rasterio.open(images[0]) as file:
        pixel_m = None if file.crs else float(folder.name.rpartition("_")[2]) / 100
    slack = f"{SLACK_M}m" if pixel_m is None else SLACK_M / pixel_m
    with TemporaryDirectory() as made:
        truth, found = Path(made, "truth"), Path(made, "found")
        truth.mkdir()
        found.mkdir()
        for image in images:
            mask = next((folder / "masks").glob(f"{image.stem}.*"))
            (truth / mask.name).symlink_to(mask)
            options = {"scales": scales, "recalibrate": recalibrate}
            predict(image, found / f"{image.stem}.tif", model=model, gsd=pixel_m, **options)
        settings = EvaluateSettings(slack=slack, cldice=False, worst=len(images) if pictured else 0)
        return evaluate_files(found, truth, EvaluateOutputs(images=folder / "images"), settings)


def figures(scores: Scores, thresholds: Sequence[float]) -> list[float]:
    """Return relaxed F1 at thresholds, at the best one, and the break-even point; recall at the first threshold."""
    curve, strict = scores.curves
    precision, recall = (np.nan_to_num(values) for values in (curve.precision, curve.recall))
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    levels = [int(np.searchsorted(curve.threshold, threshold - 1e-6)) for threshold in thresholds]
    even = curve.break_even
    p, r = (np.nan_to_num(values) for values in (strict.precision, strict.recall))
    iou = 1 / np.maximum(1 / np.maximum(p, 1e-9) + 1 / np.maximum(r, 1e-9) - 1, 1e-9)
    middle = float("nan") if even is None else (precision[even] + recall[even]) / 2
    return [*(float(f1[level]) for level in levels), float(f1.max()), float(middle), float(iou.max()),
            float(recall[levels[0]])]  # fmt: skip


def table(
    name: str,
    *,
    every: int,
    thresholds: Sequence[float],
    read_at: float | None = None,
    scales: Sequence[float] | None = None,
    precision: str = "bfloat16",
    recalibrate: bool = True,
) -> np.ndarray:
    """Print the table of a model and return its figures, a row per folder and their mean."""
    network, card = read_model(name)
    wanted = [*(thresholds or [card.threshold])]
    if read_at:
        card = replace(card, gsd_m=read_at, finest_gsd_m=None)
    model = LoadedModel(engine_for(network, card, precision), card)
    how = {"every": every, "scales": scales, "recalibrate": recalibrate}
    rows = {folder.name: figures(scored(folder, model, **how), wanted) for folder in folders()}
    rows["mean"] = list(np.mean(list(rows.values()), axis=0))
    head = ["folder", *(f"F1 at {t:.3f}" for t in wanted), "F1 at the best", "break-even", "best IoU", "recall"]
    sizes = " and ".join(f"{card.gsd_m * scale:g}" for scale in scales or [1])
    if card.finest_gsd_m and not scales:
        sizes += f" (images much finer at down to {card.finest_gsd_m:g})"
    title = f"{card.name}, read at {sizes} m, every {every}. image, slack {SLACK_M:g} m"
    measuring.show(title, [head, *([key, *(f"{v:.3f}" for v in row)] for key, row in rows.items())])
    return np.array(list(rows.values()))


def draw_sheets(name: str, target: Path, *, every: int, precision: str = "bfloat16") -> list[Path]:
    """Draw a contact sheet of each folder, with the worst images first, and return the paths of the PNGs."""
    network, card = read_model(name)
    model, made = LoadedModel(engine_for(network, card, precision), card), []
    target.mkdir(parents=True, exist_ok=True)
    for folder in folders():
        images = scored(folder, model, every=every, pictured=True).images
        images.sort(key=lambda image: math.inf if math.isnan(f1 := image.values["relaxed F1"]) else f1)
        made.append(target / f"{card.name}_{folder.name}.png")
        write_picture(made[-1], draw_contact_sheet([sheet_entry(folder, image) for image in images], side_px=SHEET_PX))
        print(made[-1])
    return made


def sheet_entry(folder: Path, score: ImageScore) -> SheetEntry:
    """Return an image as it is and with its errors, for the contact sheet."""
    with Scene(str(next((folder / "images").glob(f"{score.name}.*"))), SceneSettings(any_gsd=True)) as scene:
        image = scene.picture(scene.grid.window, scene.grid.height, scene.grid.width).transpose(1, 2, 0)
    pictures = [image]
    if score.picture:  # without any road there is none
        png = np.frombuffer(base64.b64decode(score.picture), np.uint8)
        pictures.append(cv2.imdecode(png, cv2.IMREAD_COLOR_RGB))
    size = [round(side * SHEET_PX / max(image.shape)) for side in image.shape[1::-1]]
    pictures = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures]
    f1, precision, recall = (score.values[f"relaxed {figure}"] for figure in ("F1", "precision", "recall"))
    return SheetEntry(pictures, f"{score.name}  F1 {f1:.2f}, precision {precision:.2f}, recall {recall:.2f}")


def table_of_kinds(name: str, *, every: int, precision: str = "bfloat16") -> np.ndarray:
    """Print which roads a model finds and return the figures, a row per folder."""
    network, card = read_model(name)
    model = LoadedModel(engine_for(network, card, precision), card)
    rows = {folder.name: found_by_kind(folder, model, every=every) for folder in folders()}
    shares = [[key, *(f"{v:.3f}" for v in row[:4]), *(f"{v:.1f}" for v in row[4:])] for key, row in rows.items()]
    head = ["folder", *KINDS, *(f"km {kind}" for kind in KINDS)]
    measuring.show(f"{card.name}: roads found, every {every}. image; wide is {WIDE_M:g} m or more", [head, *shares])
    return np.array(list(rows.values()))


@pytest.mark.benchmark
@pytest.mark.parametrize("model", ["compact"])
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_other_places(model):
    found = table(model, every=4, thresholds=[])
    assert found.shape[0] == len(folders()) + 1
    assert (found[:, 1] >= found[:, 0] - 1e-9).all()


def main() -> None:
    """Print the tables, or draw the sheets, that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="compact", help="file, bundled name, or run folder with a checkpoint")
    parser.add_argument("--every", type=int, default=1, help="take every n-th image of a folder")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[], help="instead of the card's")
    parser.add_argument("--read-at", type=float, nargs="+", default=[None], help="metres per pixel to read at")
    parser.add_argument("--scales", type=float, nargs="+", help="take the mean of several pixel sizes")
    parser.add_argument("--no-recalibrate", action="store_true", help="leave probabilities as the model gives them")
    parser.add_argument("--kinds", action="store_true", help="say which roads are found, of through roads and others")
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="draw a contact sheet per folder of data here")
    given = parser.parse_args()
    if given.sheets:
        draw_sheets(given.model, given.sheets, every=given.every)
    elif given.kinds:
        table_of_kinds(given.model, every=given.every)
    else:
        for metres in given.read_at:
            how = {"read_at": metres, "scales": given.scales, "recalibrate": not given.no_recalibrate}
            table(given.model, every=given.every, thresholds=given.thresholds, **how)


if __name__ == "__main__":
    main()
