"""The command line: parse, call the public function, print. The only folder that touches the terminal.

Exit status: 0 done, 1 an error (one sentence on stderr), 2 wrong usage, 70 a bug in roadseg, 130 interrupted,
143 terminated. Results go to stdout, everything else to stderr. Commands are imported when they are named, and each
imports what it needs when it runs, so that ``roadseg --help`` does not wait for torch.
"""

import gc
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import roadseg
from roadseg.cli import qgis
from roadseg.cli.options import ConvertsPlainly, GroupedCommand
from roadseg.cli.streams import flush_stdout, open_streams, silence_libraries, system_sentence

VERBS = ("predict", "vectorize", "compare", "evaluate", "adapt", "train", "export", "info")
"""Commands that are modules here with a function of the same name, in the order of ``--help``."""


class CommandsByName(ConvertsPlainly, TyperGroup):
    """The commands, imported when they are asked for: together, they take a tenth of a second to declare."""

    def list_commands(self, _: Any) -> list[str]:
        """Return the names of all commands."""
        return [*VERBS, "qgis"]

    def get_command(self, ctx: Any, name: str) -> Any:
        """Return a command, or None if there is none of that name; then all are declared, to suggest one of them."""
        for verb in [name] if name in self.list_commands(ctx) else VERBS:
            if verb not in self.commands:
                only = typer.Typer(add_completion=False, rich_markup_mode=None)
                only.command(verb, cls=GroupedCommand)(getattr(import_module(f"roadseg.cli.{verb}"), verb))
                self.add_command(typer.main.get_command(only), verb)
        return super().get_command(ctx, name)


app = typer.Typer(
    name="roadseg",
    cls=CommandsByName,
    help="Turn aerial imagery into roads.",
    epilog="roadseg COMMAND --help has examples.  Try: roadseg predict scene.tif -o roads.tif",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def main() -> None:
    """Run the command line and end the process; what stdout does not take is an error too."""
    open_streams()
    silence_libraries()
    status: str | int | None = 1
    try:
        app()
    except SystemExit as end:
        status = end.code
    except OSError as error:  # of text that is printed outside of ``exit_statuses``, such as help
        _report(error)
    failure = flush_stdout()
    if failure and not status:
        _report(failure)
        status = 1
    gc.freeze()  # or all objects are searched for garbage, twice, before the process ends
    sys.exit(status)


def _report(error: OSError) -> None:
    """Print what kept stdout from taking a text; a reader that has seen enough, as ``head`` has, is no reason to."""
    if not isinstance(error, BrokenPipeError):
        print(f"roadseg: error: {system_sentence(error)}", file=sys.stderr)


def _show_version(on: bool) -> None:
    if on:
        print(f"roadseg {roadseg.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
) -> None:
    """Turn aerial imagery into roads."""


app.add_typer(qgis.app, name="qgis")
