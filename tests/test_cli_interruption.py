"""SIGTERM ends every command as Ctrl-C does: cleaned up, in words, and so that the same command goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import group_lives, roadseg, run_python, start_roadseg
from training_tiles import make_folder
from worlds import NORTH_UP, picture, write_raster

from roadseg.model.card import read_card


def test_importing_installs_nothing() -> None:
    code = (
        "import signal\nhandlers = lambda: [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]\n"
        "before = handlers()\nimport roadseg.cli, roadseg.train, roadseg.predict, roadseg.files.workers\n"
        "print(handlers() == before)"
    )
    assert run_python(code).split() == ["True"]


# In processes of their own


def wait_for(process: subprocess.Popen[str], happened: Callable[[], object]) -> None:
    while process.poll() is None and not happened():
        time.sleep(0.005)
    assert process.poll() is None


def assert_terminated(process: subprocess.Popen[str], words: str) -> str:
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (143, ""), stderr
    assert stderr.splitlines()[-1] == f"roadseg: terminated; the same command {words}"
    assert "Traceback" not in stderr
    return str(stderr)


def test_predict_stops_on_sigterm_and_resumes(tmp_path: Path, model_file: Path) -> None:
    write_raster(tmp_path / "scene.tif", picture(700, 900).astype(np.uint8), transform=NORTH_UP)
    command = ["predict", "scene.tif", "-o", "roads.tif", "--vector", "roads.gpkg", "--model", model_file]
    command += ["--block", "224", "--overlap", "16", "--device", "cpu"]
    process = start_roadseg(tmp_path, *command)
    wait_for(process, lambda: list(tmp_path.glob("roads.tif.partial/probability_*.tif")))
    process.send_signal(signal.SIGTERM)
    assert_terminated(process, "resumes from what is finished")
    assert {path.name for path in tmp_path.iterdir()} == {"scene.tif", "roads.tif.partial"}
    again = roadseg(*command, "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["blocks_resumed"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"scene.tif", "roads.tif", "roads.gpkg"}


def test_predict_stops_on_sigterm_among_many_scenes(tmp_path: Path, model_file: Path) -> None:
    names = [f"{number}.tif" for number in range(5)]
    for number, name in enumerate(names):
        scene = picture(600, 700 - 300 * (number == 0), seed=number).astype(np.uint8)
        write_raster(tmp_path / name, scene, transform=NORTH_UP)
    command = ["predict", *names, "-o", "out", "--model", model_file, "--overlap", "16", "--device", "cpu"]
    process = start_roadseg(tmp_path, *command)
    wait_for(process, lambda: list(tmp_path.glob("out/*.tif.lock")))
    process.send_signal(signal.SIGTERM)
    assert_terminated(process, "resumes from what is finished")
    assert not list(tmp_path.glob("out/*.lock"))
    again = roadseg(*command, "--overwrite", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


@pytest.mark.parametrize(("workers", "to_all"), [(1, False), (2, False), (2, True)])
def test_vectorize_stops_on_sigterm_and_leaves_nothing(tmp_path: Path, workers: int, to_all: bool) -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 254, (3000, 3000)).astype(np.float32), (0, 0), 4)
    roads = (noise > 127).astype(np.uint8)
    write_raster(tmp_path / "noise.tif", roads[None], transform=NORTH_UP, nodata=255)
    process = start_roadseg(tmp_path, "vectorize", "noise.tif", "-o", "o.gpkg", "--block", "256", "--workers", workers)
    wait_for(process, lambda: list(tmp_path.glob(".o.gpkg-*/[!l]*")))
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGTERM)
    assert_terminated(process, "starts over; nothing half-finished is left")
    assert [path.name for path in tmp_path.iterdir()] == ["noise.tif"]
    deadline = time.monotonic() + 20
    while group_lives(process.pid):
        assert time.monotonic() < deadline, "a worker hangs"
        time.sleep(0.05)


def test_signals_to_all_do_not_reach_workers_that_are_starting(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import signal\nfrom roadseg.files.workers import WorkerPool\n"
        "def length(shared, task):\n    return len(shared) + task\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "    print('ready', flush=True)\n"
        "    with WorkerPool(bytes(1 << 20), 2) as pool:\n"  # more than a pipe holds
        "        print(*pool.map(length, range(4)), flush=True)\n",
        "utf-8",
    )
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    deadline = time.monotonic() + 30
    try:
        while process.poll() is None:
            assert time.monotonic() < deadline, "it waits for a worker that is dead"
            os.killpg(process.pid, signal.SIGTERM)
            time.sleep(0.02)
        assert process.stdout.read() == "1048576 1048577 1048578 1048579\n"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, signal\nfrom roadseg.files.workers import WorkerPool\n"
        "def mine(shared, task):\n    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    with WorkerPool(None, 2) as pool:\n"
        "        print(*pool.map(mine, range(4)), flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n",
        "utf-8",
    )
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline().split()
    process.wait(timeout=60)
    deadline = time.monotonic() + 20
    while group_lives(process.pid):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.05)
    process.stdout.close()


def test_train_stops_on_sigterm_and_resumes(tmp_path: Path) -> None:
    make_folder(tmp_path / "data", ("a", "b", "c"))
    command = ["train", "data", "--width", "2", "--steps", "100", "--batch", "2", "--crop", "32", "--device", "cpu"]
    command += ["-o", "m.safetensors"]
    process = start_roadseg(tmp_path, *command)
    assert process.stderr is not None
    while not process.stderr.readline().startswith("roadseg: step "):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    said = assert_terminated(process, "resumes from what is finished")
    (saved,) = (tmp_path / "m.run").glob("checkpoint-*")
    step = int(saved.stem.split("-")[1])
    assert f"roadseg: step {step} of 100 is saved in m.run" in said.splitlines()
    assert 5 <= step < 100
    assert {path.name for path in tmp_path.iterdir()} == {"data", "m.run"}
    again = roadseg(*command, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"resuming at step {step} of 100" in again.stderr
    assert read_card(tmp_path / "m.safetensors").recipe["steps_taken"] == 100
