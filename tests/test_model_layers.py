"""The layer table, worked out without torch, is what a ResUNet does when it runs."""

from functools import partial

import pytest
import torch
from commands import run_python

from roadseg.model.layers import LayerRow, layer_table
from roadseg.model.resunet import ResUNet, parameter_count


def recorded(network: ResUNet, size: int) -> list[LayerRow]:
    """Run a network and return its layers as they were called."""
    rows: list[LayerRow] = []

    def record(name, layer, _, output):
        rows.append(LayerRow(name, type(layer).__name__, tuple(output.shape[1:]), parameter_count(layer)))

    for name, layer in network.named_modules():
        if not list(layer.children()):
            layer.register_forward_hook(partial(record, name))
    with torch.no_grad():
        network.eval()(torch.zeros(1, network.bands, size, size))
    return rows


@pytest.mark.parametrize(
    ("options", "size"),
    [({"width": 16}, 64), ({"width": 3, "bands": 4, "upsample": "nearest"}, 40), ({"width": 1, "bands": 1}, 8)],
)
def test_the_table_is_what_the_network_does(options, size):
    network = ResUNet(**options)
    assert layer_table(bands=network.bands, width=network.width, size=size) == recorded(network, size)


def test_the_full_network_has_the_parameters_of_the_paper():
    assert sum(layer.parameters for layer in layer_table()) == 8_220_993


@pytest.mark.parametrize("words", [["compact"], ["standard", "--json"], ["--width", "64"], ["tiny.onnx"]])
def test_info_needs_no_torch(words, model_file, tmp_path, monkeypatch):
    if words == ["tiny.onnx"]:
        from roadseg.export import export

        export(model_file, tmp_path / "tiny.onnx")
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        f"sys.argv = ['roadseg', 'info', *{words!r}]\n"
        "from roadseg.cli import main\nmain()"
    )
    monkeypatch.chdir(tmp_path)
    assert "bridge.conv2" in run_python(code)
