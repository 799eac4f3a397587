"""Robustness of a model: relaxed F1 of dev tiles in other colours, sharpness and scale.

    pytest -m benchmark -s tests/benchmarks/bench_shift.py
    PYTHONPATH=tests python tests/benchmarks/bench_shift.py --model mine.safetensors --every 2 --only counted
    PYTHONPATH=tests python tests/benchmarks/bench_shift.py --model mine.run     # averaged weights of a checkpoint

Needs the Massachusetts tiles beside the repository; half of the 14 take a core some minutes. Mean and worst are
over the shifts that the card reports (``roadseg.training.shifts``); the others are neighbours, what else happens to
imagery, and combinations as a sensor would make them.
"""

import argparse
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import measuring
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from shared import tiles

from roadseg.model.card import ModelCard, find_model
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import load_model
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.progress import Listener
from roadseg.settings import DevFolder, EngineSettings
from roadseg.training.checkpoint import read_checkpoint
from roadseg.training.data.file_tiles import DevArea
from roadseg.training.data.load import load_dev_areas
from roadseg.training.dev_score import DevScore, DevScorer
from roadseg.training.shifts import SHIFTS, Bytes, Shift, gains, linear, noise, on_unit_scale


def then(*shifts: Shift) -> Shift:
    """Return shifts done one after the other."""

    def change(image: Bytes) -> Bytes:
        for shift in shifts:
            image = shift(image)
        return image

    return change


def per_band(change: Callable[[Bytes], NDArray[np.generic]]) -> Shift:
    return lambda image: np.stack([np.asarray(change(band), np.uint8) for band in image])


def resampled(factor: float) -> Shift:
    """Bring an image to pixels of another size and back, as reading a coarser or finer file does."""

    def change(band: Bytes) -> NDArray[np.generic]:
        way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        there = cv2.resize(band, None, fx=factor, fy=factor, interpolation=way)
        back = cv2.INTER_AREA if factor > 1 else cv2.INTER_LINEAR
        return cv2.resize(there, band.shape[::-1], interpolation=back)

    return per_band(change)


def jpeg(quality: int) -> Shift:
    def change(image: Bytes) -> Bytes:
        file = io.BytesIO()
        Image.fromarray(np.moveaxis(image, 0, 2)).save(file, "jpeg", quality=quality)
        return np.moveaxis(np.asarray(Image.open(file)), 2, 0)

    return change


def gamma(power: float) -> Shift:
    return on_unit_scale(lambda image: image ** np.float32(power))


def saturation(factor: float) -> Shift:
    def change(image):
        middle = image.mean(axis=0)
        return middle + np.float32(factor) * (image - middle)

    return on_unit_scale(change)


def blur(sigma: float) -> Shift:
    return per_band(lambda band: cv2.GaussianBlur(band, (0, 0), sigma))


def sharpen(strength: float) -> Shift:
    return per_band(lambda band: cv2.addWeighted(band, 1 + strength, cv2.GaussianBlur(band, (0, 0), 1), -strength, 0))


def stretched(image: Bytes) -> Bytes:
    """Stretch percentiles 2 and 98 of each band to the full range, as 16-bit scenes are read."""
    low, high = np.percentile(image, (2, 98), axis=(1, 2), keepdims=True)
    return np.rint(((image - low) / np.maximum(high - low, 1)).clip(0, 1) * 255).astype(np.uint8)


