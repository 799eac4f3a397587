"""Worker processes give the results of a loop, in order, and draw tasks as results are taken."""

import itertools
import multiprocessing
import operator
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.context import SpawnProcess

import pytest

from roadseg.errors import RoadsegError
from roadseg.files import workers
from roadseg.files.worker_process import WorkerProcess
from roadseg.files.workers import WorkerPool, early_workers


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_in_the_order_of_the_tasks(count):
    with WorkerPool(7, count) as pool:
        assert list(pool.map(operator.mul, range(30))) == [7 * task for task in range(30)]
        assert list(pool.map(operator.sub, [])) == []


@pytest.mark.parametrize("count", [1, 2])
def test_what_a_task_raises_is_raised_in_its_turn(count):
    with WorkerPool(6, count) as pool:
        results = pool.map(operator.floordiv, [3, 2, 0, 1])
        assert [next(results), next(results)] == [2, 3]
        with pytest.raises(ZeroDivisionError):
            next(results)


@pytest.mark.parametrize(("count", "most"), [(1, 1), (2, 9)])
def test_few_tasks_are_drawn_ahead(count, most):
    drawn = []
    with WorkerPool(1, count) as pool:
        results = pool.map(operator.add, (drawn.append(task) or task for task in range(100)))
        next(results)
        assert len(drawn) <= most


def process_of(pause_s, _):
    """Return the process that works on a task, which takes some time."""
    time.sleep(pause_s)
    return os.getpid()


def test_this_process_works_while_others_start_and_beside_them():
    seen = []
    with WorkerPool(0.01, 2) as pool:
        for process in pool.map(process_of, itertools.count()):
            seen.append(process)
            if len(set(seen[-5:])) == 2 or len(seen) > 6000:
                break
        pairs = [set(pool.map(process_of, range(2))) for _ in range(10)]
    assert seen[0] == os.getpid()
    assert len(set(seen)) == 2
    assert set(seen) in pairs  # not two tasks for one process while the other has none


def test_nobody_waits_for_others_to_start(monkeypatch):
    may_start, start = threading.Event(), workers.WorkerProcess._start
    monkeypatch.setattr(workers.WorkerProcess, "_start", lambda *given: may_start.wait(10) and start(*given))
    with WorkerPool(7, 2) as pool:
        assert list(pool.map(operator.mul, range(30))) == [7 * task for task in range(30)]
        assert not may_start.is_set()
        may_start.set()


def test_a_pool_that_cannot_start_says_so(monkeypatch):
    monkeypatch.setattr(SpawnProcess, "start", lambda _: os.open("/no/such/file", os.O_RDONLY))
    with WorkerPool(0.01, 2) as pool, pytest.raises(FileNotFoundError):
        list(pool.map(process_of, itertools.repeat(None, 1000)))  # at first, this process does them alone


@pytest.mark.skipif(sys.platform == "win32", reason="there it is so by itself")
def test_a_worker_ends_whose_pipe_stays_open_elsewhere(monkeypatch):
    spawn, kept = multiprocessing.get_context("spawn"), []
    pipe = spawn.Pipe

    def kept_open():
        near, far = pipe()
        kept.append(os.dup(far.fileno()))
        return near, far

    monkeypatch.setattr(spawn, "Pipe", kept_open)
    worker = WorkerProcess()
    closing = threading.Thread(target=worker.close, daemon=True)
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
    assert len(kept) == 1
    os.close(kept[0])


def test_a_worker_that_is_killed_says_so(given_away):
    with WorkerPool(0.01, 2) as pool:
        pool._others[0]._process.kill()
        with pytest.raises(RoadsegError, match="a worker process was killed, maybe for lack of memory; use fewer"):
            list(pool.map(process_of, itertools.repeat(None, 1000)))


