"""Processors are counted as the system allows them, and threads follow from their number."""

import os

import pytest

from roadseg.files import processors
from roadseg.files.processors import file_threads, processor_count, thread_count


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_only_processors_count_that_this_process_may_use():
    all_of_them = os.sched_getaffinity(0)
    assert processor_count() == len(all_of_them)
    os.sched_setaffinity(0, {min(all_of_them)})
    try:
        assert processor_count() == 1
    finally:
        os.sched_setaffinity(0, all_of_them)


@pytest.mark.parametrize(
    ("wanted", "threads"), [("1", 1), ("6", 6), ("7", 6), ("", 6), ("0", 6), ("-2", 6), ("4,2", 6), ("many", 6)]
)
def test_threads_follow_the_environment_where_it_names_fewer_than_processors(monkeypatch, wanted, threads):
    monkeypatch.setattr(processors, "processor_count", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    assert thread_count() == threads


@pytest.mark.parametrize(("count", "threads"), [(1, 1), (7, 1), (8, 2), (16, 4), (64, 4)])
def test_few_threads_read_or_write_files_beside_a_computation(monkeypatch, count, threads):
    monkeypatch.setattr(processors, "processor_count", lambda: count)
    assert file_threads() == threads
