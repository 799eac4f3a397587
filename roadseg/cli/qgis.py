"""``roadseg qgis``."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from roadseg.cli.terminal import AsJson, fail, print_json

app = typer.Typer(help="The QGIS plugin: roadseg in the Processing toolbox.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``install`` a subcommand, although it is the only one."""


@app.command()
def install(
    profile: Annotated[str, typer.Option("--profile", metavar="NAME", help="Name of the QGIS profile.")] = "default",
    *,
    as_json: AsJson = False,
) -> None:
    """Install the plugin into a profile of QGIS 3, QGIS 4 or both, to start this very roadseg.

    \b
    roadseg qgis install
    roadseg qgis install --profile work
    """
    from roadseg.qgis import install as plugin

    executable = _executable()
    try:
        targets = plugin.install(profile, executable)
    except ValueError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {error.filename} ({error.strerror}); check the profile's folder")
    if as_json:
        folders = [str(target) for target in targets]
        values = {"profile": profile, "plugin": folders[-1], "plugins": folders, "executable": str(executable)}
        print_json("qgis", values)
        return
    for target in targets:
        print(f"installed in {target}")
    print("enable it in QGIS under Plugins, Manage and Install Plugins, Installed: roadseg")
    print(f"for qgis_process: qgis_process plugins enable {plugin.PLUGIN}")
    if sys.prefix != sys.base_prefix:
        print("start QGIS from its menu or after 'deactivate': this environment's Python on the PATH would mislead it")


def _executable() -> Path:
    """Return the command that runs now, or that of this Python's environment."""
    beside = Path(sys.executable).with_name(Path(sys.argv[0]).name)
    found = shutil.which(sys.argv[0]) or shutil.which("roadseg") or str(beside)
    return Path(found).resolve()
