"""The control groups of this process, by which Linux, containers and schedulers limit processors and memory.

A limit holds for all groups below it, so all groups from that of the process up to the root count. A container often
sees its own group as the root, and its path is that of the machine, where there is nothing to see.
"""

from pathlib import Path

_PROCESS = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")


def control_groups(controller: str) -> list[Path]:
    """Return the folders of a controller's groups, from the innermost on; none where there are no control groups.

    Both versions of control groups are looked at (cgroups(7)): files in the folders of version 2 start with the name
    of the controller, too, but have other names.

    Parameters
    ----------
    controller
        ``cpu`` or ``memory``.
    """
    try:
        lines = _PROCESS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            root = _ROOT / controller if controllers else _ROOT
            group = root / path.lstrip("/")
            found += [folder for folder in (group, *group.parents) if folder.is_relative_to(root) and folder.is_dir()]
    return found


def group_numbers(group: Path, name: str) -> list[float]:
    """Return the numbers in a file of a group, infinity for no limit; none if the file is not there."""
    try:
        return [float(word.replace("max", "inf")) for word in (group / name).read_text("utf-8").split()]
    except (OSError, ValueError):
        return []
