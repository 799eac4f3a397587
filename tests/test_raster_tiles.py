"""The network of many tiles is that of their mosaic."""

import shutil
import subprocess
from dataclasses import fields

import numpy as np
import pytest
import rasterio
from affine import Affine
from road_rasters import UTM_NORTH_UP, draw_t, sorted_lengths, write_levels
from worlds import ROTATED, names_in

from roadseg.errors import SceneError
from roadseg.raster.probability import open_probability
from roadseg.raster.tiles import join_tiles
from roadseg.vectorize import vectorize

CUTS = [(0, 0, 70, 100), (0, 100, 70, 110), (70, 0, 80, 100), (70, 100, 80, 110)]
"""Row, column, height and width of four tiles whose borders cross both roads of the T."""


def cut(folder, levels, transform=UTM_NORTH_UP, cuts=CUTS, **options):
    """Write tiles of a picture, the last one first."""
    paths = []
    for index, (row, col, height, width) in enumerate(cuts):
        here = transform @ Affine.translation(col, row)
        tile = levels[row : row + height, col : col + width]
        paths.append(str(write_levels(folder / f"tile {index} & ü.tif", tile, transform=here, **options)))
    return paths[::-1]


@pytest.mark.parametrize("transform", [UTM_NORTH_UP, ROTATED])
@pytest.mark.parametrize(
    ("levels", "options"),
    [
        (draw_t(), {}),
        ((draw_t() > 0).astype(np.uint8), {"scale": None}),
        ((draw_t() > 0).astype(np.uint8), {"scale": None, "nodata": None}),
        ((draw_t() > 0).astype(np.int64), {"scale": None}),
        ((draw_t() > 0).astype(np.uint64), {"scale": None, "nodata": None}),
    ],
    ids=["probability", "mask", "mask without nodata", "int64", "uint64 without nodata"],
)
def test_it_is_the_network_of_the_uncut_raster(tmp_path, transform, levels, options):
    whole = vectorize(write_levels(tmp_path / "whole.tif", levels, transform=transform, **options)).roads
    joined = vectorize(cut(tmp_path, levels, transform, **options)).roads
    assert sorted_lengths(joined) == sorted_lengths(whole)
    for field in fields(whole):
        ours, theirs = getattr(joined, field.name), getattr(whole, field.name)
        if field.name in {"nodes", "vertices"}:
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)
        elif field.name != "crs":
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.skipif(not shutil.which("gdalbuildvrt"), reason="needs gdalbuildvrt")
def test_pixels_are_those_of_a_vrt_by_gdal_in_overlaps_and_gaps_too(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (150, 210)).astype(np.uint8)
    paths = cut(tmp_path, levels, cuts=[(0, 0, 90, 100), (0, 100, 60, 110), (80, 20, 70, 100)])
    with rasterio.open(paths[0], "r+") as file:
        file.write(255 - file.read())
    subprocess.run(["gdalbuildvrt", "-q", tmp_path / "gdal.vrt", *paths], check=True)
    join_tiles(paths, tmp_path / "ours.vrt")
    with rasterio.open(tmp_path / "gdal.vrt") as theirs, rasterio.open(tmp_path / "ours.vrt") as ours:
        np.testing.assert_array_equal(ours.read(), theirs.read())
        assert (ours.transform, ours.crs, ours.nodata, ours.scales) == (theirs.transform, theirs.crs, 255, (1 / 254,))


def test_between_tiles_of_masks_nothing_is_known(tmp_path):
    mask = np.ones((150, 210), np.uint8)
    paths = cut(tmp_path, mask, cuts=CUTS[1:], scale=None, nodata=None)
    join_tiles(paths, tmp_path / "m.vrt")
    raster, _ = open_probability(tmp_path / "m.vrt")
    values = raster(raster.grid.window)
    assert (values[:70, :100] == 255).all()
    assert (values[70:] == 254).all()
    assert (values[:, 100:] == 254).all()


def test_tiles_may_mark_nodata_by_values_of_their_own(tmp_path):
    for index, nodata in enumerate((9, 255)):
        mask = np.zeros((70, 100), np.uint8)
        mask[:, 40:50], mask[30:60] = 1, nodata
        place = UTM_NORTH_UP @ Affine.translation(100 * index, 0)
        write_levels(tmp_path / f"{index}.tif", mask, transform=place, scale=None, nodata=nodata)
    join_tiles([str(tmp_path / "0.tif"), str(tmp_path / "1.tif")], tmp_path / "m.vrt")
    raster, _ = open_probability(tmp_path / "m.vrt")
    values = raster(raster.grid.window)
    np.testing.assert_array_equal(values[:, :100], values[:, 100:])
    assert (values[30:60] == 255).all()
    assert (values[:30, 40:50] == 254).all()


