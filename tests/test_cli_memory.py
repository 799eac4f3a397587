"""Commands keep the memory that they free; processes that import roadseg do not."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import run_python
from worlds import write_raster

from roadseg.cli import memory

BLOCK_PX, BLOCKS = 768, 12

has_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

PREDICT = """
import json, resource, sys
sys.path.insert(0, sys.argv[1])
if sys.argv[4] == "kept":
    from roadseg.cli.memory import keep_freed_memory
    assert keep_freed_memory()
from engines import Identity, model_of
from roadseg.predict import predict
from roadseg.prediction import pipeline

faults, store = [], pipeline.store_block
def counted(*args, **options):
    store(*args, **options)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
pipeline.store_block = counted
predict(sys.argv[2], sys.argv[3], model=model_of(Identity(64)), block=int(sys.argv[5]))
print(json.dumps(faults))
"""


@has_glibc
def test_later_blocks_find_the_memory_of_earlier_ones(tmp_path):
    pixels = np.broadcast_to(np.uint8(90), (3, BLOCK_PX, BLOCK_PX * BLOCKS))
    scene = write_raster(tmp_path / "scene.tif", pixels, tiled=True, compress="deflate")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    env["NUMPY_MADVISE_HUGEPAGE"] = "0"  # else pages are of different sizes
    per_block = {}
    for way in ("given back", "kept"):
        target = tmp_path / f"{way}.tif"
        command = [sys.executable, "-c", PREDICT, *map(str, (Path(__file__).parent, scene, target, way, BLOCK_PX))]
        faults = json.loads(subprocess.run(command, env=env, check=True, capture_output=True, timeout=120).stdout)
        assert len(faults) == BLOCKS
        per_block[way] = (faults[-1] - faults[BLOCKS // 2]) / (BLOCKS - 1 - BLOCKS // 2)
    assert per_block["kept"] < per_block["given back"] / 4
    assert (tmp_path / "kept.tif").read_bytes() == (tmp_path / "given back.tif").read_bytes()


class CLibrary:
    """What a C library offers of malloc."""

    def __init__(self, largest=None):
        self.settings, self.largest = {}, largest
        if largest:
            self.gnu_get_libc_version = lambda: b"2"

    def mallopt(self, number, value):
        self.settings[number] = value
        return int(not (number == -3 and value > self.largest))


@pytest.fixture
def library(monkeypatch):
    """Return what makes a C library that of this process, without settings in the environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    monkeypatch.setattr(os, "environ", kept)

    def use(largest):
        found = CLibrary(largest)
        monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: found)
        monkeypatch.setattr(memory.sys, "platform", "linux")
        return found

    return use


@pytest.mark.parametrize(("largest", "used"), [(1 << 31, 64 << 20), (32 << 20, 32 << 20)])
def test_old_versions_of_glibc_keep_what_they_can(library, largest, used):
    found = library(largest)
    assert memory.keep_freed_memory()
    assert found.settings == {-3: used, -1: 128 << 20, -8: 1}
    workers = {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")}
    assert workers == {
        "MALLOC_MMAP_THRESHOLD_": f"{32 << 20}",
        "MALLOC_TRIM_THRESHOLD_": f"{128 << 20}",
        "MALLOC_ARENA_MAX": "1",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "100000"), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=100000")],
)
def test_the_environment_wins(library, monkeypatch, name, value):
    found = library(1 << 31)
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.cpu.x86_shstk=off")
    assert memory.keep_freed_memory()
    found.settings.clear()
    for setting in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX"):
        monkeypatch.delenv(setting)
    monkeypatch.setenv(name, value)
    assert not memory.keep_freed_memory()
    assert not found.settings


def test_other_libraries_are_left_alone(library, monkeypatch):
    found = library(None)
    assert not memory.keep_freed_memory()
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    found.gnu_get_libc_version = b""
    assert not memory.keep_freed_memory()
    assert not found.settings


@pytest.mark.parametrize("verb", ["predict", "vectorize"])
def test_commands_on_rasters_keep_their_memory(verb, say, monkeypatch):
    calls = []
    monkeypatch.setattr(f"roadseg.cli.{verb}.keep_freed_memory", lambda: calls.append("kept"))
    options = ["--model", "none.safetensors"] if verb == "predict" else []
    assert say(verb, "none.tif", "-o", "roads.gpkg", *options).status == 1
    assert calls == ["kept"]


@pytest.mark.parametrize("verb", ["train", "adapt"])
def test_commands_that_train_keep_all_of_it(verb, say, library, monkeypatch):
    calls = []
    monkeypatch.setattr(f"roadseg.cli.{verb}.keep_freed_memory", calls.append)
    assert say(verb, "none/", "-o", "model.safetensors").status == 1
    assert calls == [memory.ALL_BYTES]
    found = library(1 << 31)
    assert memory.keep_freed_memory(*calls)
    assert found.settings == {-3: 64 << 20, -1: -1, -8: 1}


def test_imports_are_hardly_searched_for_garbage():
    code = (
        "import gc, sys\n"
        "searched = []\n"
        "gc.callbacks.append(lambda phase, _: phase == 'start' and searched.append(1))\n"
        "sys.argv = ['roadseg', 'compare', 'none.gpkg', 'none.gpkg', '-o', 'out.gpkg']\n"
        "from roadseg.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 1\n"
        "print(len(searched), gc.isenabled())"
    )
    times, enabled = run_python(code).splitlines()[-1].split()
    assert int(times) < 30
    assert enabled == "True"
