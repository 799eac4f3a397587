"""What is settled before the first block of a scene: area, grids, blocks, and what is written where.

scene's grid ──scaled to the model's GSD──▶ model's grid      windows, blocks and the model live here
▲                                          │
└──── regridded, if both differ and ───────┘
the scene's own pixels are wanted
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from roadseg.errors import ModelError, SceneError, counted
from roadseg.model.card import ModelCard, Sureness
from roadseg.model.likeness import unlike_training, unmarked_hole
from roadseg.raster.area import Area, rectangle_area
from roadseg.raster.cog_tiles import fits_tiles
from roadseg.raster.encoding import MASK, Product, probability_product, uncertainty_product
from roadseg.raster.grid import Grid
from roadseg.raster.regrid import needed_window
from roadseg.raster.scene import Scene
from roadseg.raster.scene_settings import SceneSettings, pixel_size
from roadseg.settings import PixelType, PredictOutputs, PredictSettings
from roadseg.windows import Plan, PlannedBlock, Window

_MOST_BLOCKS = 1_000_000
"""More than the United States have at 1 m; the list of them takes memory, too."""

_ALIKE = 1.02
"""Sizes of pixels down and across that differ by less are shown as one."""


@dataclass(frozen=True)
class ScenePlan:
    """How one scene is predicted.

    Parameters
    ----------
    area
        The part of the scene that is wanted.
    grid_model, area_model
        The grid the model sees, and the part of it that is predicted.
    grid_out, area_out
        The grid of the outputs, and the part of it that they cover.
    layout
        How ``area_model`` is cut into blocks and windows.
    predicted
        What is stored of each predicted block; the probability comes first.
    rasters
        The output rasters and their paths; the probability comes first.
    threshold
        Probability from which a pixel is road.
    uncertainty
        The raster of uncertainty and its path, if it is wanted.
    sure_at_home
        How sure the model is of its roads where it was calibrated; None leaves probabilities as they are.
    half
        The probability that is written as 0.5, see ``recalibration``.
    """

    area: Area
    grid_model: Grid
    area_model: Window
    grid_out: Grid
    area_out: Window
    layout: Plan
    predicted: tuple[Product, ...]
    rasters: tuple[tuple[Product, Path], ...]
    threshold: float
    uncertainty: tuple[Product, Path] | None = None
    sure_at_home: Sureness | None = None
    half: float = 0.5

    @property
    def sure_from(self) -> float | None:
        """The probability from which a pixel surely is road; None if that does not matter."""
        return self.sure_at_home.threshold if self.sure_at_home else None

    @property
    def regrids(self) -> bool:
        """Whether predicted blocks are resampled to the scene's grid before they are written."""
        return self.grid_out != self.grid_model

    @property
    def blocks(self) -> tuple[PlannedBlock, ...]:
        """All blocks of ``layout``, row by row."""
        return tuple(self.layout.blocks())

    @property
    def blocks_out(self) -> tuple[Window, ...]:
        """The blocks of the output rasters, row by row."""
        if not self.regrids:
            return tuple(block.core for block in self.blocks)
        whole = self.area.window
        layout = Plan(self.grid_out.height, self.grid_out.width, whole, block_px=self.layout.core_px)
        return tuple(block.core for block in layout.blocks())

    @property
    def stored_as(self) -> PixelType:
        """The data type of predicted blocks."""
        return "uint8" if self.predicted[0].dtype == "uint8" else "float32"

    @property
    def spread(self) -> Product | None:
        """What is stored of the uncertainty of each predicted block, if anything."""
        if self.uncertainty is None:
            return None
        product = self.uncertainty[0]
        return replace(product, name="model_uncertainty") if self.regrids else product

    @property
    def written(self) -> tuple[Product, ...]:
        """What the output rasters hold; the probability comes first."""
        return tuple(product for product, _ in self.rasters)


def scene_settings(card: ModelCard, settings: PredictSettings) -> SceneSettings:
    """Return how a scene is read for a model; scales that were asked for are shares of the model's own pixels."""
    return SceneSettings(
        bands=settings.bands,
        band_count=card.bands,
        gsd_m=card.gsd_m * settings.scale,
        finest_gsd_m=None if settings.scales else card.finest_gsd_m,
        pixel_m=settings.pixel_m,
        value_range=settings.value_range,
        fill=card.mean,
    )


