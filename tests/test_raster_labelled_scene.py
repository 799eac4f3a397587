"""An image and its mask: one ground, one grid, and void wherever either does not know."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from worlds import METRES, ROTATED, picture, write_raster

from roadseg.errors import SceneError
from roadseg.raster.kind import mask_kind
from roadseg.raster.labelled_scene import VOID, LabelledScene, scan_mask
from roadseg.raster.scene_settings import SceneSettings
from roadseg.windows import Window

PLACE = Affine(1, 0, 230_000, 0, -1, 900_000)
AS_IS = SceneSettings(any_gsd=True)
NOWHERE: dict[str, Any] = {"crs": None, "transform": Affine.identity()}


def image(folder: Path, height: int = 60, width: int = 90, **options: object) -> Path:
    values = picture(height, width).astype(np.uint8)
    return write_raster(folder / "image.tif", values, **{"transform": PLACE, **options})


def mask(folder: Path, values: np.ndarray, **options: object) -> Path:
    return write_raster(folder / "mask.tif", values[None], **{"transform": PLACE, **options})


def road(height: int = 60, width: int = 90) -> np.ndarray:
    label = np.zeros((height, width), np.uint8)
    label[20:28] = 1
    return label


def test_what_the_image_does_not_know_is_void(tmp_path: Path) -> None:
    known = np.ones((60, 90), bool)
    known[:, :13] = False
    label = road()
    label[50:] = VOID
    with LabelledScene(image(tmp_path, mask=known), mask(tmp_path, label, nodata=VOID), AS_IS) as pair:
        found = pair.read(Window(0, 0, 60, 90))
    assert np.array_equal(found.label, np.where(known, label, VOID))
    assert np.array_equal(found.valid, known)


def test_0_and_255_are_read_as_they_are_meant(tmp_path: Path) -> None:
    path = mask(tmp_path, road() * 255)
    assert mask_kind(scan_mask(path)) == "mask 0/255"
    with LabelledScene(image(tmp_path), path, AS_IS, "mask 0/255") as pair:
        assert np.array_equal(pair.read_label(Window(0, 0, 60, 90)), road())


@pytest.mark.parametrize("gsd_m", [0.5, 2.0, 3.1])
def test_a_mask_at_another_resolution_keeps_its_ground_and_not_its_window(tmp_path: Path, gsd_m: float) -> None:
    rng = np.random.default_rng(2)
    label = np.kron(rng.integers(0, 2, (8, 12)), np.ones((10, 10))).astype(np.uint8)
    label[:, 100:] = VOID
    paths = image(tmp_path, 80, 120, transform=ROTATED), mask(tmp_path, label, transform=ROTATED, nodata=VOID)
    with LabelledScene(*paths, SceneSettings(gsd_m=gsd_m)) as pair:
        whole = pair.read(Window(0, 0, pair.grid.height, pair.grid.width))
        part = Window(5, 7, pair.grid.height - 9, pair.grid.width - 11)
        assert all(
            np.array_equal(a[..., part.row : part.row_stop, part.col : part.col_stop], b)
            for a, b in zip(whole, pair.read(part), strict=True)
        )
    assert whole.label.shape == (round(80 / gsd_m), round(120 / gsd_m))
    assert (whole.label == VOID).mean() == pytest.approx(1 / 6, abs=0.03)
    assert (whole.label == 1).sum() * gsd_m**2 == pytest.approx((label == 1).sum(), rel=0.1)


def test_a_mask_in_another_crs_is_reprojected(tmp_path: Path) -> None:
    """The same ground in UTM: a mask there, wider than the image, lands on the image's pixels."""
    from rasterio.warp import transform

    x, y = transform(METRES, "EPSG:32619", [230_000.0], [900_000.0])
    there = Affine(1, 0, round(x[0]) - 40, 0, -1, round(y[0]) + 40)
    label = np.zeros((200, 220), np.uint8)
    label[:, 80:95] = 1
    path = mask(tmp_path, label, crs="EPSG:32619", transform=there)
    with LabelledScene(image(tmp_path), path, AS_IS) as pair:
        found = pair.read_label(Window(0, 0, 60, 90))
    assert set(np.unique(found)) == {0, 1}
    assert (found == 1).mean() == pytest.approx(15 / 90, rel=0.15)


def _size(folder: Path) -> Path:
    return mask(folder, road(60, 89))


def _beside(folder: Path) -> Path:
    return mask(folder, road(), transform=PLACE @ Affine.translation(3, 0))


def _south_up(folder: Path) -> Path:
    return mask(folder, road()[::-1], transform=PLACE @ Affine.translation(0, 60) @ Affine.scale(1, -1))


def _elsewhere(folder: Path) -> Path:
    return mask(folder, road(), crs="EPSG:32633", transform=Affine(1, 0, 500_000, 0, -1, 5_000_000))


def _local(folder: Path) -> Path:
    return mask(folder, road(), crs='LOCAL_CS["local",UNIT["metre",1]]')


def _colours(folder: Path) -> Path:
    return write_raster(folder / "mask.tif", picture(60, 90).astype(np.uint8), transform=PLACE)


def _coarse(folder: Path) -> Path:
    return mask(folder, road()[::2, ::2], transform=PLACE @ Affine.scale(2))


def _coarse_and_beside(folder: Path) -> Path:
    return mask(folder, road()[::2, ::2], transform=PLACE @ Affine.translation(3, 0) @ Affine.scale(2))


def _coarse_and_nowhere(folder: Path) -> Path:
    return mask(folder, road()[::2, ::2], **NOWHERE)


