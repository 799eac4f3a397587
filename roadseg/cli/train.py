"""``roadseg train``."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from roadseg.cli import training_data as from_
from roadseg.cli.terminal import Progress, Quiet, Verbose, listening, print_json, reporting, usage
from roadseg.errors import RoadsegError
from roadseg.settings import CalibrationGoal, DevFolder, EngineSettings, LossName, TrainSettings, Upsampling, WeightType
from roadseg.training.recipes import RECIPES, as_toml, assignment, read_config, settled

_TRAIN, _ENGINE = TrainSettings(), EngineSettings()


def _or(default: object) -> str:
    return f"[default: {default}]"


def train(
    data: from_.Data = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Model file to write (.safetensors).")] = None,
    images: from_.Images = None,
    labels: from_.Labels = None,
    label_layer: from_.LabelLayer = None,
    road_width: from_.RoadWidth = None,
    width_attribute: from_.WidthAttribute = None,
    width_table: from_.WidthTable = None,
    bands: from_.Bands = None,
    dev: from_.Dev = None,
    dev_fraction: from_.DevFraction = from_.DATA.dev_fraction,
    dev_split: from_.DevSplit = from_.DATA.dev_split,
    dev_block: from_.DevBlock = from_.DATA.dev_block_m,
    cache: from_.Cache = None,
    skip_unreadable: from_.SkipUnreadable = False,
    memory: from_.Memory = None,
    road_share: from_.RoadShare = from_.DATA.road_share,
    check: from_.Check = False,
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
    gsd: Annotated[
        float | None, typer.Option(min=1e-4, help="Metres per pixel to train at; tiles of other sizes are resampled.")
    ] = None,
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
    roadseg train --images orthos/*.tif --labels osm_roads.gpkg --dev-fraction 0.1 -o my_model.safetensors
    roadseg train data/ -o my_model.safetensors --check
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
    source = from_.data_settings(
        data,
        images,
        bands,
        wanted=settings.steps > 0,
        labels=labels,
        label_layer=label_layer,
        road_width_m=road_width,
        width_attribute=width_attribute,
        width_table=width_table,
        dev=dev,
        dev_fraction=dev_fraction,
        dev_split=dev_split,
        dev_block_m=dev_block,
        cache=cache,
        skip_unreadable=skip_unreadable,
        memory_gb=memory,
        road_share=road_share,
    )
    if check:
        from_.show_check(source, output, settings, verbose=verbose, quiet=quiet, progress=progress)
        return
    if settings.steps == 0 and (settings.start is None or source.dev is None):
        usage("--steps 0 only calibrates: it wants --from a model and --dev tiles")
    speaks = os.environ.get("RANK", "0") == "0"  # of the processes torchrun starts
    with reporting(verbose), listening(quiet=quiet or not speaks, progress=progress, unit="steps") as listener:
        from roadseg.train import About, recalibrate
        from roadseg.train import train as train_model

        about = About(
            name or output.name.removesuffix(".safetensors"), description, training_data, licence, attribution
        )
        where: dict[str, Any] = {"device": device, "overwrite": overwrite, "listener": listener}
        if settings.steps == 0 and source.dev is not None:
            places = (DevFolder(source.dev), *source.domains)
            summary = recalibrate(output, about, settings, dev=places, bands=source.bands, **where)
        else:
            summary = train_model(source, output, about, settings, **where)
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
