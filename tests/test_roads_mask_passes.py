"""Passes leave no files behind, nor do they hide why they ended."""

import os

import pytest

from roadseg.files.workers import WorkerPool
from roadseg.roads.mask.passes import local_passes
from roadseg.roads.mask.store import BlockGrid
from roadseg.windows import Window


def test_an_interruption_is_reported_although_workers_still_write(tmp_path, monkeypatch):
    grid = BlockGrid(20, 30, 32)

    def filled(path, *where, **options):
        """Find a file that was written since the folder was listed."""
        raise OSError(39, "Directory not empty", path)

    def run():
        with WorkerPool(None, 1) as pool, local_passes(pool, grid, tmp_path) as passes:
            assert not passes.plane("lines").read(Window(0, 0, 20, 30)).any()
            monkeypatch.setattr(os, "rmdir", filled)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()


def test_files_of_passes_are_removed(tmp_path):
    with WorkerPool(None, 1) as pool, local_passes(pool, BlockGrid(20, 30, 32), tmp_path) as passes:
        passes.plane("lines").read(Window(0, 0, 20, 30))
        assert list(tmp_path.rglob("*.bits"))
    assert not list(tmp_path.iterdir())
