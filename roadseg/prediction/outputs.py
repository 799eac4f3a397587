"""The outputs of a predicted scene, made inside the partial folder and moved to their places together."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import roadseg
from roadseg.errors import counted, without_secrets
from roadseg.files.processors import processor_count
from roadseg.prediction.engines.engine import LoadedModel
from roadseg.prediction.fingerprint import settings_tag
from roadseg.prediction.pipeline import KNOWN, join_predicted
from roadseg.prediction.plan import ScenePlan
from roadseg.progress import Listener
from roadseg.raster.cog import write_cog
from roadseg.raster.cog_tiles import join_blocks
from roadseg.raster.encoding import ATTRIBUTION, Product
from roadseg.raster.files import stored_tags
from roadseg.raster.partial import Partial
from roadseg.raster.probability import ProbabilityRaster
from roadseg.raster.scene import Scene
from roadseg.raster.scene_copies import SceneCopies
from roadseg.settings import PredictOutputs, PredictSettings, VectorizeSettings, VectorOutputs
from roadseg.windows import Window

_SETTINGS = "ROADSEG_SETTINGS"

_MOST_THREADS = 8
"""Threads that read a scene for its preview: more hardly decompress faster, but hold more memory."""

Finished = list[tuple[Path, Path]]
"""Finished files, and the paths they are moved to."""


def write_rasters(plan: ScenePlan, partial: Partial, tags: dict[str, str], creation: Sequence[str]) -> Finished:
    """Join the blocks to cloud-optimized GeoTIFFs: the probability first, then the mask and the uncertainty, if any.

    Parameters
    ----------
    plan, partial
        The plan of the outputs, and the folder of all their blocks.
    tags
        Metadata of the rasters.
    creation
        Creation options of GDAL's COG driver, as ``KEY=VALUE``; blocks hold no finished tiles where there are any.

    Raises
    ------
    OutputError
        If the disk is full, or a block is missing or damaged.
    """
    grid, finished = plan.grid_out.cropped(plan.area_out), []
    for product, target in (*plan.rasters, *([plan.uncertainty] if plan.uncertainty else [])):
        path = _cog(partial, product)
        files = partial.files(product, plan.blocks_out)
        if not (product.as_tiles and join_blocks(path, product, files, grid, plan.area_out, tags)):
            joined = partial.mosaic(product, plan.blocks_out, grid, plan.area_out, tags)
            write_cog(joined, path, overviews=product.resampling, creation=creation)
        finished.append((path, target))
    return finished


def style_files(outputs: PredictOutputs) -> dict[str, Path]:
    """Return where QGIS looks for the styles of the rasters, by the name of the style."""
    rasters = {"probability": outputs.raster, **({"mask": outputs.mask} if outputs.mask else {})}
    return {name: raster.with_suffix(".qml") for name, raster in rasters.items()}


def write_styles(outputs: PredictOutputs, partial: Partial) -> Finished:
    """Write the styles of the rasters for QGIS."""
    finished = []
    for name, target in style_files(outputs).items():
        path = partial.folder / f"{name}.qml"
        path.write_bytes((resources.files("roadseg.qgis") / path.name).read_bytes())
        finished.append((path, target))
    return finished


def draw_preview(scene: Scene, plan: ScenePlan, partial: Partial, target: Path, listener: Listener) -> Path:
    """Draw the roads of the finished probability raster over the scene, white where it has none."""
    from roadseg.raster.picture import overlay, preview_size, read_reduced, write_picture

    height, width = preview_size(plan.area_out.height, plan.area_out.width)
    probability, valid = read_reduced(_cog(partial, plan.written[0]), height, width)
    counts = partial.counts(plan.written[0], plan.blocks_out, KNOWN)
    seen = [block for block, (known,) in zip(plan.blocks_out, counts, strict=True) if known]
    rgb = _photograph(scene, plan, seen, (height, width), listener)
    rgb[:, ~valid] = 255
    path = partial.folder / "preview.png"
    picture = overlay(rgb, probability, threshold=plan.threshold, reduction=plan.area_out.width / width)
    write_picture(target, picture, staged=path)
    return path


def _photograph(
    scene: Scene, plan: ScenePlan, blocks: Sequence[Window], size: tuple[int, int], listener: Listener
) -> NDArray[np.uint8]:
    """Return the scene at reduced size, white where no block is: without overviews all of its pixels are read for that.

    Parameters
    ----------
    scene, plan
        An open scene, and its plan.
    blocks
        Blocks of the outputs to draw.
    size
        Height and width of the picture.
    listener
        Callbacks for messages and progress.

    Returns
    -------
    (3, height, width) uint8.
    """
    listener.report("drawing the preview")
    listener.start(sum(block.area for block in blocks) / 1e6, 0)
    rgb = np.full((3, *size), 255, dtype=np.uint8)
    threads = max(1, min(processor_count(), _MOST_THREADS, len(blocks)))

    def draw(block: Window) -> float:
        place = _rescaled(block, plan.area_out, Window(0, 0, *size))
        if place.area:
            source = _rescaled(place, Window(0, 0, *size), plan.area.window)
            with scenes.one() as mine:
                rgb[:, *place.slices()] = mine.picture(source, place.height, place.width)
        return block.area / 1e6

    with SceneCopies(scene, threads) as scenes, ThreadPoolExecutor(threads, "roadseg-preview") as pool:
        for megapixels in pool.map(draw, blocks):
            listener.advance(megapixels)
    return rgb


def _rescaled(window: Window, area: Window, other: Window) -> Window:
    """Return the part of another area, of another size, that a window is of an area; neighbours stay neighbours."""
    rows, cols = (
        (start + (low - origin) * size // whole, start + (high - origin) * size // whole)
        for low, high, origin, whole, start, size in (
            (window.row, window.row_stop, area.row, area.height, other.row, other.height),
            (window.col, window.col_stop, area.col, area.width, other.col, other.width),
        )
    )
    return Window(rows[0], cols[0], rows[1] - rows[0], cols[1] - cols[0])


def probability_on_model_grid(scene: Scene, plan: ScenePlan, partial: Partial) -> ProbabilityRaster:
    """Return the predicted probability at the model's resolution, where roads are extracted."""
    grid = plan.grid_model.cropped(plan.area_model)
    joined, (down, across) = join_predicted(plan, partial), scene.gsd_factors
    given = scene.settings.pixel_m
    return ProbabilityRaster(
        joined,
        "probability",
        grid,
        grid,
        threshold=plan.threshold,
        area=plan.area,
        pixel_m=(given / down, given / across) if given else None,
    )


