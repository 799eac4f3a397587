"""Several processes do what one does with their batches together."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_tiles import make_folder

from roadseg.errors import DeviceError, TrainingError
from roadseg.model.weights import load_model
from roadseg.settings import TrainSettings
from roadseg.training.data.feed import Feed
from roadseg.training.distributed import ProcessGroup, join_process_group

SGD = ["--set", "optimizer=sgd", "--learning-rate", "0.05"]
"""Without Adam, which makes steps of full size out of gradients that are nothing but rounding."""

OPTIONS = ["--width", "3", "--steps", "6", "--crop", "32", "--set", "augment.zoom=0.2"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(arguments: list[Any], *, rank: int, size: int, port: int) -> subprocess.Popen[str]:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return subprocess.Popen(
        [sys.executable, "-m", "roadseg", "train", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **{k: str(v) for k, v in place.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path) -> None:
    data, dev = make_folder(tmp_path / "data", ("a", "b", "c")), make_folder(tmp_path / "dev", ("d", "e", "f"))
    port = free_port()
    arguments = [data, "--dev", dev, "--device", "cpu", "--json", *OPTIONS, *SGD]
    pair = [*arguments, "-o", tmp_path / "two.safetensors", "--batch", "2"]
    together = [start(pair, rank=rank, size=2, port=port) for rank in (0, 1)]
    answers = [process.communicate(timeout=300) for process in together]
    assert [process.returncode for process in together] == [0, 0], answers[0][1]
    alone = start([*arguments, "-o", tmp_path / "one.safetensors", "--batch", "4"], rank=0, size=1, port=port)
    answer = alone.communicate(timeout=300)
    assert alone.returncode == 0, answer[1]
    assert "2 processes" in answers[0][1]
    assert answers[1] == ("", "")
    losses = [[float(row["loss"]) for row in history(tmp_path / f"{name}.run")] for name in ("one", "two")]
    assert len(losses[0]) == 6
    assert len(set(losses[0])) == 6
    assert np.allclose(*losses, rtol=0, atol=3e-6)  # of the smoothed loss, to which a step adds a fiftieth of its own
    (one, _), (two, card) = (load_model(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    for (key, value), other in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert torch.allclose(value.float(), other.float(), rtol=0.02, atol=2e-3), key
    assert card.recipe["processes"] == 2
    scores = [json.loads(text)["dev"] for text in (answer[0], answers[0][0])]
    assert scores[0]["relaxed_f1"] == pytest.approx(scores[1]["relaxed_f1"], abs=0.05)
    assert scores[0]["tiles"] == scores[1]["tiles"] == 3


@pytest.mark.parametrize("told", [(0, 1), (1,)])
def test_processes_that_are_told_to_stop_stop_together(tmp_path: Path, told: tuple[int, ...]) -> None:
    data, port = make_folder(tmp_path / "data", ("a", "b")), free_port()
    arguments = [data, "-o", tmp_path / "m", "--width", "2", "--crop", "32", "--batch", "1"]
    pair = [start([*arguments, "--steps", "200"], rank=rank, size=2, port=port) for rank in (0, 1)]
    assert pair[0].stderr is not None
    said = [pair[0].stderr.readline()]
    while not said[-1].startswith("roadseg: step "):
        assert pair[0].poll() is None
        said.append(pair[0].stderr.readline())
    assert "device cpu (no GPU found)" in "".join(said)  # and not "as asked"
    for rank in told:
        pair[rank].send_signal(signal.SIGTERM)
    answers = [process.communicate(timeout=60) for process in pair]
    assert [process.returncode for process in pair] == [143 if rank in told else 0 for rank in (0, 1)], answers
    (saved,) = (tmp_path / "m.run").glob("checkpoint-*")
    step = int(saved.stem.split("-")[1])
    assert 10 <= step < 200
    assert f"step {step} of 200 is saved" in answers[0][1]
    assert "the same command resumes from" in answers[0][1]


@pytest.mark.slow
def test_torchrun_starts_it(tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data", ("a", "b", "c"))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "roadseg", "train", data, "-o", tmp_path / "x", "--device", "cpu", "--batch", "2", *OPTIONS]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert load_model(tmp_path / "x")[1].recipe["processes"] == 2


@pytest.mark.parametrize("pool", [0, 10])
def test_shares_of_a_batch_are_the_batch(pool: int) -> None:
    cpu = torch.device("cpu")

    def numbers(batch: int, processes: ProcessGroup, step: int) -> list[int]:
        return Feed(None, TrainSettings(batch=batch, pool=pool), processes, cpu, 0).crop_numbers(step)  # type: ignore[arg-type]

    for step in range(8):
        whole = numbers(6, ProcessGroup(), step)
        assert whole == [n for rank in range(3) for n in numbers(2, ProcessGroup(rank, 3), step)]
    if not pool:
        assert whole == list(range(42, 48))


def test_a_pool_is_gone_through_once_per_epoch_in_another_order() -> None:
    feed = Feed(None, TrainSettings(batch=4, pool=10), ProcessGroup(), torch.device("cpu"), 0)  # type: ignore[arg-type]
    seen = [number for step in range(5) for number in feed.crop_numbers(step)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_one_process_is_no_team(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_process_group("cpu") as (processes, device):
        assert (processes, device) == (ProcessGroup(0, 1), "cpu")
    values = torch.ones(3)
    assert processes.sum_for_loss(values) is values
    assert processes.any_true(True, values.device)


@pytest.mark.parametrize("device", ["mps", "cuda:0", "toaster"])
def test_several_processes_do_not_share_a_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0")):
        monkeypatch.setenv(name, value)
    with pytest.raises(DeviceError, match=f"cannot share {device}"), join_process_group(device):
        pass
    monkeypatch.setenv("ROADSEG_DEVICE", device)
    with pytest.raises(DeviceError, match=f"cannot share {device}"), join_process_group("auto"):
        pass


@pytest.mark.parametrize("place", [{}, {"RANK": ""}, {"RANK": "0"}, {"RANK": "0", "WORLD_SIZE": "two"}])
def test_several_processes_that_torchrun_has_not_started(
    place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"WORLD_SIZE": "2", **place}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match="start them with torchrun, or unset WORLD_SIZE"), join_process_group("cpu"):
        pass


@pytest.mark.parametrize("said", ["[x/gloo/transport/tcp/pair.cc:553] Connection closed by peer", "NCCL error in: y"])
def test_a_process_that_is_lost_is_no_bug(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "3"), ("RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    with pytest.raises(TrainingError, match=r"another of the 3 processes .* resumes"), join_process_group("cpu"):
        raise RuntimeError(said)
    with pytest.raises(RuntimeError, match="something else"), join_process_group("cpu"):
        raise RuntimeError("something else")


def test_each_process_tells_nccl_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it NCCL guesses the device by the rank, and warns at every barrier."""
    calls: list[dict[str, Any]] = []
    for name, value in (("WORLD_SIZE", "4"), ("RANK", "3"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(
        torch.distributed,
        "init_process_group",
        lambda backend, **options: calls.append({"backend": backend, **options}),
    )
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    with join_process_group("cuda") as (processes, device):
        assert (processes, device) == (ProcessGroup(3, 4), "cuda:1")
    assert [(call["backend"], call["device_id"]) for call in calls] == [("nccl", torch.device("cuda", 1))]
