"""Plots for adapting: every pixel in one square, and ground that is kept apart is never learned from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from training_tiles import ONE_METRE
from worlds import METRES, write_raster

from roadseg.progress import Listener
from roadseg.settings import DataSettings
from roadseg.training.data.coverage import coverage_remark
from roadseg.training.data.file_tiles import FileTile, shifted
from roadseg.training.data.pairs import TilePair
from roadseg.training.data.plots import Plot, choose_with_roads, read_plots, split, squares
from roadseg.training.data.validate import at_gsd, open_pairs
from roadseg.windows import Window

VOID = 255


def tile(folder: Path, name: str, label: np.ndarray, transform: Affine = ONE_METRE) -> FileTile:
    """Write a scene of noise with these labels and open it."""
    for side in ("images", "masks"):
        (folder / side).mkdir(exist_ok=True)
    image = np.random.default_rng(1).integers(0, 255, (3, *label.shape)).astype(np.uint8)
    pair = TilePair(folder / "images" / f"{name}.tif", folder / "masks" / f"{name}.tif")
    write_raster(pair.image, image, transform=transform)
    write_raster(pair.mask, label[None], transform=transform, nodata=VOID)
    return at_gsd(open_pairs([pair], DataSettings(), Listener(), None), 1.0)[0]


def streets(height: int, width: int) -> np.ndarray:
    """Draw a street every 40 pixels."""
    label = np.zeros((height, width), np.uint8)
    label[:, 10::40] = label[:, 11::40] = label[:, 12::40] = 1
    return label


@pytest.mark.parametrize(("height", "width"), [(1, 1), (90, 3000), (513, 511), (1500, 1100)])
def test_squares_cover_a_window_once(height, width):
    window = Window(7, 3, height, width)
    count = np.zeros((height, width), int)
    for part in squares(window, 512):
        count[part.slices(window)] += 1
        assert max(part.height, part.width) <= 768
    assert (count == 1).all()


@pytest.mark.parametrize(("height", "width"), [(2, 2), (3, 600), (4, 4), (5, 300)])
def test_a_plot_is_large_enough_to_be_cut(tmp_path, height, width):
    label = np.zeros((height, width), np.uint8)
    label[:, width // 2] = 1
    scene = tile(tmp_path, "a", label)
    plots = list(read_plots([(scene, scene.grid.window)]))
    assert len(plots) == (min(height, width) >= 4)
    for plot in plots:
        apart = split([plot])
        assert all(area.window.area for area in (*apart.calibration, *apart.score))


def test_few_squares_are_all_taken_and_of_many_those_with_roads():
    windows = squares(Window(0, 0, 1000, 1000), 100)
    roads = np.array([shapely.box(0, 110, 1000, 120)], dtype=object)
    assert choose_with_roads(windows, 0, 100)(roads) == windows
    chosen = choose_with_roads(windows, 0, 5)(roads)
    assert len(set(chosen)) == 5
    assert {window.row for window in chosen} == {100}
    assert chosen != choose_with_roads(windows, 1, 5)(roads)


def test_plots_without_labels_are_left_out(tmp_path):
    label = streets(200, 200)
    label[:, 100:] = VOID
    scene = tile(tmp_path, "a", label)
    plots = list(read_plots([(scene, window) for window in squares(scene.grid.window, 100)]))
    assert [plot.window for plot in plots] == [Window(0, 0, 100, 100), Window(100, 0, 100, 100)]
    assert len(list(read_plots([(scene, window) for window in squares(scene.grid.window, 50)], most=3))) == 3


def ground_of(plots: list[Plot]) -> tuple[np.ndarray, np.ndarray]:
    """Split plots of one scene and return where it is learned from and where it is held."""
    parts = split(plots)
    whole = np.zeros(plots[0].tile.shape, bool)
    learned, held = whole.copy(), whole.copy()
    by_name = {plot.area.name: plot for plot in plots}
    for one in parts.learn:
        learned[by_name[one.name].window.slices()] |= one.label != VOID
    for area in (*parts.calibration, *parts.score):
        assert not held[area.window.slices()].any()
        held[area.window.slices()] = True
    assert parts.calibration
    assert parts.score
    return learned, held


@pytest.mark.parametrize("side", [100, 400])
def test_held_ground_is_not_learned_from_nor_is_a_margin_around_it(tmp_path, side):
    scene = tile(tmp_path, "a", streets(400, 400))
    plots = list(read_plots([(scene, window) for window in squares(scene.grid.window, side)]))
    learned, held = ground_of(plots)
    rows, cols = np.nonzero(held)
    for row, col in zip(rows[::97], cols[::97], strict=True):
        assert not learned[max(0, row - 10) : row + 11, max(0, col - 10) : col + 11].any()
    assert 0.4 < learned.mean() < 0.8


def test_a_scene_that_overlaps_cannot_bring_held_ground_back(tmp_path):
    first = tile(tmp_path, "a", streets(300, 300))
    second = tile(tmp_path, "b", streets(300, 300), ONE_METRE @ Affine.translation(100, 0))
    parts = split(list(read_plots([(first, first.grid.window), (second, second.grid.window)])))
    ground = np.zeros((300, 400), bool)
    for area in (*parts.calibration, *parts.score):
        moved = 100 if area.tile is second else 0
        ground[area.window.slices()[0], area.window.col + moved : area.window.col_stop + moved] = True
    for one, moved in zip(parts.learn, (0, 100), strict=True):
        assert not (ground[:, moved : moved + 300] & (one.label != VOID)).any()


def test_held_areas_and_plots_to_learn_from_have_about_the_same_share_of_road(tmp_path):
    label = streets(600, 600)
    label[:, 300:] = 0
    label[::60, 300:] = 1
    scene = tile(tmp_path, "a", label)
    plots = list(read_plots([(scene, window) for window in squares(scene.grid.window, 50)], most=144))
    share = np.mean([plot.road_share for plot in plots])
    held = {area.window for area in split(plots).score}
    assert len(held) == 24
    assert np.mean([plot.road_share for plot in plots if plot.window in held]) == pytest.approx(share, rel=0.15)


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-5, 4), (20, 0)])
def test_labels_are_moved_and_void_comes_into_view(shift):
    label = np.arange(1, 121, dtype=np.uint8).reshape(10, 12)
    moved = shifted(label, shift)
    for row in range(10):
        for col in range(12):
            r, c = row - shift[0], col - shift[1]
            inside = 0 <= r < 10 and 0 <= c < 12
            assert moved[row, col] == (label[r, c] if inside else VOID)


def test_a_plot_that_is_moved_is_scored_with_moved_labels(tmp_path):
    scene = tile(tmp_path, "a", streets(100, 100))
    plot = next(read_plots([(scene, scene.grid.window)])).moved((0, 5)).moved((1, 0))
    assert plot.shift == (1, 5)
    with plot.area.open((0.0,) * 3) as opened:
        assert (plot.area.label(opened) == plot.label).all()
        assert (replace(plot.area, shift=(0, 0)).label(opened) == streets(100, 100)).all()


def plots_at(folder: Path, corners: list[tuple[float, float]], *, crs: str | None = METRES) -> list[Plot]:
    """Return plots of 100 × 120 m whose upper left corners lie so many metres east and south of a place."""
    label = streets(100, 120)
    scene = tile(folder, "a", label)
    transforms = [ONE_METRE @ Affine.translation(*corner) for corner in corners]
    grids = [replace(scene.grid, crs=crs, transform=transform) for transform in transforms]
    return [
        Plot(replace(scene, grid=grid), scene.grid.window, np.zeros((3, 100, 120), np.uint8), label, label < VOID)
        for grid in grids
    ]


def test_labels_of_one_spot_are_told_from_labels_all_over(tmp_path):
    far, near = ([(index * step, index * 40) for index in range(12)] for step in (500, 80))
    spread, spot, few = plots_at(tmp_path, far), plots_at(tmp_path, near), plots_at(tmp_path, far[:9])
    own = [plot.tile.grid for plot in spread]
    assert coverage_remark(spread, own) == ""
    assert coverage_remark(spot, own[:2]).startswith("all labelled roads lie within 1.0 km, so the figures hold for ")
    assert coverage_remark(few, own).startswith("all labelled roads lie in only 9 plots, so ")
    state = [*own, *(plot.tile.grid for plot in plots_at(tmp_path, [(0, 60_000)]))]
    assert coverage_remark(spread, state).startswith("all labelled roads lie in one corner of the scenes (0.9% of")
    blank = [replace(plot, label=np.zeros_like(plot.label)) for plot in spread[2:]]
    assert coverage_remark([*spread[:2], *blank], own).startswith(
        "all labelled roads lie in one corner of the scenes (2."
    )


def test_without_a_place_only_the_number_of_plots_is_looked_at(tmp_path):
    plots = plots_at(tmp_path, [(0, 0)] * 12, crs=None)
    assert coverage_remark(plots, [plots[0].tile.grid]) == ""
    assert "lie in only 1 plot" in coverage_remark(plots[:1], [plots[0].tile.grid])
