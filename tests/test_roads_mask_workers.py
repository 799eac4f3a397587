"""Worker processes give the results of a loop, in order, and draw tasks as results are taken."""

import itertools
import operator
import os
import threading
import time

import pytest

from roadseg.roads.mask.workers import WorkerPool


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks(workers):
    with WorkerPool(7, workers) as pool:
        assert list(pool.map(operator.mul, range(30))) == [7 * task for task in range(30)]
        assert list(pool.map(operator.sub, [])) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_raises_is_raised_in_its_turn(workers):
    with WorkerPool(6, workers) as pool:
        results = pool.map(operator.floordiv, [3, 2, 0, 1])
        assert [next(results), next(results)] == [2, 3]
        with pytest.raises(ZeroDivisionError):
            next(results)


@pytest.mark.parametrize(("workers", "most"), [(1, 1), (2, 9)])
def test_few_tasks_are_drawn_ahead(workers, most):
    drawn = []
    with WorkerPool(1, workers) as pool:
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


def test_nobody_waits_for_others_to_start():
    asked, answered, waited = threading.Event(), threading.Event(), []
    with WorkerPool(7, 2) as pool:
        submit = pool._pool.submit

        def slow(*call):
            asked.set()
            waited.append(answered.wait(10))
            return submit(*call)

        pool._pool.submit = slow
        results = pool.map(operator.mul, range(30))
        assert next(results) == 0
        assert asked.wait(10)
        answered.set()
        assert list(results) == [7 * task for task in range(1, 30)]
    assert waited == [True]


def test_a_pool_that_cannot_start_says_so():
    with WorkerPool(0.01, 2) as pool:
        pool._pool.shutdown()
        results = pool.map(process_of, itertools.repeat(None, 1000))  # at first, this process does them alone
        with pytest.raises(RuntimeError, match="after shutdown"):
            list(results)


def test_at_least_one_worker_is_needed():
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        WorkerPool(None, 0)
