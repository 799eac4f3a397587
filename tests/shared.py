"""Where material lies that is used by tests but is not part of the repository."""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("ROADSEG_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def oracle(name):
    """Read reference values, or skip the test."""
    path = ROOT / "oracles" / name
    if not path.exists():
        pytest.skip(f"the reference values {name} are not beside the repository")
    return json.loads(path.read_text("utf-8"))


def tiles(split):
    """Return the folder of a split of the Massachusetts roads tiles, or skip the test."""
    path = ROOT / "data" / "massachusetts_roads" / split
    if not path.exists():
        pytest.skip(f"the {split} tiles of Massachusetts roads are not beside the repository")
    return path
