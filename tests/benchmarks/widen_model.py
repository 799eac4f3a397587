"""Widen a trained network without changing its output: a start for training a larger model.

    python tests/benchmarks/widen_model.py compact wide.safetensors --seed 1        # width 16 to 32
    roadseg train data/ --from wide.safetensors --dev dev/ -o standard.safetensors

Every channel is doubled, with its batch norm. A weight that looked at a channel is shared between the two copies, not
in halves but at random, so that the copies get different gradients and drift apart while the sum stays the same.
Source: T. Chen, I. Goodfellow, J. Shlens, "Net2Net" (2016), arXiv:1511.05641.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from roadseg.model.card import find_model
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import load_model
from roadseg.training.card import as_start
from roadseg.training.save import save_model

SPREAD = 0.25
"""Standard deviation of the share that the first copy of a channel gets."""


def widened(network: ResUNet, seed: int) -> ResUNet:
    """Return a network of twice the width with the same logits."""
    wide = ResUNet(bands=network.bands, width=2 * network.width, upsample=network.upsample)
    draw = torch.Generator().manual_seed(seed)
    first_sight = {"encoder1.conv1.weight", "encoder1.shortcut.weight"}
    state = {}
    for name, value in network.state_dict().items():
        twice = torch.cat([value, value]) if value.ndim and not name.startswith("head") else value
        if value.ndim == 4 and name not in first_sight:
            twice = _shared(twice, _below(name, network), draw)
        elif ".norm1." in name and value.ndim:
            twice = _twice(value, _below(name, network))
        state[name] = twice
    wide.load_state_dict(state)
    return wide.eval()


def _below(name: str, network: ResUNet) -> int:
    """Return how many of a layer's inputs come from the level below; the other list of channels follows them."""
    level, _, layer = name.partition(".residual.")
    joined = layer.split(".")[0] in {"norm1", "conv1", "shortcut"}
    return network.width * 2 ** int(level[-1]) if joined else 0


def _twice(value: Tensor, below: int) -> Tensor:
    """Double (channels,), each of the two lists by itself."""
    return torch.cat([part for half in (value[:below], value[below:]) for part in (half, half)])


def _shared(weight: Tensor, below: int, draw: torch.Generator) -> Tensor:
    """Share the weights on (out, channels, rows, cols) between two copies of every channel."""
    share = 0.5 + SPREAD * torch.randn(weight.shape, generator=draw).clamp_(-2, 2)
    copies = weight * share, weight * (1 - share)
    return torch.cat([copy[:, part] for part in (slice(below), slice(below, None)) for copy in copies], dim=1)


def main() -> None:
    """Widen a model file, and check that its output is the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="file or bundled name")
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    network, card = load_model(find_model(arguments.model))
    wide = widened(network, arguments.seed)
    pixels = torch.rand(2, card.bands, 96, 160, generator=torch.Generator().manual_seed(0)) * 4 - 2
    with torch.no_grad():
        off = float((wide(pixels) - network(pixels)).abs().max())
    assert off < 1e-3, f"logits differ by {off}"
    recipe = {"start": as_start(card), "widened_to": wide.width}
    name = arguments.output.stem
    save_model(arguments.output, wide, replace(card, name=name, recipe=recipe, measurements=()), dtype="float32")
    print(f"{arguments.output}: width {wide.width}, logits differ from those of {card.name} by {off:.1g} at most")


if __name__ == "__main__":
    main()
