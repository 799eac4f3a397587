"""Copying the plugin into a QGIS profile. Needs no QGIS, and is not copied along."""

import os
import shutil
import sys
from pathlib import Path

PLUGIN = "roadseg_processing"
"""Name of the plugin's folder, and so of the module in QGIS; the package itself may be importable there, too."""

_PARTS = ("__init__.py", "commands.py", "plugin.py", "metadata.txt", "probability.qml")


def profiles_folder() -> Path:
    """Return the folder in which QGIS 3 keeps its profiles on this system."""
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", home / "AppData/Roaming")) / "QGIS/QGIS3/profiles"
    if sys.platform == "darwin":
        return home / "Library/Application Support/QGIS/QGIS3/profiles"
    return Path(os.environ.get("XDG_DATA_HOME", home / ".local/share")) / "QGIS/QGIS3/profiles"


def install(profile: str, executable: Path, *, profiles: Path | None = None) -> Path:
    """Copy the plugin into a profile and note which command it is to start.

    Parameters
    ----------
    profile
        Name of the profile; ``"default"`` is the one that QGIS starts with, and made if it is missing.
    executable
        The roadseg command.
    profiles
        Folder of the profiles; None takes that of this system.

    Returns
    -------
    Where the plugin lies now.

    Raises
    ------
    ValueError
        If there is no such profile; the message names those there are.
    OSError
        If it cannot be written.
    """
    profiles = profiles or profiles_folder()
    if profile != "default" and not (profiles / profile).is_dir():
        found = sorted(path.name for path in profiles.glob("*") if path.is_dir())
        raise ValueError(f"there is no QGIS profile {profile}; {profiles} has {', '.join(found) or 'none'}")
    target = profiles / profile / "python/plugins" / PLUGIN
    target.mkdir(parents=True, exist_ok=True)
    for name in _PARTS:
        shutil.copyfile(Path(__file__).with_name(name), target / name)
    (target / "executable.txt").write_text(f"{executable}\n", encoding="utf-8")
    return target
