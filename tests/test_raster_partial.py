"""Outputs say what they hold, are finished or absent, and what was done is never done twice or lost."""

import errno
import os
import shutil
import subprocess

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from worlds import METRES, ROTATED

from roadseg.errors import OutputError
from roadseg.files.outputs import publish
from roadseg.raster.cog import write_cog
from roadseg.raster.encoding import (
    MASK,
    NODATA,
    count_road,
    dequantize,
    encode,
    probability_product,
    quantize,
    threshold_mask,
)
from roadseg.raster.files import open_raster
from roadseg.raster.grid import Grid
from roadseg.raster.partial import Partial, interrupted_targets
from roadseg.windows import Window

PROBABILITY = probability_product("uint8")
WKT = rasterio.crs.CRS.from_user_input(METRES).to_wkt()


def one(value):
    return np.array([[value]], dtype=np.float32)


@pytest.mark.parametrize(
    ("probability", "stored"),
    [
        (0, 0),
        (0.5, 127),
        (1, 254),
        (np.nan, 255),
        (1.7, 254),
        (-0.3, 0),
        (np.inf, 254),
        (-np.inf, 0),
        (0.0019, 0),
        (0.002, 1),
    ],
)
def test_quantizing_rounds_and_never_wraps(probability, stored):
    assert quantize(one(probability), np.ones((1, 1), bool)) == stored


def test_what_is_not_known_is_nodata_whatever_it_is():
    for value in (0.0, 0.7, np.nan):
        assert quantize(one(value), np.zeros((1, 1), bool)) == NODATA


@given(st.floats(0, 1, width=32))
def test_quantizing_is_off_by_half_a_level_at_most_and_comes_back(value):
    stored = quantize(one(value), np.ones((1, 1), bool))
    back, valid = dequantize(stored)
    assert valid.all()
    assert abs(back - value) <= 0.5 / 254 + 1e-7
    assert quantize(back, valid) == stored


def test_floats_keep_their_value_and_hold_nan_where_not_known():
    probability, valid = np.array([[0.123456, 0.5]], np.float32), np.array([[True, False]])
    stored = encode(probability, valid, "float32")
    assert stored.dtype == np.float32
    assert stored[0, 0] == probability[0, 0]
    assert np.isnan(stored[0, 1])
    back, known = dequantize(stored)
    assert known.tolist() == [[True, False]]
    assert back[0, 1] == 0


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 0.999, 1.0])
def test_the_mask_is_what_anyone_gets_who_thresholds_the_raster(threshold):
    stored = np.arange(256, dtype=np.uint8)[None]
    mask = threshold_mask(stored, threshold)
    expected = (stored[0, :255].astype(np.float32) / np.float32(254) >= np.float32(threshold)).astype(np.uint8)
    np.testing.assert_array_equal(mask[0, :255], expected)
    assert mask[0, 255] == NODATA


# Partial results


def block(row, col, height=30, width=40, value=7):
    return Window(row, col, height, width), np.full((height, width), value, np.uint8)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "roads.tif"


def test_blocks_are_kept_and_added_up(target):
    partial = Partial(target, {"scene": "a"})
    assert not partial.has([PROBABILITY], block(0, 0)[0])
    partial.put(PROBABILITY, *block(0, 0), {"ROAD": 3})
    partial.put(PROBABILITY, *block(0, 40), {"ROAD": 4})
    again = Partial(target, {"scene": "a"})
    assert again.has([PROBABILITY], block(0, 40)[0])
    assert not again.has([PROBABILITY, MASK], block(0, 40)[0])
    assert again.totals(PROBABILITY, [block(0, 0)[0], block(0, 40)[0]], "ROAD") == [7]
    assert again.block_count() == 2
    assert not target.exists()


def test_blocks_of_other_settings_are_refused_by_name(target):
    Partial(target, {"scene": "a", "bands": (1, 2), "same": 1}).put(PROBABILITY, *block(0, 0))
    with pytest.raises(OutputError, match=r"its bands, scene; repeat that command .* --overwrite"):
        Partial(target, {"scene": "b", "bands": (2, 1), "same": 1})
    assert Partial(target, {"scene": "a", "bands": (1, 2), "same": 1}).block_count() == 1


