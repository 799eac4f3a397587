"""Outputs are checked before any work: where they may be written, and that nothing is replaced unasked."""

import os
import socket
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest

from roadseg.errors import OutputError
from roadseg.files import targets
from roadseg.files.targets import check_distinct, check_target, output_folders


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


def test_links_that_lead_nowhere_are_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("none/roads.tif")
    with pytest.raises(OutputError, match="is a link that leads back to itself; remove it"):
        check_target(tmp_path / "loop", overwrite=True, inputs=[])
    with pytest.raises(OutputError, match=r"the folder .*none does not exist"):
        check_target(tmp_path / "lost", overwrite=True, inputs=[])


def test_names_too_long_for_what_lies_beside_them_are_refused(tmp_path):
    check_target(tmp_path / ("a" * 241 + ".tif"), overwrite=False, inputs=[])
    for name in ("a" * 242 + ".tif", "ä" * 121 + ".tif", "a" * 300):
        with pytest.raises(OutputError, match="has a name of more than 245 bytes; give it a shorter one"):
            check_target(tmp_path / name, overwrite=False, inputs=[])


def test_two_names_of_one_file_are_not_two_outputs(tmp_path):
    first, second, link = (tmp_path / name for name in ("a.tif", "b.tif", "c.tif"))
    check_distinct([first, second])
    link.symlink_to(first.name)
    first.write_bytes(b"old")
    second.hardlink_to(first)
    for pair in ([first, first], [first, link], [first, second]):
        with pytest.raises(OutputError, match="is named twice; give each output its own name"):
            check_distinct(pair)


def test_no_output_has_the_name_of_a_working_folder(tmp_path):
    for pair in (["a.tif", "a.tif.partial"], ["a.tif.partial", "a.tif"]):
        with pytest.raises(OutputError, match=r"a.tif.partial is the folder in which .*a.tif is made; choose another"):
            check_distinct([tmp_path / name for name in pair])


def test_a_read_only_folder_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="is not writable"):
        check_target(tmp_path / "roads.tif", overwrite=False, inputs=[])


def test_names_with_line_breaks_and_stdout_by_its_path_are_refused(tmp_path):
    with pytest.raises(OutputError, match="line break or another control character"):
        check_target(tmp_path / "a\nb.tif", overwrite=False, inputs=[])
    if Path("/dev/stdout").exists() and not Path("/dev/stdout").is_file():
        with pytest.raises(OutputError, match="choose another output, or - for stdout"):
            check_target(Path("/dev/stdout"), overwrite=True, inputs=[])


@pytest.mark.parametrize(
    ("letters", "are_on", "is_refused"), [(190, False, False), (210, False, True), (210, True, False)]
)
def test_paths_too_long_for_windows_are_refused(monkeypatch, letters, are_on, is_refused):
    path = PurePosixPath("/" + "x" * (letters - 12), "y" * 10)
    target = SimpleNamespace(absolute=lambda: path, parent=path.parent, name=path.name)
    monkeypatch.setattr(targets.win32, "are_long_paths_on", lambda: are_on)
    monkeypatch.setattr(targets, "os", SimpleNamespace(name="nt"))
    with pytest.raises(OutputError, match="path of more than 197 letters") if is_refused else nullcontext():
        targets._check_length(target)
