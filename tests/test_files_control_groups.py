"""Limits of control groups count: both versions, their own groups and those above, in containers and outside."""

from pathlib import Path

import pytest

from roadseg.files import control_groups
from roadseg.files.control_groups import group_numbers
from roadseg.files.processors import processor_count
from roadseg.training.data.memory import free_bytes


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Return a function that puts this process into groups and writes their files."""

    def put(membership: str, files: dict[str, str]) -> Path:
        monkeypatch.setattr(control_groups, "_PROCESS", tmp_path / "cgroup")
        monkeypatch.setattr(control_groups, "_ROOT", tmp_path / "fs")
        (tmp_path / "cgroup").write_text(membership, "utf-8")
        (tmp_path / "fs").mkdir()
        for name, text in files.items():
            path = tmp_path / "fs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        return tmp_path / "fs"

    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(64), raising=False)
    return put


JOB = "0::/scope/job_7/step_0\n"
OLD = "4:memory:/docker/ab\n2:cpu,cpuacct:/docker/ab\n1:name=systemd:/\n"


@pytest.mark.parametrize(
    ("membership", "files", "count"),
    [
        ("0::/\n", {}, 64),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 64),
        (JOB, {"scope/job_7/cpu.max": "400000 100000"}, 4),
        ("0::/../other\n", {"cpu.max": "300000 100000\n"}, 3),
        (OLD, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        (OLD, {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),  # a container's own root
        (OLD, {"cpu/docker/ab/cpu.cfs_quota_us": "50000", "cpu/docker/ab/cpu.cfs_period_us": "10000"}, 5),
        ("", {"cpu.max": "200000 100000\n"}, 64),
    ],
)
def test_processors_are_no_more_than_the_time_that_groups_grant(groups, membership, files, count):
    groups(membership, files)
    assert processor_count() == count


@pytest.mark.parametrize(
    ("membership", "files", "room"),
    [
        ("0::/\n", {"memory.max": "5000\n", "memory.current": "4000\n"}, 1000),
        ("0::/\n", {"memory.max": "5000\n", "memory.current": "4000\n", "memory.stat": "inactive_file 7\n"}, 1007),
        ("0::/\n", {"memory.max": "4000\n", "memory.current": "5000\n"}, 0),
        (JOB, {"scope/job_7/memory.max": "900", "scope/job_7/memory.current": "1"}, 899),
        (OLD, {"memory/memory.limit_in_bytes": "5000\n", "memory/memory.usage_in_bytes": "400\n",
               "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 20\n"}, 4620),
    ],
)  # fmt: skip
def test_free_memory_is_what_groups_leave(groups, membership, files, room):
    groups(membership, files)
    assert free_bytes() == room


def test_memory_without_a_limit_is_that_of_the_machine(groups):
    groups("0::/\n", {"memory.max": "max\n", "memory.current": "4000\n"})
    assert free_bytes() > 1e6


def test_systems_without_control_groups_have_no_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(control_groups, "_PROCESS", tmp_path / "none")
    assert control_groups.control_groups("cpu") == []
    assert group_numbers(tmp_path, "cpu.max") == []
