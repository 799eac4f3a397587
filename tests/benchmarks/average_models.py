"""Average the weights of models that were trained from the same start: mostly better than each of them.

    python tests/benchmarks/average_models.py mean.safetensors a.safetensors=0.4 b.safetensors=0.4 c.safetensors=0.2
    roadseg train --from mean.safetensors --steps 0 --dev dev/ -o calibrated.safetensors

The card is that of the first one without its figures; its recipe names all of them, with their hashes and shares.
Source: M. Wortsman et al., "Model soups" (2022), arXiv:2203.05482.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from roadseg.model.weights import load_model
from roadseg.training.card import as_start
from roadseg.training.save import save_model


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "members", nargs="+", metavar="MODEL=SHARE", help="model file and its share; shares add up to 1"
    )
    arguments = parser.parse_args()
    pairs = [member.rpartition("=") for member in arguments.members]
    shares = [float(share) for _, _, share in pairs]
    assert abs(sum(shares) - 1) < 1e-6, f"the shares add up to {sum(shares):g}, not to 1"
    loaded = [load_model(Path(path)) for path, _, _ in pairs]
    (network, card), states = loaded[0], [member.state_dict() for member, _ in loaded]
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.copy_(sum(share * state[name].double() for share, state in zip(shares, states, strict=True)))
    averaged = {f"{one.name} {str(one.hash)[:12]}": share for (_, one), share in zip(loaded, shares, strict=True)}
    recipe = {"start": as_start(card), "average": averaged}
    save_model(
        arguments.output,
        network,
        replace(card, name=arguments.output.stem, recipe=recipe, measurements=()),
        dtype="float32",
    )
    print(f"{arguments.output}: " + ", ".join(f"{share:g} of {name}" for name, share in averaged.items()))


if __name__ == "__main__":
    main()
