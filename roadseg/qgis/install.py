"""Copying the plugin into a QGIS profile. Needs no QGIS, and is not copied along."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

PLUGIN = "roadseg_processing"
"""Name of the plugin's folder, and so of the module in QGIS; the package itself may be importable there, too."""

_PARTS = ("__init__.py", "commands.py", "plugin.py", "metadata.txt", "probability.qml")


def profiles_folders() -> list[Path]:
    """Return the folders in which QGIS keeps profiles on this system: of the versions that were started, else of all.

    QGIS 4 copies the profiles of QGIS 3 when it is first started, without plugins, and only if it has none yet.
    """
    home = Path.home()
    if sys.platform == "win32":
        data = Path(os.environ.get("APPDATA", home / "AppData/Roaming"))
    elif sys.platform == "darwin":
        data = home / "Library/Application Support"
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    versions = [data / "QGIS" / version / "profiles" for version in ("QGIS3", "QGIS4")]
    return [folder for folder in versions if folder.is_dir()] or versions


def install(profile: str, executable: Path, *, profiles: Sequence[Path] | None = None) -> list[Path]:
    """Copy the plugin into a profile, of each version of QGIS that has it, and note which command it is to start.

    Parameters
    ----------
    profile
        Name of the profile; ``"default"`` is the one that QGIS starts with, and made if it is missing.
    executable
        The roadseg command.
    profiles
        Folders of the profiles, one for each version of QGIS; None takes those of this system.

    Returns
    -------
    Where the plugin lies now, that of the newest version last.

    Raises
    ------
    ValueError
        If there is no such profile; the message names those there are.
    OSError
        If it cannot be written.
    """
    folders = profiles or profiles_folders()
    having = [folder for folder in folders if profile == "default" or (folder / profile).is_dir()]
    if not having:
        found = {folder: sorted(path.name for path in folder.glob("*") if path.is_dir()) for folder in folders}
        listed = ", ".join(f"{folder} has {', '.join(names) or 'none'}" for folder, names in found.items())
        raise ValueError(f"there is no QGIS profile {profile}; {listed}; choose one, or create it in QGIS first")
    targets = [folder / profile / "python/plugins" / PLUGIN for folder in having]
    for target in targets:
        target.mkdir(parents=True, exist_ok=True)
        for name in _PARTS:
            shutil.copyfile(Path(__file__).with_name(name), target / name)
        (target / "executable.txt").write_text(f"{executable}\n", encoding="utf-8")
    return targets