OTHERS: dict[str, Shift] = {
    "warm, × (1.15, 1, 0.8)": gains(1.15, 1, 0.8),
    "warm, × (1.4, 1, 0.55)": gains(1.4, 1, 0.55),
    "cool, × (0.6, 1, 1.4)": gains(0.6, 1, 1.4),
    "magenta, × (1.2, 0.8, 1.2)": gains(1.2, 0.8, 1.2),
    "haze, 0.4 x + 0.5": linear(0.4, 0.5),
    "dark, 0.25 x": linear(0.25, 0),
    "gamma 2": gamma(2),
    "gamma 0.5": gamma(0.5),
    "saturation × 2": saturation(2),
    "saturation × 0.4": saturation(0.4),
    "noise of 0.1": noise(0.1),
    "JPEG of quality 20": jpeg(20),
    "blur 1.5 px": blur(1.5),
    "sharpening 1.5": sharpen(1.5),
    "2 m and back": resampled(0.5),
    "0.3 m and back": resampled(1 / 0.3),
    "16 bits, percentiles 2-98": stretched,
    "satellite: 1.5 m, haze, cool, noise": then(resampled(1 / 1.5), linear(0.7, 0.2), gains(0.9, 1, 1.1), noise(0.02)),
    "drone: sharp, saturated, JPEG": then(sharpen(1), saturation(1.5), jpeg(50)),
    "old photo: grey, dark, soft, noise": then(SHIFTS["grey, mean of the bands"], gamma(1.5), blur(1), noise(0.05)),
}


def read_model(name: str) -> tuple[ResUNet, ModelCard]:
    """Return a model, or the averaged weights in a run folder with the card of what it started from."""
    if not Path(name).is_dir():
        return load_model(find_model(name))
    found = read_checkpoint(Path(name))
    assert found, f"{name} holds no checkpoint"
    tensors, about = found
    start = about["settings"]["start"]
    network, card = load_model(find_model(start))
    network.load_state_dict({k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")})
    return network.eval(), replace(card, name=f"{Path(name).stem} at step {about['step']}")


def engine_for(network: ResUNet, card: ModelCard, precision: str = "bfloat16") -> TorchEngine:
    how = EngineSettings("cpu" if not torch.cuda.is_available() else "cuda", precision)
    return TorchEngine(network, card.mean, card.std, how, temperature=card.temperature, bias=card.bias)


def scores(
    engine: TorchEngine, areas: tuple[DevArea, ...], threshold: float, shifts: dict[str, Shift | None]
) -> Iterator[tuple[str, DevScore]]:
    """Yield the score of each shift."""
    for name, shift in shifts.items():
        yield name, DevScorer(areas, shift=shift).score(engine, threshold=threshold)


def table(model: str, *, every: int, only: str, threshold: float | None) -> list[list[object]]:
    network, card = read_model(model)
    areas = load_dev_areas(DevFolder(tiles("dev")), bands=card.bands, gsd_m=card.gsd_m, listener=Listener())[::every]
    shifts = {"none": None, **SHIFTS, **({} if only == "counted" else OTHERS)}
    found = dict(scores(engine_for(network, card), areas, threshold or card.threshold, shifts))
    rows: list[list[object]] = [["shift", "at the threshold", "at the best", "break-even"]]
    rows += [[n, *(f"{v:.3f}" for v in (s.relaxed_f1, s.best_f1, s.break_even))] for n, s in found.items()]
    counted = [found[name] for name in SHIFTS]
    for what, of in (("mean of the counted", np.mean), ("worst of the counted", min)):
        values = ([getattr(s, key) for s in counted] for key in ("relaxed_f1", "best_f1", "break_even"))
        rows.append([what, *(f"{of(v):.3f}" for v in values)])
    measuring.show(f"{card.name}, {len(areas)} dev tiles, threshold {threshold or card.threshold:.3f}", rows)
    return rows


@pytest.mark.benchmark
@pytest.mark.parametrize("model", ["compact"])
def test_shifts(model):
    rows = table(model, every=4, only="all", threshold=None)
    assert len(rows) == 1 + 1 + len(SHIFTS) + len(OTHERS) + 2


def main() -> None:
    """Print the table of a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="compact", help="file, bundled name, or run folder with a checkpoint")
    parser.add_argument("--every", type=int, default=2, help="take every n-th dev tile")
    parser.add_argument("--only", choices=["counted", "all"], default="all")
    parser.add_argument("--threshold", type=float, help="instead of the card's")
    given = parser.parse_args()
    table(given.model, every=given.every, only=given.only, threshold=given.threshold)


if __name__ == "__main__":
    main()
