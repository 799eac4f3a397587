"""Worlds to test in: drawn scenes, engines that answer what they see, and a network small enough to run at once."""

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from roadseg.blocks import Block, Plan, Window
from roadseg.inference.block import predict_block
from roadseg.job import Model
from roadseg.model.card import ModelCard
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import save_model

torch.set_num_threads(1)
settings.register_profile("roadseg", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("roadseg")

ROTATED = Affine.translation(236_789.0, 901_234.0) @ Affine.rotation(30.0) @ Affine.scale(1.0, -1.0)
"""One metre per pixel, turned by 30 degrees, far from the origin."""

METRES = "EPSG:26986"


class Identity:
    """An engine that answers the first band it sees, on the 0–1 scale."""

    def __init__(self, batch_size: int = 3) -> None:
        self.batch_size = batch_size
        self.windows = 0

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[NDArray[np.float32]]:
        for batch in batches:
            self.windows += len(batch)
            scale = np.float32(255 if batch.dtype == np.uint8 else 1)
            yield batch[:, 0].astype(np.float32) / scale


class Constant:
    """An engine that answers one value everywhere."""

    def __init__(self, value: float, batch_size: int = 5) -> None:
        self.value, self.batch_size = np.float32(value), batch_size

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[NDArray[np.float32]]:
        for batch in batches:
            yield np.full((len(batch), *batch.shape[2:]), self.value)


class Placed:
    """An engine whose answer differs with the place in the window, as a real network's does near borders."""

    def __init__(self, batch_size: int = 4) -> None:
        self.batch_size = batch_size

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[NDArray[np.float32]]:
        for batch in batches:
            rows, cols = (np.linspace(0, 1, n, dtype=np.float32) for n in batch.shape[2:])
            yield (batch[:, 0].astype(np.float32) / np.float32(255) + rows[:, None] * cols) / np.float32(2)


def model_of(engine: Any, **card: Any) -> Model:
    """Wrap an engine as a model that sees one-metre RGB, unless the card says otherwise."""
    choice = getattr(engine, "choice", f"{type(engine).__name__} engine")
    return Model(engine, ModelCard(name="drawn", **card), choice, choice)


def picture(height: int, width: int, *, bands: int = 3, seed: int = 0, top: int = 255) -> NDArray[np.int64]:
    """Draw (bands, height, width) integers up to ``top``: waves with noise, different in every row and column."""
    rows, cols = np.mgrid[:height, :width]
    waves = np.stack([np.sin(rows / (7 + band)) + np.cos(cols / (11 - band)) for band in range(bands)])
    noise = np.random.default_rng(seed).uniform(-1, 1, waves.shape)
    return np.rint((waves + noise + 3) / 6 * top).astype(np.int64)


def stitch(values: NDArray[Any], valid: NDArray[np.bool_], plan: Plan, engine: Any) -> Block:
    """Predict a whole array block by block, mirrored at its edges as a scene is."""
    from roadseg.blocks import reflected

    area = plan.area
    out = Block(area, np.full((area.height, area.width), np.nan, np.float32), np.zeros((area.height, area.width), bool))
    for planned in plan.blocks():
        extent = planned.extent
        rows = reflected(extent.row, extent.row_stop, plan.height)
        cols = reflected(extent.col, extent.col_stop, plan.width)
        place = np.ix_(rows, cols)
        pixels = Block(extent, np.stack([band[place] for band in values]), valid[place])
        done = predict_block(pixels, planned, engine)
        out.values[planned.core.slices(area)] = done.values
        out.valid[planned.core.slices(area)] = done.valid
    return out


def write_raster(
    path: Path,
    values: NDArray[Any],
    *,
    crs: str | None = METRES,
    transform: Affine = ROTATED,
    nodata: float | None = None,
    mask: NDArray[np.bool_] | None = None,
    colours: Sequence[ColorInterp] | None = None,
    overviews: Sequence[int] = (),
    **profile: Any,
) -> Path:
    """Write (bands, height, width) as a GeoTIFF, with an internal mask if one is given."""
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            **{
                "driver": "GTiff",
                "count": len(values),
                "height": values.shape[1],
                "width": values.shape[2],
                "dtype": values.dtype,
                "crs": crs,
                "transform": transform,
                "nodata": nodata,
                **profile,
            },
        ) as file:
            if colours:
                file.colorinterp = colours
            file.write(values)
            if mask is not None:
                file.write_mask(mask)
            if overviews:
                file.build_overviews(list(overviews), rasterio.enums.Resampling.average)
    return path


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a picture of ``height`` × ``width`` px and returns its path."""

    def make(height: int = 250, width: int = 330, name: str = "scene.tif", **options: Any) -> Path:
        values = picture(height, width, bands=options.pop("bands", 3), seed=options.pop("seed", 0))
        return write_raster(tmp_path / name, values.astype(np.uint8), **options)

    return make


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model file: a ResUNet of width 2 whose answers vary with the picture and spread over 0–1."""
    torch.manual_seed(3)
    network = ResUNet(width=2)
    with torch.no_grad():
        logits = network.eval()(torch.randn(1, 3, 64, 64))
        network.head.weight *= 2 / logits.std()
        network.head.bias -= logits.mean() * 2 / logits.std()
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, network, ModelCard(name="tiny", window_px=64, threshold=0.4))
    return path


def whole(height: int, width: int) -> Window:
    """Return the window of a whole grid."""
    return Window(0, 0, height, width)


def roadseg(*arguments: object, stdin: str | None = None, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run the command line in a process of its own, on one thread, and return what it said."""
    return subprocess.run(
        [sys.executable, "-m", "roadseg", *map(str, arguments)],
        check=False,
        input=stdin,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"},
        **{"text": True, "timeout": 120, **options},
    )


def start_roadseg(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start the command line in a process of its own that heeds signals as from a terminal; do not wait for it."""

    def usual_signals() -> None:
        for number, handler in {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}.items():
            signal.signal(number, handler)

    return subprocess.Popen(
        [sys.executable, "-m", "roadseg", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=usual_signals,  # noqa: PLW1509 (background jobs ignore Ctrl-C)
    )


def run_python(code: str) -> str:
    """Run code in a fresh interpreter and return what it printed."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120).stdout
