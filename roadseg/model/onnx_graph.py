"""The ResUNet as an ONNX graph, written node by node from the stored weights; needs no torch.

One file serves ONNX Runtime, OpenVINO, and the tools that read ONNX models of their own: Deepness (QGIS) and GeoDeep.
Normalization, calibration and sigmoid are part of the graph, so whoever runs it feeds pixels on a 0–1 scale::

    image (n, bands, 224, 224) ─▶ (x − mean) / std ─▶ ResUNet ─▶ sigmoid ─▶ classes (n, 2, 224, 224): 1 − p, p

The ResUNet is the one that ``inference_weights`` describes. Opset 17, so that runtimes from 2022 on can read it.
Metadata keys: Deepness, ``processing/models/model_base.py`` (each value is JSON); ours is the model card.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from roadseg.errors import ModelError
from roadseg.model.card import METADATA_KEY, ModelCard, card_from_json
from roadseg.model.inference_weights import DECODERS, Floats, inference_weights
from roadseg.settings import GraphPrecision

OPSET = 17
IR_VERSION = 8

INPUT, OUTPUT = "image", "classes"

_OVERLAP_PERCENT = 15


def build_onnx(
    weights: Mapping[str, NDArray[Any]], card: ModelCard, *, precision: GraphPrecision = "float32"
) -> onnx.ModelProto:
    """Return a model as an ONNX graph.

    Parameters
    ----------
    weights
        Arrays by name, from ``read_weights``.
    card
        Its model card, which becomes part of the metadata.
    precision
        Number format of the convolutions; input and output are float32 in any case.

    Returns
    -------
    A model with the input ``image`` (n, bands, window, window) float32 in [0, 1] and the output ``classes``
    (n, 2, window, window) float32: the probabilities of "not road" and of road.
    """
    graph = _Graph(inference_weights(weights, card.temperature, card.bias), precision)
    x = graph.normalized(INPUT, card.mean, card.std)  # (n, bands, h, w)
    skip1 = graph.stem(x, "encoder1")  # (n, w, h, w)
    skip2 = graph.residual(skip1, "encoder2", stride=2)  # (n, 2w, h/2, w/2)
    skip3 = graph.residual(skip2, "encoder3", stride=2)  # (n, 4w, h/4, w/4)
    y = graph.residual(skip3, "bridge", stride=2)  # (n, 8w, h/8, w/8)
    for skip, name in zip((skip3, skip2, skip1), DECODERS, strict=True):
        y = graph.decoder(y, skip, name, card.upsample)  # (n, 4w, h/4, w/4), (n, 2w, h/2, w/2), (n, 2, h, w)
    graph.classes(y)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            f"roadseg {card.name}",
            [_tensor(INPUT, card.bands, card.window_px)],
            [_tensor(OUTPUT, 2, card.window_px)],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="roadseg",
        producer_version=card.roadseg_version,
        doc_string=card.description,
    )
    helper.set_model_props(model, metadata(card))
    return model


def metadata(card: ModelCard) -> dict[str, str]:
    """Return what other programs read, each value as JSON, and the model card."""
    values = {
        "model_type": "Segmentor",
        "class_names": {"0": "not_road", "1": "road"},
        "resolution": 100 * card.gsd_m,  # centimetres per pixel
        "tile_size": card.window_px,
        "tiles_size": card.window_px,  # the documentation's spelling; the code reads the other
        "tiles_overlap": _OVERLAP_PERCENT,
        "seg_thresh": card.threshold,
        "seg_small_segment": 0,
    }
    return {key: json.dumps(value) for key, value in values.items()} | {METADATA_KEY: card.to_json()}


def read_onnx_card(path: Path) -> ModelCard:
    """Read the model card of an ONNX file that ``roadseg export`` wrote.

    Raises
    ------
    ModelError
        If it is no ONNX file or has no card.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's errors have no common ancestor but this one
        raise ModelError(f"{path} is not an ONNX model ({error}); export it again with roadseg export") from error
    texts = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in texts:
        raise ModelError(f"{path} has no roadseg model card; only models from roadseg export can be used")
    return card_from_json(texts[METADATA_KEY], path)


class _Graph:
    """Nodes and constants in the making; each method adds nodes and returns the name of their output."""

    def __init__(self, weights: Mapping[str, Floats], precision: GraphPrecision) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._weights, self._inner = weights, np.dtype(precision)

    def normalized(self, image: str, mean: Sequence[float], std: Sequence[float]) -> str:
        shape = (1, -1, 1, 1)
        centred = self._add("Sub", image, self._constant("mean", np.array(mean, np.float32).reshape(shape)))
        x = self._add("Div", centred, self._constant("std", np.array(std, np.float32).reshape(shape)))
        return self._add("Cast", x, to=TensorProto.FLOAT16) if self._inner == np.float16 else x

    def stem(self, x: str, name: str) -> str:
        y = self._relu(self._conv(x, f"{name}.conv1"))
        return self._add("Add", self._conv(y, f"{name}.conv2"), self._conv(x, f"{name}.shortcut"))

    def residual(self, x: str, name: str, *, stride: int) -> str:
        y = self._relu(self._conv(x, f"{name}.norm1"))
        y = self._relu(self._conv(y, f"{name}.conv1", stride=stride))
        return self._add("Add", self._conv(y, f"{name}.conv2"), self._conv(x, f"{name}.shortcut", stride=stride))

    def decoder(self, below: str, skip: str, name: str, kind: str) -> str:
        below_y = self._relu(self._upsampled(self._conv(below, f"{name}.norm1.below"), kind))
        skip_y = self._relu(self._conv(skip, f"{name}.norm1.skip"))
        parts = self._conv(skip_y, f"{name}.conv1.skip"), self._conv(below_y, f"{name}.conv1.below")
        y = self._conv(self._relu(self._add("Add", *parts)), f"{name}.conv2")
        below_shortcut = self._upsampled(self._conv(below, f"{name}.shortcut.below"), kind)
        shortcut = self._add("Add", self._conv(skip, f"{name}.shortcut.skip"), below_shortcut)
        return self._add("Add", y, shortcut)

    def classes(self, logits: str) -> None:
        if self._inner == np.float16:
            logits = self._add("Cast", logits, to=TensorProto.FLOAT)
        self.nodes.append(helper.make_node("Sigmoid", [logits], [OUTPUT]))

    def _upsampled(self, x: str, kind: str) -> str:
        scales = self._constant("twice", np.array([1, 1, 2, 2], np.float32), share=True)
        if kind == "bilinear":
            return self._add("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="align_corners")
        return self._add(
            "Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )

    def _conv(self, x: str, name: str, *, stride: int = 1) -> str:
        """Add a convolution; a norm is a depthwise one."""
        parts = [part for part in (f"{name}.weight", f"{name}.bias") if part in self._weights]
        constants = [self._constant(part, self._weights[part].astype(self._inner)) for part in parts]
        channels, *_, size = self._weights[f"{name}.weight"].shape
        return self._add(
            "Conv",
            x,
            *constants,
            kernel_shape=[size] * 2,
            pads=[size // 2] * 4,
            strides=[stride] * 2,
            group=channels if ".norm1" in name else 1,
        )

    def _relu(self, x: str) -> str:
        return self._add("Relu", x)

    def _add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _constant(self, name: str, value: NDArray[Any], *, share: bool = False) -> str:
        if not (share and any(constant.name == name for constant in self.constants)):
            self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _tensor(name: str, channels: int, size: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, size, size])
