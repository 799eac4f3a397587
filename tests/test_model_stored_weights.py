"""Weights read without torch: the same values, the same hash, and refusals that name what is wrong."""

import json
import struct

import numpy as np
import pytest
from commands import run_python

from roadseg.errors import ModelError
from roadseg.model.card import find_model
from roadseg.model.stored_weights import expected_shapes, read_weights, weights_hash


@pytest.mark.parametrize(("bands", "width"), [(3, 64), (4, 5), (1, 2)])
def test_expected_shapes_are_those_of_the_network(bands, width):
    from roadseg.model.resunet import ResUNet

    state = ResUNet(bands=bands, width=width).state_dict()
    stored = {name: tuple(value.shape) for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert expected_shapes(bands, width) == stored


def test_arrays_are_those_that_torch_reads(model_file):
    from safetensors.torch import load_file

    weights, card = read_weights(model_file)
    tensors = load_file(model_file)
    assert weights.keys() == tensors.keys()
    assert all(np.array_equal(weights[name], tensors[name].numpy()) for name in weights)
    assert weights_hash(weights) == card.hash


def edit_card(path, target, **changes):
    """Copy a model file with other numbers on its card."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    card = json.loads(header["__metadata__"]["roadseg"]) | changes
    header["__metadata__"]["roadseg"] = json.dumps(card)
    text = json.dumps(header).encode()
    target.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return target


def test_a_card_of_another_width_is_refused_from_the_header(model_file, tmp_path):
    wide = edit_card(model_file, tmp_path / "wide.safetensors", width=500)
    with pytest.raises(ModelError, match="do not fit a ResUNet of width 500"):
        read_weights(wide)


def test_a_changed_weight_is_found_by_the_hash(model_file, tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    data = bytearray(model_file.read_bytes())
    data[-3] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(ModelError, match="hash"):
        read_weights(damaged)


def test_reading_needs_no_torch():
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        "from roadseg.model.card import find_model\nfrom roadseg.model.stored_weights import read_weights\n"
        "weights, card = read_weights(find_model('compact'))\nprint(len(weights), card.name)"
    )
    assert run_python(code).split() == [str(len(expected_shapes(3, 16))), "compact"]


def test_bundled_models_can_be_read():
    assert read_weights(find_model(None))[1].window_px == 224


def test_the_hash_covers_names_types_shapes_and_values():
    weights = {"a": np.zeros((2, 3), np.float32), "b": np.ones(4, np.float32)}
    changed = [
        {"a": np.zeros((3, 2), np.float32), "b": np.ones(4, np.float32)},
        {"c": np.zeros((2, 3), np.float32), "b": np.ones(4, np.float32)},
        {"a": np.zeros((2, 3), np.float16), "b": np.ones(4, np.float32)},
        {"a": np.zeros((2, 3), np.float32), "b": np.array([1, 1, 1, 2], np.float32)},
    ]
    assert weights_hash(dict(reversed(weights.items()))) == weights_hash(weights)
    assert weights_hash(weights) not in {weights_hash(other) for other in changed}
