"""Rasters are found and opened in one way, and GDAL's memory is bounded while they are worked on, and only then."""

import ctypes
import threading
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.env import get_gdal_config
from scipy.io import netcdf_file
from worlds import write_raster

from roadseg.errors import OutputError, SceneError
from roadseg.files.inputs import match_stems
from roadseg.files.targets import writable_folder
from roadseg.raster.files import bounded_cache, open_input, silence_libtiff
from roadseg.raster.road_raster import RoadRaster
from roadseg.raster.scene import Scene
from roadseg.raster.scene_settings import SceneSettings


def test_the_cache_is_bounded_inside_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    before = get_gdal_config("GDAL_CACHEMAX")
    with bounded_cache():
        assert get_gdal_config("GDAL_CACHEMAX") == 128 << 20
    assert get_gdal_config("GDAL_CACHEMAX") == before


def test_what_the_user_set_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_CACHEMAX", "64")
    before = get_gdal_config("GDAL_CACHEMAX")
    with bounded_cache():
        assert get_gdal_config("GDAL_CACHEMAX") == before


@pytest.mark.parametrize("opened", [lambda path: Scene(str(path), SceneSettings()), RoadRaster])
@pytest.mark.parametrize(
    ("name", "message"),
    [("none.tif", "does not exist; check the path"), ("folder", "is a folder"), ("text.tif", "not a raster that GDAL")],
)
def test_images_and_masks_are_refused_in_the_same_words(
    tmp_path: Path, opened: Callable[[Path], object], name: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.tif").write_text("no raster", "utf-8")
    with pytest.raises(SceneError, match=message):
        opened(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "cure"),
    [
        ("a.tif", "", "it is empty, so copy or download it again"),
        ("a.geojson", "{}", "give a raster, as this looks like a vector file"),
        ("a.tif", "text", "check the file"),
    ],
)
def test_what_to_do_about_a_file_that_is_no_raster(tmp_path: Path, name: str, content: str, cure: str) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(SceneError, match=f"; {cure}$"):
        open_input(str(tmp_path / name))


@pytest.mark.parametrize(("name", "form"), [("a.ecw", "ECW"), ("a.SID", "MrSID")])
def test_formats_that_need_a_licence_are_named(tmp_path: Path, name: str, form: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(SceneError, match=f"GDAL reads {form} only with a licensed driver, so convert it"):
        open_input(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "cure"), [("a.ZIP", "/vsizip/{}/scene.tif"), ("a.tar.gz", "/vsitar/{}/scene.tif"), ("a.gz", "/vsigzip/{}")]
)
def test_the_name_of_a_raster_in_an_archive_is_shown(tmp_path: Path, name: str, cure: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"anything")
    with pytest.raises(SceneError, match=f"name the raster in it, for example {cure.format(path)}$"):
        open_input(str(path))


def test_a_file_of_several_rasters_names_one(tmp_path: Path) -> None:
    path = tmp_path / "two.nc"
    with netcdf_file(path, "w") as file:
        for name, size in (("y", 4), ("x", 5)):
            file.createDimension(name, size)
        for name in ("first", "second"):
            file.createVariable(name, "i2", ("y", "x"))[:] = 0
    with pytest.raises(SceneError, match=r'holds no raster band; .*, for example netcdf:.*two\.nc"?:first$'):
        open_input(str(path))


@pytest.mark.parametrize(("retries", "requests"), [(None, 4), ("1", 2)])
def test_a_server_that_is_busy_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, retries: str | None, requests: int
) -> None:
    asked = list[str]()

    class Busy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(503)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    if retries:
        monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", retries)
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(SceneError, match="not a raster"), bounded_cache():
            open_input(f"/vsicurl_streaming/http://127.0.0.1:{server.server_port}/a.tif")
        server.shutdown()
    assert len(asked) == requests


def test_files_are_matched_by_stem_whatever_their_ending(tmp_path: Path) -> None:
    for name in ("a/one.tif", "a/two.TIF", "a/left.png", "b/one.png", "b/two.vrt", "b/right.tif", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = match_stems(tmp_path / "a", tmp_path / "b")
    assert {stem: [path.name for path in pair] for stem, pair in found.pairs.items()} == {
        "one": ["one.tif", "one.png"],
        "two": ["two.TIF", "two.vrt"],
    }
    assert found.alone == (["left"], ["right"])


def test_two_files_of_one_stem_are_refused(tmp_path: Path) -> None:
    for name in ("a.tif", "a.png"):
        (tmp_path / name).touch()
    with pytest.raises(SceneError, match=r"holds a\.png and a\.tif; keep one"):
        match_stems(tmp_path, tmp_path)


def test_only_folders_that_were_made_and_stay_empty_are_removed(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for folder in (there, there / "new", there / "new" / "newer"):
        with writable_folder(folder, "choose another"):
            assert list(folder.iterdir()) == []
        assert list(tmp_path.rglob("*")) == [there]
    with writable_folder(there / "new" / "newer", "choose another"):
        (there / "new" / "kept").touch()
    assert sorted(tmp_path.rglob("*")) == [there, there / "new", there / "new" / "kept"]


def test_a_folder_in_which_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "new"):
        with (
            pytest.raises(OutputError, match=r"file.* \(.*\); choose another"),
            writable_folder(place, "choose another"),
        ):
            pass


def test_a_raster_in_an_archive_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_raster(tmp_path / "a.tif", np.zeros((1, 4, 5), np.uint8))
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(tmp_path / "a.tif", "in/a.tif")
    monkeypatch.chdir(tmp_path)
    for name in ("zip://z.zip!in/a.tif", f"zip://{tmp_path}/z.zip!in/a.tif", "zip://z.zip!/in/a.tif"):
        with open_input(name) as file:
            assert file.shape == (4, 5)
    with pytest.raises(SceneError, match="the name of a raster is empty"):
        open_input("")


def test_the_error_handler_of_gdal_stays() -> None:
    """GDAL 3.9 learns by it of damaged tiles; newer versions leave libtiff its own, which prints."""
    library = ctypes.CDLL(rasterio._base.__file__)
    try:
        library.TIFFSetErrorHandler.restype, library.TIFFSetErrorHandler.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    except AttributeError:
        pytest.skip("GDAL holds a libtiff of its own inside")
    of_gdal = ctypes.cast(library.GDALOpen, ctypes.c_void_p).value
    before = library.TIFFSetErrorHandler(of_gdal)
    try:
        silence_libtiff.__wrapped__()
        assert library.TIFFSetErrorHandler(ctypes.cast(library.TIFFOpen, ctypes.c_void_p)) == of_gdal
        silence_libtiff.__wrapped__()
        assert library.TIFFSetErrorHandler(None) is None
    finally:
        library.TIFFSetErrorHandler(before)