def test_anew_throws_other_settings_away_and_keeps_the_same(target):
    Partial(target, {"scene": "a"}).put(PROBABILITY, *block(0, 0))
    assert Partial(target, {"scene": "a"}, start_over=True).block_count() == 1
    assert Partial(target, {"scene": "b"}, start_over=True).block_count() == 0


def test_a_run_without_a_finished_block_leaves_nothing_and_binds_nobody(target):
    with pytest.raises(KeyError), Partial(target, {"scene": "a"}):
        raise KeyError
    assert list(target.parent.iterdir()) == []
    Partial(target, {"scene": "a"})
    assert Partial(target, {"scene": "b"}).block_count() == 0


def test_a_run_that_stops_keeps_its_blocks(target):
    partial = Partial(target, {})
    partial.put(PROBABILITY, *block(0, 0))
    with pytest.raises(KeyError), partial:
        raise KeyError
    assert Partial(target, {}).block_count() == 1


def test_a_run_killed_before_its_last_file_is_removed_can_be_repeated(target, monkeypatch):
    partial = Partial(target, {"scene": "a"})
    partial.put(PROBABILITY, *block(0, 0))
    (partial.folder / "whole.cog.tif").write_bytes(b"finished")
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)
        partial.publish([(partial.folder / "whole.cog.tif", target)])
    assert [path.name for path in partial.folder.iterdir()] == ["published.json"]
    with Partial(target, {"scene": "a"}):
        assert interrupted_targets(target) == {target}
    assert [path.name for path in target.parent.iterdir()] == ["roads.tif"]


def test_a_damaged_fingerprint_is_refused_and_can_be_thrown_away(target):
    partial = Partial(target, {"scene": "a"})
    partial.put(PROBABILITY, *block(0, 0))
    (partial.folder / "fingerprint.json").write_text("{", "utf-8")
    with pytest.raises(OutputError, match=r"damaged.*--overwrite"):
        Partial(target, {"scene": "a"})
    assert Partial(target, {"scene": "a"}, start_over=True).block_count() == 0


@pytest.mark.parametrize("anew", [False, True])
def test_a_folder_of_somebody_else_is_left_alone(target, anew):
    folder = target.with_name("roads.tif.partial")
    folder.mkdir()
    (folder / "diary.txt").write_text("mine", "utf-8")
    with pytest.raises(OutputError, match="was not left by roadseg"):
        Partial(target, {}, start_over=anew)
    assert (folder / "diary.txt").read_text("utf-8") == "mine"


def test_a_file_in_the_way_is_left_alone(target):
    target.with_name("roads.tif.partial").write_text("mine", "utf-8")
    with pytest.raises(OutputError, match=r"roads\.tif\.partial is in the way and was not left by roadseg; move it"):
        Partial(target, {})
    assert target.with_name("roads.tif.partial").read_text("utf-8") == "mine"


def test_a_folder_of_another_user_says_what_that_one_can_do(target, monkeypatch):
    Partial(target, {}).put(PROBABILITY, *block(0, 0))
    monkeypatch.setattr(os, "access", lambda path, mode: path == target.parent)
    with pytest.raises(OutputError, match=r"partial is not writable; have its owner change that \(chmod a\+rwx\), or"):
        Partial(target, {})


def test_a_folder_that_is_removed_meanwhile_is_named(target):
    partial = Partial(target, {})
    shutil.rmtree(partial.folder)
    with pytest.raises(OutputError, match="was removed while blocks were written to it; repeat the command"):
        partial.put(PROBABILITY, *block(0, 0))


def test_half_written_files_are_not_blocks(target):
    partial = Partial(target, {})
    (partial.folder / "probability_0_0_30_40.tif.new").write_bytes(b"half")
    assert not partial.has([PROBABILITY], block(0, 0)[0])
    assert partial.block_count() == 0


