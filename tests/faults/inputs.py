"""Good inputs of every kind that roadseg reads, as small as they can be, and the commands that read them."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

NAMES = ("a", "b")
TRAIN = ["--width", "2", "--steps", "2", "--batch", "1", "--crop", "16", "--device", "cpu", "-q"]
LITTLE = ["--width", "2", "--batch", "1", "--crop", "16", "--minutes", "0.005", "--device", "cpu", "-q"]
WIDE = "--road-width 6 --cache o.masks"
ADAPT = ["--model", "m.safetensors", "--steps", "2", "--minutes", "9", "--anyway", "--device", "cpu", "-q"]
PREDICT = ["--engine", "torch", "--device", "cpu", "--block", "224", "--overlap", "16", "-q"]
ONNX = ["--engine", "onnx", "--block", "224", "--overlap", "16", "-q"]
SCENES = {
    "scenes.csv": "id,href\nfirst,scene.tif\nsecond,deep.tif\n",
    "scenes.txt": "scene.tif\ndeep.tif\n",
    "items.json": json.dumps(
        {
            "type": "FeatureCollection",
            "features": [
                {
                    "type": "Feature",
                    "id": name,
                    "assets": {"visual": {"href": f"{name}.tif", "type": "image/tiff", "roles": ["data"]}},
                }
                for name in ("scene", "deep")
            ],
        }
    ),
}
CONFIG = """steps = 1
width = 2
batch = 1
crop = 16
learning_rate = 0.001
loss = "bce"
seed = 3
drop_at = [0.5, 0.8]
upsample = "nearest"
evaluations = 1

