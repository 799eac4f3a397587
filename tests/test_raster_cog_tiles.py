"""COGs joined from the tiles of blocks are those that GDAL makes of the same blocks."""

import errno
import io
import itertools
import os
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from engines import Identity, model_of
from worlds import METRES, ROTATED, names_in, picture, write_raster

from roadseg.errors import OutputError
from roadseg.predict import predict
from roadseg.prediction import outputs
from roadseg.raster import cog_tiles, tiff
from roadseg.raster.cog import write_cog
from roadseg.raster.cog_tiles import fits_tiles, join_blocks, overview_count
from roadseg.raster.encoding import MASK, NODATA, probability_product
from roadseg.raster.grid import Grid
from roadseg.raster.partial import Partial
from roadseg.windows import Window, square_windows

WKT = rasterio.crs.CRS.from_user_input(METRES).to_wkt()
PROBABILITY = replace(probability_product("uint8"), as_tiles=True)
TILED_MASK = replace(MASK, as_tiles=True)
TAGS = {"ROADSEG_COMMAND": "roadseg predict 'a & b <c>.tif'"}


def noise(shape, product, *, holes, seed=0):
    """Draw values that average to halves, with nodata here and there and a corner of nothing else."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2 if product.colours else 9, shape, dtype=np.uint8)
    if holes:
        values[rng.random(shape) < 0.3] = NODATA
        values[: shape[0] // 2, : shape[1] // 3] = NODATA
    return values


def stored(folder, height, width, product, *, holes=False):
    """Store the blocks of a raster; return where, its blocks and its grid."""
    partial, grid = Partial(folder / "roads.tif", {}), Grid(WKT, ROTATED, height, width)
    blocks = list(square_windows(grid.window, 2048))
    values = noise((height, width), product, holes=holes)
    for block in blocks:
        partial.put(product, block, values[block.slices()], {"ROAD": 3})
    return partial, blocks, grid


def joined(partial, blocks, grid, product):
    target = partial.folder / "joined.cog.tif"
    assert join_blocks(target, product, partial.files(product, blocks), grid, grid.window, TAGS)
    return target


def by_gdal(partial, blocks, grid, product):
    """Return what GDAL makes of the same pixels, in blocks without overviews."""
    plain, target = Partial(partial.folder.parent / "plain.tif", {}), partial.folder / "gdal.cog.tif"
    for block in blocks:
        plain.put(replace(product, as_tiles=False), block, partial.read(product, block).values, {})
    write_cog(plain.mosaic(product, blocks, grid, grid.window, TAGS), target, overviews=product.resampling)
    return target


def facts(path):
    """Return all that a file says of itself."""
    with rasterio.open(path) as file:
        tags = [file.tags(), file.tags(1), file.tags(ns="IMAGE_STRUCTURE"), file.tags(1, ns="IMAGE_STRUCTURE")]
        if not file.overviews(1):
            tags[2].pop("OVERVIEW_RESAMPLING", None)  # of overviews that there are not, GDAL before 3.12 says it, too
        colours = file.colormap(1) if file.colorinterp[0].name == "palette" else None
        shown = [file.scales, file.offsets, file.descriptions, file.colorinterp, file.overviews(1), colours]
        return [str(file.profile), tags, shown, file.mask_flag_enums]


def levels(path):
    """Return the pixels of the full resolution and of all overviews."""
    with rasterio.open(path) as file:
        found, count = [file.read(1)], len(file.overviews(1))
    for level in range(count):
        with rasterio.open(path, overview_level=level) as file:
            found.append(file.read(1))
    return found


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize(
    ("height", "width", "product"),
    [
        (2060, 2500, PROBABILITY),  # sizes that overviews from 8 on do not divide
        (2052, 4, PROBABILITY),
        (902, 1000, TILED_MASK),
        (2064, 2080, TILED_MASK),
        (301, 511, PROBABILITY),
    ],
)
def test_pixels_overviews_and_tags_are_those_of_gdal(tmp_path, height, width, product, holes):
    world = stored(tmp_path, height, width, product, holes=holes)
    assert fits_tiles(product, world[2].window, world[1])
    made, expected = joined(*world, product), by_gdal(*world, product)
    assert facts(made) == facts(expected)
    ours, theirs = levels(made), levels(expected)
    assert len(ours) == len(theirs) == 1 + overview_count(height, width)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not list(world[0].folder.glob("*_reduced*")) + list(world[0].folder.glob("*_empty*"))


def halved(values, product):
    """Return the overview that is half as large: a pixel of 2 × 2 each, the last odd row and column left out."""
    parts = np.stack(
        [values[row::2, col::2][: len(values) // 2, : values.shape[1] // 2] for row, col in np.ndindex(2, 2)]
    )
    if product is TILED_MASK:
        return parts[0]
    known = parts != NODATA
    mean = np.floor(np.where(known, parts, 0).sum(axis=0) / known.sum(axis=0).clip(1) + 0.5)
    return np.where(known.any(axis=0), mean, NODATA).astype(np.uint8)


@pytest.mark.parametrize("product", [PROBABILITY, TILED_MASK], ids=lambda product: product.name)
@pytest.mark.parametrize(
    ("height", "width"), [(2049, 2500), (4099, 2051), (601, 1023), (2303, 517), (1500, 1501), (300, 299), (2050, 4)]
)
def test_sizes_that_two_does_not_divide(tmp_path, height, width, product):
    """Blocks at the borders may be a pixel high, and then have no part in overviews."""
    world = stored(tmp_path, height, width, product, holes=True)
    assert fits_tiles(product, world[2].window, world[1])
    made, expected = joined(*world, product), by_gdal(*world, product)
    assert facts(made) == facts(expected)
    ours, theirs = levels(made), levels(expected)
    assert [one.shape for one in ours] == [one.shape for one in theirs]
    np.testing.assert_array_equal(ours[0], theirs[0])
    for finer, coarser in itertools.pairwise(ours[:3]):
        np.testing.assert_array_equal(coarser, halved(finer, product))
    if len(ours) > 3:
        reduced = write_raster(tmp_path / "reduced.tif", ours[2][None], nodata=NODATA)
        write_cog(reduced, tmp_path / "smaller.tif", overviews=product.resampling)
        for one, other in zip(ours[2:], levels(tmp_path / "smaller.tif"), strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_structure_is_that_of_a_cog(tmp_path):
    world = stored(tmp_path, 1300, 2500, PROBABILITY, holes=True)
    made = joined(*world, PROBABILITY)
    data = made.read_bytes()
    with rasterio.open(made) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    structure, directories = tiff.read_directories(io.BytesIO(data))
    assert b"BLOCK_LEADER=SIZE_AS_UINT4\nBLOCK_TRAILER=LAST_4_BYTES_REPEATED" in structure
    place, empty = 0, 0
    for directory in reversed(directories):  # small overviews come first
        tiles = tiff.tiles_of(directory)
        for offset, length in zip(tiles.offset.tolist(), tiles.length.tolist(), strict=True):
            if not length:
                empty += 1
                continue
            assert offset - 4 >= place
            place = offset + length + 4
            assert int.from_bytes(data[offset - 4 : offset], "little") == length
            assert data[offset + length - 4 : offset + length] == data[offset + length : offset + length + 4]
    assert place == len(data)
    assert empty  # nothing but nodata takes no room


def test_tiles_are_copied_and_not_compressed_again(tmp_path, monkeypatch):
    world = stored(tmp_path, 1024, 1300, PROBABILITY)
    made = joined(*world, PROBABILITY)
    block = world[0].files(PROBABILITY, world[1])[0][0]
    contents = []
    for path in (block, made):
        data = path.read_bytes()
        for directory in tiff.read_directories(io.BytesIO(data))[1]:
            tiles = tiff.tiles_of(directory)
            pairs = zip(tiles.offset.tolist(), tiles.length.tolist(), strict=True)
            contents.append([data[offset : offset + length] for offset, length in pairs])
    assert contents[:3] == contents[3:]


def test_large_files_are_bigtiffs(tmp_path, monkeypatch):
    world = stored(tmp_path, 1300, 700, PROBABILITY)
    expected = levels(joined(*world, PROBABILITY))
    monkeypatch.setattr(tiff, "_MOST_BYTES", 1000)
    made = joined(*world, PROBABILITY)
    assert made.read_bytes()[:4] == b"II\x2b\0"
    with rasterio.open(made) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    for one, other in zip(levels(made), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_areas_and_blocks_that_do_not_fit_are_left_to_gdal(tmp_path):
    area = Window(2048, 4096, 5000, 3000)
    assert fits_tiles(PROBABILITY, area, [Window(2048, 4096, 10, 10), Window(4096, 4096 + 6144, 10, 10)])
    assert not fits_tiles(PROBABILITY, area, [Window(2048, 4096 + 1920, 10, 10)])
    assert fits_tiles(MASK, Window(0, 0, 5003, 3001), [])
    assert not fits_tiles(PROBABILITY, Window(0, 0, 5000, 3), [])
    assert not fits_tiles(probability_product("float32"), area, [])
    partial, blocks, grid = stored(tmp_path, 40, 60, replace(PROBABILITY, as_tiles=False))
    files = partial.files(PROBABILITY, blocks)
    assert not join_blocks(tmp_path / "a.tif", PROBABILITY, files, grid, grid.window, {})
    for damaged in (b"", b"II\x2a\0\x08\0\0\0\xff\xff\0\0", b"MM\0\x2a"):
        files[0][0].write_bytes(damaged)
        assert not join_blocks(tmp_path / "a.tif", PROBABILITY, files, grid, grid.window, {})
    assert not (tmp_path / "a.tif").exists()


def test_a_full_disk_tells_and_leaves_nothing(tmp_path, monkeypatch):
    partial, blocks, grid = stored(tmp_path, 40, 60, PROBABILITY)

    def full(write, *_, **__):
        write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cog_tiles, "compose", full)
    with pytest.raises(OutputError, match=r"cannot write .*No space left on device\); make room"):
        joined(partial, blocks, grid, PROBABILITY)
    assert not (partial.folder / "joined.cog.tif").exists()


def test_predict_joins_tiles_unless_other_files_are_asked_for(tmp_path, monkeypatch):
    scene = write_raster(
        tmp_path / "scene.tif", picture(600, 1060).astype(np.uint8), transform=rasterio.Affine(1, 0, 0, 0, -1, 0)
    )
    driver, used = outputs.write_cog, []
    monkeypatch.setattr(outputs, "write_cog", lambda *a, **k: used.append(a[1].name) or driver(*a, **k))

    def run(name, **options):
        used.clear()
        predict(scene, tmp_path / name, mask=tmp_path / f"m{name}", model=model_of(Identity()), **options)
        return list(used), levels(tmp_path / name), levels(tmp_path / f"m{name}")

    found, *pixels = run("a.tif")
    assert found == []
    for options in ({"co": ("LEVEL=9",)}, {"block": 250}):
        found, *others = run("b.tif", overwrite=True, **options)
        assert found == ["probability.cog.tif", "mask.cog.tif"]
        for one, other in zip(pixels, others, strict=True):
            for level, expected in zip(one, other, strict=True):
                np.testing.assert_array_equal(level, expected)
    assert names_in(tmp_path) == ["a.tif", "b.tif", "ma.tif", "mb.tif", "scene.tif"]
