"""One scene's prediction, settled before its first block.

Blocks are read, computed and written by three threads with one block in flight between each two.
Everything a block depends on is in the job's fingerprint, so a run that stops can go on later.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import roadseg
from roadseg.errors import ModelError, SceneError
from roadseg.model.card import ModelCard
from roadseg.prediction.block import predict_block
from roadseg.prediction.engines.torch import Engine
from roadseg.progress import Listener
from roadseg.raster.area import Area, polygon_area, rectangle_area
from roadseg.raster.cog import write_cog
from roadseg.raster.encoding import MASK, NODATA, Product, encode, probability_product, threshold_mask
from roadseg.raster.partial import Partial
from roadseg.raster.picture import overlay, preview_size, read_reduced, write_picture
from roadseg.raster.probability import ProbabilityRaster
from roadseg.raster.regrid import Regrid, needed_window
from roadseg.raster.scene import Scene, SceneSettings
from roadseg.roads.files.read import read_polygons
from roadseg.settings import Outputs, PredictSettings
from roadseg.windows import Block, Plan, PlannedBlock, Window


@dataclass(frozen=True)
class Model:
    """An engine with the card that tells how to feed it, and words on what runs where."""

    engine: Engine
    card: ModelCard
    choice: str
    numbers: str = ""


def scene_settings(card: ModelCard, settings: PredictSettings) -> SceneSettings:
    """Return how a model wants a scene to be read."""
    return SceneSettings(
        bands=settings.bands,
        band_count=card.bands,
        gsd_m=card.gsd_m,
        pixel_m=settings.pixel_m,
        value_range=settings.value_range,
        fill=card.mean,
    )


def wanted_area(scene: Scene, settings: PredictSettings) -> Area:
    """Return which part of a scene is wanted."""
    if settings.aoi is None:
        return rectangle_area(scene.grid, settings.bbox, scene.path)
    polygons, crs = read_polygons(settings.aoi)
    return polygon_area(scene.grid, polygons, crs, scene.path)


class Job:
    """One scene's prediction: what was settled before the first block."""

    def __init__(
        self,
        scene: Scene,
        area: Area,
        model: Model,
        settings: PredictSettings,
        outputs: Outputs,
        threshold: float,
    ) -> None:
        self.scene, self.area, self.model, self.settings = scene, area, model, settings
        self.outputs, self.threshold = outputs, threshold
        scaled = scene.grid_model != scene.grid
        self.area_model = needed_window(area.window, scene.grid_model, scene.grid) if scaled else area.window
        self.regrids = scaled and settings.grid == "scene"
        self.area_out = area.window if self.regrids else self.area_model
        self.grid_out = scene.grid if self.regrids else scene.grid_model
        window = model.card.window_px
        if settings.overlap_px >= window:
            raise ModelError(
                f"windows of {window} px, which the model {model.card.name} wants, cannot overlap by "
                f"{settings.overlap_px} px; ask for less than {window}"
            )
        self.plan = Plan(
            scene.grid_model.height,
            scene.grid_model.width,
            self.area_model,
            window_px=window,
            stride_px=window - settings.overlap_px,
            block_px=settings.block_px,
        )
        self.blocks = list(self.plan.blocks())
        raster = probability_product(settings.dtype)
        self.products_out = [raster, MASK] if outputs.mask else [raster]
        self.product_model = Product("model", settings.dtype, raster.description, raster.scale)
        self.products = [self.product_model] if self.regrids else self.products_out

    def describe(self) -> str:
        """Say in one line what was chosen."""
        scene, card = self.scene, self.model.card
        pixel = self.settings.pixel_m or scene.grid.pixel_size_m()
        size = f"{scene.grid.width} × {scene.grid.height} px"
        if isinstance(pixel, tuple):
            pixel = (pixel[0] * pixel[1]) ** 0.5
        ground = f" of {pixel:.3g} m" if pixel else ""
        scale = (
            f"read at {card.gsd_m:g} m (× {scene.gsd_factors[1]:.3f})"
            if scene.grid_model != scene.grid
            else "used as they are"
        )
        bands = ",".join(map(str, scene.bands))
        return (
            f"{scene.path}: {size}{ground} {scale}, bands {bands}; model {card.name}; {self.model.choice}; "
            f"{len(self.blocks)} block(s) of {self.plan.core_px} px, windows of {self.plan.window_px} px "
            f"every {self.plan.stride_px} px"
        )

    def fingerprint(self) -> dict[str, object]:
        """Return everything the blocks depend on."""
        scene, settings = self.scene, self.settings
        path = Path(scene.path)
        files = [(str(file), file.stat()) for file in scene.local_files()]
        dates = json.dumps([(name, stat.st_size, stat.st_mtime_ns) for name, stat in files])
        aoi = hashlib.sha256(settings.aoi.read_bytes()).hexdigest() if settings.aoi else None
        return {
            "roadseg version": roadseg.__version__,
            "scene": str(path.resolve()) if path.exists() else scene.path,
            "scene size or date": hashlib.sha256(dates.encode()).hexdigest(),
            "scene grid": [scene.grid.crs, list(scene.grid.transform), scene.grid.height, scene.grid.width],
            "bands": scene.bands,
            "stretch": scene.stretch,
            "GSD": [scene.grid_model.height, scene.grid_model.width],
            "area": [asdict(self.area.window), aoi],
            "model": self.model.card.hash or self.model.card.name,
            "device or precision": self.model.numbers,
            "overlap": settings.overlap_px,
            "block size": self.plan.core_px,
            "type": settings.dtype,
            "grid": settings.grid,
            "outputs": [product.name for product in self.products_out],
            "threshold": self.threshold,
        }

    def predict_blocks(self, partial: Partial, listener: Listener) -> int:
        """Predict what is not there yet; return how many blocks were."""
        todo = [block for block in self.blocks if not partial.has(self.products, block.core)]
        left = sum(block.core.area for block in todo) / 1e6
        listener.start(self.area_model.area / 1e6, self.area_model.area / 1e6 - left)
        try:
            self._predict_blocks(todo, partial, listener)
        except SceneError as error:
            if not partial.block_count():
                raise
            raise SceneError(
                f"{error}; the finished blocks are kept: repeat the command if the file comes back as it was, "
                "or add --overwrite to start anew with another"
            ) from error
        return len(self.blocks) - len(todo)

    def _predict_blocks(self, todo: Sequence[PlannedBlock], partial: Partial, listener: Listener) -> None:
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            written: Future[None] | None = None
            for planned, pixels in _read_ahead(reader, self.scene.read, todo):
                wanted = None if self.regrids else self.area.covers(self.grid_out, planned.core)
                block = predict_block(
                    pixels,
                    planned,
                    self.model.engine,
                    wanted=wanted,
                    on_rows=lambda n: listener.advance(n / 1e6),
                )
                if written:
                    written.result()
                written = writer.submit(self._store, partial, block)
                del block  # the writer lets it go when it is stored, long before the next one is done
            if written:
                written.result()

    def regrid_blocks(self, partial: Partial, listener: Listener) -> None:
        """Bring finished blocks from the model's grid to the scene's."""
        scene = self.scene
        source = partial.mosaic(self.product_model, scene.grid_model.cropped(self.area_model), self.area_model, {})
        step = self.plan.core_px
        tiles = list(Plan(scene.grid.height, scene.grid.width, self.area.window, block_px=step).blocks())
        listener.report(f"resampling to the scene's grid, {len(tiles)} block(s)")
        with Regrid(source, scene.grid_model, self.area_model, scene.grid) as regrid:
            for tile in tiles:
                if partial.has(self.products_out, tile.core):
                    continue
                values, known = regrid.read(tile.core)
                known &= scene.read_valid(tile.core)
                wanted = self.area.covers(scene.grid, tile.core)
                if wanted is not None:
                    known &= wanted
                self._store_out(partial, Block(tile.core, values, known))

    def make(self, partial: Partial, command: str) -> list[tuple[Path, Path]]:
        """Make the rasters and the preview inside the partial folder; return what is to go where."""
        targets = [self.outputs.raster, self.outputs.mask]
        made: list[tuple[Path, Path]] = []
        grid = self.grid_out.cropped(self.area_out)
        for product, target in zip(self.products_out, targets, strict=False):
            joined = partial.mosaic(product, grid, self.area_out, self._tags(command))
            finished = partial.folder / f"{product.name}.cog.tif"
            write_cog(joined, finished, overviews="NEAREST" if product is MASK else "AVERAGE")
            made.append((finished, target or Path()))
        if self.outputs.preview:
            picture = partial.folder / "preview.png"
            self._draw(made[0][0], picture)
            made.append((picture, self.outputs.preview))
        return made

    def levels(self, partial: Partial) -> ProbabilityRaster:
        """Return the finished probability as the model saw it, to make a network of; call ``make`` before."""
        grid = self.scene.grid_model.cropped(self.area_model)
        product = self.product_model if self.regrids else self.products_out[0]
        source = partial.mosaic(product, grid, self.area_model, {})
        return ProbabilityRaster(source, "probability", grid, grid, threshold=self.threshold, area=self.area)

    def _draw(self, raster: Path, picture: Path) -> None:
        height, width = preview_size(self.area_out.height, self.area_out.width)
        probability, _ = read_reduced(raster, height, width)
        rgb = self.scene.picture(self.area.window, height, width)
        write_picture(picture, overlay(rgb, probability, threshold=self.threshold))

    def _store(self, partial: Partial, block: Block) -> None:
        if self.regrids:
            partial.put(self.product_model, block.window, encode(block.values, block.valid, self.settings.dtype))
        else:
            self._store_out(partial, block)

    def _store_out(self, partial: Partial, block: Block) -> None:
        values = encode(block.values, block.valid, self.settings.dtype)
        mask = threshold_mask(values, self.threshold)
        counts = {"KNOWN": int(np.count_nonzero(mask != NODATA)), "ROAD": int(np.count_nonzero(mask == 1))}
        for product in self.products_out:
            partial.put(product, block.window, mask if product is MASK else values, counts)

    def _tags(self, command: str) -> dict[str, str]:
        card = self.model.card
        return {
            "ROADSEG_VERSION": roadseg.__version__,
            "ROADSEG_MODEL": card.name,
            "ROADSEG_MODEL_HASH": card.hash,
            "ROADSEG_THRESHOLD": f"{self.threshold:g}",
            "ROADSEG_GSD_M": f"{card.gsd_m:g}",
            "ROADSEG_SCENE": self.scene.path,
            "ROADSEG_COMMAND": command,
        }


def _read_ahead(
    reader: ThreadPoolExecutor, read: Callable[[Window], Block], todo: Sequence[PlannedBlock]
) -> Iterator[tuple[PlannedBlock, Block]]:
    """Yield blocks with their pixels, the next one being read meanwhile."""
    ahead = [reader.submit(read, todo[0].extent)] if todo else []
    for index, block in enumerate(todo):
        pixels = ahead.pop().result()
        if index + 1 < len(todo):
            ahead.append(reader.submit(read, todo[index + 1].extent))
        yield block, pixels
