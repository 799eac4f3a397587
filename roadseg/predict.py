"""Predict: from scenes to road probability rasters.

``predict`` is the whole chain for one scene; ``predict_many`` goes through a list of them and does not
let a bad one stop the others.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from roadseg.batch import Batch, in_turn, stems
from roadseg.errors import OutputError
from roadseg.extraction import extract, is_metric
from roadseg.inference.engine import TorchEngine
from roadseg.job import Job, Model, scene_settings, wanted_area
from roadseg.model.card import ModelCard, find_model
from roadseg.model.likeness import remarks
from roadseg.model.weights import load_model
from roadseg.progress import Listener
from roadseg.raster.files import bounded_cache
from roadseg.raster.output import check_target
from roadseg.raster.partial import Partial, published
from roadseg.raster.scene import Scene
from roadseg.settings import EngineSettings, Outputs, PredictSettings, VectorizeSettings, VectorOutputs
from roadseg.vectors import check_crs, check_vectors, stage


@dataclass(frozen=True)
class Summary:
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
) -> Summary:
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
            check_crs(VectorOutputs(outputs.vector), VectorizeSettings(), scene.grid.crs)
        listener.say(job.describe())
        if settings.pixel_m is None and scene.grid.pixel_size_m() is None:
            listener.warn(
                f"{scene_path} has no CRS that tells metres; its pixels are taken to be {card.gsd_m:g} m wide, "
                "--gsd tells otherwise"
            )
        _warn_if_unlike(scene, card, listener)
        with Partial(outputs.raster, job.fingerprint(), anew=settings.overwrite) as partial:
            resumed = job.predict_blocks(partial, listener)
            if job.regrids:
                job.regrid_blocks(partial, listener)
            listener.say("writing the outputs")
            known, road = (partial.total(job.products_out[0], key) for key in ("KNOWN", "ROAD"))
            made = job.make(partial, command)
            if outputs.vector:
                made += _network(job, partial, outputs.vector, listener)
            partial.publish(made)
    if not known:
        listener.warn(f"{scene_path} has no known pixel in the area asked for; the output holds only nodata")
    return Summary(
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


def _warn_if_unlike(scene: Scene, card: ModelCard, listener: Listener) -> None:
    given = scene.settings.pixel_m
    pixel_m = (given, given) if given else scene.grid.pixel_size_m()
    strange = remarks(card, scene.sample() if card.seen else None, pixel_m)
    if strange:
        listener.warn(
            f"{scene.path} is unlike what {card.name} was trained on: {'; '.join(strange)}; check its roads before use"
        )


def _network(job: Job, partial: Partial, target: Path, listener: Listener) -> list[tuple[Path, Path]]:
    """Make the road network in the partial folder; return what is to go where."""
    levels = job.levels(partial)
    pixels = "" if is_metric(levels.grid) else "; lengths and widths are in pixels"
    listener.say(f"extracting the road network{pixels}")
    roads = extract(levels, VectorizeSettings(), partial.folder, listener)
    listener.say(f"{len(roads):,} roads found")
    return stage(roads, VectorOutputs(target), None, partial.folder)


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
    mine = published(outputs.raster)
    inputs = [*inputs, *([settings.aoi] if settings.aoi else [])]
    for target in outputs.paths():
        may_replace = settings.overwrite or target.resolve() in mine
        if target == outputs.vector:
            check_vectors(VectorOutputs(target), VectorizeSettings(overwrite=may_replace), inputs)
        else:
            check_target(target, overwrite=may_replace, inputs=inputs)


def predict_many(
    scenes: Sequence[tuple[str, Outputs]],
    model: Model,
    settings: PredictSettings,
    *,
    command: str = "",
    listener: Listener | None = None,
    on_done: Callable[[Summary], None] = lambda _: None,
) -> Batch[Summary]:
    """Predict one scene after the other, telling each as it is done; what goes wrong with one stops no other."""
    listener = listener or Listener()

    def do(scene: str, outputs: Outputs) -> Summary:
        return predict(scene, outputs, model, settings, command=command, listener=listener)

    return in_turn(scenes, do, listener=listener, on_done=on_done)


def name_outputs(scenes: Sequence[str], outputs: Outputs, *, folder: bool) -> list[tuple[str, Outputs]]:
    """Pair scenes with where their results go.

    Parameters
    ----------
    scenes
        Their paths.
    outputs
        For one scene: files. With ``folder``: folders, in which each scene's results take its name.
    folder
        Whether the outputs are folders.

    Raises
    ------
    SceneError
        If two scenes have the same name.
    """
    if not folder:
        return [(scenes[0], outputs)]
    return [
        (
            scene,
            replace(
                outputs,
                raster=outputs.raster / f"{stem}.tif",
                mask=outputs.mask / f"{stem}.tif" if outputs.mask else None,
                preview=outputs.preview / f"{stem}.png" if outputs.preview else None,
                vector=outputs.vector / f"{stem}.gpkg" if outputs.vector else None,
            ),
        )
        for scene, stem in zip(scenes, stems(scenes), strict=True)
    ]
