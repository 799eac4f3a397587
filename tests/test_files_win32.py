"""What Windows says of processes and memory."""

import os
import subprocess
import sys

import pytest

from roadseg.files import win32

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="Windows alone has its functions")

WAITING = "import sys; print(flush=True); sys.stdin.read()"


def test_a_process_is_known_by_its_start_while_it_runs():
    with subprocess.Popen([sys.executable, "-c", WAITING], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        started = win32.start_of_process(process.pid)
        assert int(started) > int(win32.start_of_process(os.getpid()))
        process.kill()
        process.wait()
        assert win32.start_of_process(process.pid) in {"", None}
    assert win32.start_of_process(0x7FFFFFF0) == ""


def test_one_process_at_a_time():
    code = (
        "import sys\n"
        "from roadseg.files import win32\n"
        "win32._PATIENCE_MS = 60_000\n"
        "with win32.one_process('roadseg.test'):\n"
        "    sys.exit(7)\n"
    )
    with win32.one_process("roadseg.test"):
        other = subprocess.Popen([sys.executable, "-c", code])
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(3)
    assert other.wait(60) == 7


def test_some_memory_is_free():
    assert 1 << 20 < win32.free_memory() < 1 << 50
