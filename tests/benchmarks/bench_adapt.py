"""``roadseg adapt`` in other places: F1 and IoU before and after, from masks or drawn lines, good or damaged.

    pytest -m benchmark -s tests/benchmarks/bench_adapt.py
    PYTHONPATH=tests python tests/benchmarks/bench_adapt.py --folder moravia_025 --tiles 3 10 0
    PYTHONPATH=tests python tests/benchmarks/bench_adapt.py --labels lines --drop 0.3 --shift 3 --jitter 0.5
    PYTHONPATH=tests python tests/benchmarks/bench_adapt.py --labels lines --drop 0.3 --labels-are exact
    PYTHONPATH=tests python tests/benchmarks/bench_adapt.py --labels teacher --teacher standard

Needs the folder ``elsewhere`` beside the repository. Half of each folder's places are learned from (``adapt`` keeps
some of that ground apart for its calibration), the other half is scored like in ``bench_elsewhere``: every image
through ``roadseg predict``, on its own pixels, slack 3 m, at the default threshold. ``lines`` turns the masks that are
learned from into centre lines with ``roadseg vectorize``, sorts them into classes by width, and draws them again;
damage is done to the lines. With a teacher no label is read, and the images learned from are scored, too, as these are
what it is for. Models are deleted afterwards.
"""

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import measuring
import numpy as np
import pytest
import rasterio
import shapely
from bench_elsewhere import figures, folders, scored
from pyogrio.raw import write
from rasterio.transform import from_origin

from roadseg.adapt import adapt
from roadseg.predict import load_model
from roadseg.roads.files.read import read_layer
from roadseg.vectorize import vectorize

CLASSES_M = (4.0, 6.0, 9.0, 14.0)
"""Widths of the classes that lines are sorted into."""

STEPS = 60
"""Steps of the short run."""

LEARNED_FROM = {"moravia_025": r"BLAN|KROM341|VYSK112"}
"""Places to learn from where file names tell them; elsewhere the first half in the order of numbers."""


