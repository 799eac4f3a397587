"""Outputs are checked before any work, and appear whole or not at all."""

import errno
import os
import socket
from pathlib import Path

import pytest

from roadseg.errors import OutputError
from roadseg.files.outputs import (
    check_distinct,
    check_target,
    on_their_disks,
    output_folders,
    publish,
    write_output,
)


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


@pytest.mark.parametrize("name", ["s3://bucket/roads.tif", "gs://b/r", "https://host/r.tif", "/vsis3/b/r.tif"])
def test_outputs_are_local(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=f"^{name} is not a local file; .* upload it afterwards$"):
        check_target(Path(name), overwrite=True, inputs=[])
    with pytest.raises(OutputError, match="is not a local file"), output_folders([Path(name)]):
        pass
    assert not list(tmp_path.iterdir())


def test_an_output_is_not_called_stdout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=r"^- is stdout, to which only -o of predict and vectorize writes"):
        check_target(Path("-"), overwrite=True, inputs=[])


def test_what_is_no_regular_file_is_refused_and_stays(tmp_path):
    pipe, socket_path = tmp_path / "pipe", tmp_path / "socket"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(socket_path))
        link = tmp_path / "link.tif"
        link.symlink_to("/dev/null")
        for target in (pipe, socket_path, link, Path("/dev/null")):
            for overwrite in (False, True):
                with pytest.raises(OutputError, match=r"is not a regular file; choose another output"):
                    check_target(target, overwrite=overwrite, inputs=[])
    assert pipe.is_fifo()


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


def test_links_that_lead_nowhere_are_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("none/roads.tif")
    with pytest.raises(OutputError, match="is a link that leads back to itself; remove it"):
        check_target(tmp_path / "loop", overwrite=True, inputs=[])
    with pytest.raises(OutputError, match=r"the folder .*none does not exist"):
        check_target(tmp_path / "lost", overwrite=True, inputs=[])


def test_two_names_of_one_file_are_not_two_outputs(tmp_path):
    first, second, link = (tmp_path / name for name in ("a.tif", "b.tif", "c.tif"))
    check_distinct([first, second])
    link.symlink_to(first.name)
    first.write_bytes(b"old")
    second.hardlink_to(first)
    for pair in ([first, first], [first, link], [first, second]):
        with pytest.raises(OutputError, match="is named twice; give each output its own name"):
            check_distinct(pair)


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


def test_a_place_that_became_unwritable_is_told(tmp_path, monkeypatch):
    made, target = tmp_path / "made.tif", tmp_path / "roads.tif"
    made.write_bytes(b"new")

    def refuse(self, to):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError, match=r"Permission denied\); choose another place"):
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


@pytest.mark.parametrize("fits", [True, False])
def test_files_for_other_disks_are_copied_there_before_any_is_moved(tmp_path, monkeypatch, fits):
    finished = []
    for name in ("near", "far"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.made").write_bytes(name.encode())
        finished.append((tmp_path / f"{name}.made", tmp_path / name / "x.tif"))
    monkeypatch.setattr("roadseg.files.outputs._file_system", lambda path: path.name == "far")

    def full(_, to):
        to.write_bytes(b"ha")
        raise OSError(errno.ENOSPC, "No space left on device")

    if not fits:
        monkeypatch.setattr("shutil.copyfile", full)
        sentence = r"cannot write .*far.x.tif \(No space left on device\); make room"
        with pytest.raises(OutputError, match=sentence), on_their_disks(finished, "make room"):
            pytest.fail("files were to be moved")
    else:
        with on_their_disks(finished) as near:
            assert [place.parent.name for _, place in near] == ["near", "far"]
            for made, place in near:
                publish(made, place)
    found = {path.name: path.read_bytes() for path in tmp_path.glob("*/*")}
    assert len(found) == fits
    assert [path.read_bytes() for _, path in finished if path.exists()] == ([b"near", b"far"] if fits else [])


def test_names_with_line_breaks_and_stdout_by_its_path_are_refused(tmp_path):
    with pytest.raises(OutputError, match="line break or another control character"):
        check_target(tmp_path / "a\nb.tif", overwrite=False, inputs=[])
    if Path("/dev/stdout").exists() and not Path("/dev/stdout").is_file():
        with pytest.raises(OutputError, match="choose another output, or - for stdout"):
            check_target(Path("/dev/stdout"), overwrite=True, inputs=[])
