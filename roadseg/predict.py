"""Predict: from scenes to road probability rasters.

``predict`` is the whole chain for one scene; ``predict_many`` goes through a list of them and does not
let a bad one stop the others.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from roadseg.errors import OutputError
from roadseg.files import Outcomes, check_target, for_each_file
from roadseg.prediction.engines.engine import LoadedModel
from roadseg.prediction.fingerprint import fingerprint
from roadseg.prediction.outputs import Finished, draw_preview, probability_on_model_grid, provenance, write_rasters
from roadseg.prediction.pipeline import KNOWN, ROAD, predict_blocks, regrid_blocks
from roadseg.prediction.plan import ScenePlan, describe, plan_scene, scene_settings
from roadseg.progress import Listener
from roadseg.raster.files import bounded_cache
from roadseg.raster.partial import Partial, interrupted_targets
from roadseg.raster.scene import Scene
from roadseg.roads.extract import ExtractionPlan, extract
from roadseg.roads.files.outputs import check_target_crs, check_vector_targets, stage_vectors
from roadseg.settings import Outputs, PredictSettings, VectorizeSettings, VectorOutputs

ENDINGS = {"raster": ".tif", "mask": ".tif", "preview": ".png", "vector": ".gpkg"}
"""What each of the outputs is called where several scenes are predicted into folders."""


@dataclass(frozen=True)
class PredictSummary:
    """What was done: paths, size, time, and the share of road among known pixels (None if none is)."""

    scene: str
    outputs: dict[str, str]
    megapixels: float
    seconds: float
    device: str
    model: str
    threshold: float
    road_fraction: float | None
    known_fraction: float
    blocks: int
    blocks_resumed: int = field(default=0)


def predict(
    scene_path: str,
    outputs: Outputs,
    model: LoadedModel,
    settings: PredictSettings,
    *,
    command: str = "",
    listener: Listener | None = None,
) -> PredictSummary:
    """Predict the roads of a scene.

    Parameters
    ----------
    scene_path
        Anything GDAL opens.
    outputs
        Files to write; they appear together, once all of them are finished.
    model
        A model on a device, from ``load``.
    settings
        Settings for reading the scene and for its windows, blocks and outputs.
    command
        Command line for the tags of the outputs.
    listener
        Callbacks for messages and for megapixels finished.

    Raises
    ------
    RoadsegError
        If the scene cannot be read or an output cannot be written; finished blocks are kept.
    """
    listener, started = listener or Listener(), time.monotonic()
    check_outputs(outputs, settings, [Path(scene_path)])
    with bounded_cache(), Scene(scene_path, scene_settings(model.card, settings)) as scene:
        check_outputs(outputs, settings, scene.local_files())
        if outputs.vector:
            check_target_crs(VectorOutputs(outputs.vector), VectorizeSettings(), scene.grid.crs)
        plan = plan_scene(scene, model.card, settings, outputs)
        listener.report(describe(scene, plan, model.card, model.engine.description))
        if settings.pixel_m is None and scene.grid.pixel_size_m() is None:
            listener.warn(
                f"{scene_path} has no CRS with known metres; its pixels are assumed to be {model.card.gsd_m:g} m wide, "
                "give their size with --gsd if they are not"
            )
        found = fingerprint(scene, plan, model, settings)
        with Partial(outputs.raster, found, start_over=settings.overwrite) as partial:
            resumed = predict_blocks(scene, plan, model.engine, partial, listener)
            if plan.regrids:
                regrid_blocks(scene, plan, partial, listener)
            known, road = (partial.total(plan.written[0], tag) for tag in (KNOWN, ROAD))
            listener.report("writing the outputs")
            finished = write_rasters(plan, partial, provenance(scene, plan, model.card, command))
            if outputs.preview:
                finished.append((draw_preview(scene, plan, partial), outputs.preview))
            if outputs.vector:
                finished += _extract_network(plan, partial, outputs.vector, listener)
            partial.publish(finished)
    if not known:
        listener.warn(f"{scene_path} has no valid pixel in the requested area; the output holds only nodata")
    return PredictSummary(
        scene=scene_path,
        outputs={name: str(path) for name, path in asdict(outputs).items() if path},
        megapixels=round(plan.area.window.area / 1e6, 6),
        seconds=round(time.monotonic() - started, 3),
        device=model.engine.description,
        model=f"{model.card.name} {model.card.hash[:12]}",
        threshold=plan.threshold,
        road_fraction=road / known if known else None,
        known_fraction=known / plan.area_out.area,
        blocks=len(plan.blocks),
        blocks_resumed=resumed,
    )


def _extract_network(plan: ScenePlan, partial: Partial, target: Path, listener: Listener) -> Finished:
    """Extract the roads from the predicted probability into the partial folder."""
    raster = probability_on_model_grid(plan, partial)
    pixels = "" if raster.ground.in_metres else "; lengths and widths are in pixels"
    listener.report(f"extracting the road network{pixels}")
    roads = extract(ExtractionPlan(raster, VectorizeSettings()), partial.folder, listener)
    listener.report(f"{len(roads):,} roads found")
    return stage_vectors(roads, VectorOutputs(target), None, partial.folder)


def check_outputs(outputs: Outputs, settings: PredictSettings, inputs: Sequence[Path]) -> None:
    """Find out before any work whether the outputs may be written.

    Raises
    ------
    OutputError
        If one may not, or two are the same file.
    """
    targets = [path.resolve() for path in outputs.paths()]
    twice = next((path for path in targets if targets.count(path) > 1), None)
    if twice:
        raise OutputError(f"{twice} is asked for twice; give each output a name of its own")
    mine = interrupted_targets(outputs.raster)
    inputs = [*inputs, *([settings.aoi] if settings.aoi else [])]
    for target in outputs.paths():
        may_replace = settings.overwrite or target.resolve() in mine
        if target == outputs.vector:
            check_vector_targets(VectorOutputs(target), VectorizeSettings(overwrite=may_replace), inputs)
        else:
            check_target(target, overwrite=may_replace, inputs=inputs)


def predict_many(
    scenes: Sequence[tuple[str, Outputs]],
    model: LoadedModel,
    settings: PredictSettings,
    *,
    command: str = "",
    listener: Listener | None = None,
    on_done: Callable[[PredictSummary], None] = lambda _: None,
) -> Outcomes[PredictSummary]:
    """Predict one scene after the other, telling each as it is done; what goes wrong with one stops no other."""
    listener = listener or Listener()

    def do(scene: str, outputs: Outputs) -> PredictSummary:
        return predict(scene, outputs, model, settings, command=command, listener=listener)

    return for_each_file(scenes, do, listener=listener, on_done=on_done)
