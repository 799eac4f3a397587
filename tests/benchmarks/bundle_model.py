"""Prepare a trained model for the package: the texts of its card, and the commands that reproduce its figures.

    roadseg train --from trained.safetensors --steps 0 --dev dev/ --dev far/@0.3 -o calibrated.safetensors
    python tests/benchmarks/bundle_model.py calibrated.safetensors compact roadseg/model/bundled/

Weights, calibration and figures stay as ``roadseg train`` left them; parameters keep the values in the file.
"""

import argparse
from dataclasses import fields, replace
from pathlib import Path

from roadseg.model.card import ModelCard
from roadseg.model.weights import load_model
from roadseg.progress import Listener
from roadseg.settings import DataSettings, TrainSettings
from roadseg.training.data.load import load_training_data
from roadseg.training.recipes import merge_settings
from roadseg.training.save import save_model
from roadseg.training.seen import seen_ranges

DESCRIPTIONS = {
    "compact": "ResUNet of width 16 for CPUs: roads in RGB aerial imagery, read at 0.63 to 1 m",
    "standard": "ResUNet of width 32: roads in RGB aerial imagery, read at 0.63 to 1 m",
}
TRAINING_DATA = (
    "Massachusetts Roads Dataset (V. Mnih, Machine Learning for Aerial Image Labeling, PhD thesis, University of "
    "Toronto, 2013): 96 tiles (142 labelled Mpx) and 351 crops of other tiles (58 Mpx) of the official training split; "
    "leaf-off aerial imagery of one state, 2008-2009, at 1 m, in changed colours, sharpness and scale. Road is what "
    "OpenStreetMap had as a street there: alleys, yards, car parks and dirt tracks mostly are not. Expect less from "
    "other landscapes"
)
LICENCE = (
    "Apache-2.0 (SPDX), on the reading that a trained model is a produced work of the data it learned from; see "
    "NOTICE, which is no legal advice. The labels came from OpenStreetMap, under CC-BY-SA-2.0 or ODbL-1.0 (SPDX), "
    "depending on the date of the extract"
)
ATTRIBUTION = "© OpenStreetMap contributors, openstreetmap.org/copyright (labels); MassGIS and USGS (imagery)"
DEV = (
    "Massachusetts Roads Dataset: 14 tiles (28 labelled Mpx) of the official training split, kept apart from those "
    "used for training; recipe, threshold and calibration were chosen on them"
)
SCORED = "roadseg predict dev/images/*.tif -o pred/ --no-recalibrate && roadseg evaluate pred/ dev/masks/"
CALIBRATED = "roadseg train --from {name} --steps 0 --dev dev/{others} -o again.safetensors"


def draw_seen_ranges(card: ModelCard, data: list[Path], output: Path) -> dict[str, list[list[float]]]:
    """Draw the crops with which the last stage of training began again, and return the ranges of their colours."""
    known = {field.name for field in fields(TrainSettings)} - {"start"}
    trained = card.recipe
    while "augment" not in trained and "start" in trained:  # weights were averaged since, or made wider
        trained = trained["start"]["recipe"]
    recipe = {name: value for name, value in trained.items() if name in known}
    settings = merge_settings(TrainSettings(), ("the card", recipe | {"pixel_m": card.gsd_m}))
    found = load_training_data(DataSettings(tuple(data)), output, settings, Listener())
    found.tiles.fill(card.mean)
    return seen_ranges(found.tiles, settings)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calibrated", type=Path)
    parser.add_argument("name", choices=DESCRIPTIONS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--others", default="", help="what follows --dev dev/ in the command that calibrates")
    parser.add_argument("--data", type=Path, action="append", default=[], help="folders to note colour ranges of")
    arguments = parser.parse_args()
    network, card = load_model(arguments.calibrated)
    again = CALIBRATED.format(name=arguments.name, others=f" {arguments.others}" if arguments.others else "")
    figures = []
    for figure in card.measurements:
        home = "chosen" in figure.data
        command = SCORED if home and "calibration error" not in figure.name else again
        figures.append(replace(figure, command=command, data=DEV if home else figure.data))
    if arguments.data:
        card = replace(card, seen=draw_seen_ranges(card, arguments.data, arguments.calibrated))
    card = replace(
        card,
        name=arguments.name,
        description=DESCRIPTIONS[arguments.name],
        training_data=TRAINING_DATA,
        licence=LICENCE,
        attribution=ATTRIBUTION,
        measurements=tuple(figures),
    )
    save_model(arguments.folder / f"{arguments.name}.safetensors", network, card, dtype="float16")


if __name__ == "__main__":
    main()
