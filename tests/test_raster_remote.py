"""Scenes on a server: read in ranges, named when something is wrong there, and never waited for without end."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from commands import roadseg, start_roadseg
from rasterio.env import get_gdal_config
from worlds import NORTH_UP, picture, write_raster

from roadseg.errors import SceneError
from roadseg.raster.files import bounded_cache
from roadseg.raster.remote import is_remote, remote_sizes, server_options
from roadseg.raster.scene import Scene
from roadseg.raster.scene_settings import SceneSettings
from roadseg.windows import Window

RPC_NUMBERS = [f"{name}_{kind}" for kind in ("OFF", "SCALE") for name in ("LINE", "SAMP", "LAT", "LONG", "HEIGHT")]
RPC_POLYNOMIALS = ("LINE_NUM", "LINE_DEN", "SAMP_NUM", "SAMP_DEN")


@dataclass(frozen=True)
class Shop:
    """A server of files: its address, and the folder it serves."""

    url: str
    folder: Path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Start a server in a process of its own: GDAL keeps Python's threads waiting while it opens a raster."""
    folder = tmp_path_factory.mktemp("shop")
    write_raster(folder / "scene.tif", picture(300, 400).astype(np.uint8), transform=NORTH_UP)
    command = [sys.executable, Path(__file__).with_name("file_server.py"), folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield Shop(f"http://127.0.0.1:{process.stdout.readline().strip()}", folder)
        process.terminate()


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize("name", ["s3://well/scene.tif", "/vsis3/well/scene.tif"])
def test_the_s3_server_is_the_one_that_other_tools_ask(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, variable: str, name: str
) -> None:
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv(variable, f"{shop.url}/")
    with Scene(name, SceneSettings()) as scene, bounded_cache():
        assert scene.read(Window(5, 7, 20, 30)).valid.all()
    monkeypatch.setenv("AWS_S3_ENDPOINT", "127.0.0.1:9")
    assert "AWS_S3_ENDPOINT" not in server_options()


@pytest.mark.parametrize("manner", ["well", "moved"])
def test_a_scene_on_a_server_is_that_of_the_file(shop: Shop, manner: str) -> None:
    path = shop.folder / "scene.tif"
    with (
        bounded_cache(),
        Scene(f"{shop.url}/{manner}/scene.tif", SceneSettings()) as scene,
        Scene(str(path), SceneSettings()) as there,
    ):
        window = Window(5, 7, 200, 300)
        np.testing.assert_array_equal(scene.read(window).values, there.read(window).values)
        assert list(scene.remote_sizes().values()) == [path.stat().st_size]
        assert there.remote_sizes() == {}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("well/none.tif", r"404.*; check address, connection and credentials$"),
        ("secret/scene.tif", r"403.*; check address, connection and credentials$"),
        ("whole/scene.tif", r"Range downloading not supported.*; download it first$"),
        ("well/cut.tif", r"TIFF.*; check the connection, and whether the file there is complete$"),
    ],
)
def test_what_is_wrong_with_a_server_is_named_with_the_cure(shop: Shop, path: str, message: str) -> None:
    (shop.folder / "cut.tif").write_bytes((shop.folder / "scene.tif").read_bytes()[:300])
    with pytest.raises(SceneError, match=message), bounded_cache():
        Scene(f"{shop.url}/{path}", SceneSettings())


def test_opening_a_scene_asks_only_for_files_beside_it_that_change_pixels(shop: Shop) -> None:
    shutil.copy(shop.folder / "scene.tif", shop.folder / "alone.tif")
    with bounded_cache(), Scene(f"{shop.url}/well/alone.tif", SceneSettings()) as scene:
        scene.read(Window(0, 0, 300, 400))
        scene.remote_sizes()
    asked = [line for line in (shop.folder / "requests").read_text("utf-8").splitlines() if "/alone" in line]
    beside = {line.rpartition("/")[2] for line in asked if line.startswith("HEAD")} - {"alone.tif"}
    beside.discard("alone.tif.vat.dbf")  # names of classes, which GDAL looks for from 3.11 on
    assert beside == {f"alone.tif{suffix}" for suffix in (".aux.xml", ".msk", ".MSK", ".ovr", ".OVR")}
    assert len(asked) <= 10


def test_a_mask_beside_a_scene_on_a_server_counts(shop: Shop) -> None:
    path = shop.folder / "masked.tif"
    shutil.copy(shop.folder / "scene.tif", path)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(np.tri(300, 400, dtype=bool))
    with bounded_cache(), Scene(f"{shop.url}/well/masked.tif", SceneSettings()) as scene:
        np.testing.assert_array_equal(scene.read(Window(0, 0, 300, 400)).valid, np.tri(300, 400, dtype=bool))


def test_metadata_of_a_satellite_beside_a_scene_without_georeference_count(shop: Shop) -> None:
    write_raster(shop.folder / "raw.tif", picture(40, 30).astype(np.uint8), transform=Affine.identity())
    terms = [f"{name}: 1" for name in RPC_NUMBERS]
    terms += [f"{name}_COEFF_{n}: 1" for name in RPC_POLYNOMIALS for n in range(1, 21)]
    (shop.folder / "raw_RPC.TXT").write_text("\n".join(terms) + "\n", "utf-8")
    with pytest.raises(SceneError, match="no geotransform; rectify it first"), bounded_cache():
        Scene(f"{shop.url}/well/raw.tif", SceneSettings())