def test_a_full_disk_tells_and_keeps_what_is_finished(target, monkeypatch):
    partial = Partial(target, {})
    partial.put(PROBABILITY, *block(0, 0))

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"No space left on device\); make room and repeat the command"):
        partial.put(PROBABILITY, *block(0, 40))
    names = sorted(path.name for path in partial.folder.iterdir())
    assert names == ["fingerprint.json", "probability_0_0_30_40.tif"]


def test_a_raster_with_a_hole_is_not_joined(target):
    partial, grid = Partial(target, {}), Grid(WKT, ROTATED, 30, 80)
    partial.put(PROBABILITY, *block(0, 0), {"ROAD": 3})
    planned = [block(0, 0)[0], block(0, 40)[0]]
    with pytest.raises(OutputError, match=r"1 of 2 finished blocks have vanished from .*; repeat the command"):
        partial.mosaic(PROBABILITY, planned, grid, grid.window, {})
    with pytest.raises(OutputError, match="vanished"):
        partial.totals(PROBABILITY, planned, "ROAD")
    assert partial.block_count() == 1


def test_without_its_lock_a_run_touches_nothing(target):
    Partial(target, {}).put(PROBABILITY, *block(0, 0))

    def lost():
        raise OutputError("lost")

    partial = Partial(target, {}, check_lock=lost)
    for change in (partial.discard, lambda: partial.publish([]), lambda: partial.put(PROBABILITY, *block(0, 40))):
        with pytest.raises(OutputError, match="lost"):
            change()
    with pytest.raises(OutputError, match="lost"):
        Partial(target, {"scene": "other"}, start_over=True, check_lock=lost)
    assert Partial(target, {}).block_count() == 1


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("only root can mount a small disk here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_really_full_disk(small_disk):
    partial = Partial(small_disk / "roads.tif", {})
    noise = np.random.default_rng(0).integers(0, 255, (700, 2100), dtype=np.uint8)
    partial.put(PROBABILITY, Window(0, 0, 700, 700), noise[:, :700])
    with pytest.raises(OutputError, match="No space left on device"):
        partial.put(PROBABILITY, Window(0, 700, 700, 1400), noise[:, 700:])
    grid = Grid(WKT, ROTATED, 700, 700)
    source = partial.mosaic(PROBABILITY, [grid.window], grid, grid.window, {})
    with pytest.raises(OutputError, match=r"cannot write .*make room"):
        write_cog(source, partial.folder / "probability.cog.tif")
    assert not (partial.folder / "probability.cog.tif").exists()
    assert partial.block_count() == 1


# Cloud-optimized GeoTIFFs


def cog(folder, *, height=700, width=1300, product=PROBABILITY, transform=ROTATED, crs=WKT, tags=None):
    """Make one from three blocks; the fourth, at the lower right, is missing."""
    partial, grid = Partial(folder / "roads.tif", {}), Grid(crs, transform, height, width)
    random = np.random.default_rng(0)
    everything = np.full((height, width), product.nodata, product.dtype)
    half, blocks = (height // 2, width // 2), []
    for row, col in [(0, 0), (0, half[1]), (half[0], 0)]:
        window = Window(row, col, height - half[0] if row else half[0], width - half[1] if col else half[1])
        values = random.integers(0, 2 if product is MASK else 254, (window.height, window.width)).astype(product.dtype)
        everything[window.slices()] = values
        partial.put(product, window, values)
        blocks.append(window)
    made = folder / "made.tif"
    write_cog(partial.mosaic(product, blocks, grid, grid.window, tags or {}), made)
    return made, everything


def test_it_is_a_valid_cog_that_says_what_it_holds(tmp_path):
    made, values = cog(tmp_path, tags={"ROADSEG_COMMAND": "roadseg predict 'a & b <c>.tif' \x01\udcff"})
    with rasterio.open(made) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.block_shapes == [(512, 512)]
        assert file.overviews(1) == [2, 4]
        assert (file.count, file.dtypes, file.nodata) == (1, ("uint8",), 255)
        assert file.scales == pytest.approx((1 / 254,))
        assert file.offsets == (0,)
        assert file.descriptions == ("road probability",)
        assert file.tags()["ROADSEG_COMMAND"] == "roadseg predict 'a & b <c>.tif' ??"
        assert file.crs == METRES
        assert file.transform.almost_equals(ROTATED, 1e-9)
        np.testing.assert_array_equal(file.read(1), values)


def test_overviews_average_what_is_known(tmp_path):
    made, values = cog(tmp_path)
    with rasterio.open(made, overview_level=0) as file:
        small = file.read(1)
    assert (small[360:, 660:] == NODATA).all()
    known = values[:350, :650].reshape(175, 2, 325, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(small[:175, :325], known, atol=1)


def test_float32_and_masks_are_cogs_too(tmp_path):
    for name, product in [("f", probability_product("float32")), ("m", MASK)]:
        (tmp_path / name).mkdir()
        made, values = cog(tmp_path / name, product=product)
        with rasterio.open(made) as file:
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.dtypes == (product.dtype,)
            assert file.scales == (1,)
            np.testing.assert_array_equal(file.read(1), values)
            np.testing.assert_equal(file.nodata, product.nodata)


@pytest.mark.parametrize("transform", [Affine.identity(), Affine(1, 0, 5, 0, 1, 9), Affine(0.5, 0, 0, 0, -0.25, 0)])
def test_places_of_all_kinds_come_through(tmp_path, transform):
    made, _ = cog(tmp_path, transform=transform, crs=None, height=30, width=50)
    with open_raster(made) as file:
        assert file.crs is None
        assert file.transform.almost_equals(transform)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (2, 3000), (3000, 2), (513, 511)])
def test_rasters_of_odd_sizes_are_joined_whole(tmp_path, height, width):
    made, values = cog(tmp_path, height=height, width=width)
    with rasterio.open(made) as file:
        np.testing.assert_array_equal(file.read(1), values)


def test_the_same_blocks_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert cog(tmp_path / "a")[0].read_bytes() == cog(tmp_path / "b")[0].read_bytes()


@pytest.mark.parametrize("text", ["", "{", "7", "[7]", "null", "[[1]]", '{"a": 1}', "[" * 100_000])
def test_places_that_are_none_are_ignored(target, text):
    folder = target.with_name(target.name + ".partial")
    folder.mkdir()
    (folder / "published.json").write_text(text, "utf-8")
    assert interrupted_targets(target) <= {type(target)("a")}


def test_publishing_notes_its_places_first_and_removes_the_folder_last(tmp_path, monkeypatch):
    partial = Partial(tmp_path / "roads.tif", {})
    made = [(partial.folder / name, tmp_path / name) for name in ("roads.tif", "mask.tif")]
    for path, _ in made:
        path.write_bytes(b"x")
    move = publish

    def killed(source, target):
        move(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr("roadseg.files.outputs.publish", killed)
    with pytest.raises(KeyboardInterrupt):
        partial.publish(made)
    assert interrupted_targets(tmp_path / "roads.tif") == {tmp_path / "roads.tif", tmp_path / "mask.tif"}
    monkeypatch.undo()
    made[0][0].write_bytes(b"x")
    partial.publish(made)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mask.tif", "roads.tif"]
    assert interrupted_targets(tmp_path / "roads.tif") == set()


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_counts_of_a_block_are_those_of_its_mask(dtype, threshold):
    rng = np.random.default_rng(3)
    probability, valid = rng.random((40, 50), dtype=np.float32), rng.random((40, 50)) < 0.7
    values = encode(probability, valid, dtype)
    mask = threshold_mask(values, threshold)
    assert count_road(values, threshold) == ((mask != NODATA).sum(), (mask == 1).sum())


@pytest.mark.parametrize("damage", [b"", b"II\x2a\0\x08\0\0\0", None])
def test_a_block_that_is_damaged_is_told(tmp_path, damage):
    partial = Partial(tmp_path / "roads.tif", {})
    window, values = block(0, 0)
    partial.put(PROBABILITY, window, values, {} if damage is None else {"ROAD": 4})  # no block of a run lacks its count
    path = partial.files(PROBABILITY, [window])[0][0]
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(OutputError, match=r"probability_0_0_30_40\.tif is damaged; remove it and repeat the command"):
        partial.totals(PROBABILITY, [window], "ROAD")
