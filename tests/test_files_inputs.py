"""Names of input files, and folders for outputs."""

from pathlib import Path, PureWindowsPath

import pytest

from roadseg.errors import OutputError, SceneError
from roadseg.files.inputs import find_files, unique_stems
from roadseg.files.targets import GEOTIFF, check_extension, output_folders
from roadseg.roads.files.write import SUFFIXES


def test_patterns_are_expanded_in_order_and_names_stay(tmp_path):
    for name in ("b.tif", "a.tif", "odd[1].tif"):
        (tmp_path / name).touch()
    assert find_files([f"{tmp_path}/?.tif", "x.tif"]) == [f"{tmp_path}/a.tif", f"{tmp_path}/b.tif", "x.tif"]
    assert find_files([f"{tmp_path}/odd[1].tif"]) == [f"{tmp_path}/odd[1].tif"]
    assert find_files(["https://host/a?b=*"]) == ["https://host/a?b=*"]
    with pytest.raises(SceneError, match="nothing matches the pattern"):
        find_files([f"{tmp_path}/*.jp2"])
    with pytest.raises(SceneError, match="no scene was named"):
        find_files([])


def test_folders_are_made_or_it_is_said_why_not(tmp_path):
    with output_folders([tmp_path / "new" / "deep", tmp_path]):
        (tmp_path / "new" / "deep" / "kept").touch()
    assert (tmp_path / "new" / "deep" / "kept").exists()
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match=r"cannot create the folder .*file .it is a file"),
        output_folders([tmp_path / "first", tmp_path / "file"]),
    ):
        pass
    assert not (tmp_path / "first").exists()


def test_stems_are_names_without_folder_ending_and_query():
    assert unique_stems(["x/a.jp2", "https://host/b.tif?token=1"]) == ["a", "b"]
    with pytest.raises(SceneError, match=r"outputs of x/a.tif and y/a.jp2 would have the same name; rename"):
        unique_stems(["x/a.tif", "y/a.jp2"])
    with pytest.raises(SceneError, match=r"^x/a.tif is named twice; name it once$"):
        unique_stems(["x/a.tif", "y/b.tif", "x/a.tif"])


def test_stems_of_windows_paths(monkeypatch):
    monkeypatch.setattr("roadseg.files.inputs.Path", PureWindowsPath)
    names = [
        r"C:\data\a.tif",
        "D:/more data/b.tif",
        r"..\c.v2.tif",
        "https://host/d.tif?token=1",
        "/vsizip/C:/a.zip/e.tif",
    ]
    assert unique_stems(names) == ["a", "b", "c.v2", "d", "e"]


def test_an_extension_of_another_format_is_refused():
    for name in ("a.tif", "a.TIFF", "a", "a.roads", "v1.2"):
        check_extension(Path(name), GEOTIFF)
    for name in ("a.png", "a.JPG", "a.vrt", "a.tif.gz", "a.pt", *(f"a{ending}" for ending in SUFFIXES)):
        with pytest.raises(OutputError, match=f"{name} would hold another format than its name says; .* .tif"):
            check_extension(Path(name), GEOTIFF)
