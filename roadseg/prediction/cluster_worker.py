"""What a worker of a cluster does: one block after the other, of scenes that it opens once.

job and number of a block ──▶ scene and model, opened once ──▶ predict_each ──▶ into the partial folder, if the
worker sees it (its token is there); else the files of the block go back to the process that asked
"""

import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadseg.errors import DeviceError, OutputError, RoadsegError, SceneError
from roadseg.files.states import file_states
from roadseg.model.card import ModelCard
from roadseg.prediction.block import predict_each
from roadseg.prediction.engines.choose import load
from roadseg.prediction.engines.engine import LoadedModel
from roadseg.prediction.engines.group import engines_of
from roadseg.prediction.pipeline import block_files
from roadseg.prediction.plan import scene_settings
from roadseg.prediction.prepare import PreparedScene, plan_blocks
from roadseg.prediction.reader import read_block
from roadseg.raster.block_file import block_name, write_block
from roadseg.raster.files import bounded_cache
from roadseg.raster.scene import Scene
from roadseg.settings import EngineSettings, Precision, PredictOutputs, PredictSettings
from roadseg.windows import PlannedBlock

SELDOM_EQUAL = ("scene", "scene size or date")
"""Parts of the fingerprint that differ where a worker reads a copy of the scene."""

Files = list[tuple[str, bytes]]
"""Names and contents of a block's files."""


@dataclass(frozen=True)
class RemoteEngine:
    """The engine of workers, as this process knows it."""

    batch_size: int
    description: str
    library: str
    device: str
    precision: Precision
    numerics: str

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[NDArray[np.float32]]:
        """Refuse: the engine is elsewhere."""
        raise DeviceError(f"this engine runs on the workers of a cluster, which take blocks, not {type(batches)}")


@dataclass(frozen=True)
class SceneJob:
    """A scene to predict, as workers are told.

    Parameters
    ----------
    scene, outputs, settings
        As for ``predict_scene``, with absolute paths.
    model, engine
        Name or file of the model, and how it is computed.
    folder, token
        The partial folder, and the name of a file in it that shows that a worker sees the same folder.
    fingerprint
        Everything the blocks depend on.
    """

    scene: str
    outputs: PredictOutputs
    settings: PredictSettings
    model: str | None
    engine: EngineSettings
    folder: Path
    token: str
    fingerprint: dict[str, object]


@dataclass
class _Work:
    """A scene and a model that this process has opened; one thread at a time reads, and one predicts."""

    job: SceneJob
    model: LoadedModel
    scene: Scene
    prepared: PreparedScene
    blocks: tuple[PlannedBlock, ...]
    shared: bool
    reading: threading.Lock = field(default_factory=threading.Lock)
    predicting: threading.Lock = field(default_factory=threading.Lock)


_opening = threading.Lock()
_models: dict[tuple[str | None, EngineSettings], LoadedModel] = {}
_work: dict[str, _Work] = {}
"""The scene at hand, by token."""


def load_for_cluster(model: str | None, settings: EngineSettings) -> tuple[RemoteEngine, ModelCard]:
    """Load a model in this process; return what its engine is, and its card."""
    with _opening:
        loaded = _model(model, settings)
    e = loaded.engine
    remote = RemoteEngine(e.batch_size, e.description, e.library, e.device, e.precision, e.numerics)
    return remote, loaded.card


def work_on(job: SceneJob, number: int) -> Files | None:
    """Predict a block of a scene.

    Returns
    -------
    The files of the block, or None if they are in the partial folder.

    Raises
    ------
    RoadsegError
        If the scene, the model or the device differ from those of the process that asks, or the block fails.
    """
    try:
        return _predict(job, number)
    except RoadsegError as error:
        failure = type(error)(str(error))
    raise failure  # without its causes: GDAL's errors cannot be sent to another process


def _predict(job: SceneJob, number: int) -> Files | None:
    with _opening:
        work = _opened(job)
    plan, planned = work.prepared.plan, work.blocks[number]
    token = job.folder / job.token
    if work.shared and all((job.folder / block_name(p, planned.core)).exists() for p in plan.predicted):
        return None
    with bounded_cache():
        with work.reading:
            pixels = read_block(work.scene, plan, planned)
        with work.predicting:
            (block,) = predict_each([pixels], plan.layout, engines_of(work.model.engine)[0], plan.stored_as)
        del pixels
        stored = block_files(plan.predicted, block, plan.threshold, sure_from=plan.sure_from)
        files = [(name, b"".join(data)) for name, data in stored]
    if not work.shared:
        return files
    if not token.exists():
        raise OutputError(f"the run that shared {job.folder} has ended")
    for name, data in files:
        write_block(job.folder, name, data)
    return None


def _model(name: str | None, settings: EngineSettings) -> LoadedModel:
    if (name, settings) not in _models:
        _models.clear()
        _models[name, settings] = load(name, settings)
    return _models[name, settings]


def _opened(job: SceneJob) -> _Work:
    """Return the open scene of a job; the scene before is closed."""
    if job.token not in _work:
        for before in _work.values():
            with before.reading:
                before.scene.close()
        _work.clear()
        model = _model(job.model, job.engine)
        with bounded_cache():
            scene = Scene(job.scene, scene_settings(model.card, job.settings))
            try:
                prepared = plan_blocks(scene, job.outputs, model, job.settings, file_states(scene.local_files()))
                shared = (job.folder / job.token).exists()
                _check_alike(job, prepared, shared=shared)
            except BaseException:
                scene.close()
                raise
        _work[job.token] = _Work(job, model, scene, prepared, prepared.plan.blocks, shared)
    return _work[job.token]


def _check_alike(job: SceneJob, prepared: PreparedScene, *, shared: bool) -> None:
    """Raise SceneError if blocks of this process would not fit to those of others."""
    keys = [key for key in job.fingerprint if shared or key not in SELDOM_EQUAL]
    differing = [key for key in keys if prepared.fingerprint.get(key) != job.fingerprint[key]]
    if differing:
        raise SceneError(
            f"the worker on {socket.gethostname()} has another {', '.join(differing)} of {job.scene}; "
            "give all workers the same files, model and kind of device"
        )
