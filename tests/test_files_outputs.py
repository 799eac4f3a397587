"""Outputs are checked before any work, and appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from roadseg.errors import OutputError
from roadseg.files.outputs import check_target, publish


def test_a_place_is_checked_before_any_work(tmp_path):
    here, other = tmp_path / "roads.tif", tmp_path / "scene.tif"
    other.write_bytes(b"scene")
    link = tmp_path / "link.tif"
    link.symlink_to(other)
    check_target(here, overwrite=False, inputs=[other])
    check_target(other, overwrite=True, inputs=[])
    for target, overwrite, message in [
        (tmp_path / "none" / "roads.tif", True, "folder .*none does not exist; create it first"),
        (tmp_path, True, "is a folder; name a file in it"),
        (other, True, "is also the input"),
        (link, True, "is also the input"),
    ]:
        with pytest.raises(OutputError, match=message):
            check_target(target, overwrite=overwrite, inputs=[other])
    with pytest.raises(OutputError, match=r"exists; choose another name or add --overwrite"):
        check_target(other, overwrite=False, inputs=[])


def test_a_read_only_folder_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="is not writable"):
        check_target(tmp_path / "roads.tif", overwrite=False, inputs=[])


def test_publishing_across_file_systems(tmp_path, monkeypatch):
    made, target = tmp_path / "made.tif", tmp_path / "roads.tif"
    made.write_bytes(b"new")
    target.write_bytes(b"old")
    move = Path.replace

    def elsewhere(self, to):
        if self == made:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return move(self, to)

    monkeypatch.setattr(Path, "replace", elsewhere)
    publish(made, target)
    assert target.read_bytes() == b"new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made.tif", "roads.tif"]


def test_a_place_that_became_unwritable_says_where_the_result_lies(tmp_path, monkeypatch):
    made, target = tmp_path / "made.tif", tmp_path / "roads.tif"
    made.write_bytes(b"new")

    def refuse(self, to):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError, match=r"Permission denied\); the result is in .*made.tif"):
        publish(made, target)
    assert made.read_bytes() == b"new"


def test_a_full_disk_while_publishing_leaves_no_half_file(tmp_path, monkeypatch):
    made, target = tmp_path / "made.tif", tmp_path / "roads.tif"
    made.write_bytes(b"new")

    def elsewhere(self, to):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    def full(source, to):
        to.write_bytes(b"ha")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", elsewhere)
    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OutputError, match="No space left"):
        publish(made, target)
    assert [p.name for p in tmp_path.iterdir()] == ["made.tif"]
