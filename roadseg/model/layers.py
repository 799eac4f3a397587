"""The layer table of a ResUNet: what each layer gives for one window, and its parameters, without torch.

Names, channels and parameters are those of the stored tensors, which are listed in the order in which layers are
computed; heights and widths follow from how often the part of the network that a layer is in has halved the input's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from math import prod

from roadseg.model.stored_weights import Shape, expected_shapes

_HALVINGS = {"encoder2": 1, "encoder3": 2, "bridge": 3, "decoder3": 2, "decoder2": 1}


@dataclass(frozen=True)
class LayerRow:
    """A row of the layer table: dotted name, kind, output (channels, height, width), parameters."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int


def layer_table(*, bands: int = 3, width: int = 64, size: int = 224) -> list[LayerRow]:
    """Return the layers in the order they are computed, for one window of ``size`` × ``size`` px.

    How the decoder upsamples makes no difference to them.
    """
    tensors = expected_shapes(bands, width).items()
    return [_row(name, parts, size) for name, parts in groupby(tensors, lambda tensor: tensor[0].rpartition(".")[0])]


def _row(name: str, tensors: Iterable[tuple[str, Shape]], size: int) -> LayerRow:
    shapes = {tensor.rpartition(".")[2]: shape for tensor, shape in tensors}
    part, _, layer = name.partition(".")
    before_the_stride = layer == "norm1"  # in a decoder it is called residual.norm1
    side = size >> (_HALVINGS.get(part, 0) - before_the_stride)
    kind = "Conv2d" if len(shapes["weight"]) == 4 else "BatchNorm2d"
    return LayerRow(name, kind, (*shapes["bias"], side, side), prod(shapes["weight"]) + prod(shapes["bias"]))
