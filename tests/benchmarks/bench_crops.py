"""How many training crops a second come from memory and from files, and what a scene of 40,000 × 40,000 px takes.

``ROADSEG_BENCHMARK_PX`` makes the large scene smaller. Times are of the processor, so a busy machine does not matter.
"""

import itertools
import json
import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from measuring import CRS, in_own_process, peak_rss_mb, show, texture, write_scene

from roadseg.progress import Listener
from roadseg.settings import DataSettings, TrainSettings
from roadseg.training.data.load import load_training_data
from roadseg.training.data.tiles import MemoryTile, TileDataset

LARGE_PX = int(os.environ.get("ROADSEG_BENCHMARK_PX", "40000"))
PIECE_PX = 4000
TILE_PX = 1500
BATCH, BATCHES = 64, 30


def label(height: int, width: int) -> np.ndarray:
    """Draw a net of roads 7 px wide, 150 px apart."""
    drawn = np.zeros((height, width), np.uint8)
    for first in range(7):
        drawn[first::150], drawn[:, first::150] = 1, 1
    return drawn


def rate(tiles: TileDataset, *, margin_px: int = 0) -> float:
    """Return crops per second of processor time."""
    tiles.draw(BATCH, seed=0, step=0, margin_px=margin_px)
    started = time.process_time()
    for step in range(BATCHES):
        tiles.draw(BATCH, seed=1, step=step, margin_px=margin_px)
    return BATCHES * BATCH / (time.process_time() - started)


@pytest.mark.benchmark
def test_crops_from_memory(tmp_path: Path) -> None:
    """Sixteen tiles of 1500 × 1500 px, and beside them a plain loop that stacks slices."""
    pixels = texture(TILE_PX, TILE_PX, 1)
    tiles = [
        MemoryTile(str(i), np.roll(pixels, 97 * i, 2), label(TILE_PX, TILE_PX), np.ones((TILE_PX, TILE_PX), bool))
        for i in range(16)
    ]
    ready = TileDataset(tiles, crop=224)
    rng, started = np.random.default_rng(0), time.process_time()
    for _ in range(BATCHES):
        places = rng.integers(0, TILE_PX - 224, (BATCH, 2))
        cut = [np.s_[r : r + 224, c : c + 224] for r, c in places]
        np.stack([tiles[i % 16].image[:, p[0], p[1]] for i, p in enumerate(cut)])
        np.stack([tiles[i % 16].label[p] for i, p in enumerate(cut)])
    plain = BATCHES * BATCH / (time.process_time() - started)
    rows: list[list[object]] = [["crops of 224 px from memory, one core", "crops a second"], ["slices stacked", plain]]
    rows += [[f"draw, margin {margin} px", rate(ready, margin_px=margin)] for margin in (0, 64, 96)]
    show("Drawing crops", rows)


@pytest.mark.benchmark
def test_a_large_scene_from_files(tmp_path: Path) -> None:
    """A scene and its mask as mosaics (VRT) that repeat one piece and are never held in memory."""
    scene, mask = large(tmp_path)
    rows: list[list[object]] = [["scene", "preparation, processor s", "crops a second on one core", "peak MB"]]
    done = in_own_process(__file__, scene, mask)
    rows.append([f"{LARGE_PX} × {LARGE_PX} px", done["look"], done["rate"], done["peak"]])
    show("Crops of 224 px read from files", rows)


def large(folder: Path) -> tuple[Path, Path]:
    """Write one piece of image and mask, and a mosaic of each."""
    image = write_scene(folder / "image.tif", PIECE_PX, PIECE_PX)
    profile: dict[str, Any] = {"driver": "GTiff", "height": PIECE_PX, "width": PIECE_PX, "count": 1, "dtype": "uint8"}
    tiled = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "crs": CRS}
    with rasterio.open(folder / "mask.tif", "w", **profile, **tiled, transform=Affine(1, 0, 9, 0, -1, 9)) as file:
        file.write(label(PIECE_PX, PIECE_PX), 1)
    return mosaic(image, 3), mosaic(folder / "mask.tif", 1)


def mosaic(piece: Path, bands: int) -> Path:
    """Repeat a piece over the large scene."""
    places = list(itertools.product(range(0, LARGE_PX, PIECE_PX), repeat=2))
    size = f'xSize="{PIECE_PX}" ySize="{PIECE_PX}"'
    text = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}">'
        + "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{piece.name}</SourceFilename>'
            f"<SourceBand>{band}</SourceBand>"
            f'<SourceProperties RasterXSize="{PIECE_PX}" RasterYSize="{PIECE_PX}" DataType="Byte" BlockXSize="512" '
            f'BlockYSize="512"/><SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="{c}" yOff="{r}" {size}/>'
            "</SimpleSource>"
            for r, c in places
        )
        + "</VRTRasterBand>"
        for band in range(1, bands + 1)
    )
    path = piece.with_suffix(".vrt")
    path.write_text(
        f'<VRTDataset rasterXSize="{LARGE_PX}" rasterYSize="{LARGE_PX}"><SRS>{CRS}</SRS>'
        f"<GeoTransform>230000,1,0,900000,0,-1</GeoTransform>{text}</VRTDataset>",
        "utf-8",
    )
    return path


def measure(scene: Path, mask: Path) -> dict[str, float]:
    """Load, then draw batches as training does."""
    manifest = scene.with_name("data.csv")
    manifest.write_text(f"image,mask\n{scene.name},{mask.name}\n", "utf-8")
    settings, started = DataSettings((manifest,), memory_gb=0), time.process_time()
    found = load_training_data(settings, scene, TrainSettings(), Listener())
    look, started, drawn = time.process_time() - started, time.process_time(), 0
    with closing(found.tiles.stream([range(i, i + BATCH) for i in range(0, BATCHES * BATCH, BATCH)], seed=0)) as stream:
        for batch in stream:
            drawn += len(batch.pixels)
    return {"look": look, "rate": drawn / (time.process_time() - started), "peak": peak_rss_mb()}


def main() -> None:
    """Measure one scene and print the figures."""
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]))))


if __name__ == "__main__":
    main()
