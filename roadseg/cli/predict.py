"""``roadseg predict``."""

from pathlib import Path
from typing import Annotated

import typer

from roadseg.cli.terminal import (
    Progress,
    Quiet,
    Verbose,
    check_stdout,
    command_line,
    copy_to_stdout,
    fail_for,
    lines_of_stdin,
    listening,
    print_json,
    reporting,
    stdout_file,
    usage,
)
from roadseg.cli.values import box, finite, integers, pair
from roadseg.settings import EngineSettings, GridChoice, Outputs, PixelType, Precision, PredictSettings

_PREDICT, _ENGINE = PredictSettings(), EngineSettings()


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
    vector: Annotated[
        Path | None, typer.Option(help="Also write the road network, such as roads.gpkg; a folder for several scenes.")
    ] = None,
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
        float | None, typer.Option(min=1e-4, callback=finite, help="Metres per pixel, if the file does not know.")
    ] = None,
    overlap: Annotated[
        int, typer.Option(min=0, max=223, help="How far windows overlap, in pixels.")
    ] = _PREDICT.overlap_px,
    block: Annotated[
        int, typer.Option(min=224, help="Side of a block in pixels: memory against speed.")
    ] = _PREDICT.block_px,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, callback=finite, help="Probability of road in the mask; by default the model's."),
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
    roadseg predict scene.tif -o roads.tif --vector roads.gpkg
    roadseg predict tiles/*.tif -o roads/
    roadseg predict https://host/scene.tif --bbox 230000,890000,232000,892000 -o part.tif
    ls tiles/*.tif | roadseg predict - -o roads/ --json | jq .road_fraction
    roadseg predict scene.tif -o - | gdal_translate /vsistdin/ out.jp2
    """
    check_stdout(output, as_json=as_json)
    with reporting(verbose), listening(quiet=quiet, progress=progress, unit="Mpx") as listener:
        from roadseg.files import find_files, make_folders, name_outputs
        from roadseg.predict import ENDINGS, predict_many
        from roadseg.prediction.engines.choose import load

        settings = PredictSettings(
            bands=integers(bands, "--bands") if bands is not None else None,
            pixel_m=gsd,
            value_range=pair(value_range) if value_range is not None else None,
            overlap_px=overlap,
            block_px=block,
            threshold=threshold,
            dtype=dtype,
            grid=grid,
            bbox=box(bbox) if bbox is not None else None,
            aoi=aoi,
            overwrite=overwrite,
        )
        listed = [line for name in scenes for line in (lines_of_stdin() if name == "-" else [name])]
        found = find_files(listed)
        folder = len(found) > 1 or output.endswith("/") or (output != "-" and Path(output).is_dir())
        if output == "-" and folder:
            usage("-o - takes one scene")
        with stdout_file(output) as raster:
            outputs = Outputs(raster, mask, preview, vector)
            jobs = name_outputs(found, outputs, ENDINGS) if folder else [(found[0], outputs)]
            loaded = load(model, EngineSettings(device, precision, batch, tta))
            if folder:
                make_folders(outputs.paths())
            batch_done = predict_many(
                jobs,
                loaded,
                settings,
                command=command_line(),
                listener=listener,
                on_done=print_json if as_json else lambda _: None,
            )
            if batch_done.failed and len(jobs) == 1:
                raise batch_done.failed[0][1]
            if output == "-":
                copy_to_stdout(raster)
        if len(jobs) > 1:
            listener.report(f"{len(batch_done.done)} of {len(jobs)} scenes done")
        fail_for(batch_done.failed, len(jobs), "scenes", quiet=quiet)
