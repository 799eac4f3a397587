"""The weights of a model file as plain NumPy arrays, checked against its card, without torch.

The shape of every tensor follows from the card's bands and width. Shapes are compared in the file's header before
any weight is read, so a damaged card costs no memory and no time.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from roadseg.errors import ModelError, counted
from roadseg.model.card import ModelCard, read_card

Shape = tuple[int, ...]
Weights = Mapping[str, NDArray[Any]]

_NORM = ("weight", "bias", "running_mean", "running_var")


def read_weights(path: Path) -> tuple[dict[str, NDArray[Any]], ModelCard]:
    """Read the weights of a model file.

    Returns
    -------
    Arrays by name, float16 or float32 as stored, and the model card.

    Raises
    ------
    ModelError
        If the file is damaged or its weights do not fit its card.
    """
    card = read_card(path)
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            _check_shapes(path, card, {name: tuple(file.get_slice(name).get_shape()) for name in names})
            weights = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, TypeError) as error:
        raise ModelError(f"{path} is damaged ({error}); get it again") from error
    if card.hash and weights_hash(weights) != card.hash:
        raise ModelError(f"the weights in {path} are damaged (their hash is not the card's); get it again")
    return weights, card


def expected_shapes(bands: int, width: int) -> dict[str, Shape]:
    """Return the shape of each stored tensor of a ResUNet, by name."""
    return dict(_shapes(bands, width))


def weights_hash(weights: Weights) -> str:
    """Return the SHA-256 of named arrays: names, number formats, shapes and values, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        digest.update(f"{name} torch.{array.dtype} {list(array.shape)}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _check_shapes(path: Path, card: ModelCard, found: Mapping[str, Shape]) -> None:
    wanted = expected_shapes(card.bands, card.width)
    wrong = [
        f"{name} {list(found[name]) if name in found else 'missing'} instead of {list(shape)}"
        for name, shape in wanted.items()
        if found.get(name) != shape
    ]
    wrong += [f"{name} unexpected" for name in found if name not in wanted]
    if wrong:
        raise ModelError(
            f"the weights in {path} do not fit a ResUNet of width {card.width} with {counted(card.bands, 'band')}: "
            f"{'; '.join(wrong[:3])}{' …' if len(wrong) > 3 else ''}"
        )


def _shapes(bands: int, width: int) -> Iterator[tuple[str, Shape]]:
    yield from _conv("encoder1.conv1", bands, width, 3)
    yield from _norm("encoder1.norm", width)
    yield from _conv("encoder1.conv2", width, width, 3)
    yield from _conv("encoder1.shortcut", bands, width, 1)
    yield from _residual("encoder2", width, 2 * width)
    yield from _residual("encoder3", 2 * width, 4 * width)
    yield from _residual("bridge", 4 * width, 8 * width)
    for level, channels in ((3, 4 * width), (2, 2 * width), (1, width)):
        yield from _residual(f"decoder{level}.residual", 3 * channels, channels)  # 2 from below, 1 skipped
    yield from _conv("head", width, 1, 1)


def _residual(name: str, channels_in: int, channels_out: int) -> Iterator[tuple[str, Shape]]:
    yield from _norm(f"{name}.norm1", channels_in)
    yield from _conv(f"{name}.conv1", channels_in, channels_out, 3)
    yield from _norm(f"{name}.norm2", channels_out)
    yield from _conv(f"{name}.conv2", channels_out, channels_out, 3)
    yield from _conv(f"{name}.shortcut", channels_in, channels_out, 1)


def _conv(name: str, channels_in: int, channels_out: int, size: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (channels_out, channels_in, size, size)
    yield f"{name}.bias", (channels_out,)


def _norm(name: str, channels: int) -> Iterator[tuple[str, Shape]]:
    for part in _NORM:
        yield f"{name}.{part}", (channels,)
