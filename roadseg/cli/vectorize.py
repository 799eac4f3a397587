"""``roadseg vectorize``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from roadseg.cli.terminal import (
    Progress,
    Quiet,
    Verbose,
    check_stdout,
    copy_to_stdout,
    fail_for,
    lines_of_stdin,
    listening,
    print_json,
    reporting,
    stdout_file,
    usage,
)
from roadseg.cli.values import finite
from roadseg.settings import VectorFormat, VectorizeSettings, VectorOutputs

_VECTORIZE = VectorizeSettings()


def vectorize(
    rasters: Annotated[
        list[str],
        typer.Argument(help="Rasters of road probability or masks: files, URLs, patterns; - reads a list from stdin."),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="Vector file; its ending tells the format. A folder for several; - for stdout."
        ),
    ],
    form: Annotated[
        VectorFormat | None, typer.Option("--format", help="Of the output; by default its ending's.")
    ] = None,
    kind: Annotated[
        Literal["lines", "polygons"], typer.Option("--as", help="A network of middle lines, or the roads' areas.")
    ] = "lines",
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, callback=finite, help="Probability of road; by default the one noted, else 0.5."),
    ] = None,
    low: Annotated[
        float | None,
        typer.Option(min=0, max=1, callback=finite, help="What it may fall to along a road; by default half of it."),
    ] = None,
    min_length: Annotated[
        float, typer.Option(min=0, callback=finite, help="Drop pieces of network shorter than this, in metres.")
    ] = _VECTORIZE.min_length_m,
    spur: Annotated[
        float | None,
        typer.Option(min=0, callback=finite, help="Prune dead ends up to this; by default what a road's width tells."),
    ] = _VECTORIZE.spur_m,
    bridge: Annotated[
        float, typer.Option(min=0, callback=finite, help="Longest gap to bridge, in metres; 0 bridges none.")
    ] = _VECTORIZE.bridge_m,
    merge_junctions: Annotated[
        bool, typer.Option("--merge-junctions/--keep-junctions", help="Make one of junctions within a road's width.")
    ] = _VECTORIZE.merge_junctions,
    simplify: Annotated[
        float | None,
        typer.Option(min=0, callback=finite, help="How far lines may move to save vertices; by default 0.75 px."),
    ] = _VECTORIZE.simplify_m,
    min_area: Annotated[
        float, typer.Option(min=0, callback=finite, help="Drop patches of road below this, in square metres.")
    ] = _VECTORIZE.min_area_m2,
    max_hole: Annotated[
        float, typer.Option(min=0, callback=finite, help="Fill holes in roads up to this, in square metres.")
    ] = _VECTORIZE.max_hole_m2,
    gsd: Annotated[
        float | None,
        typer.Option(min=1e-4, callback=finite, help="Metres per pixel to extract at; by default the model's."),
    ] = None,
    crs: Annotated[str | None, typer.Option(help="Of the output, such as EPSG:25832; by default the raster's.")] = None,
    layer: Annotated[
        str | None, typer.Option(help="Name of the layer; allows to add it to a GeoPackage that is there.")
    ] = None,
    junctions: Annotated[
        Path | None, typer.Option(help="Write the junctions to this file; a GeoPackage holds them by default.")
    ] = None,
    preview: Annotated[Path | None, typer.Option(help="Also draw the roads over the raster, as PNG.")] = None,
    image: Annotated[Path | None, typer.Option(help="Draw them over this image instead.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = _VECTORIZE.workers,
    block: Annotated[
        int, typer.Option(min=64, help="Side of a block in pixels: memory against speed.")
    ] = _VECTORIZE.block_px,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs; of a GeoPackage only the layers of these names.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON per raster on stdout.")] = False,
    progress: Progress = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Make road networks of rasters of roads.

    Lengths in metres are in pixels where a raster has no CRS.

    \b
    roadseg vectorize roads.tif -o roads.gpkg
    roadseg vectorize roads.tif -o roads.gpkg --preview roads.png --image scene.tif
    roadseg vectorize roads.tif -o areas.fgb --as polygons
    roadseg vectorize roads/*.tif -o networks/ --json | jq .length_km
    roadseg vectorize roads.tif -o - --format GeoJSONSeq | tippecanoe -o roads.pmtiles
    """
    form = _format_for_stdout(output, form, as_json=as_json)
    _check_pairs(kind, junctions, preview, image)
    with reporting(verbose, resumes=False), listening(quiet=quiet, progress=progress, unit="Mpx") as listener:
        from roadseg.files import find_files, make_folders, name_outputs
        from roadseg.vectorize import Summary, endings_of, vectorize_many

        settings = VectorizeSettings(
            threshold=threshold,
            low_threshold=low,
            min_area_m2=min_area,
            max_hole_m2=max_hole,
            min_length_m=min_length,
            spur_m=spur,
            bridge_m=bridge,
            merge_junctions=merge_junctions,
            simplify_m=simplify,
            pixel_m=gsd,
            areas=kind == "polygons",
            crs=crs,
            block_px=block,
            workers=workers,
            overwrite=overwrite,
        )
        found = find_files([line for name in rasters for line in (lines_of_stdin() if name == "-" else [name])])
        folder = len(found) > 1 or output.endswith("/") or (output != "-" and Path(output).is_dir())
        if output == "-" and folder:
            usage("-o - takes one raster")

        def tell(summary: Summary) -> None:
            listener.report(summary.sentence())
            if as_json:
                print_json(summary)

        with stdout_file(output, "stdout.geojsonl") as vector:
            outputs = VectorOutputs(vector, form, layer, junctions, preview, image)
            jobs = name_outputs(found, outputs, endings_of(outputs)) if folder else [(found[0], outputs)]
            if folder:
                make_folders(outputs.paths())
            batch = vectorize_many(jobs, settings, listener=listener, on_done=tell)
            if batch.failed and len(jobs) == 1:
                raise batch.failed[0][1]
            if output == "-":
                copy_to_stdout(vector)
        fail_for(batch.failed, len(jobs), "rasters", quiet=quiet)


def _format_for_stdout(output: str, form: VectorFormat | None, *, as_json: bool) -> VectorFormat | None:
    """Return the format; what goes to stdout is GeoJSON, one feature per line unless asked for as one."""
    check_stdout(output, "vector data", as_json=as_json)
    if output == "-" and form not in {None, "GeoJSONSeq", "GeoJSON"}:
        usage(f"-o - writes GeoJSONSeq or GeoJSON, not {form}; name a file for it")
    return form or "GeoJSONSeq" if output == "-" else form


def _check_pairs(kind: str, junctions: Path | None, preview: Path | None, image: Path | None) -> None:
    """Refuse options that only make sense with others."""
    if image and not preview:
        usage("--image is what --preview is drawn over; give both")
    if junctions and kind == "polygons":
        usage("--junctions belong to lines; leave --as polygons out")
