"""On a Dask cluster the result is that of one process, whatever happens to the workers."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from commands import roadseg, start_roadseg
from engines import Identity, model_of
from worlds import NORTH_UP, names_in, picture, read_band, write_raster

from roadseg.errors import DeviceError, OutputError, SceneError, UsageError
from roadseg.model.weights import load_model
from roadseg.predict import predict
from roadseg.prediction import cluster, cluster_worker
from roadseg.raster.partial import Partial
from roadseg.training.save import save_model

distributed = pytest.importorskip("distributed")

SMALL = {"block": 224, "overlap": 16, "device": "cpu", "engine": "torch", "precision": "float32", "batch": 4}


@pytest.fixture(scope="module")
def scheduler():
    """Return the address of a scheduler with two workers, all of them in threads of this process."""
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as local:
        yield local.scheduler_address


@pytest.fixture
def scene(draw):
    return draw(300, 400, transform=NORTH_UP)


def both(scene, model_file, tmp_path, scheduler, **options):
    """Predict a scene here and on the cluster; return both rasters and the result of the cluster."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    here, there = tmp_path / "a/roads.tif", tmp_path / "b/roads.tif"
    predict(scene, here, model=model_file, mask=here.with_name("mask.tif"), **SMALL, **options)
    done = predict(scene, there, model=model_file, mask=there.with_name("mask.tif"), dask=scheduler, **SMALL, **options)
    return here, there, done


@pytest.mark.parametrize(("gsd", "sure_share", "half"), [(1.0, None, None), (1.7, 0.9, 0.17)])
def test_the_bytes_are_those_of_one_process(scene, model_file, tmp_path, scheduler, gsd, sure_share, half):
    network, card = load_model(model_file)
    model = tmp_path / "model.safetensors"
    save_model(model, network, replace(card, sure_share=sure_share))
    here, there, done = both(scene, model, tmp_path, scheduler, gsd=gsd)
    assert done.recalibrated == half
    assert done.blocks > 4
    assert there.read_bytes() == here.read_bytes()
    assert there.with_name("mask.tif").read_bytes() == here.with_name("mask.tif").read_bytes()
    assert names_in(there.parent) == ["mask.tif", "roads.tif"]
    assert (done.device, done.engine) == ("cpu", "torch")


def test_blocks_are_sent_back_where_no_folder_is_shared(scene, model_file, tmp_path, scheduler, monkeypatch):
    sent = []
    put_file = Partial.put_file

    def put(self, name, data):
        sent.append(name)
        put_file(self, name, data)

    monkeypatch.setattr(Partial, "token", hidden_token)
    monkeypatch.setattr(Partial, "put_file", put)
    here, there, done = both(scene, model_file, tmp_path, scheduler)
    assert len(sent) == 4 * done.blocks  # probability and mask, here and from there
    assert there.read_bytes() == here.read_bytes()


