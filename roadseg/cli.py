"""The command line: parse, make one call, print. The only module that touches the terminal.

Exit status: 0 done, 1 an error of ours (one sentence on stderr), 2 wrong usage, 130 interrupted.
Results go to stdout, everything else to stderr. Each command imports what it needs when it runs, so
that ``roadseg --help`` does not wait for torch.
"""

import json
import math
import shlex
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from tqdm import tqdm

import roadseg
from roadseg.errors import RoadsegError
from roadseg.progress import Listener
from roadseg.settings import (
    EngineSettings,
    EvaluateOutputs,
    EvaluateSettings,
    GridChoice,
    Neighbourhood,
    Outputs,
    PixelType,
    Precision,
    PredictSettings,
    TrainSettings,
    Upsampling,
)

if TYPE_CHECKING:
    from roadseg.metrics.scores import Scores

app = typer.Typer(
    name="roadseg",
    help="Turn aerial imagery into roads.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_PREDICT, _ENGINE, _TRAIN, _EVALUATE = PredictSettings(), EngineSettings(), TrainSettings(), EvaluateSettings()

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv shows tracebacks.")]
Progress = Annotated[
    bool | None,
    typer.Option("--progress/--no-progress", help="Progress bar on stderr; by default only in a terminal."),
]


def main() -> None:
    """Run the command line."""
    app()


def _show_version(on: bool) -> None:
    if on:
        print(f"roadseg {roadseg.__version__}")
        raise typer.Exit


def _finite(number: float | None) -> float | None:
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is no finite number")
    return number


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
) -> None:
    """Turn aerial imagery into roads."""


