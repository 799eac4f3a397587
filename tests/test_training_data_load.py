"""From settings to tiles: the same crops from memory and from files, masks made once, ground kept aside."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.enums import ColorInterp
from shapely import LineString
from worlds import METRES, picture, write_raster

from roadseg.errors import RoadsegError, SceneError, TrainingError
from roadseg.progress import Listener
from roadseg.raster.labelled_scene import VOID
from roadseg.settings import DataSettings, DevFolder, TrainSettings
from roadseg.training.data.load import TrainingData, collect_pairs, load_dev_areas, load_domains, load_training_data

PLACE = Affine(1, 0, 230_000, 0, -1, 900_000)


def write_pair(
    folder: Path, name: str, *, col: int = 0, pixel: float = 1.0, dtype: str = "uint8", unplaced: bool = False,
    **mask: Any,
) -> None:  # fmt: skip
    """Write a tile of 130 × 170 m with a road down its middle, its left edge ``col`` metres east, or without a CRS."""
    height, width = round(130 / pixel), round(170 / pixel)
    place = PLACE @ Affine.translation(col, 0) @ Affine.scale(pixel)
    label = np.zeros((1, height, width), np.uint8)
    label[0, :, width // 2 - 4 : width // 2 + 4] = 1
    values = picture(height, width, seed=col) * (1 if dtype == "uint8" else 100) // 2 + 60 * label
    known = np.ones((height, width), bool)
    known[: height // 10] = False
    for side in ("images", "masks"):
        (folder / side).mkdir(parents=True, exist_ok=True)
    where: dict[str, Any] = {"transform": Affine.identity(), "crs": None} if unplaced else {"transform": place}
    write_raster(folder / f"images/{name}.tif", values.astype(dtype), **where, mask=known)
    write_raster(folder / f"masks/{name}.tif", mask.pop("label", label), **{**where, "nodata": 255, **mask})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make three tiles in a row."""
    for index, name in enumerate("abc"):
        write_pair(tmp_path / "data", name, col=170 * index)
    return tmp_path / "data"


def loaded(
    settings: DataSettings, folder: Path, *, gsd_m: float | None = None, said: list[str] | None = None, crop: int = 32
) -> TrainingData:
    listener = Listener(report=said.append, warn=said.append) if said is not None else Listener()
    return load_training_data(settings, folder / "m.safetensors", TrainSettings(crop=crop, pixel_m=gsd_m), listener)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("options", [{}, {"gsd_m": 0.6}, {"dev_fraction": 0.05, "dev_block_m": 30.0}])
def test_crops_are_the_same_from_memory_and_from_files(tmp_path: Path, dtype: str, options: dict[str, Any]) -> None:
    for index, name in enumerate("ab"):
        write_pair(tmp_path / "data", name, col=170 * index, dtype=dtype)
    gsd = {"gsd_m": options.pop("gsd_m", None)}
    settings = DataSettings((tmp_path / "data",), road_share=0.4, **options)
    memory, files = loaded(settings, tmp_path, **gsd), loaded(replace(settings, memory_gb=0), tmp_path, **gsd)
    assert [tile.in_memory for tile in (*memory.tiles.tiles, *files.tiles.tiles)] == [True] * 2 + [False] * 2
    assert "in memory" in memory.summary
    assert "from disk" in files.summary
    assert memory.tiles.pixel_statistics() == files.tiles.pixel_statistics()
    for one in (memory, files):
        one.tiles.fill((0.2, 0.4, 0.6))
    numbers = [range(i, i + 6) for i in range(0, 30, 6)]
    for a, b in zip(*(one.tiles.stream(numbers, seed=5, margin_px=9) for one in (memory, files)), strict=True):
        assert np.array_equal(a.pixels, b.pixels)


def test_tiles_of_several_sizes_are_brought_to_one(tmp_path: Path) -> None:
    for name, pixel in (("a", 0.5), ("b", 1.0), ("c", 1.1)):
        write_pair(tmp_path / "data", name, pixel=pixel)
    found = loaded(DataSettings((tmp_path / "data",)), tmp_path, gsd_m=1.0)
    assert [tile.shape for tile in found.tiles.tiles] == [(130, 170), (130, 170), (118, 155)]
    assert found.gsd_range_m == (0.5, 1.1)
    roads = [np.mean(tile.label[tile.label != VOID] == 1) for tile in found.tiles.tiles]  # type: ignore[attr-defined]
    assert roads == pytest.approx([8 / 340, 8 / 170, 8 / 155], rel=0.15)
    with pytest.raises(TrainingError, match="resample all to one size with --gsd"):
        loaded(DataSettings((tmp_path / "data",)), tmp_path)


