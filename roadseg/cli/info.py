"""``roadseg info``."""

from typing import Annotated

import typer

from roadseg.cli.terminal import Verbose, print_pairs, print_table, reporting


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
    with reporting(verbose):
        from roadseg.info import describe_card, describe_layers, describe_scene, list_models
        from roadseg.model.card import bundled_models, find_model, read_card

        if target is None:
            for bundled in list_models():
                mark = " (default)" if bundled.default else ""
                print(f"{bundled.name}{mark}: {bundled.card.description}")
        elif target in bundled_models() or target.endswith(".safetensors"):
            path = find_model(target)
            print_pairs(describe_card(read_card(path)))
            rows = describe_layers(path)
            print()
            print_table(("layer", "kind", "output", "parameters"), rows)
            print(f"{sum(row[3] for row in rows):,} parameters")
        else:
            print_pairs(describe_scene(target))
