"""Make a model file of the averaged weights in a run folder: to measure a run on its way, or to train on from it.

    python tests/benchmarks/snapshot_model.py out/standard.run snapshot.safetensors
    roadseg train --from snapshot.safetensors --steps 0 --dev dev/ -o measured.safetensors

The card states the number of steps, with the threshold and calibration of the model that the run started from.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from roadseg.model.card import find_model
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import load_model
from roadseg.training.card import as_start
from roadseg.training.checkpoint import read_checkpoint
from roadseg.training.save import save_model


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder with a checkpoint, of a run that began --from a model")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    found = read_checkpoint(arguments.run)
    assert found, f"{arguments.run} holds no checkpoint"
    settings, step = found.metadata["settings"], found.metadata["step"]
    start, card = load_model(find_model(settings["start"]))
    network = ResUNet(bands=start.bands, width=start.width, upsample=start.upsample)
    network.load_state_dict(found.part("average."))
    recipe = {name: value for name, value in settings.items() if value is not None and name != "training data"}
    recipe |= {"start": as_start(card), "steps_taken": step}
    card = replace(card, name=arguments.output.stem, recipe=recipe, measurements=())
    save_model(arguments.output, network, card, dtype="float32")
    print(f"{arguments.output}: step {step} of {settings['steps']}")


if __name__ == "__main__":
    main()
