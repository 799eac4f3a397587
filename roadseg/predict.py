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
from roadseg.model.card import find_model
from roadseg.model.weights import load_model
from roadseg.prediction.engines.torch import TorchEngine
from roadseg.prediction.scene_run import Job, Model, scene_settings, wanted_area
from roadseg.progress import Listener
from roadseg.raster.files import bounded_cache
from roadseg.raster.partial import Partial, interrupted_targets
from roadseg.raster.scene import Scene
from roadseg.roads.extract import extract, is_metric
from roadseg.roads.files.outputs import check_target_crs, check_vector_targets, stage_vectors
from roadseg.settings import EngineSettings, Outputs, PredictSettings, VectorizeSettings, VectorOutputs

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


def load(model: str | None, settings: EngineSettings) -> Model:
    """Load a model, by path or bundled name (None: the default one), onto a device.

    Raises
    ------
    ModelError, DeviceError
        If there is no such model or device.
    """
    network, card = load_model(find_model(model))
    engine = TorchEngine(network, card.mean, card.std, settings, temperature=card.temperature, bias=card.bias)
    return Model(engine, card, engine.choice, engine.numbers)


def predict(
    scene_path: str,
    outputs: Outputs,
    model: Model,
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
        What to write; nothing appears there before all of it is finished.
    model
        From ``load``.
    settings
        How.
    command
        Noted in the outputs' metadata.
    listener
        Who wants to hear what happens.

    Raises
    ------
    RoadsegError
        If the scene cannot be read or the outputs not be written; finished blocks are kept.
    """
    listener, started = listener or Listener(), time.monotonic()
    check_outputs(outputs, settings, [Path(scene_path)])
    card = model.card
    threshold = card.threshold if settings.threshold is None else settings.threshold
    with bounded_cache(), Scene(scene_path, scene_settings(card, settings)) as scene:
        check_outputs(outputs, settings, scene.local_files())
        area = wanted_area(scene, settings)
        job = Job(scene, area, model, settings, outputs, threshold)
        if outputs.vector:
            check_target_crs(VectorOutputs(outputs.vector), VectorizeSettings(), scene.grid.crs)
        listener.report(job.describe())
        if settings.pixel_m is None and scene.grid.pixel_size_m() is None:
            listener.warn(
                f"{scene_path} has no CRS that tells metres; its pixels are taken to be {card.gsd_m:g} m wide, "
                "--gsd tells otherwise"
            )
        with Partial(outputs.raster, job.fingerprint(), start_over=settings.overwrite) as partial:
            resumed = job.predict_blocks(partial, listener)
            if job.regrids:
                job.regrid_blocks(partial, listener)
            listener.report("writing the outputs")
            known, road = (partial.total(job.products_out[0], key) for key in ("KNOWN", "ROAD"))
            made = job.make(partial, command)
            if outputs.vector:
                made += _network(job, partial, outputs.vector, listener)
            partial.publish(made)
    if not known:
        listener.warn(f"{scene_path} has no known pixel in the area asked for; the output holds only nodata")
    return PredictSummary(
        scene=scene_path,
        outputs={k: str(v) for k, v in asdict(outputs).items() if v},
        megapixels=round(area.window.area / 1e6, 6),
        seconds=round(time.monotonic() - started, 3),
        device=model.choice,
        model=f"{card.name} {card.hash[:12]}",
        threshold=threshold,
        road_fraction=road / known if known else None,
        known_fraction=known / job.area_out.area,
        blocks=len(job.blocks),
        blocks_resumed=resumed,
    )


def _network(job: Job, partial: Partial, target: Path, listener: Listener) -> list[tuple[Path, Path]]:
    """Make the road network in the partial folder; return what is to go where."""
    levels = job.levels(partial)
    pixels = "" if is_metric(levels.grid) else "; lengths and widths are in pixels"
    listener.report(f"extracting the road network{pixels}")
    roads = extract(levels, VectorizeSettings(), partial.folder, listener)
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
    model: Model,
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