def halves(folder: Path) -> tuple[list[Path], list[Path]]:
    """Split the images of a folder by place: those to learn from, and those to score."""
    images = sorted((folder / "images").iterdir(), key=lambda path: [int(n) for n in re.findall(r"\d+", path.stem)])
    pattern = LEARNED_FROM.get(folder.name)
    learn = [image for image in images if re.match(pattern, image.stem)] if pattern else images[: len(images) // 2]
    return learn, [image for image in images if image not in learn]


def link(images: Sequence[Path], masks: Path, target: Path) -> Path:
    """Make a folder of images/ and masks/ that links to files."""
    for side in ("images", "masks"):
        (target / side).mkdir(parents=True)
    for image in images:
        mask = next(masks.glob(f"{image.stem}.*"))
        for side, file in (("images", image), ("masks", mask)):
            (target / side / file.name).symlink_to(file.resolve())
    return target


def placed(folder: Path, target: Path, pixel_m: float) -> Path:
    """Copy tiles without CRS side by side onto ground in a metric CRS, so that lines can be drawn on them."""
    for side in ("images", "masks"):
        (target / side).mkdir(parents=True)
        for number, file in enumerate(sorted((folder / side).iterdir())):
            with rasterio.open(file) as source:
                profile = source.profile | {"driver": "GTiff", "crs": "EPSG:32633", "photometric": None}
                profile["transform"] = from_origin(500_000 + 5000 * number, 5_000_000, pixel_m, pixel_m)
                profile.pop("photometric")
                pixels, meanings = source.read(), source.colorinterp
            with rasterio.open(target / side / f"{file.stem}.tif", "w", **profile) as made:
                made.write(pixels)
                made.colorinterp = meanings
    return target


def lines_of(
    folder: Path, target: Path, *, drop: float, shift_m: float, offset_m: float, jitter: float, seed: int
) -> Path:
    """Turn masks into one file of centre lines with a width by class, damaged as asked; damage in units of metres."""
    rng = np.random.default_rng(seed)
    lines: list[Any] = []
    widths: list[float] = []
    crs = ""
    for mask in sorted((folder / "masks").iterdir()):
        made = target.with_name(f"{mask.stem}.gpkg")
        with rasterio.open(mask) as file:
            crs, middle = file.crs.to_wkt(), file.lnglat()
            per_metre = 1 / np.cos(np.radians(middle[1])) if file.crs.to_epsg() == 3857 else 1.0
            per_metre = 1 / 111_320 if file.crs.is_geographic else per_metre
        vectorize(mask, made, overwrite=True, min_length=10)
        table = read_layer(made, "roads", columns=["width_m"])
        angle = rng.uniform(0, 2 * np.pi)
        move = shift_m * np.array([np.cos(angle), np.sin(angle)]) + offset_m * np.array([0.8, 0.6])
        move = move * per_metre
        for line, width in zip(table.geometries, table.columns["width_m"], strict=True):
            if rng.random() < drop:
                continue
            lines.append(shapely.transform(line, lambda xy, move=move: xy + move))
            drawn = min(CLASSES_M, key=lambda one: abs(one - float(width)))
            widths.append(drawn * float(rng.uniform(1 - jitter, 1 + jitter)))
    shapes, kind = shapely.to_wkb(np.array(lines, dtype=object)), "LineString"
    write(str(target), shapes, [np.array(widths)], ["width"], layer="roads", crs=crs, geometry_type=kind, driver="GPKG")
    return target


def measured(
    folder: Path, *, tiles: int, labels: str, damage: dict[str, float], options: dict[str, Any], seed: int = 0
) -> list[Any]:
    """Adapt to some tiles of the learning half and return F1, best F1, best IoU on the other half, before and after.

    With labels of a teacher the same figures on the learning half follow.
    """
    learn, score = halves(folder)
    picked = np.random.default_rng(seed).permutation(len(learn))[: tiles or None]
    learn = [learn[index] for index in sorted(picked)]
    suffix = folder.name.rpartition("_")[2]
    with rasterio.open(learn[0]) as file:
        pixel_m = None if file.crs else float(suffix) / 100
    with TemporaryDirectory() as made:
        place = Path(made)
        scoring = [link(score, folder / "masks", place / f"score_{suffix}")]
        ground = link(learn, folder / "masks", place / f"learn_{suffix}")
        source: Any = ground
        if labels == "lines":
            ground = placed(ground, place / "placed", pixel_m) if pixel_m else ground
            roads = lines_of(ground, place / "roads.gpkg", seed=seed, **damage)
            source, pixel_m = sorted((ground / "images").iterdir()), None
            options = options | {"labels": roads, "width_attribute": "width"}
        if labels == "teacher":
            source, scoring = sorted((ground / "images").iterdir()), [*scoring, ground]
        begun, model = time.monotonic(), place / "mine.safetensors"
        result = adapt(source, model, gsd=pixel_m, seed=seed, anyway=True, **options)
        took = time.monotonic() - begun
        models = [load_model(name) for name in (options.get("model"), str(model))]
        gains: list[str] = []
        for half in scoring:
            before, after = (figures(scored(half, model, every=1), [0.5]) for model in models)
            gains += [f"{before[index]:.3f} → {after[index]:.3f}" for index in (0, 1, 3)]
    told = f"{result.before.relaxed_f1:.3f} → {result.after.relaxed_f1:.3f}"
    return [folder.name, len(learn), f"{took:.0f} s", result.steps, told, *gains]


HEAD = ["folder", "tiles", "time", "steps", "F1 as told", "F1, other half", "best F1", "best IoU",
        "F1, learned from", "best F1", "best IoU"]  # fmt: skip
"""Heads of the columns; the last three are those of a teacher."""


@pytest.mark.benchmark
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_adapt_elsewhere():
    row = measured(folders()[0], tiles=3, labels="masks", damage={}, options={"steps": STEPS})
    measuring.show(f"adapting, {STEPS} steps", [HEAD[: len(row)], row])
    assert row[3] == STEPS
    assert all(0 <= float(part) <= 1 for column in row[4:] for part in column.split(" → "))


def main() -> None:
    """Print a table of the folders and numbers of tiles asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", nargs="+", default=[], help="names of folders; by default all")
    parser.add_argument("--tiles", type=int, nargs="+", default=[0], help="numbers of tiles to learn from; 0 is all")
    parser.add_argument("--labels", choices=("masks", "lines", "teacher"), default="masks")
    parser.add_argument("--teacher", default="standard", help="model whose sure answers are the labels")
    parser.add_argument("--drop", type=float, default=0.0, help="share of lines left out")
    parser.add_argument(
        "--shift", type=float, default=0.0, help="metres by which lines are moved, each tile its own way"
    )
    parser.add_argument("--offset", type=float, default=0.0, help="metres by which all lines are moved alike")
    parser.add_argument("--jitter", type=float, default=0.0, help="largest change of widths, as a share")
    parser.add_argument("--labels-are", default="auto")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default=None)
    parser.add_argument("--model-gsd", type=float, help="metres per pixel to read at, instead of what adapt chooses")
    given = parser.parse_args()
    damage = {"drop": given.drop, "shift_m": given.shift, "offset_m": given.offset, "jitter": given.jitter}
    options = {"labels_are": given.labels_are, "minutes": given.minutes, "steps": given.steps, "model": given.model,
               "model_gsd": given.model_gsd}  # fmt: skip
    if given.labels == "teacher":
        options["teacher"] = given.teacher
    rows = []
    for folder in folders():
        if given.folder and folder.name not in given.folder:
            continue
        for tiles in given.tiles:
            rows.append(
                measured(folder, tiles=tiles, labels=given.labels, damage=damage, options=options, seed=given.seed)
            )
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    measuring.show(f"{given.labels}, {damage}, {options}", [HEAD[: len(rows[0])], *rows])


if __name__ == "__main__":
    main()