def test_pixels_so_coarse_that_no_tile_is_left_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path / "data", "a", pixel=0.5)
    with pytest.raises(TrainingError, match="at 1000 m per pixel no tile is more than 1 px across; choose a"):
        loaded(DataSettings((tmp_path / "data",)), tmp_path, gsd_m=1000)


def test_one_far_too_coarse_tile_may_be_left_out(tmp_path: Path) -> None:
    settings, said = DataSettings((tmp_path / "data",)), list[str]()
    for name, pixel in (("a", 1.0), ("b", 10.0)):
        write_pair(tmp_path / "data", name, pixel=pixel)
    coarse = r"b\.tif has pixels of 10 m, too coarse to be read at 1 m; "
    with pytest.raises(SceneError, match=coarse + "leave it out, or choose a larger --gsd$"):
        loaded(settings, tmp_path, gsd_m=1.0)
    found = loaded(replace(settings, skip_unreadable=True), tmp_path, gsd_m=1.0, said=said)
    assert [tile.name[-5:] for tile in found.tiles.tiles] == ["a.tif"]
    assert re.search(coarse + "it is left out", "".join(said))
    with pytest.raises(SceneError, match=coarse + "leave it out$"):
        load_dev_areas(DevFolder(tmp_path / "data"), bands=3, gsd_m=1.0, listener=Listener())


def test_files_are_kept_whole(data: Path) -> None:
    found = loaded(DataSettings((data,), dev_fraction=0.3, dev_split="files"), data)
    names = {tile.name for tile in found.tiles.tiles}, {area.tile.name for area in found.dev}
    assert (len(names[0]), len(names[1])) == (2, 1)
    assert not names[0] & names[1]


