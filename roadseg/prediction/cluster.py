"""The blocks of a scene on the workers of a Dask cluster.

This process plans the scene, hands out the numbers of blocks, a few per worker at a time, and writes the outputs. A
block of a worker that is lost goes to another one; finished blocks are in the partial folder already.
"""

import itertools
import logging
import queue
import secrets
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from roadseg.errors import DeviceError, RoadsegError, counted, shortened
from roadseg.prediction.cluster_worker import Files, SceneJob, load_for_cluster, work_on
from roadseg.prediction.engines.engine import LoadedModel
from roadseg.prediction.prepare import PreparedScene
from roadseg.progress import Listener
from roadseg.raster.partial import Partial
from roadseg.settings import EngineSettings, MachineSettings, PredictOutputs, PredictSettings

_CONNECT_S = 10.0
_WORKERS_S = 60.0
_SILENCE_S = 60.0


@dataclass(frozen=True)
class Cluster:
    """A connection to the scheduler of a Dask cluster, and the model that its workers have loaded.

    Parameters
    ----------
    client
        Dask's client.
    address
        Address of the scheduler, for messages.
    model, settings
        Name or file of the model, and how it is computed.
    """

    client: Any
    address: str
    model: str | None
    settings: EngineSettings

    def predict_blocks(
        self,
        scene: str,
        outputs: PredictOutputs,
        settings: PredictSettings,
        prepared: PreparedScene,
        partial: Partial,
        listener: Listener,
    ) -> int:
        """Predict the blocks that are not finished yet.

        Returns
        -------
        Number of blocks that were finished before.

        Raises
        ------
        RoadsegError
            If a worker fails, or the scheduler is gone; finished blocks are kept.
        """
        plan, blocks = prepared.plan, prepared.plan.blocks
        todo = [i for i, block in enumerate(blocks) if not partial.has(plan.predicted, block.core)]
        total = plan.area_model.area / 1e6
        listener.start(total, total - sum(blocks[i].core.area for i in todo) / 1e6)
        with partial.token(f"cluster_{secrets.token_hex(8)}") as token:
            job = SceneJob(
                scene=_absolute(scene),
                outputs=outputs,
                settings=replace(settings, aoi=settings.aoi.resolve() if settings.aoi else None),
                model=self.model,
                engine=self.settings,
                folder=partial.folder.resolve(),
                token=token,
                fingerprint=prepared.fingerprint,
            )
            for number, files in self._map(job, todo, listener):
                for name, data in files or ():
                    partial.put_file(name, data)
                listener.advance(blocks[number].core.area / 1e6)
        return len(blocks) - len(todo)

    def _map(self, job: SceneJob, todo: list[int], listener: Listener) -> Iterator[tuple[int, Files | None]]:
        """Yield blocks as they are finished; twice as many are handed out as there are threads."""
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        waiting: dict[Any, int] = {}
        ahead, shared = iter(todo), self.client.scatter(job, broadcast=True)

        def hand_out(count: int) -> None:
            for number in itertools.islice(ahead, max(0, count)):
                future = self.client.submit(work_on, shared, number, pure=False)
                waiting[future] = number
                future.add_done_callback(done.put)

        try:
            hand_out(self._most())
            while waiting:
                try:
                    future = done.get(timeout=_SILENCE_S)
                except queue.Empty:
                    if not self._threads():
                        listener.warn(f"the Dask scheduler at {self.address} has no worker left; waiting for one")
                    continue
                with _sentences(self.address):
                    yield waiting.pop(future), future.result()
                hand_out(self._most() - len(waiting))
        finally:
            with suppress(Exception):
                self.client.cancel([*waiting, shared])

    def _threads(self) -> int:
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        return sum(worker["nthreads"] for worker in workers.values())

    def _most(self) -> int:
        return 2 * max(1, self._threads())


@contextmanager
def cluster_model(model: str | None, settings: EngineSettings, machines: MachineSettings) -> Iterator[LoadedModel]:
    """Context manager that connects to a Dask cluster and loads a model on its workers.

    Raises
    ------
    DeviceError
        If Dask is not installed, the scheduler cannot be reached or has no workers, or the workers differ.
    """
    name = _absolute(model) if model else None
    with _connected(machines) as (client, address), _sentences(address):
        try:
            client.wait_for_workers(1, timeout=_WORKERS_S)
        except TimeoutError as error:
            raise DeviceError(
                f"the Dask scheduler at {address} has no workers; start some with: dask worker {address}"
            ) from error
        workers = list(client.scheduler_info(n_workers=-1)["workers"])
        loads = [client.submit(load_for_cluster, name, settings, workers=[worker], pure=False) for worker in workers]
        found = client.gather(loads)
        engines = dict.fromkeys((engine.numerics, card.hash) for engine, card in found)
        if len(engines) > 1:
            kinds = shortened([numerics for numerics, _ in engines])
            raise DeviceError(f"the workers at {address} compute differently ({kinds}); give --device and --precision")
        engine, card = found[0]
        engine = replace(engine, description=f"Dask, {counted(len(workers), 'worker')}: {engine.description}")
        yield LoadedModel(engine, card, None, Cluster(client, address, name, settings))


@contextmanager
def _connected(machines: MachineSettings) -> Iterator[tuple[Any, str]]:
    dask = _distributed()
    for name in [
        name for name in logging.root.manager.loggerDict if name.partition(".")[0] in {"distributed", "tornado"}
    ]:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # what they have to say, our errors do
    address = str(machines.dask)
    if address == "local":
        options = {"n_workers": machines.workers, "threads_per_worker": 1, "dashboard_address": ":0"}
        with dask.LocalCluster(**options, silence_logs=logging.CRITICAL) as local, dask.Client(local) as client:
            yield client, str(local.scheduler_address)
        return
    try:
        client = dask.Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise DeviceError(
            f"no Dask scheduler answers at {address}; check the address, start one with: dask scheduler, "
            "or use --dask local"
        ) from error
    with client:
        yield client, address


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise DeviceError("Dask is not installed; pip install 'roadseg[dask]' adds it") from error
    return distributed


@contextmanager
def _sentences(address: str) -> Iterator[None]:
    """Context manager that turns Dask's errors into ours."""
    from distributed import KilledWorker

    try:
        yield
    except RoadsegError:
        raise
    except KilledWorker as error:
        raise DeviceError(
            "a block has killed several Dask workers, most likely for want of memory; "
            "give them more, or start again with a smaller --block"
        ) from error
    except CancelledError as error:
        raise DeviceError(
            f"the connection to the Dask scheduler at {address} was lost; repeat the command, finished blocks are kept"
        ) from error
    except ImportError as error:
        raise DeviceError(f"a Dask worker lacks something ({error}); install roadseg where the workers run") from error


def _absolute(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).exists() else name