@app.command()
def predict(
    scenes: Annotated[
        list[str],
        typer.Argument(help="Images GDAL can open: files, URLs, /vsi… paths, patterns; - reads a list from stdin."),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="Probability raster to write (COG); a folder for several scenes; - for stdout.",
        ),
    ],
    mask: Annotated[Path | None, typer.Option(help="Also write a mask: 1 road, 0 not road, 255 unknown.")] = None,
    preview: Annotated[Path | None, typer.Option(help="Also draw the roads over the scene, as PNG.")] = None,
    model: Annotated[str | None, typer.Option(help="Model file, or name of a bundled model.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = _ENGINE.device,
    precision: Annotated[Precision, typer.Option(help="Number format of the network.")] = _ENGINE.precision,
    batch: Annotated[int | None, typer.Option(min=1, help="Windows at a time; by default chosen.")] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over all flips and turns of each window: better, 8 times slower.")
    ] = _ENGINE.tta,
    bands: Annotated[str | None, typer.Option(help="Band numbers in the model's order, such as 4,3,2.")] = None,
    value_range: Annotated[
        str | None,
        typer.Option("--range", help="LO,HI: values that become black and white; by default percentiles 2 and 98."),
    ] = None,
    gsd: Annotated[
        float | None, typer.Option(min=1e-4, callback=_finite, help="Metres per pixel, if the file does not know.")
    ] = None,
    overlap: Annotated[
        int, typer.Option(min=0, max=223, help="How far windows overlap, in pixels.")
    ] = _PREDICT.overlap_px,
    block: Annotated[
        int, typer.Option(min=224, help="Side of a block in pixels: memory against speed.")
    ] = _PREDICT.block_px,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, callback=_finite, help="Probability of road in the mask; by default the model's."),
    ] = None,
    dtype: Annotated[PixelType, typer.Option(help="Of the probability raster.")] = _PREDICT.dtype,
    grid: Annotated[GridChoice, typer.Option(help="Whose pixels to write.")] = _PREDICT.grid,
    bbox: Annotated[str | None, typer.Option(help="Only xmin,ymin,xmax,ymax, in the scene's coordinates.")] = None,
    aoi: Annotated[Path | None, typer.Option(help="Only inside the polygons of this vector file.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs, also partial ones of other settings.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON per scene on stdout.")] = False,
    progress: Progress = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Find the roads of scenes.

    A run that was stopped goes on where it was when the same command is given again.

    \b
    roadseg predict scene.tif -o roads.tif
    roadseg predict scene.tif -o roads.tif --mask mask.tif --preview roads.png
    roadseg predict tiles/*.tif -o roads/
    roadseg predict https://host/scene.tif --bbox 230000,890000,232000,892000 -o part.tif
    ls tiles/*.tif | roadseg predict - -o roads/ --json | jq .road_fraction
    roadseg predict scene.tif -o - | gdal_translate /vsistdin/ out.jp2
    """
    _check_stdout(output, as_json=as_json)
    with _reporting(verbose), _listening(quiet=quiet, progress=progress, unit="Mpx") as listener:
        from roadseg.predict import find_scenes, load, make_folders, name_outputs, predict_many

        settings = PredictSettings(
            bands=_integers(bands, "--bands") if bands is not None else None,
            pixel_m=gsd,
            value_range=_pair(value_range) if value_range is not None else None,
            overlap_px=overlap,
            block_px=block,
            threshold=threshold,
            dtype=dtype,
            grid=grid,
            bbox=_box(bbox) if bbox is not None else None,
            aoi=aoi,
            overwrite=overwrite,
        )
        listed = [line for name in scenes for line in (_lines_of_stdin() if name == "-" else [name])]
        found = find_scenes(listed)
        folder = len(found) > 1 or output.endswith("/") or (output != "-" and Path(output).is_dir())
        if output == "-" and folder:
            _usage("-o - takes one scene")
        with _stdout_file(output) as raster:
            outputs = Outputs(raster, mask, preview)
            jobs = name_outputs(found, outputs, folder=folder)
            loaded = load(model, EngineSettings(device, precision, batch, tta))
            if folder:
                make_folders(outputs)
            batch_done = predict_many(
                jobs,
                loaded,
                settings,
                command=_command(),
                listener=listener,
                on_done=_print_json if as_json else lambda _: None,
            )
            if batch_done.failed and len(jobs) == 1:
                raise batch_done.failed[0][1]
            if output == "-":
                _copy_to_stdout(raster)
        if len(jobs) > 1:
            listener.say(f"{len(batch_done.done)} of {len(jobs)} scenes done")
        if batch_done.failed:
            for _, error in batch_done.failed if quiet else ():
                print(f"roadseg: error: {error}", file=sys.stderr)
            names = ", ".join(name for name, _ in batch_done.failed)
            _fail(f"{len(batch_done.failed)} of {len(jobs)} scenes failed: {names}")


@app.command()
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
        _usage(f"--crop must be a multiple of 8, not {crop}")
    with _reporting(verbose), _listening(quiet=quiet, progress=progress, unit="steps") as listener:
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


@app.command()
def evaluate(
    prediction: Annotated[Path, typer.Argument(help="Predicted roads: a raster, a vector file, or a folder of them.")],
    truth: Annotated[Path, typer.Argument(help="The truth, of the same kind; folders are matched by stem.")],
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Probability of road; by default the one noted in the prediction, else 0.5."),
    ] = None,
    slack: Annotated[
        str, typer.Option(help="Slack of the relaxed measures: 3 pixels, or 2.5m on the ground.")
    ] = f"{_EVALUATE.slack:g}",
    neighbourhood: Annotated[
        Neighbourhood, typer.Option(help="Shape of the slack; published figures use a square.")
    ] = _EVALUATE.neighbourhood,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring predictions on another grid to the truth's.")
    ] = False,
    cldice: Annotated[
        bool, typer.Option("--cldice/--no-cldice", help="Also compute clDice, which takes longest.")
    ] = _EVALUATE.cldice,
    buffer: Annotated[
        float, typer.Option(min=0.01, help="Networks: buffer of completeness and correctness, in metres.")
    ] = _EVALUATE.buffer_m,
    junction: Annotated[
        float, typer.Option(min=0.01, help="Networks: how far apart matched junctions may be, in metres.")
    ] = _EVALUATE.junction_m,
    report: Annotated[Path | None, typer.Option(help="Write a page of HTML with curve, tables and pictures.")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write all figures as JSON; - for stdout.")] = None,
    errors: Annotated[
        Path | None, typer.Option(help="Write a map of right, false and missed roads; a folder for several.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Imagery to show in the report: a file or a folder.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs.")] = False,
    progress: Progress = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Score predicted roads against the truth.

    \b
    roadseg evaluate roads.tif truth.tif
    roadseg evaluate predictions/ masks/ --report report.html --images tiles/ --json scores.json
    roadseg evaluate roads.tif truth.tif --slack 2.5m --neighbourhood disk --errors errors.tif
    roadseg evaluate roads.gpkg truth.gpkg
    """
    distance, in_metres = _slack(slack)
    with _reporting(verbose), _listening(quiet=quiet, progress=progress, unit="Mpx") as listener:
        from roadseg.evaluate import as_json as to_json
        from roadseg.evaluate import evaluate as score

        to_stdout = as_json is not None and str(as_json) == "-"
        settings = EvaluateSettings(
            threshold=threshold,
            slack=distance,
            slack_in_metres=in_metres,
            neighbourhood=neighbourhood,
            resample=resample,
            cldice=cldice,
            buffer_m=buffer,
            junction_m=junction,
            overwrite=overwrite,
        )
        outputs = EvaluateOutputs(report, None if to_stdout else as_json, errors)
        found = score(prediction, truth, outputs, settings, images=images, command=_command(), listener=listener)
    if to_stdout:
        print(json.dumps(to_json(found), ensure_ascii=False))
        return
    _print_scores(found)


@app.command()
def info(
    target: Annotated[str | None, typer.Argument(help="A model file, a bundled model's name, or a raster.")] = None,
    verbose: Verbose = 0,
) -> None:
    """Tell about a model or a raster; without an argument, list the bundled models.

    \b
    roadseg info
    roadseg info compact
    roadseg info my_model.safetensors
    roadseg info scene.tif
    """
    with _reporting(verbose):
        from roadseg.info import describe_card, describe_layers, describe_scene, list_models
        from roadseg.model.card import bundled_models, find_model, read_card

        if target is None:
            for bundled in list_models():
                mark = " (default)" if bundled.default else ""
                print(f"{bundled.name}{mark}: {bundled.card.description}")
        elif target in bundled_models() or target.endswith(".safetensors"):
            path = find_model(target)
            _print_pairs(describe_card(read_card(path)))
            rows = describe_layers(path)
            print()
            _print_table(("layer", "kind", "output", "parameters"), rows)
            print(f"{sum(row[3] for row in rows):,} parameters")
        else:
            _print_pairs(describe_scene(target))


@contextmanager
def _reporting(verbose: int) -> Iterator[None]:
    """Turn errors into one sentence on stderr and the right exit status."""
    try:
        yield
    except KeyboardInterrupt:
        print("\nroadseg: interrupted; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise typer.Exit(1) from None
    except RoadsegError as error:
        if verbose >= 2:
            traceback.print_exc()
        _fail(str(error))
    except (MemoryError, OSError) as error:
        if verbose >= 2:
            traceback.print_exc()
        _fail(f"{str(error) or type(error).__name__}; -vv tells where")


@contextmanager
def _listening(*, quiet: bool, progress: bool | None, unit: str) -> Iterator[Listener]:
    """Show what happens on stderr: sentences, and a bar in units of work."""
    shown = not quiet and (progress if progress is not None else sys.stderr.isatty())
    bars: list[Any] = []

    def close() -> None:
        while bars:
            bars.pop().close()

    def start(total: float, done: float) -> None:
        close()
        digits = ".1f" if unit == "Mpx" else ".0f"
        form = f"{{l_bar}}{{bar}}| {{n:{digits}}}/{{total:{digits}}} {unit} [{{elapsed}}<{{remaining}}, {{rate_fmt}}]"
        bars.append(tqdm(total=total, initial=done, unit=unit, bar_format=form, disable=not shown, file=sys.stderr))

    def say(text: str) -> None:
        if not quiet:
            tqdm.write(f"roadseg: {text}", file=sys.stderr)

    def warn(text: str) -> None:
        if not quiet:
            tqdm.write(f"roadseg: warning: {text}", file=sys.stderr)

    try:
        yield Listener(say, warn, start, lambda n: bars[-1].update(n) if bars else None)
    finally:
        close()


@contextmanager
def _stdout_file(output: str) -> Iterator[Path]:
    """Give the path to write to: the output itself, or a temporary file if it is to go to stdout."""
    if output != "-":
        yield Path(output)
        return
    with tempfile.TemporaryDirectory(prefix="roadseg-") as folder:
        yield Path(folder) / "stdout.tif"


def _check_stdout(output: str, *, as_json: bool) -> None:
    if output == "-" and as_json:
        _usage("--json and -o - both want stdout; choose one")
    if output == "-" and sys.stdout.isatty():
        _usage("-o - writes a GeoTIFF to stdout; send it into a file or a pipe")


def _print_json(summary: Any) -> None:
    print(json.dumps(asdict(summary), ensure_ascii=False), flush=True)


def _copy_to_stdout(path: Path) -> None:
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _fail(sentence: str) -> NoReturn:
    print(f"roadseg: error: {sentence}", file=sys.stderr)
    raise typer.Exit(1)


def _usage(sentence: str) -> NoReturn:
    print(f"roadseg: {sentence}", file=sys.stderr)
    raise typer.Exit(2)


def _command() -> str:
    return shlex.join(["roadseg", *sys.argv[1:]])


def _lines_of_stdin() -> list[str]:
    return [line.strip() for line in sys.stdin if line.strip()]


def _numbers(text: str, kind: Callable[[str], Any], option: str, count: int | None) -> list[Any]:
    try:
        values = [kind(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or (count and len(values) != count) or not all(map(math.isfinite, values)):
        amount = f"{count} numbers" if count else "numbers"
        _usage(f"{option} wants {amount} separated by commas, not {text!r}")
    return values


def _integers(text: str, option: str) -> tuple[int, ...]:
    return tuple(_numbers(text, int, option, None))


def _pair(text: str) -> tuple[float, float]:
    low, high = _numbers(text, float, "--range", 2)
    if not low < high:
        _usage(f"--range wants the lower number first, not {text!r}")
    return low, high


def _slack(text: str) -> tuple[float, bool]:
    in_metres = text.strip().endswith("m")
    (distance,) = _numbers(text.strip().removesuffix("m"), float, "--slack", 1)
    if not 0 <= distance <= 1000:
        _usage(f"--slack wants a distance from 0 to 1000, such as 3 or 2.5m, not {text!r}")
    return distance, in_metres


def _box(text: str) -> tuple[float, float, float, float]:
    xmin, ymin, xmax, ymax = _numbers(text, float, "--bbox", 4)
    if not (xmin < xmax and ymin < ymax):
        _usage(f"--bbox wants xmin,ymin,xmax,ymax with xmin < xmax and ymin < ymax, not {text!r}")
    return xmin, ymin, xmax, ymax


def _print_scores(found: "Scores") -> None:
    from roadseg.metrics.report import number

    width = max(len(figure.name) for figure in found.figures)
    for figure in found.figures:
        print(f"{figure.name:<{width}}  {number(figure.value):>6}  {figure.definition}")
    if len(found.images) > 1:
        print()
        names = list(found.images[0].values)
        rows = [(image.name, *[number(value, 3) for value in image.values.values()]) for image in found.images]
        _print_table(("worst first", *names), rows)


def _print_pairs(pairs: list[tuple[str, str]]) -> None:
    width = max((len(label) for label, _ in pairs), default=0)
    for label, text in pairs:
        print(f"{label:<{width}}  {text}")


def _print_table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    table = [head, *[tuple(f"{v:,}" if isinstance(v, int) else v for v in row) for row in rows]]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    for row in table:
        cells = [f"{cell:<{w}}" for cell, w in zip(row[:-1], widths, strict=False)]
        print("  ".join([*cells, f"{row[-1]:>{widths[-1]}}"]))
