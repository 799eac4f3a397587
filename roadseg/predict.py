"""Predict: from scenes to road probability rasters.

``predict`` is the public function, with the options of ``roadseg predict`` as keywords; ``predict_scene`` is the whole
chain for one scene.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, Unpack

from roadseg.errors import RoadsegError, UsageError
from roadseg.files.lock import locked
from roadseg.files.parts import check_unshared
from roadseg.files.states import check_unchanged
from roadseg.files.targets import name_outputs
from roadseg.prediction.engines.choose import load
from roadseg.prediction.engines.engine import LoadedModel
from roadseg.prediction.outputs import (
    are_finished,
    draw_preview,
    is_newer,
    probability_on_model_grid,
    provenance,
    write_network,
    write_rasters,
    write_styles,
)
from roadseg.prediction.overlap import overlapped
from roadseg.prediction.parts import predict_part
from roadseg.prediction.pipeline import KNOWN, ROAD, regrid_blocks
from roadseg.prediction.plan import ScenePlan, scene_settings
from roadseg.prediction.prepare import check_outputs, prepare
from roadseg.prediction.recalibration import recalibrate
from roadseg.prediction.scene_list import read_scene_list
from roadseg.prediction.views import predict_views
from roadseg.progress import Listener
from roadseg.raster.files import bounded_cache
from roadseg.raster.partial import Partial, interrupted_targets, is_complete, partial_folder
from roadseg.raster.scene import Scene
from roadseg.raster.shared_partial import shared_partial
from roadseg.settings import (
    EngineOptions,
    EngineSettings,
    MachineSettings,
    PredictOptions,
    PredictOutputs,
    PredictSettings,
)
from roadseg.settings.option import AnyPath, check_keywords, from_options, offered
from roadseg.settings.predict import check_combinations, check_machines, check_views

__all__ = ["LoadedModel", "PredictResult", "load_model", "predict"]

Result = TypeVar("Result")

ENDINGS = {"raster": ".tif", "mask": ".tif", "uncertainty": ".tif", "preview": ".png", "vector": ".gpkg"}
"""Extensions of the outputs of several scenes, which go to folders."""


@dataclass(frozen=True)
class PredictResult:
    """What was predicted; the fraction of road is None without valid pixels.

    A part (``part="2/5"``) has no outputs and no fractions. ``.github/JSON.md`` says what each value is.
    """

    scene: str
    outputs: dict[str, Path]
    megapixels: float
    seconds: float
    device: str
    precision: str
    engine: str
    model: str
    model_hash: str
    threshold: float
    road_fraction: float | None
    known_fraction: float | None
    blocks: int
    blocks_resumed: int
    recalibrated: float | None = None
    blocks_missing: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        return {**asdict(self), "outputs": {name: str(path) for name, path in self.outputs.items()}}


def load_model(model: AnyPath | None = None, **options: Unpack[EngineOptions]) -> LoadedModel:
    """Load a model onto a device, to predict many scenes with.

    Parameters
    ----------
    model
        Model file or name of a bundled model; None loads the default one.
    options
        ``device``, ``precision``, ``batch`` and ``tta``, as of ``roadseg predict``.

    Raises
    ------
    ModelError, DeviceError
        If there is no such model or device.
    UsageError
        If an option has a value it cannot have.
    """
    check_keywords("load_model", options, EngineOptions)
    return load(None if model is None else os.fspath(model), from_options(EngineSettings, options))


def predict(
    scene: AnyPath,
    output: AnyPath,
    *,
    model: AnyPath | LoadedModel | None = None,
    command: str = "",
    listener: Listener | None = None,
    **options: Unpack[PredictOptions],
) -> PredictResult:
    """Predict the roads of a scene.

    Parameters
    ----------
    scene
        Anything GDAL opens.
    output
        Probability raster to write (COG). No output appears before all are finished.
    model
        Model file, name of a bundled model, or a model from ``load_model``; None loads the default one.
    command
        Command line to record in the outputs' metadata.
    listener
        Callbacks for messages and progress.
    options
        As on the command line, with the same defaults.

    Raises
    ------
    UsageError
        If an option has a value it cannot have.
    RoadsegError
        If the scene cannot be read or an output not be written; finished blocks are kept.
    """
    check_keywords("predict", options, PredictOptions)
    place, outputs = os.fsdecode(scene), from_options(PredictOutputs, options, raster=Path(output))
    settings = from_options(PredictSettings, options)
    check_combinations(str(output), settings)
    of_engine: Any = {name: value for name, value in options.items() if name in offered(EngineSettings)}
    if isinstance(model, LoadedModel) and of_engine:
        raise UsageError(f"the model is already loaded; give {', '.join(of_engine)} to load_model")
    machines = from_options(MachineSettings, options)
    with ready_model(model, machines, **of_engine) as loaded:
        share = machines.share
        return predict_scene(place, outputs, loaded, settings, command=command, share=share, listener=listener)


@contextmanager
def ready_model(
    model: AnyPath | LoadedModel | None, machines: MachineSettings, **options: Unpack[EngineOptions]
) -> Iterator[LoadedModel]:
    """Context manager that loads a model, here or on the workers of a cluster.

    Parameters
    ----------
    model
        Model file or name of a bundled model; None loads the default one. A loaded model stays as it is.
    machines
        How the work is shared.
    options
        As of ``load_model``.

    Raises
    ------
    ModelError, DeviceError
        If there is no such model, device or cluster.
    UsageError
        If options exclude each other.
    """
    check_machines(machines)
    if isinstance(model, LoadedModel):
        if machines.dask:
            raise UsageError("--dask loads the model on its workers; name the model instead of loading it")
        yield model
    elif machines.dask:
        from roadseg.prediction.cluster import cluster_model

        name = None if model is None else os.fspath(model)
        with cluster_model(name, from_options(EngineSettings, options), machines) as remote:
            yield remote
    else:
        yield load_model(model, **options)


def predict_scene(
    scene_path: str,
    outputs: PredictOutputs,
    model: LoadedModel,
    settings: PredictSettings,
    *,
    command: str = "",
    share: tuple[int, int] | None = None,
    listener: Listener | None = None,
) -> PredictResult:
    """Predict the roads of a scene; the whole chain.

    Parameters
    ----------
    scene_path
        Anything GDAL opens.
    outputs
        Files to write; they appear together, once all of them are finished.
    model
        A model on a device, from ``load_model``.
    settings
        Settings for reading the scene and for its windows, blocks and outputs.
    command
        Command line for the tags of the outputs.
    share
        Index of a part, from 0, and the number of parts: only blocks are predicted; None does all of the work.
    listener
        Callbacks for messages and for megapixels finished.

    Raises
    ------
    RoadsegError
        If the scene cannot be read or an output cannot be written; finished blocks are kept.
    """
    listener, started = listener or Listener(), time.monotonic()
    check_outputs(outputs, settings, [Path(scene_path), *([model.path] if model.path else [])])
    check_views(outputs, settings, shared=bool(share or model.cluster))
    if share:
        return _predict_part(scene_path, outputs, model, settings, share, listener)
    with (
        locked(outputs.paths()) as lock,
        bounded_cache(),
        Scene(scene_path, scene_settings(model.card, settings)) as scene,
    ):
        check_unshared(outputs.raster, partial_folder(outputs.raster))
        prepared = prepare(scene, outputs, model, settings, listener)
        plan, found = prepared.plan, prepared.fingerprint
        with Partial(outputs.raster, found, start_over=settings.overwrite, check_lock=lock.check) as partial:
            if model.cluster:
                resumed = model.cluster.predict_blocks(scene_path, outputs, settings, prepared, partial, listener)
            else:
                resumed = predict_views(scene, plan, model.engine, partial, settings.other_scales, listener)
            plan = recalibrate(scene_path, plan, partial, listener)
            if plan.regrids:
                regrid_blocks(scene, plan, partial, listener)
            known, road = partial.totals(plan.written[0], plan.blocks_out, KNOWN, ROAD)
            listener.report("writing the outputs")
            finished = write_rasters(
                plan, partial, provenance(scene, plan, model, settings, command), settings.creation
            )
            if settings.style:
                finished += write_styles(outputs, partial)
            if outputs.preview:
                finished.append((draw_preview(scene, plan, partial, outputs.preview, listener), outputs.preview))
            if outputs.vector:
                with closing(probability_on_model_grid(scene, plan, partial)) as raster:
                    finished += write_network(raster, partial.folder, outputs.vector, listener, model.card.attribution)
            check_unchanged(prepared.states, discard=partial.discard)
            partial.publish(finished)
    if not known:
        listener.warn(f"{scene_path} has no valid pixel; the output holds only nodata")
    return PredictResult(
        **_facts(scene_path, plan, model, started),
        outputs={name: path for name, path in asdict(outputs).items() if path},
        road_fraction=road / known if known else None,
        known_fraction=known / plan.area_out.area,
        blocks_resumed=resumed,
        recalibrated=None if plan.sure_at_home is None else plan.half,
    )


def is_finished(
    scene: str, outputs: PredictOutputs, model: LoadedModel, options: Mapping[str, Any], listener: Listener
) -> bool:
    """Return whether all outputs of a scene exist and were made of it by this model, with these options.

    Those of a run that was killed before it had cleared up are not: some may be of a run before it. Warn where the
    scene has been written since then.
    """
    finished = are_finished(scene, outputs, model, from_options(PredictSettings, options))
    finished = finished and not interrupted_targets(outputs.raster)
    if finished and is_newer(scene, outputs):
        listener.warn(
            f"{scene} is newer than {outputs.raster}, which was made of it before; if its pixels have changed, "
            "remove that file and repeat the command"
        )
    return finished


def listed_scenes(path: Path, outputs: PredictOutputs, asset: str | None) -> list[tuple[str, PredictOutputs]]:
    """Return the scenes of a list with their outputs, as ``name_outputs`` does.

    Raises
    ------
    SceneError
        If the list cannot be read, or two scenes have the same name.
    """
    listed = read_scene_list(path, asset)
    named = name_outputs([name for name, _ in listed], outputs, ENDINGS)
    return [(scene, targets) for (_, scene), (_, targets) in zip(listed, named, strict=True)]


def process_scenes(
    jobs: Sequence[tuple[str, PredictOutputs]],
    process: Callable[[tuple[str, PredictOutputs], Listener], Result],
    listener: Listener,
) -> Iterator[Result | RoadsegError]:
    """Yield what ``process`` makes of each scene, in order, or the error by which it failed; some run at once.

    Raises
    ------
    UsageError
        If an option does not fit; it would fail for every scene.
    """
    return overlapped(jobs, process, listener)


def has_all_blocks(outputs: PredictOutputs) -> bool:
    """Return whether parts have finished all blocks of a scene."""
    return is_complete(outputs.raster)


def _predict_part(
    scene_path: str,
    outputs: PredictOutputs,
    model: LoadedModel,
    settings: PredictSettings,
    share: tuple[int, int],
    listener: Listener,
) -> PredictResult:
    """Predict the blocks of a scene that no other process has finished or works on; no output is written."""
    started = time.monotonic()
    with bounded_cache(), Scene(scene_path, scene_settings(model.card, settings)) as scene:
        prepared = prepare(scene, outputs, model, settings, listener)
        with shared_partial(outputs.paths(), prepared.fingerprint, start_over=settings.overwrite) as shared:
            counts = predict_part(scene, prepared, model.engine, share, shared, listener)
    listener.report(counts.sentence(*share))
    return PredictResult(
        **_facts(scene_path, prepared.plan, model, started),
        outputs={},
        road_fraction=None,
        known_fraction=None,
        blocks_resumed=counts.before,
        blocks_missing=counts.missing,
    )


def _facts(scene_path: str, plan: ScenePlan, model: LoadedModel, started: float) -> dict[str, Any]:
    """Return what the results of a scene and of a part of one have in common."""
    return {
        "scene": scene_path,
        "megapixels": round(plan.area.window.area / 1e6, 6),
        "seconds": round(time.monotonic() - started, 3),
        "device": model.engine.device,
        "precision": model.engine.precision,
        "engine": model.engine.library,
        "model": model.card.name,
        "model_hash": model.card.hash,
        "threshold": plan.threshold,
        "blocks": len(plan.blocks),
    }
