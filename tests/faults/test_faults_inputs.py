"""Damaged inputs, one of each sort that once ended in a traceback: a sentence, exit 1, and nothing is written."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pyogrio
import pytest
from campaign import states_in
from inputs import PREDICT
from preloaded import Preloaded
from test_faults_kill import fresh

OPEN_RING = bytes.fromhex("010300000001000000") + b"\x04\0\0\0" + np.arange(8.0).tobytes()
"""A polygon whose last point is not its first, as well-known binary."""

EVALUATE, SHAPEFILE = "evaluate roads.gpkg truth.gpkg -q", "evaluate roads.shp truth.gpkg -q"
COMPARE = "compare truth.gpkg roads.gpkg -o o.gpkg -q"
AOI = " ".join(["predict scene.tif --model m.safetensors --aoi roads.gpkg -o o.tif", *PREDICT])
LABELS = "train --images scene.tif --labels roads.gpkg --road-width 6 --cache o.masks -o o --check -q"
VECTORIZE = "vectorize roads.vrt -o o.gpkg -q"
SCENE = " ".join(["predict scene.vrt --model m.safetensors -o o.tif --grid model", *PREDICT])
INFO = "info roads.vrt"


def layer_of(*shapes: bytes) -> None:
    """Write a GeoPackage with one layer of lines or polygons."""
    Path("roads.gpkg").unlink()
    kind = "Polygon" if shapes[0][1] == 3 else "LineString"
    pyogrio.raw.write(
        "roads.gpkg", np.array(shapes, dtype=object), [], [], geometry_type=kind, crs="EPSG:26986", layer="roads"
    )


def line_to(x: float) -> Callable[[], None]:
    """Return what writes a line to a place."""
    return partial(layer_of, b"\1\2\0\0\0\2\0\0\0" + np.array([0, 0, x, 5], dtype="<f8").tobytes())


def area_to(x: float) -> Callable[[], None]:
    """Return what writes a triangle to a place."""
    corners = np.array([[0, 0], [x, 5], [9, 9], [0, 0]], dtype="<f8")
    return partial(layer_of, b"\1\3\0\0\0\1\0\0\0\4\0\0\0" + corners.tobytes())


def change(*statements: str) -> None:
    """Change rows of the GeoPackage."""
    with closing(sqlite3.connect("roads.gpkg")) as base, base:
        for (trigger,) in base.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            base.execute(f'drop trigger "{trigger}"')
        for statement in statements:
            base.execute(statement)


CUT = partial(change, "update roads set geom = substr(geom, 1, 60)")
LATIN_1 = partial(
    change, "alter table roads add column highway text", "update roads set highway = cast(x'53e3b86fff' as text)"
)
LOCAL = 'LOCAL_CS["nowhere",UNIT["m",1]]'
NO_CRS = partial(change, "update gpkg_spatial_ref_sys set definition = 'PROJCS[', organization = 'x' where srs_id > 9")
LOCAL_CRS = partial(
    change, f"update gpkg_spatial_ref_sys set definition = '{LOCAL}', organization = 'x' where srs_id > 9"
)


def part(end: str, data: bytes) -> Callable[[], object]:
    """Return what replaces a part of the shapefile."""
    return lambda: Path(f"roads.{end}").write_bytes(data)


def mosaic(old: str, new: bytes) -> Callable[[], None]:
    """Return what replaces a text in the mosaics, up to the next tag."""

    def replace() -> None:
        for path in (Path("roads.vrt"), Path("scene.vrt")):
            data = path.read_bytes()
            start = data.index(old.encode()) + len(old)
            path.write_bytes(data[:start] + new + data[data.index(b"<", start) :])

    return replace


TRANSFORM = "<GeoTransform>"


@pytest.mark.parametrize(
    ("damage", "command", "words"),
    [
        pytest.param(partial(layer_of, OPEN_RING), EVALUATE, "do not form a closed linestring", id="open ring"),
        pytest.param(partial(layer_of, OPEN_RING), AOI, "do not form a closed linestring", id="open ring of an area"),
        pytest.param(CUT, EVALUATE, "holds no lines; give", id="geometries cut"),
        pytest.param(CUT, LABELS, "Unable to read geometry", id="geometries of labels cut"),
        pytest.param(LATIN_1, COMPARE, "'utf-8' codec can't decode", id="Latin-1"),
        pytest.param(LATIN_1, LABELS, "'utf-8' codec can't decode", id="Latin-1 in labels"),
        pytest.param(NO_CRS, EVALUATE, "has no CRS and its partner has one", id="a CRS that is none"),
        pytest.param(NO_CRS, COMPARE, "has no CRS and the other file has one", id="a map's CRS that is none"),
        pytest.param(NO_CRS, LABELS, "the labels have no CRS", id="the labels' CRS is none"),
        pytest.param(LOCAL_CRS, EVALUATE, "choose another CRS", id="a CRS that lies nowhere"),
        pytest.param(LOCAL_CRS, COMPARE, "choose another CRS", id="a map's CRS lies nowhere"),
        pytest.param(LOCAL_CRS, LABELS, "check both", id="the labels' CRS lies nowhere"),
        pytest.param(line_to(1e300), EVALUATE, "lies nowhere on Earth", id="far away"),
        pytest.param(line_to(9e8), EVALUATE, "spans 900,000 km, more than the Earth", id="wider than the Earth"),
        pytest.param(line_to(np.nan), EVALUATE, "is not a finite number", id="not a number"),
        pytest.param(line_to(np.nan), COMPARE, "is not a finite number", id="not a number in the map"),
        pytest.param(area_to(1e300), AOI, "lies nowhere on Earth", id="an area far away"),
        pytest.param(area_to(np.nan), AOI, "is not a finite number", id="an area that is not a number"),
        pytest.param(part("prj", b"PROJCS["), SHAPEFILE, "roads.shp", id=".prj cut"),
        pytest.param(part("prj", b"+proj=nonsense"), SHAPEFILE, "roads.shp", id=".prj of nonsense"),
        pytest.param(part("prj", b"\xff\xfe" * 40), SHAPEFILE, "roads.shp", id=".prj of bytes"),
        pytest.param(part("shp", b"\0\0\x27\x0a" + b"\xff" * 300), SHAPEFILE, "roads.shp", id=".shp"),
        *[
            pytest.param(mosaic(TRANSFORM, numbers), command, words, id=f"{numbers.decode()} {command[:9]}")
            for numbers, words in (
                (b"nan, 1, 0, 0, 0, -1", "holds a number that is not finite"),
                (b"0, inf, 0, 0, 0, -1", "holds a number that is not finite"),
                (b"0, 0, 0, 0, 0, 0", "gives its pixels no area"),
                (b"0, 1, 0, 0, 1, 0", "gives its pixels no area"),
            )
            for command in (VECTORIZE, SCENE, INFO)
        ],
    ],
)  # fmt: skip
def test_a_damaged_input_is_one_sentence(
    damage: Callable[[], object],
    command: str,
    words: str,
    inputs: Path,
    tmp_path: Path,
    preloaded: Preloaded,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(fresh(inputs, tmp_path / "case"))
    damage()
    before = states_in(Path())
    outcome = preloaded.run(command.split(), Path.cwd())
    assert outcome.status == 1, outcome.stderr
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("roadseg: error: ")
    assert words in line
    assert states_in(Path()) == before