class hidden_token:  # noqa: N801 (stands for a method)
    """A token that no worker sees."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        return self.name

    def __exit__(self, *_):
        pass


def test_finished_blocks_are_not_done_again(scene, model_file, tmp_path, scheduler):
    out = tmp_path / "roads.tif"
    part = predict(scene, out, model=model_file, part="1/2", **SMALL)
    blocks = sorted((tmp_path / "roads.tif.partial").glob("probability_*.tif"))
    blocks[0].unlink()
    done = predict(scene, out, model=model_file, dask=scheduler, **SMALL)
    assert (done.blocks, done.blocks_resumed) == (part.blocks, part.blocks - 1)


def test_a_worker_with_another_scene_or_model_is_refused(scene, model_file, tmp_path, scheduler):
    with cluster.cluster_model(str(model_file), *engine_and_machines(scheduler)) as model:
        job = cluster_worker.SceneJob(
            str(scene), None, None, str(model_file), None, tmp_path, "t", {"model": "a", "scene size or date": "b"}
        )
        prepared = cluster_worker.PreparedScene(None, {}, {"model": model.card.hash, "scene size or date": "c"})
        with pytest.raises(SceneError, match=r"has another model of .*; give all workers the same files"):
            cluster_worker._check_alike(job, prepared, shared=False)
        with pytest.raises(SceneError, match="has another model, scene size or date of"):
            cluster_worker._check_alike(job, prepared, shared=True)


def engine_and_machines(address):
    from roadseg.settings import EngineSettings, MachineSettings

    return EngineSettings(device="cpu", engine="torch"), MachineSettings(dask=address)


def test_errors_of_workers_are_ours(tmp_path, model_file, scheduler, scene):
    damaged = tmp_path / "damaged.tif"
    damaged.write_bytes(scene.read_bytes()[: scene.stat().st_size // 2])
    with pytest.raises(SceneError, match="cannot be read"):
        predict(damaged, tmp_path / "roads.tif", model=model_file, dask=scheduler, **SMALL)
    with pytest.raises(DeviceError):
        predict(scene, tmp_path / "roads.tif", model=model_file, dask=scheduler, device="cuda:7")
    assert "roads.tif" not in names_in(tmp_path)


def test_a_scheduler_that_does_not_answer_is_one_sentence(say, draw, monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_S", 0.3)
    said = say("predict", draw(), "-o", "roads.tif", "--dask", "tcp://127.0.0.1:9")
    assert said.status == 1
    assert said.error.startswith("no Dask scheduler answers at tcp://127.0.0.1:9; check the address")
    assert names_in() == []


def test_a_scheduler_without_workers_is_one_sentence(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_WORKERS_S", 0.3)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty,
        pytest.raises(DeviceError, match="has no workers; start some with: dask worker inproc"),
    ):
        predict(scene, tmp_path / "roads.tif", dask=empty.scheduler_address)


def test_without_dask_it_says_what_to_install(scene, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DeviceError, match=r"Dask is not installed; pip install 'roadseg\[dask\]' adds it"):
        predict(scene, tmp_path / "roads.tif", dask="local")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dask": "local", "part": "1/2"}, "--part and --dask are two ways"),
        ({"workers": 2}, "--workers is the number of processes of --dask local"),
        ({"workers": 2, "dask": "tcp://h:1"}, "--workers is the number of processes of --dask local"),
        ({"dask": "local", "model": model_of(Identity())}, "--dask loads the model on its workers"),
    ],
)
def test_options_that_exclude_each_other(scene, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        predict(scene, tmp_path / "roads.tif", **options)


def test_a_worker_writes_nothing_into_a_folder_that_another_run_has_taken(scene, model_file, tmp_path, monkeypatch):
    opened = cluster_worker._opened

    def then_gone(job):
        work = opened(job)
        (job.folder / job.token).unlink(missing_ok=True)
        return work

    monkeypatch.setattr(cluster_worker, "_opened", then_gone)
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as local, pytest.raises(OutputError, match="has ended"):
        predict(scene, tmp_path / "roads.tif", model=model_file, dask=local.scheduler_address, **SMALL)


# In processes of their own

OPTIONS = ["--model", "tiny.safetensors", "--block", "224", "--overlap", "16", "--device", "cpu", "--batch", "4"]
COMMAND = ["predict", "scene.tif", "-o", "roads.tif", "--mask", "mask.tif", *OPTIONS]


def start(folder, *words):
    """Start a process of Dask by its command line."""
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, words)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture
def processes(tmp_path):
    """Return the address of a scheduler and its two workers, processes that were started one by one."""
    file = tmp_path / "scheduler.json"
    started = [
        start(tmp_path, "distributed.cli.dask_scheduler", "--port", 0, "--no-dashboard", "--scheduler-file", file)
    ]
    patience = time.monotonic() + 120
    while not file.exists() or not file.read_text("utf-8"):
        assert time.monotonic() < patience
        time.sleep(0.1)
    address = json.loads(file.read_text("utf-8"))["address"]
    for _ in range(2):
        options = ["--no-nanny", "--nthreads", 1, "--no-dashboard"]
        started.append(start(tmp_path, "distributed.cli.dask_worker", address, *options))
    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)
    yield address, started[1:]
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_costs_only_its_blocks(tmp_path, model_file, processes):
    address, workers = processes
    folders = [tmp_path / "alone", tmp_path / "dask"]
    values = picture(900, 1100).astype(np.uint8)
    for folder in folders:
        folder.mkdir()
        write_raster(folder / "scene.tif", values, transform=NORTH_UP)
        (folder / "tiny.safetensors").write_bytes(model_file.read_bytes())
    assert roadseg(*COMMAND, cwd=folders[0], timeout=300).returncode == 0
    run = start_roadseg(folders[1], *COMMAND, "--dask", address)
    while len(list(folders[1].glob("*.partial/probability_*.tif"))) < 3:
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.002)
    workers[0].send_signal(signal.SIGKILL)
    _, said = run.communicate(timeout=300)
    assert run.returncode == 0, said
    for name in ("roads.tif", "mask.tif"):
        assert (folders[1] / name).read_bytes() == (folders[0] / name).read_bytes()
    assert names_in(folders[1]) == ["mask.tif", "roads.tif", "scene.tif", "tiny.safetensors"]


@pytest.mark.slow
def test_a_scheduler_that_dies_is_one_sentence_and_keeps_what_is_finished(tmp_path, model_file):
    file = tmp_path / "scheduler.json"
    scheduler = start(
        tmp_path, "distributed.cli.dask_scheduler", "--port", 0, "--no-dashboard", "--scheduler-file", file
    )
    while not file.exists() or not file.read_text("utf-8"):
        time.sleep(0.1)
    address = json.loads(file.read_text("utf-8"))["address"]
    worker = start(tmp_path, "distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", 1, "--no-dashboard")
    write_raster(tmp_path / "scene.tif", picture(900, 1100).astype(np.uint8), transform=NORTH_UP)
    (tmp_path / "tiny.safetensors").write_bytes(model_file.read_bytes())
    run = start_roadseg(tmp_path, *COMMAND, "--dask", address)
    while len(list(tmp_path.glob("*.partial/probability_*.tif"))) < 3:
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.002)
    scheduler.kill()
    _, said = run.communicate(timeout=300)
    worker.kill()
    scheduler.wait(), worker.wait()
    assert run.returncode == 1, said
    assert "the connection to the Dask scheduler at " in said.splitlines()[-1]
    assert "roads.tif.partial" in names_in(tmp_path)


@pytest.mark.slow
def test_a_cluster_on_this_machine(tmp_path, scene, model_file):
    words = ["predict", scene, "-o", "roads.tif", "--model", model_file, "--block", "224", "--device", "cpu"]
    done = roadseg(*words, "--dask", "local", "--workers", 2, cwd=tmp_path, timeout=300)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Dask, 2 workers: " in done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("roadseg: ")] == []
    assert read_band(tmp_path / "roads.tif").shape == (300, 400)
