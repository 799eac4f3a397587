"""``roadseg train``."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from roadseg.cli.terminal import Progress, Quiet, Verbose, listening, print_json, reporting, usage
from roadseg.errors import RoadsegError
from roadseg.settings import CalibrationGoal, EngineSettings, LossName, TrainSettings, Upsampling, WeightType
from roadseg.training.recipes import RECIPES, as_toml, assignment, read_config, settled

_TRAIN, _ENGINE = TrainSettings(), EngineSettings()


def _or(default: object) -> str:
    return f"[default: {default}]"


def train(
    data: Annotated[
        Path | None, typer.Argument(help="Folder with images/ and masks/; equal names belong together.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Model file to write (.safetensors).")] = None,
    dev: Annotated[
        Path | None, typer.Option(help="Folder like DATA to calibrate on and to score; never trained on.")
    ] = None,
    recipe: Annotated[str, typer.Option(help=f"Where settings start from: {', '.join(RECIPES)}.")] = "default",
    config: Annotated[Path | None, typer.Option(help="TOML file of settings; what is given here wins.")] = None,
    settings_given: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as name=value; augment.rotate_deg=20.")
    ] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the settings as TOML and stop.")] = False,
    name: Annotated[str | None, typer.Option(help="Of the model; by default the file's.")] = None,
    description: Annotated[str, typer.Option(help="For the model card.")] = "",
    training_data: Annotated[str, typer.Option(help="For the model card: what it was trained on.")] = "",
    licence: Annotated[str, typer.Option(help="For the model card: terms of the weights.")] = "",
    attribution: Annotated[str, typer.Option(help="For the model card: who has to be named.")] = "",
    gsd: Annotated[float | None, typer.Option(min=1e-4, help="Metres per pixel, if the tiles do not know.")] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help=f"Channels of the first level: 64 full, 16 compact. {_or(_TRAIN.width)}")
    ] = None,
    upsample: Annotated[
        Upsampling | None, typer.Option(help=f"How the decoder enlarges. {_or(_TRAIN.upsample)}")
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="Model to go on from, a file or bundled name.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=0, help=f"Training steps; 0 calibrates --from anew. {_or(_TRAIN.steps)}")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help=f"Crops per step and process. {_or(_TRAIN.batch)}")] = None,
    crop: Annotated[
        int | None, typer.Option(min=8, help=f"Side of a crop in pixels, a multiple of 8. {_or(_TRAIN.crop)}")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help=f"Highest learning rate. {_or(_TRAIN.learning_rate)}")
    ] = None,
    loss: Annotated[LossName | None, typer.Option(help=f"Of a pixel. {_or(_TRAIN.loss)}")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help=f"Of everything random. {_or(_TRAIN.seed)}")] = None,
    evaluations: Annotated[
        int | None, typer.Option(min=1, help=f"Dev scores on the way. {_or(_TRAIN.evaluations)}")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=0, help=f"Dev scores without a better one before it stops. {_or('never')}")
    ] = None,
    calibration: Annotated[
        CalibrationGoal | None,
        typer.Option(help=f"What probabilities are made to mean on the dev tiles. {_or(_TRAIN.calibration)}"),
    ] = None,
    dtype: Annotated[WeightType | None, typer.Option(help=f"Of the weights in the file. {_or(_TRAIN.dtype)}")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Leave off after so many; the same command goes on later.")
    ] = None,
    compile_network: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="Faster steps by torch.compile (a CPU needs a C++ compiler)."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = _ENGINE.device,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model and forget a checkpoint.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON on stdout.")] = False,
    progress: Progress = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Train a model on image and mask tiles.

    Masks hold 1 road, 0 not road, 255 not known. A run that was stopped goes on when the same command is given
    again. Beside the model lies a folder with curves, samples, history and settings of the run.

    \b
    roadseg train data/ --dev dev/ -o my_model.safetensors
    roadseg train data/ -o quick.safetensors --width 16 --steps 2000 --crop 160
    roadseg train --recipe paper --print-config > paper.toml
    roadseg train --from my_model.safetensors --steps 0 --dev other/ -o calibrated.safetensors
    torchrun --nproc-per-node 4 -m roadseg train data/ -o my_model.safetensors
    """
    given = {
        "pixel_m": gsd,
        "width": width,
        "upsample": upsample,
        "start": start,
        "steps": steps,
        "batch": batch,
        "crop": crop,
        "learning_rate": learning_rate,
        "loss": loss,
        "seed": seed,
        "evaluations": evaluations,
        "patience": patience,
        "calibration": calibration,
        "dtype": dtype,
        "minutes": minutes,
        "compile": compile_network,
    }
    if recipe not in RECIPES:
        usage(f"there is no recipe {recipe!r}; choose {' or '.join(RECIPES)}")
    try:
        settings = _settings(recipe, config, settings_given or [], {k: v for k, v in given.items() if v is not None})
    except RoadsegError as error:
        usage(str(error))
    if print_config:
        print(as_toml(settings), end="")
        return
    if output is None:
        usage("-o must name the model file to write")
    if data is None and settings.steps:
        usage("DATA must name a folder with images/ and masks/ to train on")
    if settings.steps == 0 and (settings.start is None or dev is None):
        usage("--steps 0 only calibrates: it wants --from a model and --dev tiles")
    speaks = os.environ.get("RANK", "0") == "0"  # of the processes torchrun starts
    with reporting(verbose), listening(quiet=quiet or not speaks, progress=progress, unit="steps") as listener:
        from roadseg.train import About, recalibrate
        from roadseg.train import train as train_model

        about = About(
            name or output.name.removesuffix(".safetensors"), description, training_data, licence, attribution
        )
        where: dict[str, Any] = {"dev": dev, "device": device, "overwrite": overwrite, "listener": listener}
        if settings.steps == 0:
            summary = recalibrate(output, about, settings, **where)
        elif data is not None:
            summary = train_model(data, output, about, settings, **where)
        if as_json and speaks:
            print_json(summary)


def _settings(recipe: str, config: Path | None, assigned: list[str], given: dict[str, Any]) -> TrainSettings:
    """Settle settings: the command line over the file over the recipe, and the form of a model gone on from."""
    from roadseg.model.card import find_model, read_card

    layers: list[tuple[str, dict[str, Any]]] = [(str(config), read_config(config))] if config else []
    layers += [("--set", assignment(text)) for text in assigned]
    layers.append(("the command line", given))
    start = settled(RECIPES[recipe], *layers).start
    if start is not None:
        card = read_card(find_model(start))
        layers.insert(0, (start, {"width": card.width, "upsample": card.upsample}))
    return settled(RECIPES[recipe], *layers)
