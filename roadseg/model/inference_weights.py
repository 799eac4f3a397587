"""The weights of a ResUNet rewritten so that prediction computes less; the network is the same, but for rounding.

* A batch norm becomes part of the convolution that it follows. One that follows none becomes a depthwise convolution,
  which engines compute faster than a batch norm, with weights that bfloat16 holds exactly.
* Nothing but the head follows the last block, so its last convolutions give the logits of the classes at once.
* A decoder block adds convolutions of ``below`` and of ``skip`` instead of concatenating them. What treats pixels one
  by one, norms and 1×1 convolutions, commutes with upsampling and is computed before it, on a quarter of the pixels.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_BATCH_NORM_EPS = 1e-5

DECODERS = ("decoder3.residual", "decoder2.residual", "decoder1.residual")


def inference_weights(weights: Mapping[str, NDArray[Any]], temperature: float, bias: float) -> dict[str, Floats]:
    """Return the weights and biases of the convolutions that prediction computes, by name.

    Parameters
    ----------
    weights
        Arrays by name, from ``read_weights``.
    temperature, bias
        Calibration, which becomes part of the last convolutions.

    Returns
    -------
    float32. ``decoder1.residual`` ends in two channels, the logits of "not road" and of road. Layers of a decoder whose
    input was concatenated are there twice, as ``….below`` and ``….skip``; only the second has a bias.
    """
    found = {name: np.asarray(value, np.float32) for name, value in weights.items()}
    for name in [name.removesuffix(".running_var") for name in found if name.endswith(".running_var")]:
        scale, shift = _scale_and_shift(found, name)
        conv = f"{name.rpartition('.')[0]}.conv1"
        if name.endswith(".norm1"):  # before it
            rounded = _in_eight_bits(scale)
            rest: Floats = np.divide(scale, rounded, out=np.ones_like(scale), where=rounded != 0)  # passes the ReLU
            found |= {f"{name}.weight": rounded[:, None, None, None], f"{name}.bias": shift / rest}
            found[f"{conv}.weight"] = found[f"{conv}.weight"] * rest[:, None, None]
        else:
            found[f"{conv}.bias"] = found[f"{conv}.bias"] * scale + shift
            found[f"{conv}.weight"] = found[f"{conv}.weight"] * scale[:, None, None, None]
    _add_head(found, temperature, bias)
    for name in DECODERS:
        _split(found, name)
    return found


def _scale_and_shift(weights: dict[str, Floats], name: str) -> tuple[Floats, Floats]:
    """Take a batch norm away; return what it multiplies channels by and what it adds to them."""
    weight, bias, mean, variance = (
        weights.pop(f"{name}.{part}") for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / np.sqrt(variance + np.float32(_BATCH_NORM_EPS))
    return scale, bias - mean * scale


def _in_eight_bits(values: Floats) -> Floats:
    """Round to as many bits as bfloat16 has."""
    mantissa, exponent = np.frexp(values)
    rounded: Floats = np.ldexp(np.rint(mantissa * 256) / 256, exponent)
    return rounded


def _add_head(weights: dict[str, Floats], temperature: float, bias: float) -> None:
    """Make the head part of the convolutions whose sum it is applied to."""
    road = weights.pop("head.weight")[:, :, 0, 0] / temperature  # (1, width)
    shift = weights.pop("head.bias") / temperature + bias
    classes = np.concatenate([-road, road])  # (2, width)
    conv, shortcut = f"{DECODERS[-1]}.conv2", f"{DECODERS[-1]}.shortcut"
    for name in (conv, shortcut):
        weights[f"{name}.weight"] = np.einsum("ow,wikl->oikl", classes, weights[f"{name}.weight"])
        weights[f"{name}.bias"] = classes @ weights[f"{name}.bias"]
    weights[f"{conv}.bias"] += np.concatenate([-shift, shift])


def _split(weights: dict[str, Floats], name: str) -> None:
    """Split the layers of a decoder block whose input was concatenated; two thirds of it came from below."""
    channels = 2 * len(weights[f"{name}.norm1.weight"]) // 3
    norm, bias = weights.pop(f"{name}.norm1.weight"), weights.pop(f"{name}.norm1.bias")
    parts = {"below": slice(None, channels), "skip": slice(channels, None)}
    for part, taken in parts.items():
        weights |= {f"{name}.norm1.{part}.weight": norm[taken], f"{name}.norm1.{part}.bias": bias[taken]}
    for layer in (f"{name}.conv1", f"{name}.shortcut"):
        weight = weights.pop(f"{layer}.weight")
        weights |= {f"{layer}.{part}.weight": weight[:, taken] for part, taken in parts.items()}
        weights[f"{layer}.skip.bias"] = weights.pop(f"{layer}.bias")
