"""One run at a time works on an output; a run that is gone keeps nobody out."""

import errno
import json
import os
import subprocess
import sys
import time

import pytest

from roadseg.errors import OutputError
from roadseg.files import lock
from roadseg.files.lock import locked

LONG_AGO = 1_000_000_000


@pytest.fixture
def target(tmp_path):
    return tmp_path / "roads.tif"


@pytest.fixture
def lock_file(target):
    return target.with_name("roads.tif.lock")


def take(target):
    with locked([target]):
        pass


@pytest.mark.parametrize("anew", [False, True])
def test_a_lock_that_goes_while_it_is_looked_at_is_in_nobodys_way(lock_file, monkeypatch, anew):
    read, texts = lock._read, []

    def gone_before(path):
        if not texts:
            texts.append(path.read_text("utf-8"))
            path.unlink()
            owner = read(path)
            if anew:
                path.write_text(texts[0], "utf-8")
            return owner
        return read(path)

    with locked([lock_file.with_suffix("")]):
        monkeypatch.setattr(lock, "_read", gone_before)
        by = lock.holder(lock_file)
        assert by.startswith(f"process {os.getpid()} on ") if anew else by == ""
    assert texts


def test_a_second_run_says_who_works_on_it_since_when(target, lock_file):
    with locked([target]):
        owner = json.loads(lock_file.read_text("utf-8"))
        with pytest.raises(
            OutputError, match=rf"roads.tif is being written by process {os.getpid()} on \S+ since 2\d+-"
        ):
            take(target)
        assert json.loads(lock_file.read_text("utf-8")) == owner
    assert not lock_file.exists()


def test_a_run_locks_all_its_outputs_or_none(target, lock_file):
    mask = target.with_name("mask.tif")
    with locked([mask]), pytest.raises(OutputError, match=r"mask.tif is being written"), locked([target, mask]):
        pytest.fail("two runs on one output")
    assert not lock_file.exists()
    with locked([target, mask]):
        pass
    assert list(target.parent.iterdir()) == []


def test_a_link_shares_the_lock_of_its_file(target):
    link = target.with_name("link.tif")
    link.symlink_to(target.name)
    with locked([link]), pytest.raises(OutputError, match="is being written"):
        take(target)