[augment]
rotate_deg = 10.0
flips = true
blur_px = 0.5
"""


@dataclass(frozen=True)
class Command:
    """A command of the campaign: the files of which one is mutated, its arguments, and the files it makes."""

    files: tuple[str, ...]
    arguments: tuple[str, ...]
    outputs: tuple[str, ...] = ()


def _command(files: str, arguments: str, outputs: str = "", options: list[str] | None = None) -> Command:
    return Command(tuple(files.split()), (*arguments.split(), *(options or [])), tuple(outputs.split()))


_VECTOR_OF = {"GPKG": "gpkg", "GeoJSON": "geojson", "Shapefile": "shp"}
_PARTS = {"shp": ("shp", "shx", "dbf", "prj", "cpg")}


def _on_vectors(kind: str) -> list[Command]:
    """Return the commands that read vector files of a format."""
    end = _VECTOR_OF[kind]
    roads, aoi = (" ".join(f"{name}.{part}" for part in _PARTS.get(end, (end,))) for name in ("roads", "aoi"))
    return [
        _command(roads, f"evaluate roads.{end} truth.gpkg --json -q"),
        _command(roads, f"evaluate truth.gpkg roads.{end} --report o.html -q", "o.html"),
        _command(roads, f"compare roads.{end} truth.gpkg -o o.gpkg --preview o.png -q", "o.gpkg o.png"),
        _command(roads, f"compare truth.gpkg roads.{end} -o o.gpkg -q", "o.gpkg"),
        _command(aoi, f"compare truth.gpkg roads.gpkg --aoi aoi.{end} -o o.gpkg -q", "o.gpkg"),
        _command(aoi, f"predict scene.tif --model m.safetensors --aoi aoi.{end} -o o.tif", "o.tif", PREDICT),
        _command(
            roads, f"train --images scene.tif --labels roads.{end} {WIDE} -o o.safetensors", "o.safetensors", TRAIN
        ),
        _command(roads, f"train --images scene.tif --labels roads.{end} {WIDE} -o o --check -q", "o.check.png"),
    ]


_PIXELS = [
    ("predict {0} --model m.safetensors -o o.tif --vector o.gpkg --preview o.png", "o.tif o.gpkg o.png", PREDICT),
    ("predict {0} --model m.safetensors -o o.tif --mask k.tif --grid model", "o.tif k.tif", PREDICT),
    ("predict {0} --model m.safetensors -o o.tif --part 1/2", "o.tif.partial/", PREDICT),
    ("info {0}", "", []),
    ("info {0} --model m.safetensors", "", []),
]
_ROADS = [
    ("vectorize {0} -o o.gpkg --preview o.png -q", "o.gpkg o.png", []),
    ("vectorize {0} -o o.geojson --as polygons -q", "o.geojson", []),
    ("evaluate {0} truth.tif --errors o.tif -q", "o.tif", []),
    ("evaluate {0} truth.tif --report o.html --images scene.tif -q", "o.html", []),
    ("evaluate {0} truth.gpkg --network -q", "", []),
    ("compare {0} truth.gpkg -o o.gpkg -q", "o.gpkg", []),
]


def _on_rasters(kinds: list[tuple[str, str, list[str]]], *names: str) -> list[Command]:
    return [
        _command(name, arguments.format(name), outputs, options)
        for name in names
        for arguments, outputs, options in kinds
    ]


COMMANDS: dict[str, list[Command]] = {
    "GeoTIFF": [
        *_on_rasters(_PIXELS, "scene.tif", "deep.tif"),
        *_on_rasters(_ROADS, "roads.tif"),
        _command("truth.tif", "evaluate roads.tif truth.tif -q"),
        _command("images/a.tif masks/a.tif", "train data.csv -o o.safetensors", "o.safetensors", TRAIN),
        _command("images/a.tif masks/a.tif", "train data.csv -o o --check -q", "o.check.png"),
        _command("images/a.tif masks/a.tif", "adapt data.csv -o o.safetensors", "o.safetensors", ADAPT),
    ],
    "VRT": [*_on_rasters(_PIXELS, "scene.vrt"), *_on_rasters(_ROADS, "roads.vrt")],
    "safetensors": [
        _command("m.safetensors", "predict scene.tif --model m.safetensors -o o.tif", "o.tif", PREDICT),
        _command("m.safetensors", "info m.safetensors"),
        _command("m.safetensors", "info scene.tif --model m.safetensors"),
        _command("m.safetensors", "export m.safetensors -o o.json -q", "o.json"),
        _command("m.safetensors", "adapt data.csv -o o.safetensors", "o.safetensors", ADAPT),
        _command("m.safetensors", "train data.csv --from m.safetensors -o o.safetensors", "o.safetensors", TRAIN),
        _command(
            "m.safetensors", "train data.csv --set teacher=m.safetensors -o o.safetensors", "o.safetensors", TRAIN
        ),
        _command("m.safetensors", "train --from m.safetensors --steps 0 --dev . -o o.safetensors -q", "o.safetensors"),
    ],
    "ONNX": [
        _command("m.onnx", "predict scene.tif --model m.onnx -o o.tif", "o.tif", ONNX),
        _command("m.onnx", "predict scene.tif --model m.onnx -o o.tif --part 2/2", "o.tif.partial/", ONNX),
        _command("m.onnx", "info m.onnx"),
        _command("m.onnx", "info scene.tif --model m.onnx"),
    ],
    "scene list": [
        _command(name, f"predict --scenes {name} -o out --summary s.json --model m.safetensors", "out/ s.json", PREDICT)
        for name in SCENES
    ],
    "checkpoint": [
        _command("t.run/checkpoint-1.safetensors", "train data.csv -o t.safetensors", "t.safetensors", TRAIN),
    ],
    "GPKG": [
        *_on_vectors("GPKG"),
        _command(
            "roads.gpkg aoi.gpkg",
            "adapt scene.tif --labels roads.gpkg --road-width 6 --aoi aoi.gpkg -o o.safetensors",
            "o.safetensors",
            ADAPT,
        ),
    ],
    "GeoJSON": _on_vectors("GeoJSON"),
    "Shapefile": _on_vectors("Shapefile"),
    "CSV": [
        _command("data.csv", "train data.csv -o o.safetensors", "o.safetensors", TRAIN),
        _command("data.csv", "train data.csv -o o --check -q", "o.check.png"),
        _command("data.csv", "adapt data.csv -o o.safetensors", "o.safetensors", ADAPT),
        _command(
            "widths.csv",
            "train --images scene.tif --labels roads.geojson --width-table widths.csv --cache o.masks -o o --check -q",
            "o.check.png",
        ),
    ],
    "TOML": [
        _command("config.toml", "train data.csv --config config.toml -o o.safetensors", "o.safetensors", LITTLE),
        _command("config.toml", "train --config config.toml --print-config"),
        _command(
            "widths.toml",
            "train --images scene.tif --labels roads.geojson --width-table widths.toml --cache o.masks -o o --check -q",
            "o.check.png",
        ),
    ],
}
"""The commands by the format of the file that is mutated."""


def _all_commands() -> list[Command]:
    return [command for commands in COMMANDS.values() for command in commands]


def make_inputs(folder: Path) -> None:
    """Write all inputs to a folder."""
    import rasterio
    from rasterio.enums import ColorInterp
    from rasterio.shutil import copy
    from road_rasters import write_levels
    from training_tiles import make_folder
    from worlds import METRES, NORTH_UP, picture, write_raster

    os.chdir(folder)
    pixels = picture(130, 170).astype(np.uint8)
    write_raster(Path("scene.tif"), pixels, transform=NORTH_UP, crs=METRES, compress="DEFLATE", overviews=(2,))
    deep = np.concatenate([picture(90, 70, top=4000), np.full((1, 90, 70), 65535)]).astype(np.uint16)
    deep[3, 20:40] = 0
    colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    tiled = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "LZW", "predictor": 2}
    write_raster(Path("deep.tif"), deep, transform=NORTH_UP, crs=METRES, colours=colours, **tiled)
    levels = np.zeros((150, 210), np.uint8)
    levels[56:65], levels[60:130, 96:105] = 230, 230
    write_levels(Path("roads.tif"), levels, transform=NORTH_UP, crs=METRES, tags={"ROADSEG_THRESHOLD": "0.4"})
    truth = np.roll(levels, 2, axis=0)
    write_raster(Path("truth.tif"), (truth[None] > 0).astype(np.uint8), transform=NORTH_UP, crs=METRES, nodata=255)
    for name in ("scene", "roads"):
        with rasterio.open(f"{name}.tif") as file:
            copy(file, f"{name}.vrt", driver="VRT")
    make_folder(folder, NAMES)
    lines = [f"images/{name}.tif,masks/{name}.tif,train" for name in NAMES]
    Path("data.csv").write_text("\n".join(["image,mask,split", *lines]) + "\n", "utf-8")
    Path("widths.csv").write_text("class,width_m\nresidential,6\nprimary,12.5\n", "utf-8")
    Path("widths.toml").write_text("residential = 6\nprimary = 12.5\n", "utf-8")
    Path("config.toml").write_text(CONFIG, "utf-8")
    for name, text in SCENES.items():
        Path(name).write_text(text, "utf-8")
    _make_vectors()
    _make_model()
    _run("export", "m.safetensors", "-o", "m.onnx", "-q")
    _run("train", "data.csv", "-o", "t.safetensors", *TRAIN, "--minutes", "0.00001")
    if not Path("t.run/checkpoint-1.safetensors").exists():
        raise RuntimeError("training left no checkpoint")
    with tempfile.TemporaryDirectory() as elsewhere:
        shutil.copytree(folder, elsewhere, dirs_exist_ok=True)
        os.chdir(elsewhere)
        for verb, words in (
            ("predict", "--preview"),
            ("evaluate", "--report"),
            ("compare", "--preview"),
            ("adapt", ""),
        ):
            for path in Path().glob("o.*"):
                path.unlink() if path.is_file() else shutil.rmtree(path)
            _run(*next(c.arguments for c in _all_commands() if c.arguments[0] == verb and words in (*c.arguments, "")))


def _make_vectors() -> None:
    import pyogrio
    import shapely

    _run("vectorize", "roads.tif", "-o", "roads.gpkg", "-q")
    _run("vectorize", "truth.tif", "-o", "truth.gpkg", "-q")
    box = shapely.to_wkb(np.array([shapely.box(236_800, 901_120, 236_900, 901_200)]))
    aoi = {"geometry": box, "field_data": [np.array(["middle"], dtype=object)], "fields": ["name"]}
    meta, _, geometry, columns = pyogrio.raw.read("roads.gpkg", layer="roads")
    classes = np.array(["residential"] * len(geometry), dtype=object)
    for end, driver in {"gpkg": "GPKG", "geojson": "GeoJSON", "shp": "ESRI Shapefile"}.items():
        write = {"driver": driver, "crs": meta["crs"], "encoding": "UTF-8"}
        pyogrio.raw.write(f"aoi.{end}", **aoi, **write, geometry_type="Polygon")
        if end != "gpkg":
            pyogrio.raw.write(
                f"roads.{end}",
                geometry,
                [*columns, classes],
                [*meta["fields"], "highway"],
                **write,
                geometry_type="LineString",
            )


def _make_model() -> None:
    import torch

    from roadseg.model.card import ModelCard
    from roadseg.model.resunet import ResUNet
    from roadseg.training.save import save_model

    torch.manual_seed(3)
    seen = {name: [[-1.0, 1.0]] * 3 for name in ("brightness", "contrast", "cast")}
    recipe = {"steps": 3, "augment": {"blur_px": 0.5}}
    save_model(Path("m.safetensors"), ResUNet(width=2), ModelCard(name="m", window_px=64, seen=seen, recipe=recipe))


def _run(*arguments: str) -> None:
    from roadseg.cli import main

    sys.argv = ["roadseg", *arguments]
    with contextlib.suppress(SystemExit):
        main()