def _gone(folder: Path) -> Path:
    return folder / "gone.tif"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_size, r"differ in size \(90 × 60 and 89 × 60 px\)"),
        (_coarse, r"differ in size .*; resample the mask, with gdal_translate -r near -outsize 90 60$"),
        (_coarse_and_beside, r"differ in size .*; cut both to the same ground$"),
        (_coarse_and_nowhere, r"differ in size .*; cut both to the same ground$"),
        (_south_up, r"same ground, but one is mirrored or south-up; turn it, with gdalwarp .*mask\.tif new\.tif$"),
        (_beside, "lie in different places"),
        (_elsewhere, r"different places .*° E, .*° N; .* 15\.0000 to"),
        (_local, "cannot be reprojected .* assign its true CRS, with gdal_edit.py -a_srs$"),
        (_colours, "3 bands where one is wanted"),
        (_gone, "does not exist"),
    ],
)
def test_pairs_that_are_none_are_refused(tmp_path: Path, spoil: object, message: str) -> None:
    with pytest.raises(SceneError, match=message):
        LabelledScene(image(tmp_path), spoil(tmp_path), AS_IS)  # type: ignore[operator]


@pytest.mark.parametrize("turn", [Affine.scale(1, -1), Affine.scale(-1, 1)], ids=["south-up", "mirrored"])
def test_of_an_image_and_its_mask_the_turned_one_is_named(tmp_path: Path, turn: Affine) -> None:
    turned = PLACE @ Affine.translation(45, 30) @ turn @ Affine.translation(-45, -30)
    with pytest.raises(SceneError, match=r"turn it, with gdalwarp \S*mask\.tif new\.tif$"):
        LabelledScene(image(tmp_path), mask(tmp_path, road(), transform=turned), AS_IS)
    with pytest.raises(SceneError, match=r"turn it, with gdalwarp \S*image\.tif new\.tif$"):
        LabelledScene(image(tmp_path, transform=turned), mask(tmp_path, road()), AS_IS)


@pytest.mark.parametrize(("of_image", "of_mask"), [({}, NOWHERE), (NOWHERE, {}), (NOWHERE, NOWHERE)])
def test_where_one_of_them_lies_nowhere_their_pixels_are_the_same(
    tmp_path: Path, of_image: dict[str, Any], of_mask: dict[str, Any]
) -> None:
    with LabelledScene(image(tmp_path, **of_image), mask(tmp_path, road(), **of_mask), AS_IS) as pair:
        np.testing.assert_array_equal(pair.read_label(Window(0, 0, 60, 90)), road())


def test_a_damaged_mask_says_what_is_wrong_and_where(tmp_path: Path) -> None:
    path = mask(tmp_path, road(300, 330), tiled=True, blockxsize=64, blockysize=64)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SceneError, match=r"read at row 0, column 0 \((?!Read failed).*\); the file is damaged"):
        scan_mask(path)


@pytest.mark.parametrize("values", [np.full((9, 7), 77, np.uint8), np.full((9, 7), 0.5, np.float32)])
def test_grey_values_are_no_mask(tmp_path: Path, values: np.ndarray) -> None:
    with pytest.raises(SceneError, match="no road mask; it needs 1 for road"):
        scan_mask(mask(tmp_path, values))


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (
            [0, 1],
            {"dtype": "float32"},
            r"holds 0, 1 as float32, no .* by gdal_translate -ot Byte \S+mask\.tif new\.tif$",
        ),
        ([0, 1, np.nan], {"dtype": "float64"}, r"holds 0, 1 as float64, .* gdalwarp -ot Byte -dstnodata 255 \S+ new"),
        ([0, 1, -9], {"dtype": "float32", "nodata": -9}, r"holds 0, 1 as .* gdalwarp -ot Byte -dstnodata 255 "),
        ([0, 0.25, 0.75], {"dtype": "float32"}, r"holds 0, 0\.25, 0\.75 as float32, .* --calc \"A>=0\.5\""),
        ([0, 4], {"dtype": "float32"}, r"holds 0, 4 as float32, .*\"A==4\""),
        (
            [0, 3, 255],
            {},
            r"holds 0, 3, 255, no .* gdal_calc\.py -A \S+mask\.tif --calc \"A==3\" --type Byte .*new\.tif$",
        ),
        ([0, 1, 2], {}, r"holds 0, 1, 2, no .* \"A==N\" .*, N the class of road$"),
        ([0, 1, 2, 3, 4, 5], {}, r"holds 0 to 5, no road mask"),
        ([*range(20), *range(230, 256)], {}, r"holds 0 to 255, no .* \"A>=128\" --type Byte --outfile new\.tif$"),
        ([*range(40)], {}, r"holds 0 to 39, no .* \"A==N\""),
        ([0, 1000], {"dtype": "uint16"}, r"holds 0 to 1000, no .* \"A==N\""),
        ([0, 127, 254], {"scale": 1 / 254}, r"holds 0, 127, 254 with a scale tag, .* by roadseg predict --mask$"),
    ],
)
def test_what_is_no_mask_is_told_with_the_cure(
    tmp_path: Path, values: list[float], options: dict[str, Any], message: str
) -> None:
    rows = np.repeat(np.array(values, options.get("dtype", "uint8"))[:, None], 9, axis=1)
    path = mask(tmp_path, rows, nodata=options.get("nodata"))
    if "scale" in options:
        with rasterio.open(path, "r+") as file:
            file.scales = (options["scale"],)
    with pytest.raises(SceneError, match=message):
        scan_mask(path)