@pytest.mark.skipif(sys.platform == "win32", reason="no zombies")
def test_a_killed_run_that_is_a_zombie_keeps_nobody_out(target, lock_file):
    code = (
        "import os, signal, pathlib\n"
        "from roadseg.files.lock import locked\n"
        f"with locked([pathlib.Path({str(target)!r})]):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.Popen([sys.executable, "-c", code])
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert lock_file.exists()
    take(target)
    killed.wait()


def test_a_killed_run_keeps_nobody_out(target, lock_file):
    code = (
        "import pathlib, sys\n"
        "from roadseg.files.lock import locked\n"
        f"with locked([pathlib.Path({str(target)!r})]):\n"
        "    print(flush=True)\n"
        "    sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(OutputError, match=f"is being written by process {process.pid} "):
            take(target)
        process.kill()
    assert lock_file.exists()
    take(target)


def change(lock_file, **fields):
    lock_file.write_text(json.dumps({**json.loads(lock_file.read_text("utf-8")), **fields}), "utf-8")


def test_another_process_with_the_number_of_a_killed_one_does_not_count(target, lock_file):
    with locked([target]):
        change(lock_file, started="1")
        take(target)


@pytest.mark.parametrize("field", ["host", "namespace"])
def test_a_lock_of_another_machine_lasts_while_it_is_touched(target, lock_file, field):
    with locked([target]):
        change(lock_file, **{field: "elsewhere"})
    with pytest.raises(OutputError, match="is being written by"):
        take(target)
    os.utime(lock_file, (LONG_AGO, LONG_AGO))
    take(target)
    assert not lock_file.exists()


def test_locks_are_touched_while_the_run_works(target, lock_file, monkeypatch):
    monkeypatch.setattr("roadseg.files.lock._TOUCHED_EVERY_S", 0.01)
    with locked([target]):
        os.utime(lock_file, (LONG_AGO, LONG_AGO))
        patience = time.monotonic() + 10
        while lock_file.stat().st_mtime == LONG_AGO and time.monotonic() < patience:
            time.sleep(0.01)
        assert time.time() - lock_file.stat().st_mtime < 60


def test_a_run_killed_while_it_takes_the_lock_keeps_nobody_out(target, lock_file):
    code = (
        "import os, signal, pathlib\n"
        "from roadseg.files.lock import locked\n"
        "write = os.write\n"
        "os.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"locked([pathlib.Path({str(target)!r})]).__enter__()"
    )
    if not hasattr(os, "O_TMPFILE"):
        pytest.skip("files appear before their content here")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert not lock_file.exists()
    take(target)


@pytest.mark.parametrize("lacking", ["open", "link"])
def test_a_file_system_without_nameless_files_or_links_has_locks_too(target, lock_file, monkeypatch, lacking):
    true_open, flag = os.open, getattr(os, "O_TMPFILE", 0)

    def refuse(*_, **__):
        raise OSError(errno.EOPNOTSUPP, "not here")

    def open_named(path, flags, *mode, **options):
        return refuse() if flags & flag == flag else true_open(path, flags, *mode, **options)

    monkeypatch.setattr(os, lacking, open_named if lacking == "open" else refuse)
    with locked([target]):
        assert json.loads(lock_file.read_text("utf-8"))["process"] == os.getpid()
        with pytest.raises(OutputError, match=f"is being written by process {os.getpid()}"):
            take(target)
    assert list(target.parent.iterdir()) == []


def test_a_lock_has_the_mode_that_the_umask_asks_for(target, lock_file):
    before = os.umask(0o027)
    try:
        with locked([target]):
            assert lock_file.stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_an_empty_lock_lasts_seconds(target, lock_file):
    lock_file.touch()
    with pytest.raises(OutputError, match="which has just begun"):
        take(target)
    os.utime(lock_file, (time.time() - 8,) * 2)
    take(target)


NO_DATE = json.dumps({"host": "b", "namespace": "", "process": 1, "started": "1", "since": "0001-01-01T00:00:00+14:00"})


@pytest.mark.parametrize("text", ["my own notes", "{}", '{"host": 1, "process": "a"}', "[]", NO_DATE])
def test_a_file_of_somebody_else_is_left_alone(target, lock_file, text):
    lock_file.write_text(text, "utf-8")
    os.utime(lock_file, (LONG_AGO, LONG_AGO))
    with pytest.raises(OutputError, match="is in the way and was not left by roadseg; move it"):
        take(target)
    assert lock_file.read_text("utf-8") == text


def test_a_lost_lock_is_noticed_and_left_to_the_other_run(target, lock_file):
    with locked([target]) as lock:
        lock.check()
        change(lock_file, process=1)
        with pytest.raises(OutputError, match=r"has lost its lock .*; repeat the command"):
            lock.check()
    assert lock_file.exists()


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write beside .*; choose another place"):
        take(tmp_path / "none" / "roads.tif")


CONTENDER = """
import pathlib, sys, time
from roadseg.errors import OutputError
from roadseg.files.lock import locked

def meet(name, number):
    (folder / f"{name}-{number}").touch()
    while len(list(folder.glob(f"{name}-*"))) < 6:
        time.sleep(0.001)

folder, number = pathlib.Path(sys.argv[1]), sys.argv[2]
meet("ready", number)
try:
    with locked([folder / "roads.tif"]):
        meet("tried", number)
    print("worked")
except OutputError:
    meet("tried", number)
    print("refused")
"""


def test_of_many_that_find_a_stale_lock_one_gets_it(target, lock_file):
    gone = {"host": "elsewhere", "namespace": "", "process": 1, "started": "", "since": "2020-01-01T00:00:00+00:00"}
    for attempt in range(3):
        folder = target.parent / str(attempt)
        folder.mkdir()
        (folder / lock_file.name).write_text(json.dumps(gone), "utf-8")
        os.utime(folder / lock_file.name, (LONG_AGO, LONG_AGO))
        commands = [[sys.executable, "-c", CONTENDER, str(folder), str(number)] for number in range(6)]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
        assert sorted(process.communicate(timeout=60)[0].strip() for process in processes) == ["refused"] * 5 + [
            "worked"
        ]