def plan_scene(
    scene: Scene, card: ModelCard, settings: PredictSettings, outputs: PredictOutputs, aoi: Area | None = None
) -> ScenePlan:
    """Plan the prediction of a scene.

    Parameters
    ----------
    scene, card
        The scene, and the card of the model.
    settings, outputs
        Settings of the prediction, and the files to write.
    aoi
        The area of interest, if polygons state it; None takes the rectangle in the settings, or the whole scene.

    Raises
    ------
    SceneError
        If the area lies outside the scene, or has too many blocks.
    ModelError
        If the windows of the model are too small for the overlap.
    """
    _check_overlap(settings, card)
    area = aoi or rectangle_area(scene.grid, settings.bbox, scene.path, settings.bbox_crs)
    scaled = scene.grid_model != scene.grid
    area_model = needed_window(area.window, scene.grid_model, scene.grid) if scaled else area.window
    regrids = scaled and settings.grid == "scene"
    probability = probability_product(settings.dtype)
    rasters = [(probability, outputs.raster)]
    if outputs.mask:
        rasters.append((MASK, outputs.mask))
    plan = ScenePlan(
        area=area,
        grid_model=scene.grid_model,
        area_model=area_model,
        grid_out=scene.grid if regrids else scene.grid_model,
        area_out=area.window if regrids else area_model,
        layout=Plan(
            scene.grid_model.height,
            scene.grid_model.width,
            area_model,
            window_px=card.window_px,
            stride_px=card.window_px - settings.overlap_px,
            block_px=settings.block_px,
        ),
        predicted=(replace(probability, name="model"),) if regrids else tuple(product for product, _ in rasters),
        rasters=tuple(rasters),
        threshold=card.threshold if settings.threshold is None else settings.threshold,
        uncertainty=(uncertainty_product(settings.dtype), outputs.uncertainty) if outputs.uncertainty else None,
        sure_at_home=card.sureness if settings.recalibrate else None,
    )
    _check_block_count(scene, plan)
    return plan if settings.creation else _in_tiles(plan)


def _check_overlap(settings: PredictSettings, card: ModelCard) -> None:
    if settings.overlap_px >= card.window_px:
        raise ModelError(
            f"windows of {card.window_px} px, the size for the model {card.name}, cannot overlap by "
            f"{settings.overlap_px} px; ask for less than {card.window_px}"
        )


def _check_block_count(scene: Scene, plan: ScenePlan) -> None:
    if plan.area_model.area > _MOST_BLOCKS * plan.layout.core_px**2:
        window = plan.area.window
        raise SceneError(
            f"{scene.path} has {window.width:,} × {window.height:,} px, more than {_MOST_BLOCKS:,} blocks of "
            f"{plan.layout.core_px} px; name a part of it with --bbox"
        )


def _in_tiles(plan: ScenePlan) -> ScenePlan:
    """Return a plan whose blocks hold the tiles of the finished files, where they fit."""
    rasters = tuple(
        (replace(product, as_tiles=fits_tiles(product, plan.area_out, plan.blocks_out)), path)
        for product, path in plan.rasters
    )
    predicted = plan.predicted if plan.regrids else tuple(product for product, _ in rasters)
    return replace(plan, rasters=rasters, predicted=predicted)


def describe(scene: Scene, plan: ScenePlan, card: ModelCard, engine: str) -> str:
    """Return one line on what was chosen.

    Parameters
    ----------
    scene, plan, card
        The scene, its plan, and the card of the model.
    engine
        Description of the engine.
    """
    whole, part = scene.grid.window, plan.area.window
    out_of = f" (out of {whole.width} × {whole.height})" if part != whole else ""
    size = f"{part.width} × {part.height} px{out_of}"
    pixel = pixel_size(scene.grid, scene.settings)
    ground = f" of {_across_down(pixel, '.3g')} m" if pixel else ""
    scaled = scene.grid_model != scene.grid
    factors = _across_down(scene.gsd_factors, ".3f", ", ")
    scale = f"read at {scene.settings.gsd_m:g} m (× {factors})" if scaled else "used as they are"
    bands = ",".join(map(str, scene.bands))
    layout = plan.layout
    return (
        f"{scene.path}: {size}{ground} {scale}, bands {bands}; model {card.name}; {engine}; "
        f"{counted(len(plan.blocks), 'block')} of {layout.core_px} px, windows of {layout.window_px} px "
        f"every {layout.stride_px} px"
    )


def _across_down(sizes: tuple[float, float], form: str, between: str = " × ") -> str:
    """Return sizes down and across as a text: across and down, or one number if they differ by at most 2 %."""
    down, across = sizes
    if max(sizes) <= _ALIKE * min(sizes):
        return f"{math.sqrt(down * across):{form}}"
    return f"{across:{form}}{between}{down:{form}}"


def scene_warnings(scene: Scene, card: ModelCard) -> list[str]:
    """Return warnings if a scene is unlike the training data of a model, or has holes that look like ground."""
    sample = scene.sample() if card.seen else None
    found = []
    remarks = unlike_training(card, sample, pixel_size(scene.grid, scene.settings))
    if remarks:
        found.append(f"unlike the training data of {card.name}: {'; '.join(remarks)}; check the roads before use")
    hole = unmarked_hole(*sample) if sample else None
    value = scene.common_value(hole[0]) if hole else None
    if hole and value is not None:
        level, share = hole
        plain = ("plain black", "plain white")[level] if scene.dtype == np.uint8 else f"{value:.12g} in all bands"
        found.append(
            f"about {100 * share:.0f} % {plain}, which nothing marks as nodata; if nothing was photographed "
            f"there, mark it: gdal_translate -of VRT -a_nodata {value:.12g} SCENE marked.vrt"
        )
    return [f"{scene.path} is {sentence}" for sentence in found]
