"""The command line: parse, call the public function, print. The only folder that touches the terminal.

Exit status: 0 done, 1 an error (one sentence on stderr), 2 wrong usage, 70 a bug in roadseg, 130 interrupted,
143 terminated. Results go to stdout, everything else to stderr. Each command imports what it needs when it runs, so
that ``roadseg --help`` does not wait for torch.
"""

import sys
from typing import Annotated

import typer

import roadseg
from roadseg.cli import adapt, compare, evaluate, export, info, predict, qgis, train, vectorize
from roadseg.cli.options import GroupedCommand
from roadseg.cli.streams import flush_stdout, open_streams, silence_libraries, system_sentence

app = typer.Typer(
    name="roadseg",
    help="Turn aerial imagery into roads.",
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


_COMMANDS = (
    predict.predict,
    vectorize.vectorize,
    compare.compare,
    evaluate.evaluate,
    adapt.adapt,
    train.train,
    export.export,
    info.info,
)

for _command in _COMMANDS:
    app.command(cls=GroupedCommand)(_command)
app.add_typer(qgis.app, name="qgis")
