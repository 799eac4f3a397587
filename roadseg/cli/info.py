"""``roadseg info``."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from roadseg.cli.terminal import Verbose, exit_statuses, print_pairs, print_table, wrapped

if TYPE_CHECKING:
    from roadseg.info import Measurement


def info(
    target: Annotated[str | None, typer.Argument(help="A model file, a bundled model's name, or a raster.")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="For a raster: a model whose training data it is compared with.")
    ] = None,
    verbose: Verbose = 0,
) -> None:
    """Show a model or a raster; without an argument, list the bundled models.

    \b
    roadseg info
    roadseg info compact
    roadseg info my_model.safetensors
    roadseg info scene.tif
    roadseg info scene.tif --model compact
    """
    with exit_statuses(verbose):
        from roadseg.info import (
            bundled_models,
            describe_card,
            describe_layers,
            describe_recipe,
            describe_scene,
            find_model,
            group_measurements,
            list_models,
            read_card,
        )

        if target is None:
            for bundled in list_models():
                mark = " (default)" if bundled.default else ""
                print(f"{bundled.name}{mark}: {bundled.card.description}")
        elif target in bundled_models() or target.endswith(".safetensors"):
            path = find_model(target)
            card = read_card(path)
            print_pairs(describe_card(card))
            if card.recipe:
                print("\nrecipe")
                print_pairs(describe_recipe(card), indent=2)
            _print_measurements(group_measurements(card))
            rows = describe_layers(path)
            print()
            print_table(("layer", "kind", "output", "parameters"), rows)
            print(f"{sum(row[3] for row in rows):,} parameters")
        else:
            print_pairs(describe_scene(target, model))


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