def test_what_tiles_store_is_kept_where_they_agree(tmp_path):
    stored = {"ROADSEG_THRESHOLD": "0.4", "ROADSEG_GSD_M": "1", "ROADSEG_COMMAND": "a"}
    paths = cut(tmp_path, draw_t(), tags=stored)
    for path, who in zip(paths, "abab", strict=True):
        with rasterio.open(path, "r+") as file:
            file.update_tags(ROADSEG_ATTRIBUTION=f"© {who}")
    assert vectorize(paths).threshold == 0.4
    join_tiles(paths, tmp_path / "m.vrt")
    with rasterio.open(tmp_path / "m.vrt") as file:
        assert file.tags()["ROADSEG_ATTRIBUTION"] == "© a; © b"
    with rasterio.open(paths[1], "r+") as file:
        file.update_tags(ROADSEG_THRESHOLD="0.6")
    with pytest.raises(SceneError, match=r"store different thresholds; give --threshold"):
        vectorize(paths)
    assert vectorize(paths, threshold=0.5).threshold == 0.5


def test_tiles_that_were_read_at_nearly_the_same_pixels_become_one_network(tmp_path):
    paths = cut(tmp_path, draw_t(), tags={"ROADSEG_GSD_M": "0.7"})
    for gsd_m, kept in (("0.71", True), ("1", False)):
        with rasterio.open(paths[1], "r+") as file:
            file.update_tags(ROADSEG_GSD_M=gsd_m)
        if kept:
            join_tiles(paths, tmp_path / "m.vrt")
            with rasterio.open(tmp_path / "m.vrt") as file:
                assert file.tags()["ROADSEG_GSD_M"] == gsd_m
    with pytest.raises(SceneError, match=r"store different ground resolutions; give --gsd"):
        vectorize(paths)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crs": "EPSG:25832"}, "another CRS than .*gdalwarp -t_srs"),
        ({"transform": UTM_NORTH_UP @ Affine.translation(0.4, 0)}, "does not lie on the pixels of .*gdalwarp -tap"),
        ({"transform": UTM_NORTH_UP @ Affine.scale(1.001)}, "does not lie on the pixels"),
        ({"transform": ROTATED}, "does not lie on the pixels"),
        ({"scale": 1 / 200}, "another data type or scale"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(tmp_path, change, message):
    good = write_levels(tmp_path / "good.tif", draw_t())
    odd = write_levels(tmp_path / "odd.tif", draw_t(), **change)
    with pytest.raises(SceneError, match=f"odd.tif .*{message}"):
        vectorize([good, odd])


def test_tiles_of_complex_numbers_are_refused(tmp_path):
    tiles = [str(write_levels(tmp_path / name, draw_t().astype(np.complex64), scale=None)) for name in ("a", "b")]
    with pytest.raises(SceneError, match=r"b holds complex64; convert it first, with gdal_translate -ot Float32"):
        vectorize(tiles)


def test_the_command_makes_one_network_or_one_for_each(say, tmp_path):
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    paths = cut(tiles, draw_t())
    said = say("vectorize", *paths, "-o", "roads.gpkg", "--json")
    assert said.status == 0, said.stderr
    assert '"roads": 3' in said.stdout
    assert "the mosaic of " in said.stderr
    assert "and 3 others: 210 × 150 px" in said.stderr
    said = say("vectorize", *paths, "-o", "networks", "--json")
    assert said.status == 0, said.stderr
    assert len(said.stdout.splitlines()) == 4
    assert len(names_in("networks")) == 4
    assert names_in() == ["networks", "roads.gpkg"]
    said = say("vectorize", *paths, "-o", paths[0], "--format", "GeoPackage", "--overwrite")
    wrong = "would hold another format than its name says; give it the extension .gpkg, or none"
    assert (said.status, said.error) == (1, f"{paths[0]} {wrong}")
    named = shutil.move(paths[0], tiles / "tile")
    said = say("vectorize", named, *paths[1:], "-o", named, "--format", "GeoPackage", "--overwrite")
    assert (said.status, said.error) == (1, f"{named} is also the input; choose another output")