@pytest.mark.parametrize("split", ["blocks", "files"])
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_what_is_held_out_does_not_depend_on_where_the_folder_lies(
    tmp_path: Path, split: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiles have no CRS, so blocks, too, are those of each file; two folders hold files of the same names."""
    made = tmp_path / "a" / "data", tmp_path / "a" / "more"
    for folder in made:
        for name in "abcdefgh":
            write_pair(folder, name, pixel=2.0, unplaced=True)
    shutil.copytree(tmp_path / "a", tmp_path / "moved" / "and" / "renamed")
    monkeypatch.chdir(tmp_path / "a")
    held = []
    for folders in (made, (Path("data"), Path("more")), sorted((tmp_path / "moved" / "and" / "renamed").iterdir())):
        settings = DataSettings(tuple(folders), dev_fraction=0.4, dev_split=split, dev_block_m=90.0)
        found = loaded(settings, tmp_path, gsd_m=1.0)
        held.append([(area.tile.pair.image.parts[-3], area.name) for area in found.dev])
    assert held[0] == held[1] == held[2]
    assert {folder for folder, _ in held[0]} == {"data", "more"}


def test_blocks_are_kept_apart_by_a_crop(data: Path) -> None:
    """No training crop shows a kept pixel: images are painted with their place, and dev areas are looked up there."""
    found = loaded(DataSettings((data,), dev_fraction=0.25, dev_block_m=48), data, crop=16)
    found.tiles.fill((0, 0, 0))
    kept = 0
    for tile, name in zip(found.tiles.tiles, "abc", strict=True):
        inside = np.zeros((130, 170), bool)
        for area in (area for area in found.dev if area.tile.pair.image.stem == name):
            with area.open((0.0,) * 3) as pair:
                label = area.label(pair)
            inside[area.window.slices()] |= label != VOID
        kept += int(inside.sum())
        rows, cols = np.nonzero(tile.label != VOID)  # type: ignore[attr-defined]
        assert not tile.image[:, inside].any()  # type: ignore[attr-defined]
        for row, col in np.argwhere(inside)[::37]:
            assert np.maximum(abs(rows - row), abs(cols - col)).min() >= 16
    assert kept == pytest.approx(0.25 * 3 * 130 * 170, rel=0.25)


def test_a_csv_file_with_splits(data: Path) -> None:
    lines = [f"images/{n}.tif,masks/{n}.tif,{split}" for n, split in zip("abc", ("train", "dev", ""), strict=True)]
    (data / "d.csv").write_text("\n".join(["image,mask,split", *lines]), "utf-8")
    found = loaded(DataSettings((data / "d.csv",)), data)
    assert [Path(tile.name).stem for tile in found.tiles.tiles] == ["a", "c"]
    assert [area.name for area in found.dev] == ["b"]
    assert (found.name, found.dev_name) == ("d.csv", "d.csv, split dev")


def test_a_csv_file_may_name_dev_tiles_alone(data: Path) -> None:
    (data / "d.csv").write_text(
        "image,mask,split\nimages/b.tif,masks/b.tif,dev\nimages/c.tif,masks/c.tif,train\n", "utf-8"
    )
    (data / "dev.csv").write_text("image,mask,split\nimages/b.tif,masks/b.tif,val\n", "utf-8")
    (data / "train.csv").write_text("image,mask\nimages/a.tif,masks/a.tif\n", "utf-8")
    for dev in ("d.csv", "dev.csv"):
        found = loaded(DataSettings((data / "train.csv",), dev=(data / dev,)), data)
        assert [area.name for area in found.dev] == ["b"]
    with pytest.raises(TrainingError, match=r"dev\.csv names nothing to train on; add pairs of the split train"):
        loaded(DataSettings((data / "dev.csv",)), data)


def test_dev_tiles_are_seen_at_the_models_resolution(data: Path) -> None:
    areas = load_dev_areas(DevFolder(data), bands=3, gsd_m=0.5, listener=Listener())
    assert {area.window.height for area in areas} == {260}
    with areas[0].open((0.1, 0.2, 0.3)) as pair:
        assert areas[0].label(pair).shape == (260, 340)
    with pytest.raises(SceneError, match="has no band 4"):
        load_dev_areas(DevFolder(data), bands=4, gsd_m=1.0, listener=Listener())


def test_other_places_tell_their_pixel_size_where_files_do_not(data: Path) -> None:
    label = np.zeros((1, 65, 85), np.uint8)
    label[0, :, 40:44] = 1
    for side, values in (("images", picture(65, 85).astype(np.uint8)), ("masks", label)):
        (data.with_name("far") / side).mkdir(parents=True)
        write_raster(data.with_name("far") / side / "x.tif", values, crs=None, transform=PLACE)
    places = [DevFolder(data, 0.1), DevFolder(data.with_name("far"), 2.0), DevFolder(data.with_name("far"))]
    said: list[str] = []
    found = load_domains(places, bands=3, gsd_m=1.0, listener=Listener(said.append, said.append))
    image = data.with_name("far") / "images" / "x.tif"
    assert said == [
        f"no CRS with known metres in 1 of 1 image ({image}); their pixels are assumed to be 1 m wide, give their size "
        "with --dev FOLDER@METRES if they are not"
    ]
    assert [name for name, _ in found] == ["data", "far", "far"]
    assert [areas[0].tile.shape for _, areas in found] == [(130, 170), (130, 170), (65, 85)]
    with found[1][1][0].open((0.0, 0.0, 0.0)) as pair:
        assert found[1][1][0].label(pair)[:, 80:88].all()
    write_raster(data.with_name("far") / "masks/x.tif", 0 * label, crs=None, transform=PLACE)
    with pytest.raises(TrainingError, match="no road to score"):
        load_domains(places[1:], bands=3, gsd_m=1.0, listener=Listener())


def test_tiles_of_unknown_pixel_size_among_others_bring_a_warning(data: Path) -> None:
    write_pair(data, "b", unplaced=True)
    said: list[str] = []
    loaded(DataSettings((data,)), data, said=said)
    assert said == [
        f"no CRS with known metres in 1 of 3 images ({data / 'images' / 'b.tif'}); their pixels are assumed to be 1 m "
        "wide, give their size with --gsd if they are not"
    ]
    loaded(DataSettings((data,)), data, gsd_m=1.0, said=said)
    assert len(said) == 1


def test_tiles_with_a_crs_but_no_geotransform_bring_a_warning(data: Path) -> None:
    values = picture(130, 170).astype(np.uint8)
    write_raster(data / "images/b.tif", values, transform=Affine.identity())
    write_raster(data / "masks/b.tif", (values[:1] > 90).astype(np.uint8), transform=Affine.identity())
    words = f"a CRS but no geotransform in 1 of 3 images ({data / 'images' / 'b.tif'}); their pixels are assumed to be "
    for gsd_m in (None, 1.0):
        said: list[str] = []
        loaded(DataSettings((data,)), data, gsd_m=gsd_m, said=said)
        assert [line for line in said if line.startswith(words)], said
    said = []
    load_dev_areas(DevFolder(data), bands=3, gsd_m=1.0, listener=Listener(said.append, said.append))
    assert [line.startswith(words) for line in said] == [True]


def test_folders_named_relatively_or_with_a_dot_have_their_names(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    assert loaded(DataSettings((Path(),)), data).description() == "3 tiles of data"
    monkeypatch.chdir(data / "images")
    assert loaded(DataSettings((Path(".."),)), data).description() == "3 tiles of data"
    dotted = data.rename(data.with_name("data.v2"))
    places = [DevFolder(Path("..")), DevFolder(dotted)]
    assert [name for name, _ in load_domains(places, bands=3, gsd_m=1.0, listener=Listener())] == ["data.v2"] * 2


def test_what_255_means_is_settled_by_all_masks_together(tmp_path: Path) -> None:
    label = np.zeros((1, 130, 170), np.uint8)
    label[0, :, :50] = 255
    write_pair(tmp_path / "data", "a", label=label, nodata=None)
    said: list[str] = []
    tiles = loaded(DataSettings((tmp_path / "data",)), tmp_path, said=said).tiles
    assert (tiles.tiles[0].label[20, :60] == 1).sum() == 50  # type: ignore[attr-defined]
    assert said[0].endswith(" is 1, so 255 is taken for road")
    write_pair(tmp_path / "data", "b", col=170)
    said.clear()
    tiles = loaded(DataSettings((tmp_path / "data",)), tmp_path, said=said).tiles
    assert (tiles.tiles[0].label[20, :60] == VOID).sum() == 50  # type: ignore[attr-defined]
    assert "255 is taken for unknown there: a.tif" in said[0]


def write_roads(path: Path, lines: list[LineString], crs: str | None = METRES, **columns: list[Any]) -> Path:
    fields = [np.array(values, dtype=object) for values in columns.values()]
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array(lines, dtype=object)), fields, list(columns), crs=crs, geometry_type="LineString"
    )
    return path


@pytest.fixture
def roads(data: Path) -> DataSettings:
    """Settings that draw one road down each image."""
    x = [230_000 + 170 * i + 85 for i in range(3)]
    path = write_roads(data / "roads.gpkg", [LineString([(v, 899_000), (v, 901_000)]) for v in x])
    return DataSettings(images=(data / "images",), labels=path, road_width_m=8)


def test_vector_roads_are_drawn_once(data: Path, roads: DataSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    found = loaded(roads, data)
    drawn = found.tiles.tiles[1].label  # type: ignore[attr-defined]
    with rasterio.open(data / "masks/b.tif") as file:
        assert np.array_equal(drawn[13:], file.read(1)[13:])
    assert (drawn[:13] == VOID).all()
    masks = sorted((data / "m.safetensors.masks").iterdir())
    assert len(masks) == 3
    monkeypatch.setattr("roadseg.training.data.masks.read_roads", None)
    assert np.array_equal(loaded(roads, data).tiles.tiles[1].label, drawn)  # type: ignore[attr-defined]
    monkeypatch.undo()
    for other in (replace(roads, road_width_m=9), replace(roads, cache=data / "cache")):
        loaded(other, data)
    assert len(list((data / "m.safetensors.masks").iterdir())) == 6
    assert len(list((data / "cache").iterdir())) == 3


def test_changed_labels_are_drawn_again(data: Path, roads: DataSettings) -> None:
    loaded(roads, data)
    (data / "roads.gpkg").unlink()
    write_roads(data / "roads.gpkg", [LineString([(230_020, 899_000), (230_020, 901_000)])])
    said: list[str] = []
    label = loaded(roads, data, said=said).tiles.tiles[0].label  # type: ignore[attr-defined]
    assert label[50].tolist().count(1) == 8
    assert label[50, 20] == 1
    assert any("2 images without any road" in text for text in said)


def test_changed_attributes_of_a_shapefile_are_drawn_again(data: Path, roads: DataSettings) -> None:
    shapefile = write_roads(data / "roads.shp", [LineString([(230_085, 899_000), (230_085, 901_000)])], width=["8"])
    settings = replace(roads, labels=shapefile, width_attribute="width", road_width_m=None)
    assert loaded(settings, data).tiles.tiles[0].label[50].tolist().count(1) == 8  # type: ignore[attr-defined]
    (data / "new").mkdir()
    other = write_roads(data / "new/roads.shp", [LineString([(0, 0), (0, 1)])], width=["6"])
    other.with_suffix(".dbf").replace(shapefile.with_suffix(".dbf"))
    assert loaded(settings, data).tiles.tiles[0].label[50].tolist().count(1) == 6  # type: ignore[attr-defined]


def test_only_the_files_of_a_shapefile_count_as_labels(data: Path, roads: DataSettings) -> None:
    shapefile = write_roads(data / "m.shp", [LineString([(230_085, 899_000), (230_085, 901_000)])])
    settings, said = replace(roads, labels=shapefile), list[str]()
    loaded(settings, data)
    (data / "m.run").mkdir()
    (data / "m.tif").touch()
    loaded(settings, data, said=said)
    assert any("0 masks drawn" in text for text in said)


def test_a_broken_off_drawing_leaves_no_mask(data: Path, roads: DataSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("roadseg.raster.rasterize._burnt", stop)
    with pytest.raises(KeyboardInterrupt):
        loaded(roads, data)
    assert not (data / "m.safetensors.masks").exists()


def test_labels_in_another_crs_lie_on_the_same_ground(data: Path, roads: DataSettings) -> None:
    from rasterio.warp import transform

    here = loaded(roads, data).tiles.tiles
    x = [230_085.0] * 2 + [230_255.0] * 2 + [230_425.0] * 2
    lon, lat = transform(METRES, "EPSG:4326", x, [899_800.0, 900_100.0] * 3)
    lines = [LineString(zip(lon[i : i + 2], lat[i : i + 2], strict=True)) for i in (0, 2, 4)]
    there = replace(roads, labels=write_roads(data / "lonlat.gpkg", lines, "EPSG:4326"))
    for one, other in zip(here, loaded(there, data).tiles.tiles, strict=True):
        assert np.mean(one.label != other.label) < 0.003  # type: ignore[attr-defined]


def _nowhere(data: Path, roads: DataSettings) -> DataSettings:
    lines = [LineString([(15.0, 60.0), (15.1, 60.0)])]
    return replace(roads, labels=write_roads(data / "far.gpkg", lines, "EPSG:4326"))


def _no_crs(data: Path, roads: DataSettings) -> DataSettings:
    with pytest.warns(UserWarning, match="crs"):
        return replace(roads, labels=write_roads(data / "bare.gpkg", [LineString([(0, 0), (9, 9)])], None))


def _no_width(_: Path, roads: DataSettings) -> DataSettings:
    return replace(roads, road_width_m=None)


def _no_labels(_: Path, roads: DataSettings) -> DataSettings:
    return replace(roads, labels=None)


def _gone(data: Path, roads: DataSettings) -> DataSettings:
    return replace(roads, labels=data / "gone.gpkg")


def _nothing(*_: object) -> DataSettings:
    return DataSettings()


def _bare_image(data: Path, roads: DataSettings) -> DataSettings:
    write_raster(data / "bare.tif", np.ones((3, 9, 8), np.uint8), crs=None, transform=Affine.identity())
    return replace(roads, images=(data / "bare.tif",))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_nowhere, r"different places \(labels 15\.0000 to 15\.1000° E, 60\.0000 .*; .*a\.tif -71\.\d+ to"),
        (_no_crs, "labels have no CRS and the image has one"),
        (_no_width, "give one width with --road-width"),
        (_no_labels, "name the roads with --labels"),
        (_gone, "gone.gpkg does not exist"),
        (_nothing, "there is nothing to train on"),
        (_bare_image, "does not say where it lies"),
    ],
)
def test_bad_labels_are_named(data: Path, roads: DataSettings, spoil: Any, message: str) -> None:
    spoilt = spoil(data, roads)
    before = set(data.iterdir())
    for cache in (spoilt.cache, data / "new" / "cache"):
        with pytest.raises(RoadsegError, match=message):
            loaded(replace(spoilt, cache=cache), data)
        assert set(data.iterdir()) == before


def damage(path: Path) -> None:
    """Spoil the pixels and leave the head."""
    with rasterio.open(path) as file:
        profile, values = file.profile, file.read()
    profile.update(tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.random.default_rng(0).integers(0, 255, values.shape, np.uint8))
    bytes_ = bytearray(path.read_bytes())
    middle = len(bytes_) // 2
    bytes_[middle : middle + 4000] = b"\xff" * 4000
    path.write_bytes(bytes_)


@pytest.mark.parametrize("memory_gb", [None, 0.0])
@pytest.mark.parametrize("spoil", [damage, lambda path: path.write_text("no raster", "utf-8")])
def test_an_unreadable_tile_stops_or_is_left_out_by_choice(data: Path, spoil: Any, memory_gb: float | None) -> None:
    spoil(data / "images/b.tif")
    settings, said = DataSettings((data,), memory_gb=memory_gb), list[str]()
    with pytest.raises(SceneError, match=r"b\.tif"):
        loaded(settings, data)
    found = loaded(replace(settings, skip_unreadable=True), data, said=said)
    assert [Path(tile.name).stem for tile in found.tiles.tiles] == ["a", "c"]
    assert any("b.tif" in text for text in said)


def test_dev_tiles_are_read_before_any_step(data: Path) -> None:
    dev = data.with_name("dev")
    for index, name in enumerate("xy"):
        write_pair(dev, name, col=1000 + 170 * index)
    damage(dev / "images/x.tif")
    with pytest.raises(SceneError, match=r"x\.tif"):
        loaded(DataSettings((data,), dev=(dev,)), data)
    said: list[str] = []
    found = loaded(DataSettings((data,), dev=(dev,), skip_unreadable=True), data, said=said)
    assert [area.tile.pair.image.name for area in found.dev] == ["y.tif"]
    assert any("x.tif" in sentence for sentence in said)


def test_dev_tiles_without_road_are_refused_before_any_step(data: Path) -> None:
    write_pair(data.with_name("dev"), "x", col=1000, label=np.zeros((1, 130, 170), np.uint8))
    with pytest.raises(TrainingError, match="no road to score"):
        loaded(DataSettings((data,), dev=(data.with_name("dev"),)), data)


@pytest.mark.parametrize("split", ["blocks", "files"])
def test_held_out_ground_without_road_is_refused_before_any_step(tmp_path: Path, split: Any) -> None:
    for index, name in enumerate("abcdefgh"):
        label = np.zeros((1, 130, 170), np.uint8)
        label[0, :, 80:88] = index == 3
        write_pair(tmp_path / "data", name, col=1000 * index, label=label)
    settings = DataSettings((tmp_path / "data",), dev_fraction=0.1, dev_split=split, dev_block_m=500.0)
    with pytest.raises(TrainingError, match=r"holds no road to score against; choose another --seed"):
        loaded(settings, tmp_path)


def test_patience_needs_dev_tiles(data: Path) -> None:
    settings = TrainSettings(crop=32, patience=3)
    with pytest.raises(TrainingError, match="there are no dev tiles; name some with --dev"):
        load_training_data(DataSettings((data,)), data / "m.safetensors", settings, Listener())


def test_road_that_a_nodata_tag_hides_is_told(tmp_path: Path) -> None:
    label = np.zeros((1, 130, 170), np.uint8)
    label[0, :, 80:90] = 255
    write_pair(tmp_path, "a", label=label)
    with pytest.raises(TrainingError, match=r"only one class.* 255 is road .* nodata tag .*gdal_edit\.py -unsetnodata"):
        loaded(DataSettings((tmp_path,)), tmp_path)
    write_pair(tmp_path, "a", label=label // 255, nodata=0)
    with pytest.raises(TrainingError, match=r"only one class.* 0 is not road .* nodata tag .*gdal_edit\.py -unset"):
        loaded(DataSettings((tmp_path,)), tmp_path)
    write_pair(tmp_path, "a", label=label, nodata=None)
    assert loaded(DataSettings((tmp_path,)), tmp_path).tiles.road_fraction > 0
    whole = np.zeros((1, 130, 170), np.uint8)
    write_pair(tmp_path, "a", label=whole)
    write_raster(tmp_path / "images/a.tif", picture(130, 170).astype(np.uint8), transform=PLACE)
    with pytest.raises(TrainingError, match=r"only one class.* pixels$"):
        loaded(DataSettings((tmp_path,)), tmp_path)


def test_a_tile_is_trained_on_or_for_validation(data: Path) -> None:
    with pytest.raises(TrainingError, match=r"at once.*a\.tif"):
        loaded(DataSettings((data,), dev=(data / ".." / "data",)), data)
    write_pair(data / "elsewhere", "e", col=900)
    with pytest.raises(TrainingError, match=r"at once.*a\.tif"):
        loaded(DataSettings((data,), dev=(data / "elsewhere", data)), data)
    manifest = data / "pairs.csv"
    manifest.write_text("image,mask,split\nimages/a.tif,masks/a.tif,train\nimages/a.tif,masks/a.tif,dev\n", "utf-8")
    with pytest.raises(TrainingError, match=r"a\.tif twice, in lines 2 and 3"):
        loaded(DataSettings((manifest,)), data)


def test_dev_tiles_on_ground_that_is_trained_on_are_named(data: Path) -> None:
    """Of three tiles side by side, 170 px wide, c is the first again; d reaches 5 px into the last, e 20 px."""
    dev = data.with_name("dev")
    for name, col in (("c", 0), ("d", 505), ("e", 490)):
        write_pair(dev, name, col=col)
    said: list[str] = []
    loaded(DataSettings((data,), dev=(dev,)), data, said=said)
    assert [text.partition(";")[0] for text in said if "trained on" in text] == [
        f"2 of 3 dev tiles on ground that is trained on, so that the figures are too good: {dev}/images/c.tif, "
        f"{dev}/images/e.tif"
    ]


def test_several_folders_are_one_and_pixels_without_crs_have_the_size_of_the_others(data: Path) -> None:
    other = data.with_name("crops")
    label = np.zeros((1, 65, 85), np.uint8)
    label[0, :, 40:44] = 1
    for side, values in (("images", picture(65, 85).astype(np.uint8)), ("masks", label)):
        (other / side).mkdir(parents=True)
        write_raster(other / side / "x.tif", values, crs=None, transform=PLACE)
    (other / "list.csv").write_text("image,mask\nimages/x.tif,masks/x.tif\n", "utf-8")
    found = loaded(DataSettings((data, other / "list.csv")), data)
    assert [Path(tile.name).stem for tile in found.tiles.tiles] == ["a", "b", "c", "x"]
    assert (found.tiles.tiles[3].shape, found.gsd_m, found.name) == ((65, 85), 1.0, "data and list.csv")
    with pytest.raises(TrainingError, match="an image twice"):
        loaded(DataSettings((data, data)), data)


def test_bands_that_are_not_used_are_told(tmp_path: Path) -> None:
    for name, count in (("a", 4), ("b", 5)):
        write_pair(tmp_path, name)
        values = picture(130, 170, bands=count).astype(np.uint8)
        write_raster(tmp_path / f"images/{name}.tif", values, transform=PLACE, photometric="minisblack")
    write_pair(tmp_path / "rgb", "c")
    rgba = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    opaque = np.concatenate([picture(130, 170), np.full((1, 130, 170), 255)]).astype(np.uint8)
    write_raster(tmp_path / "rgb/images/c.tif", opaque, transform=PLACE, colours=rgba)
    assert loaded(DataSettings((tmp_path,)), tmp_path).summary.endswith("0 dev tiles; bands 1,2,3 of 4 or 1,2,3 of 5")
    assert loaded(DataSettings((tmp_path,), bands=(4, 1)), tmp_path).summary.endswith("; bands 4,1 of 4 or 4,1 of 5")
    assert "bands" not in loaded(DataSettings((tmp_path / "rgb",)), tmp_path).summary
    assert "bands" not in loaded(DataSettings((tmp_path / "rgb",), bands=(3, 1, 2)), tmp_path).summary


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (1, r"a\.tif offers 1; choose 3 .*grey image: --bands 1,1,1\), or train a model for 1 band with --bands 1$"),
        (2, r"a\.tif offers 2; choose 3 .*, or train a model for 2 bands with --bands 1,2$"),
    ],
)
def test_too_few_bands_have_a_cure_without_a_model(tmp_path: Path, count: int, message: str) -> None:
    write_pair(tmp_path, "a")
    write_raster(tmp_path / "images/a.tif", picture(130, 170, bands=count).astype(np.uint8), transform=PLACE)
    with pytest.raises(SceneError, match=message):
        loaded(DataSettings((tmp_path,)), tmp_path)
    assert loaded(DataSettings((tmp_path,), bands=tuple(range(1, count + 1))), tmp_path).tiles.bands == count
    with pytest.raises(SceneError, match="the model wants 3 bands"):
        load_dev_areas(DevFolder(tmp_path), bands=3, gsd_m=1.0, listener=Listener())


def test_one_tile_is_one(data: Path) -> None:
    write_pair(data.with_name("one"), "x", col=1000)
    found = loaded(DataSettings((data.with_name("one"),), dev=(data,)), data)
    assert found.summary.startswith("1 training tile in memory (")
    assert "they" not in found.summary
    assert found.summary.endswith("; 3 dev tiles")
    assert loaded(DataSettings((data,), dev=(data.with_name("one"),)), data).summary.endswith("; 1 dev tile")


def test_dev_tiles_give_the_bands_of_the_model(tmp_path: Path) -> None:
    write_pair(tmp_path, "x")
    with rasterio.open(tmp_path / "images/x.tif") as file:
        second = file.read(2)
    area = load_dev_areas(DevFolder(tmp_path), bands=1, gsd_m=1.0, listener=Listener())[0]
    assert area.tile.bands == 1
    chosen = load_dev_areas(DevFolder(tmp_path), bands=1, gsd_m=1.0, listener=Listener(), chosen=(2,))[0]
    image, label = chosen.tile.read(chosen.tile.grid.window)
    assert np.array_equal(image[0][label != VOID], second[label != VOID])


def test_nothing_left_is_an_error(data: Path) -> None:
    for path in (data / "images").iterdir():
        path.write_text("no raster", "utf-8")
    with pytest.raises(TrainingError, match="none of the pairs can be used"):
        loaded(DataSettings((data,), skip_unreadable=True), data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dev": "data", "dev_fraction": 0.2}, "name dev tiles already; leave out --dev-fraction"),
        ({"dev_fraction": 0.2, "dev_block_m": 7000.0}, "choose a smaller --dev-block"),
        (
            {"dev_fraction": 0.9, "dev_block_m": 60.0},
            "what is left [^;]* without road; choose a smaller --dev-fraction, .* or --crop",
        ),
        ({"bands": (1, 2, 3, 9)}, "has no band 9"),
    ],
)
def test_settings_that_fit_neither_the_data_nor_each_other_are_refused(
    data: Path, options: dict[str, Any], message: str
) -> None:
    options = {key: (data,) if key == "dev" else value for key, value in options.items()}
    with pytest.raises(RoadsegError, match=message):
        loaded(DataSettings((data,), **options), data)


def test_one_file_cannot_be_split_by_files(data: Path) -> None:
    settings = DataSettings(images=(data / "images/a.tif",), labels=data / "roads.gpkg", road_width_m=7)
    write_roads(data / "roads.gpkg", [LineString([(230_020, 899_000), (230_020, 901_000)])])
    with pytest.raises(TrainingError, match="use --dev-split blocks"):
        loaded(replace(settings, dev_fraction=0.5, dev_split="files"), data)


def test_places_beside_images_are_images_too(data: Path, roads: DataSettings) -> None:
    """``--images a.tif b.tif`` makes b.tif a place of its own."""
    settings = replace(roads, images=(data / "images/a.tif", data / "images/c.tif"))
    assert [pair.image.stem for pair in collect_pairs(settings, data / "m", Listener())[0]] == ["a", "c"]
