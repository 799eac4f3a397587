"""``roadseg info``."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roadseg.cli.options import model_names, with_options
from roadseg.cli.terminal import (
    AsJson,
    Verbose,
    exit_statuses,
    print_json,
    print_pairs,
    print_table,
    usage,
    wrapped,
)
from roadseg.settings import ArchitectureSettings
from roadseg.settings.option import from_options

if TYPE_CHECKING:
    from roadseg.info import Measurement


@with_options(ArchitectureSettings)
def info(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help="A model file, a bundled model's name, or a raster.",
            autocompletion=model_names,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="A model whose training data the raster is compared with.",
            autocompletion=model_names,
            rich_help_panel="Raster",
        ),
    ] = None,
    *,
    as_json: AsJson = False,
    verbose: Verbose = 0,
    **options: Any,
) -> None:
    """Show a model or a raster; without an argument, list the bundled models.

    \b
    roadseg info
    roadseg info compact
    roadseg info my_model.safetensors        (or .onnx)
    roadseg info scene.tif
    roadseg info scene.tif --model compact
    roadseg info --width 64 --upsample nearest
    """
    with exit_statuses(verbose):
        from roadseg.info import bundled_models

        architecture = from_options(ArchitectureSettings, options)
        if architecture.chosen() and (target or model):
            usage("--width and --upsample show a network without a model file; leave the other arguments out")
        shows_raster = target is not None and not _names_a_model(target, bundled_models())
        if model and not shows_raster:
            usage("--model is what a raster is compared with; name a raster, or leave it out")
        if architecture.chosen():
            _show_architecture(architecture, as_json=as_json)
        elif target is None:
            _show_models(as_json=as_json)
        elif shows_raster:
            _show_raster(target, model, as_json=as_json)
        else:
            _show_model(target, as_json=as_json)


def _names_a_model(target: str, bundled: Collection[str]) -> bool:
    """Return whether a model is meant: a file of one, a bundled one, or a name without any file, maybe misspelt."""
    is_name = Path(target).name == target and "." not in target and not Path(target).exists()
    return target in bundled or is_name or target.lower().endswith((".safetensors", ".onnx"))


def _show_models(*, as_json: bool) -> None:
    from roadseg.info import list_models

    models = list_models()
    if as_json:
        listed = [{"name": one.name, "default": one.default, "description": one.card.description} for one in models]
        print_json("info", {"models": listed})
        return
    for bundled in models:
        mark = " (default)" if bundled.default else ""
        print(f"{bundled.name}{mark}: {bundled.card.description}")


def _show_model(target: str, *, as_json: bool) -> None:
    from roadseg.info import (
        describe_card,
        describe_recipe,
        find_model,
        group_measurements,
        layer_values,
        model_layers,
        read_card,
    )

    path = find_model(target)
    card, layers = read_card(path), layer_values(model_layers(path))
    if as_json:
        print_json("info", {"model": str(path), "card": asdict(card), **layers})
        return
    print_pairs(describe_card(card))
    if card.recipe:
        print("\nrecipe")
        print_pairs(describe_recipe(card), indent=2)
    _print_measurements(group_measurements(card))
    print()
    _print_layers(layers)


def _show_raster(target: str, model: str | None, *, as_json: bool) -> None:
    from roadseg.info import describe_scene, scene_properties

    properties = scene_properties(target, model)
    if as_json:
        print_json("info", properties)
    else:
        print_pairs(describe_scene(properties))


def _show_architecture(architecture: ArchitectureSettings, *, as_json: bool) -> None:
    from roadseg.info import architecture_layers, layer_values

    layers = layer_values(architecture_layers(architecture))
    if as_json:
        print_json("info", {"input": [3, 224, 224], **layers})
        return
    print("input 3 × 224 × 224; outputs are channels × height × width")
    _print_layers(layers)


def _print_layers(layers: Mapping[str, Any]) -> None:
    rows = [
        (one["layer"], one["kind"], " × ".join(map(str, one["output"])), one["parameters"]) for one in layers["layers"]
    ]
    print_table(("layer", "kind", "output", "parameters"), rows)
    print(f"{layers['parameters']:,} parameters")


def _print_measurements(groups: Mapping[str, Mapping[str, Sequence["Measurement"]]]) -> None:
    """Print tables of figures, under the data they were measured on and the command that reproduces them."""
    named = [len(figure.name) for commands in groups.values() for figures in commands.values() for figure in figures]
    for data, commands in groups.items():
        print()
        print(wrapped("measured on ", data))
        for command, figures in commands.items():
            if command:
                print(wrapped("  by ", command))
            rows = [(f"{f.name:<{max(named)}}  {f.value:.4f}", f.definition) for f in figures]
            print_pairs(rows, indent=4)
