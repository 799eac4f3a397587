"""Roads from vector files: every common format, tunnels left out, bad files named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from shapely import LineString, MultiLineString, Point

from roadseg.errors import SceneError
from roadseg.training.data.vector_roads import read_roads
from roadseg.training.data.widths import Widths

LINES = [LineString([(i, 0), (i, 5), (i + 1, 7)]) for i in range(4)]
HIGHWAYS = ["primary", "residential", "path", "service"]


def write(
    path: Path,
    geometries: list[Any] = LINES,
    *,
    crs: str | None = "EPSG:32633",
    kind: str = "LineString",
    named: str | None = None,
    **columns: list[Any],
) -> Path:
    fields = [
        np.array(values, dtype=object if isinstance(values[0], str | None) else None) for values in columns.values()
    ]
    options = {"layer": named} if named else {}
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array(geometries, dtype=object)),
        fields,
        list(columns),
        crs=crs,
        geometry_type=kind,
        append=path.exists(),
        **options,
    )
    return path


@pytest.mark.parametrize("name", ["r.gpkg", "r.fgb", "r.shp", "r.geojson"])
@pytest.mark.filterwarnings("ignore:.*crs.*")
def test_roads_are_read_from_any_format(tmp_path: Path, name: str) -> None:
    crs = "EPSG:4326" if name.endswith("json") else "EPSG:32633"
    found = read_roads(write(tmp_path / name, crs=crs, highway=HIGHWAYS), Widths())
    assert found.widths_m.tolist() == [9, 7, 4] if not name.endswith("fgb") else sorted(found.widths_m) == [4, 7, 9]
    assert found.crs == crs
    assert "1 path" in found.notes[0]
    assert found.notes[0].startswith(name)


def test_geoparquet_is_read_with_its_crs(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({"geometry": shapely.to_wkb(np.array(LINES, dtype=object)).tolist(), "highway": HIGHWAYS})
    for crs, expected in (({}, "OGC:CRS84"), ({"crs": None}, None), ({"crs": {"id": 7}}, '{"id": 7}')):
        geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB", **crs}}}
        path = tmp_path / "r.parquet"
        parquet.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path)
        found = read_roads(path, Widths())
        assert (found.crs, found.widths_m.tolist()) == (expected, [9, 7, 4])
    parquet.write_table(table.replace_schema_metadata(None), path)
    with pytest.raises(SceneError, match="cannot be read as GeoParquet"):
        read_roads(path, Widths())


@pytest.mark.parametrize(
    "columns",
    [
        {"tunnel": ["yes", None, "no", ""]},
        {"tunnel": ["T", "F", "F", "F"]},
        {"layer": ["-1", "0", None, "1"]},
        {"layer": [-2, 0, 0, 1]},
        {"other_tags": ['"lanes"=>"2","tunnel"=>"building_passage"', None, '"tunnel"=>"no"', '"bridge"=>"yes"']},
        {"other_tags": ['"layer"=>"-1"', '"layer"=>"1"', None, None]},
        {"covered": ["yes", "no", None, None]},
    ],
)
def test_what_cannot_be_seen_from_above_is_left_out(tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    found = read_roads(write(tmp_path / "r.gpkg", **columns), Widths(given_m=7))
    assert [g.coords[0][0] for g in found.geometries] == [1, 2, 3]
    assert "1 road in tunnels" in found.notes[0]


def test_the_width_comes_from_the_attribute_named(tmp_path: Path) -> None:
    path = write(tmp_path / "r.gpkg", width=["6 m", "7.5", None, "20 ft"], highway=["road"] * 4)
    assert read_roads(path, Widths(attribute="width")).widths_m == pytest.approx([6, 7.5, 6, 6.096])
    with pytest.raises(SceneError, match="no attribute breite"):
        read_roads(path, Widths(attribute="breite"))


def test_several_parts_areas_and_heights(tmp_path: Path) -> None:
    shapes = [MultiLineString([[(0, 0, 3), (1, 1, 4)], [(2, 2, 5), (3, 3, 6)]]), shapely.box(0, 0, 5, 5)]
    found = read_roads(write(tmp_path / "r.gpkg", shapes, kind="Unknown"), Widths(given_m=7))
    assert found.widths_m.tolist() == [7, 0]
    assert not shapely.has_z(found.geometries).any()


def test_only_what_is_near_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "r.gpkg")
    asked: list[str | None] = []

    def within(crs: str | None) -> tuple[float, float, float, float]:
        asked.append(crs)
        return 2.5, 0, 9, 9

    assert len(read_roads(path, Widths(given_m=7), within=within).geometries) == 2
    assert asked == ["EPSG:32633"]
    far = read_roads(path, Widths(given_m=7), within=lambda _: (100, 100, 101, 101))
    assert (len(far.geometries), far.bounds) == (0, (0.0, 0.0, 4.0, 7.0))


def test_one_layer_is_read_and_of_several_the_named_one(tmp_path: Path) -> None:
    path = write(tmp_path / "two.gpkg", named="north")
    write(path, named="south")
    with pytest.raises(SceneError, match=r"several layers \(north, south\); choose with --label-layer"):
        read_roads(path, Widths(given_m=7))
    assert len(read_roads(path, Widths(given_m=7), layer="south").geometries) == 4
    with pytest.raises(SceneError, match=r"has no layer zz; it has north, south$"):
        read_roads(path, Widths(given_m=7), layer="zz")
    write(path, LINES[:1], named="lines")
    assert len(read_roads(path, Widths(given_m=7)).geometries) == 1


@pytest.mark.filterwarnings("ignore:.*crs.*")
def test_bad_files_are_named(tmp_path: Path) -> None:
    points = write(tmp_path / "points.gpkg", [Point(1, 2)], kind="Point")
    (tmp_path / "text.gpkg").write_text("no vectors", "utf-8")
    paths = write(tmp_path / "paths.gpkg", highway=["path"] * 4)
    for path, message in [
        (points, "holds no lines and no areas"),
        (tmp_path / "text.gpkg", "cannot be read as a vector file"),
        (tmp_path / "gone.gpkg", "does not exist"),
        (paths, "holds no roads: left out.*4 path"),
        (write(tmp_path / "hidden.gpkg", tunnel=["yes"] * 4), "neither lines nor areas in sight"),
    ]:
        with pytest.raises(SceneError, match=message):
            read_roads(path, Widths())
    assert read_roads(write(tmp_path / "bare.fgb", crs=None), Widths(given_m=7)).crs is None


def test_roads_that_osmnx_has_merged_have_the_first_of_their_classes(tmp_path: Path) -> None:
    listed = [["service", "residential"], "residential", "['primary', 'path']", "residential;service"]
    features = [
        {"type": "Feature", "properties": {"highway": highway}, "geometry": shapely.geometry.mapping(line)}
        for line, highway in zip(LINES, listed, strict=True)
    ]
    (tmp_path / "r.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
    assert read_roads(tmp_path / "r.geojson", Widths()).widths_m.tolist() == [4, 7, 9, 7]


def test_the_lines_of_collections_are_roads(tmp_path: Path) -> None:
    clipped = [shapely.GeometryCollection([Point(0, 0), LINES[0]]), LINES[1], shapely.GeometryCollection([Point(0, 0)])]
    found = read_roads(write(tmp_path / "r.gpkg", clipped, kind="Unknown", highway=["primary"] * 3), Widths())
    assert found.geometries.tolist() == [MultiLineString([LINES[0]]), LINES[1]]


def test_metres_without_a_crs_in_geojson_are_no_degrees_wherever_one_looks(tmp_path: Path) -> None:
    (tmp_path / "r.geojson").write_text(
        json.dumps(shapely.geometry.mapping(LineString([(171500, 902500), (1, 2)]))), "utf-8"
    )
    with pytest.raises(SceneError, match="are no degrees"):
        read_roads(tmp_path / "r.geojson", Widths(given_m=7), within=lambda _: (10, 10, 11, 11))
