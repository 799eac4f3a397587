"""Crops: fair, reproducible, and never from the void."""

import threading

import numpy as np
import pytest

from roadseg.errors import TrainingError
from roadseg.raster.labelled_scene import VOID
from roadseg.training.data.tiles import MemoryTile, TileDataset, cell_px, copy_window
from roadseg.windows import Window


def tile(name: str, height: int, width: int, *, seed: int = 0) -> MemoryTile:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    label = np.zeros((height, width), dtype=np.uint8)
    label[:, width // 2 : width // 2 + 7] = 1
    return MemoryTile(name, image, label, np.ones((height, width), dtype=bool))


def test_same_step_draws_same_crops() -> None:
    tiles = TileDataset([tile("a", 70, 110), tile("b", 90, 64, seed=1)], crop=32)
    first, again, later = (tiles.draw(6, seed=4, step=step) for step in (9, 9, 10))
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.images, later.images)


def test_image_and_label_are_cut_from_one_place() -> None:
    source = tile("a", 70, 110)
    marked = MemoryTile("a", np.stack([source.label * 200] * 3), source.label, source.valid)
    batch = TileDataset([marked], crop=32).draw(20, seed=0, step=0)
    assert np.array_equal(batch.images[:, 0], batch.labels * 200)


def test_tiles_are_drawn_in_proportion_to_labelled_area() -> None:
    large, small = tile("large", 160, 160), tile("small", 80, 80)
    small.image[:] = 7
    tiles = TileDataset([large, small], crop=32)
    batch = tiles.draw(2000, seed=0, step=0)
    share = np.mean([np.all(image == 7) for image in batch.images])
    assert share == pytest.approx(80 * 80 / (160 * 160 + 80 * 80), abs=0.03)


def test_void_is_avoided() -> None:
    half = tile("half", 100, 200)
    half.label[:, 110:] = VOID
    batch = TileDataset([half], crop=40).draw(100, seed=0, step=0)
    assert (batch.labels != VOID).mean(axis=(1, 2)).min() >= 0.5


def test_statistics_leave_void_pixels_out() -> None:
    one = tile("one", 60, 80)
    one.image[:, :, 40:] = 255
    one.label[:, 47:] = VOID
    one.label[:, 40:47] = VOID
    one.label[5:9, :20] = 1
    mean, std = TileDataset([one], crop=16).pixel_statistics()
    known = one.image[:, :, :40] / 255
    assert mean == pytest.approx(known.mean(axis=(1, 2)))
    assert std == pytest.approx(known.std(axis=(1, 2)))


def test_unknown_pixels_get_the_mean_colour() -> None:
    one = tile("one", 40, 50)
    one.valid[:, :9] = False
    TileDataset([one], crop=16).fill((0.2, 0.4, 0.6))
    assert [np.unique(band[:, :9]).tolist() for band in one.image] == [[51], [102], [153]]


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        ([], "no training tiles"),
        (
            [MemoryTile("t", np.zeros((3, 40, 50), np.uint8), np.zeros((40, 50), np.uint8), np.ones((40, 50), bool))],
            "one class",
        ),
        (
            [
                MemoryTile(
                    "t", np.zeros((3, 40, 50), np.uint8), np.full((40, 50), VOID, np.uint8), np.ones((40, 50), bool)
                )
            ],
            "void",
        ),
    ],
)
def test_useless_tiles_are_refused(tiles: list[MemoryTile], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        TileDataset(tiles, crop=32)


def test_a_crop_is_known_by_its_number() -> None:
    tiles = TileDataset([tile("a", 70, 110), tile("b", 90, 64, seed=1)], crop=32)
    some = tiles.crops([5, 900, 7], seed=3)
    assert np.array_equal(some.pixels[2], tiles.crops([7], seed=3).pixels[0])
    assert np.array_equal(tiles.draw(4, seed=3, step=2).pixels, tiles.crops(range(8, 12), seed=3).pixels)


def test_batches_ahead_are_the_batches_asked_for() -> None:
    tiles = TileDataset([tile("a", 70, 110)], crop=32, threads=3)
    numbers = [range(i, i + 5) for i in (40, 0, 7, 7, 90, 2, 3, 1)]
    for batch, wanted in zip(tiles.stream(numbers, seed=1, margin_px=4), numbers, strict=True):
        assert np.array_equal(batch.pixels, tiles.crops(wanted, seed=1, margin_px=4).pixels)


def test_a_stream_left_early_ends_its_threads() -> None:
    stream = TileDataset([tile("a", 70, 110)], crop=32, threads=3).stream(([n] for n in range(10**9)), seed=1)
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("roadseg-crops")]