def write_network(
    raster: ProbabilityRaster, folder: Path, target: Path, listener: Listener, attribution: str
) -> Finished:
    """Extract the roads from the predicted probability and write them to the partial folder.

    Parameters
    ----------
    raster
        The probability on the model's grid.
    folder
        The partial folder, also for temporary files.
    target
        Vector file; its extension decides the format.
    listener
        Callbacks for messages and progress.
    attribution
        Whom to credit.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    from roadseg.roads.extract import ExtractionPlan, extract
    from roadseg.roads.files.outputs import stage_vectors

    pixels = "" if raster.ground.in_metres else "; lengths and widths are in pixels"
    listener.report(f"extracting the road network{pixels}")
    roads = extract(ExtractionPlan(raster, VectorizeSettings()), folder, listener)
    listener.report(f"{counted(len(roads), 'road')} found")
    return stage_vectors(roads, VectorOutputs(target), None, folder, attribution=attribution)


def are_finished(scene: str, outputs: PredictOutputs, model: LoadedModel, settings: PredictSettings) -> bool:
    """Return whether all outputs of a scene exist and its raster says that this made it: scene, model, settings."""
    styles = style_files(outputs).values() if settings.style else ()
    if not all(path.exists() for path in (*outputs.paths(), *styles)):
        return False
    tags, asked = stored_tags(outputs.raster), settings_tag(model, settings)
    if tags.get(_SETTINGS, asked) != asked:  # rasters of roadseg 0.1.0 do not say
        return False
    return (tags.get("ROADSEG_SCENE"), tags.get("ROADSEG_MODEL_HASH")) == (without_secrets(scene), model.card.hash)


def is_newer(scene: str, outputs: PredictOutputs) -> bool:
    """Return whether the file of a scene was written after its raster; False where the scene is no plain file."""
    with suppress(OSError):
        return Path(scene).stat().st_mtime_ns > outputs.raster.stat().st_mtime_ns
    return False


def provenance(
    scene: Scene, plan: ScenePlan, model: LoadedModel, settings: PredictSettings, command: str
) -> dict[str, str]:
    """Return the tags of the output rasters: which software, model, settings and command made them of which scene."""
    card = model.card
    return {
        "ROADSEG_VERSION": roadseg.__version__,
        "ROADSEG_MODEL": card.name,
        "ROADSEG_MODEL_HASH": card.hash,
        "ROADSEG_THRESHOLD": f"{plan.threshold:g}",
        "ROADSEG_GSD_M": f"{scene.settings.gsd_m:g}",
        "ROADSEG_SCENE": without_secrets(scene.path),
        "ROADSEG_COMMAND": command,
        _SETTINGS: settings_tag(model, settings),
        **({"ROADSEG_RECALIBRATED": f"{plan.half:g}"} if plan.half != 0.5 else {}),
        **({ATTRIBUTION: card.attribution} if card.attribution else {}),
    }


def _cog(partial: Partial, product: Product) -> Path:
    return partial.folder / f"{product.name}.cog.tif"
