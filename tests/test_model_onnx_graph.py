"""The ONNX graph gives the network's answers, and holds what other programs look for."""

import json

import numpy as np
import pytest

from roadseg.model.card import card_from_json, find_model
from roadseg.model.inference_weights import inference_weights
from roadseg.model.onnx_graph import build_onnx
from roadseg.model.stored_weights import read_weights

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def windows(bands, size, count=2, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (count, bands, size, size)).astype(np.float32)


def run(model, images):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})[0]


def by_torch(path, images):
    import torch

    from roadseg.model.resunet import road_probability
    from roadseg.model.weights import load_model

    model, card = load_model(path)
    with torch.inference_mode():
        pixels = torch.from_numpy(images)
        how = {"dtype": torch.float32, "temperature": card.temperature, "bias": card.bias}
        return road_probability(model, pixels, card.mean, card.std, **how).numpy()


@pytest.fixture(scope="module", params=[("bilinear", 3), ("nearest", 4)], ids=["bilinear-3", "nearest-4"])
def trained(request, tmp_path_factory):
    """Return a small model file with batch statistics and a calibration that matter."""
    import torch

    from roadseg.model.card import ModelCard
    from roadseg.model.resunet import ResUNet
    from roadseg.training.save import save_model

    upsample, bands = request.param
    torch.manual_seed(5)
    network = ResUNet(bands=bands, width=3, upsample=upsample)
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, bands, 48, 48) * 2 + 1)
        for name, value in network.named_parameters():
            if "norm" in name:
                value.add_(0.3 * torch.randn_like(value))
        network.head.weight *= 8
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    colours = {"mean": (0.4, 0.5, 0.3, 0.6)[:bands], "std": (0.2, 0.3, 0.25, 0.1)[:bands]}
    save_model(path, network, ModelCard("small", window_px=48, temperature=1.7, bias=-0.4, gsd_m=0.5, **colours))
    return path


def test_probabilities_are_those_of_the_network(trained):
    weights, card = read_weights(trained)
    images = windows(card.bands, 48)
    expected = by_torch(trained, images)
    classes = run(build_onnx(weights, card), images)
    assert np.ptp(expected) > 0.2
    assert np.abs(classes[:, 1] - expected).max() < 1e-4
    assert np.allclose(classes.sum(axis=1), 1)


def test_nothing_is_concatenated_or_normalized_by_itself(trained):
    nodes = build_onnx(*read_weights(trained)).graph.node
    assert {node.op_type for node in nodes} == {"Sub", "Div", "Conv", "Relu", "Add", "Resize", "Sigmoid"}


def test_the_weights_of_norms_are_numbers_of_bfloat16_and_their_channels_may_be_off(trained):
    weights, _ = read_weights(trained)
    name = "decoder2.residual.norm1.weight"
    weights[name] = weights[name] * (np.arange(len(weights[name])) > 1)
    found = inference_weights(weights, 1, 0)
    norms = [value for key, value in found.items() if "norm1" in key and key.endswith("weight")]
    assert len(norms) == 9  # three of the encoder, two of each decoder
    assert all(value.view(np.uint32).astype(np.uint16).max() == 0 for value in norms)  # the lower half of their bits
    assert all(np.isfinite(value).all() for value in found.values())


def test_sixteen_bits_give_nearly_the_same(trained):
    weights, card = read_weights(trained)
    images = windows(card.bands, 48)
    half = build_onnx(weights, card, precision="float16")
    assert np.abs(run(half, images)[:, 1] - by_torch(trained, images)).max() < 0.02
    assert half.ByteSize() < build_onnx(weights, card).ByteSize()


def test_the_graph_is_valid_with_static_windows_and_any_batch(trained):
    model = build_onnx(*read_weights(trained))
    onnx.checker.check_model(model, full_check=True)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert dims[0].dim_param
    assert [dim.dim_value for dim in dims[2:]] == [48, 48]
    assert run(model, windows(dims[1].dim_value, 48, count=3)).shape == (3, 2, 48, 48)


def deepness_reads(model):
    """Read a model as the Deepness plugin does: each value of the metadata as JSON, class names from 0 on."""
    found = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    names = found["class_names"]
    assert [int(key) for key in names] == list(range(len(names)))
    return found


def test_deepness_finds_its_keys(trained):
    found = deepness_reads(build_onnx(*read_weights(trained)))
    assert found["model_type"] == "Segmentor"
    assert found["class_names"]["1"] == "road"
    assert found["resolution"] == 50  # centimetres
    assert found["tile_size"] == found["tiles_size"] == 48
    assert 0 <= found["tiles_overlap"] < 100  # percent
    assert found["seg_thresh"] == 0.5
    assert not {key for key in found if key.startswith("standardization")}  # it is part of the graph


def test_the_model_card_travels_with_the_graph(trained):
    weights, card = read_weights(trained)
    texts = {entry.key: entry.value for entry in build_onnx(weights, card).metadata_props}
    assert card_from_json(texts["roadseg"], trained) == card


@pytest.mark.slow
def test_the_bundled_model_gives_the_same_probabilities():
    path = find_model(None)
    weights, card = read_weights(path)
    images = windows(3, 224)
    assert np.abs(run(build_onnx(weights, card), images)[:, 1] - by_torch(path, images)).max() < 1 / 508
