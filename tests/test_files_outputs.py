"""Outputs appear whole or not at all, through links and across file systems, too."""

import errno
from contextlib import nullcontext
from pathlib import Path

import pytest

from roadseg.errors import OutputError
from roadseg.files import outputs
from roadseg.files.outputs import on_their_disks, publish, staging_folder, write_output
from roadseg.files.targets import check_target


def test_a_link_stays_and_the_file_it_leads_to_is_written(tmp_path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    link, file = tmp_path / "here" / "roads.tif", tmp_path / "there" / "file.tif"
    link.symlink_to("../there/file.tif")
    check_target(link, overwrite=False, inputs=[])
    write_output(link, b"first")
    assert (link.is_symlink(), file.read_bytes()) == (True, b"first")
    with pytest.raises(OutputError, match="exists; choose another name"):
        check_target(link, overwrite=False, inputs=[])
    made = tmp_path / "made.tif"
    made.write_bytes(b"second")
    publish(made, link)
    assert (link.is_symlink(), file.read_bytes()) == (True, b"second")
    with pytest.raises(OutputError, match="is also the input"):
        check_target(link, overwrite=True, inputs=[file])


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


def test_a_place_that_became_unwritable_is_told(tmp_path, monkeypatch):
    made, target = tmp_path / "made.tif", tmp_path / "roads.tif"
    made.write_bytes(b"new")

    def refuse(self, to):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError, match=r"Permission denied\); choose another place"):
        publish(made, target)
    assert made.read_bytes() == b"new"


def test_a_disk_that_fills_up_is_named_by_the_output(tmp_path):
    """Not by a file in the hidden folder, which is gone then; other errors stay as they are."""
    words = rf"cannot write beside {tmp_path}/roads.gpkg \(No space left on device\); make room"
    with pytest.raises(OutputError, match=words), staging_folder(tmp_path / "roads.gpkg") as folder:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "nodata.bits"))
    with pytest.raises(PermissionError), staging_folder(tmp_path / "roads.gpkg"):
        raise PermissionError(errno.EACCES, "Permission denied")
    assert not any(tmp_path.iterdir())


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


@pytest.fixture
def for_two_disks(tmp_path, monkeypatch):
    """Finished files, each with the place it is meant for; the folder ``far`` lies on another disk."""
    finished = []
    for name in ("near", "far"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.made").write_bytes(name.encode())
        finished.append((tmp_path / f"{name}.made", tmp_path / name / "x.tif"))
    monkeypatch.setattr("roadseg.files.outputs._file_system", lambda path: path.name == "far")
    return finished


def test_files_for_other_disks_are_copied_there_before_any_is_moved(for_two_disks, tmp_path):
    with on_their_disks(for_two_disks) as copied:
        assert [made.parent == place.parent for made, place in copied] == [False, True]
        assert [place for _, place in copied] == [place for _, place in for_two_disks]
        for made, place in copied:
            publish(made, place)
    assert sorted(tmp_path.glob("*/*")) == sorted(place for _, place in for_two_disks)
    assert [place.read_bytes() for _, place in for_two_disks] == [b"near", b"far"]


def test_no_file_is_moved_where_another_disk_is_full(for_two_disks, tmp_path, monkeypatch):
    def fill_up(_, to):
        to.write_bytes(b"ha")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", fill_up)
    sentence = r"cannot write .*far.x.tif \(No space left on device\); make room"
    with pytest.raises(OutputError, match=sentence), on_their_disks(for_two_disks, "make room"):
        pytest.fail("files were to be moved")
    assert list(tmp_path.glob("*/*")) == []


@pytest.mark.parametrize(("times", "is_moved"), [(0, True), (2, True), (3, False)])
def test_a_file_that_another_program_has_open_for_a_moment_is_moved(tmp_path, monkeypatch, times, is_moved):
    made, target = tmp_path / "made.tif", tmp_path / "roads.tif"
    made.write_bytes(b"new")
    tried, replace = [], Path.replace

    def held(path, to):
        tried.append(to)
        if len(tried) <= times:
            raise PermissionError(13, "The process cannot access the file")
        return replace(path, to)

    monkeypatch.setattr(Path, "replace", held)
    monkeypatch.setattr(outputs, "_TRIES", 3)
    monkeypatch.setattr(outputs, "_BETWEEN_S", 0)
    with nullcontext() if is_moved else pytest.raises(OutputError, match=r"roads.tif \(The process cannot access"):
        publish(made, target)
    assert target.exists() == is_moved