@pytest.mark.parametrize("source", [None, "script.py"])
def test_a_script_that_workers_cannot_import_is_told_how_to_be(tmp_path, source):
    """Each worker imports it: from stdin there is nothing to import, and without a guard it would start workers."""
    code = (
        "import itertools, operator\n"
        "from roadseg.files.workers import WorkerPool\n"
        "with WorkerPool(1, 2) as pool:\n"
        "    all(pool.map(operator.add, itertools.count(1)))\n"
    )
    if source:
        (tmp_path / source).write_text(code, "utf-8")
    command = [sys.executable, source or "-"]
    run = subprocess.run(command, check=False, input=code, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert run.stderr.strip().endswith('do its work below if __name__ == "__main__":')


class Unsendable:
    """Cannot be pickled."""

    def __reduce__(self):
        raise ValueError("it stays here")


def unsendable(_, task):
    """Return what cannot be pickled, but for some tasks."""
    return Unsendable() if task else task


@pytest.mark.parametrize(
    ("function", "tasks"), [(unsendable, [0, 1, 1]), (operator.is_, [0, Unsendable(), Unsendable()])]
)
def test_what_cannot_be_sent_says_so_and_the_pool_goes_on(given_away, function, tasks):
    with WorkerPool(None, 2) as pool:
        for _ in range(3):
            with pytest.raises(ValueError, match="it stays here"):
                [None for _ in pool.map(function, tasks * 20)]
        assert len({*pool.map(process_of_slow, range(9))}) == 2


def process_of_slow(_, __):
    """Return the process that works on a task, which takes a while."""
    time.sleep(0.03)
    return os.getpid()


def noted(folder, name):
    """Leave a file, or fail for want of a name; return the process."""
    time.sleep(0.02)
    (folder / name).touch()
    return os.getpid()


def test_others_do_what_was_started_until_there_is_more_urgent_work(tmp_path):
    with WorkerPool(tmp_path, 2) as pool:
        pool.start(noted, [None, *(f"{number:04}" for number in range(1000))])
        deadline = time.monotonic() + 20
        while not (tmp_path / "0001").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert {*pool.map(noted, ["a", "b", "c", "d", "e", "f"])} > {os.getpid()}
        found = sorted(path.name for path in tmp_path.iterdir())
        assert {"a", "b", "c", "d", "e", "f"} < {*found}
        assert found[:-6] == [f"{number:04}" for number in range(len(found) - 6)]
        time.sleep(0.1)
        assert len(list(tmp_path.iterdir())) == len(found) < 500


def test_one_process_leaves_undone_what_is_started(tmp_path):
    with WorkerPool(tmp_path, 1) as pool:
        pool.start(noted, "ab")
        assert list(pool.map(noted, "c")) == [os.getpid()]
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_pools_take_workers_that_were_started_early_and_give_them_back():
    with early_workers(1, "roadseg.vectorize"):
        early = workers._early[0]
        for shared in (5, 6):
            with WorkerPool(shared, 3) as pool:
                assert early in pool._others
                assert list(pool.map(operator.mul, range(20))) == [shared * task for task in range(20)]
            assert workers._early == [early]
        assert early.call(modules_there).result()
        assert early._process.is_alive()
    assert not workers._early
    with pytest.raises(ValueError, match="closed"):
        early._process.is_alive()


def modules_there():
    """Return whether this process has imported what it was told to, without a task."""
    return "roadseg.vectorize" in sys.modules and "roadseg.adapt" not in sys.modules


def test_a_worker_is_not_given_back_where_something_failed_or_it_has_ended():
    for error in (KeyboardInterrupt, None):
        with early_workers(1, "roadseg.windows"):
            with suppress(KeyboardInterrupt), WorkerPool(30, 2) as pool:
                worker = pool._others[0]
                worker._started.result()
                if error:
                    raise error
                worker._process.kill()
                worker._receiver.join()
            assert not workers._early
            with WorkerPool(5, 2) as pool:
                assert list(pool.map(operator.mul, range(20))) == [5 * task for task in range(20)]


def test_at_least_one_worker_is_needed():
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        WorkerPool(None, 0)
