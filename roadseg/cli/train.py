"""``roadseg train``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from roadseg.cli.terminal import Progress, Quiet, Verbose, listening, reporting, usage
from roadseg.settings import EngineSettings, TrainSettings, Upsampling

_TRAIN, _ENGINE = TrainSettings(), EngineSettings()


def train(
    data: Annotated[Path, typer.Argument(help="Folder with images/ and masks/; equal names belong together.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write (.safetensors).")],
    dev: Annotated[
        Path | None, typer.Option(help="Folder like DATA to choose the threshold on and to score; never trained on.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the model; by default the file's.")] = None,
    description: Annotated[str, typer.Option(help="For the model card.")] = "",
    training_data: Annotated[str, typer.Option(help="For the model card: what it was trained on.")] = "",
    licence: Annotated[str, typer.Option(help="For the model card: terms of the weights.")] = "",
    attribution: Annotated[str, typer.Option(help="For the model card: who has to be named.")] = "",
    gsd: Annotated[float | None, typer.Option(min=1e-4, help="Metres per pixel, if the tiles do not know.")] = None,
    width: Annotated[int, typer.Option(min=1, help="Channels of the first level: 64 full, 16 compact.")] = _TRAIN.width,
    upsample: Annotated[Upsampling, typer.Option(help="How the decoder enlarges.")] = _TRAIN.upsample,
    start: Annotated[str | None, typer.Option("--from", help="Model to go on from, a file or bundled name.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = _TRAIN.steps,
    batch: Annotated[int, typer.Option(min=1, help="Crops per step.")] = _TRAIN.batch,
    crop: Annotated[int, typer.Option(min=8, help="Side of a crop in pixels, a multiple of 8.")] = _TRAIN.crop,
    learning_rate: Annotated[float, typer.Option(min=0, help="Highest learning rate.")] = _TRAIN.learning_rate,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = _TRAIN.seed,
    evaluations: Annotated[int, typer.Option(min=1, help="Dev scores on the way.")] = _TRAIN.evaluations,
    compile_network: Annotated[
        bool, typer.Option("--compile", help="Faster steps by torch.compile (a CPU needs a C++ compiler).")
    ] = _TRAIN.compile,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = _ENGINE.device,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model and forget a checkpoint.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON on stdout.")] = False,
    progress: Progress = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Train a model on image and mask tiles.

    Masks hold 1 road, 0 not road, 255 not known. A run that was stopped goes on when the same command is given
    again.

    \b
    roadseg train data/ --dev dev/ -o my_model.safetensors
    roadseg train data/ -o quick.safetensors --width 16 --steps 2000 --crop 160
    """
    if crop % 8:
        usage(f"--crop must be a multiple of 8, not {crop}")
    with reporting(verbose), listening(quiet=quiet, progress=progress, unit="steps") as listener:
        from roadseg.train import About
        from roadseg.train import train as train_model

        settings = TrainSettings(
            pixel_m=gsd,
            width=width,
            upsample=upsample,
            start=start,
            steps=steps,
            batch=batch,
            crop=crop,
            learning_rate=learning_rate,
            seed=seed,
            evaluations=evaluations,
            compile=compile_network,
        )
        about = About(name or output.stem, description, training_data, licence, attribution)
        summary = train_model(
            data,
            output,
            about,
            settings,
            dev=dev,
            device=device,
            overwrite=overwrite,
            listener=listener,
        )
        if as_json:
            print(json.dumps(asdict(summary), ensure_ascii=False))