def test_pixels_are_one_piece() -> None:
    batch = TileDataset([tile("a", 70, 110)], crop=32).draw(3, seed=0, step=0)
    assert (batch.pixels.shape, batch.pixels.dtype) == ((3, 4, 32, 32), np.uint8)
    assert batch.pixels.flags.c_contiguous
    assert (batch.images.base is not None, batch.images.shape, batch.labels.shape) == (
        True,
        (3, 3, 32, 32),
        (3, 32, 32),
    )


def test_a_margin_grows_the_same_crop_and_is_void_beyond_the_tile() -> None:
    tiles = TileDataset([tile("a", 70, 110)], crop=32)
    plain, grown = tiles.draw(60, seed=2, step=1), tiles.draw(60, seed=2, step=1, margin_px=45)
    assert grown.pixels.shape[2:] == (122, 122)
    assert np.array_equal(grown.pixels[:, :, 45:-45, 45:-45], plain.pixels)
    known = (grown.labels != VOID).sum(axis=(1, 2))
    assert known.max() <= 70 * 110
    assert 0 < known.min() < known.max()


def test_beyond_the_tile_lies_its_mirror_image() -> None:
    source = tile("a", 40, 50)
    out = np.empty((4, 60, 70), np.uint8)
    copy_window(source, Window(-7, -9, 60, 70), out)
    assert np.array_equal(out[:3], np.pad(source.image, ((0, 0), (7, 13), (9, 11)), mode="reflect"))
    assert np.array_equal(out[3], np.pad(source.label, ((7, 13), (9, 11)), constant_values=VOID))


def test_a_tile_smaller_than_a_crop_lies_in_its_middle() -> None:
    batch = TileDataset([tile("tiny", 20, 90), tile("tinier", 11, 13)], crop=32).draw(40, seed=0, step=0)
    known = {int((label != VOID).sum()) for label in batch.labels}
    assert known == {20 * 32, 11 * 13}


def test_every_labelled_pixel_is_about_as_likely() -> None:
    """Far from borders, where fewer crops reach."""
    marks = tile("a", 200, 280)
    marks.image[:] = 0
    seen = np.zeros(200 * 280)
    numbers = np.arange(200 * 280).reshape(200, 280)
    for band, shift in enumerate((0, 8, 16)):
        marks.image[band] = numbers >> shift & 255
    batch = TileDataset([marks], crop=24).draw(4000, seed=0, step=0)
    places = batch.images.astype(np.int64)
    np.add.at(seen, (places[:, 0] + (places[:, 1] << 8) + (places[:, 2] << 16)).ravel(), 1)
    inner = seen.reshape(200, 280)[24:-24, 24:-24]
    blocks = inner[:144, :224].reshape(6, 24, 8, 28).mean(axis=(1, 3))
    assert blocks.max() / blocks.min() < 1.5


def test_road_share_draws_more_road() -> None:
    source = tile("a", 300, 400)
    shares = [
        (TileDataset([source], crop=32, road_share=s).draw(400, seed=0, step=0).labels == 1).mean() for s in (0, 0.5, 1)
    ]
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 3 * shares[0]


@pytest.mark.parametrize("crop", [8, 24, 40])
@pytest.mark.parametrize("known", [0.3, 0.9])
def test_half_of_a_crop_is_labelled_wherever_that_can_be(crop: int, known: float) -> None:
    """Void in large patches; small crops too."""
    rng = np.random.default_rng(1)
    source = tile("patchy", 160, 240)
    source.label[np.kron(rng.random((4, 6)) > known, np.ones((40, 40), bool))] = VOID
    source.label[0, 0], source.label[0, 1] = 1, 0
    labels = TileDataset([source], crop=crop).draw(300, seed=0, step=0).labels
    assert (labels != VOID).mean(axis=(1, 2)).min() >= 0.5


def test_scattered_labels_are_still_found() -> None:
    source = tile("points", 120, 150)
    source.label[:] = VOID
    source.label[60, 70:74] = (0, 1, 1, 0)
    labels = TileDataset([source], crop=32).draw(50, seed=0, step=0).labels
    assert (labels != VOID).any(axis=(1, 2)).mean() > 0.5


def test_cells_grow_with_the_data() -> None:
    assert cell_px([(1500, 1500)] * 30, 224) == 8
    assert cell_px([(40_000, 40_000)], 224) == 32
    assert cell_px([(1500, 1500)], 8) == 2


def test_tiles_of_other_bands_are_refused() -> None:
    grey = tile("grey", 40, 50)
    with pytest.raises(TrainingError, match="grey has 1 band, a 3; choose with --bands"):
        TileDataset([tile("a", 40, 50), MemoryTile("grey", grey.image[:1], grey.label, grey.valid)], crop=16)