def test_a_connection_that_breaks_is_no_damaged_file(shop: Shop) -> None:
    with bounded_cache(), Scene(f"{shop.url}/short/scene.tif", SceneSettings()) as scene:
        message = r"cannot be read at row 0, column 0 .*; the connection broke, or the file is damaged$"
        with pytest.raises(SceneError, match=message):
            scene.read(Window(0, 0, 300, 400))


def test_gdal_is_told_to_give_a_server_up_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_CONNECTTIMEOUT", "5")
    with bounded_cache():
        assert get_gdal_config("GDAL_HTTP_LOW_SPEED_TIME") == 30
        assert get_gdal_config("GDAL_HTTP_CONNECTTIMEOUT") == 5


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("https://host/a.tif", True),
        ("zip+https://host/a.zip!a.tif", True),
        ("/vsicurl/https://host/a.tif", True),
        ("/vsizip//vsis3/bucket/a.zip/a.tif", True),
        ("/vsizip/a.zip/a.tif", False),
        ("zip://a.zip!a.tif", False),
        ("file:///a.tif", False),
        ("C:/a.tif", False),
        ("/data/vsicurl.tif", False),
    ],
)
def test_remote_rasters_are_told_by_their_names(path: str, remote: bool) -> None:
    assert is_remote(path) is remote


def test_sizes_of_what_cannot_be_opened_are_left_out() -> None:
    assert remote_sizes(["/vsicurl/http://127.0.0.1:9/a.tif", "local.tif"]) == {}


@pytest.mark.slow
def test_a_scene_that_is_replaced_on_its_server_is_not_resumed(shop: Shop, model_file: Path, tmp_path: Path) -> None:
    write_raster(shop.folder / "new.tif", picture(300, 400).astype(np.uint8), transform=NORTH_UP)
    command = ["predict", f"{shop.url}/well/new.tif", "-o", "roads.tif", "--model", model_file, "--block", "224"]
    command += ["--overlap", "16", "--device", "cpu"]
    assert roadseg(*command, "--part", "1/2", cwd=tmp_path).returncode == 0
    write_raster(shop.folder / "new.tif", picture(300, 400).astype(np.uint8), transform=NORTH_UP, compress="deflate")
    again = roadseg(*command, cwd=tmp_path)
    assert again.returncode == 1
    assert "scene size on the server" in again.stderr
    assert not (tmp_path / "roads.tif").exists()


def test_passwords_and_signatures_of_addresses_are_neither_written_nor_printed(
    shop: Shop, tmp_path: Path, model_file: Path
) -> None:
    address = f"{shop.url.replace('//', '//me:pass@')}/well/scene.tif?id=3&X-Amz-Signature=f00&sig=b%2Fa"
    said = roadseg("predict", address, "-o", "roads.tif", "--model", model_file, "--device", "cpu", cwd=tmp_path)
    shown = f"{shop.url.replace('//', '//***@')}/well/scene.tif?id=3&X-Amz-Signature=***&sig=***"
    with rasterio.open(tmp_path / "roads.tif") as file:
        assert file.tags()["ROADSEG_SCENE"] == shown
        assert file.tags()["ROADSEG_COMMAND"].startswith(f"roadseg predict '{shown}' -o roads.tif")
    assert f"{shown}: 400 × 300 px" in said.stderr
    failed = roadseg("info", address.replace("scene.tif", "none.tif"), cwd=tmp_path)
    assert f"{shown.replace('scene.tif', 'none.tif')} is not a raster" in failed.stderr
    shutil.copy(shop.folder / "scene.tif", shop.folder / "twin.tif")
    two = f"{address}\n{address.replace('scene', 'twin')}\n"
    (tmp_path / "list.txt").write_text(two, "utf-8")
    listed = ["predict", "--scenes", "list.txt", "-o", "many/", "--model", model_file, "--device", "cpu"]
    assert "2 of 2 scenes done\n" in roadseg(*listed, cwd=tmp_path).stderr
    (tmp_path / "list.txt").write_text(two.replace("f00", "f01"), "utf-8")
    assert "2 of 2 scenes done, 2 of them before" in roadseg(*listed, cwd=tmp_path).stderr


@pytest.mark.parametrize("manner", ["silent", "mute"])
def test_a_command_that_waits_for_a_server_ends_when_it_is_interrupted_twice(
    shop: Shop, tmp_path: Path, manner: str
) -> None:
    write_raster(shop.folder / "roads.tif", (picture(300, 400)[:1] > 128).astype(np.uint8), transform=NORTH_UP)
    with start_roadseg(tmp_path, "vectorize", f"{shop.url}/{manner}/roads.tif", "-o", "roads.gpkg") as process:
        assert process.stderr
        while not (shop.folder / manner).exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "\n"
        assert "press Ctrl-C again to stop at once" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert process.stderr.read().endswith("\nroadseg: stopped at once; the same command begins again or resumes\n")
    assert not (tmp_path / "roads.gpkg").exists()
