"""What the commands say while they work, where no bar shows it."""

import errno
import io
import json
import sys

import pytest

from roadseg.cli import terminal
from roadseg.cli.streams import named_stdout
from roadseg.errors import as_typed


def test_a_line_every_few_minutes_without_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    with terminal.terminal_listener(quiet=False, progress=False, unit="Mpx") as listener:
        listener.start(900, 100)
        for _ in range(8):
            now[0] += 100
            listener.advance(50)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "roadseg: 200.0 of 900.0 Mpx, 0.5 Mpx/s, 24 min left",
        "roadseg: 300.0 of 900.0 Mpx, 0.5 Mpx/s, 20 min left",
        "roadseg: 400.0 of 900.0 Mpx, 0.5 Mpx/s, 17 min left",
        "roadseg: 500.0 of 900.0 Mpx, 0.5 Mpx/s, 14 min left",
    ]


@pytest.mark.parametrize(("quiet", "progress"), [(True, False), (False, True)])
def test_no_line_beside_a_bar_or_when_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, quiet: bool, progress: bool
) -> None:
    monkeypatch.setattr(terminal, "_REPORT_EVERY_S", 0.0)
    with terminal.terminal_listener(quiet=quiet, progress=progress, unit="files") as listener:
        listener.start(9, 0)
        listener.advance(3)
    assert "left" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "stored"),
    [
        (["predict", "a.tif", "-o", "b.tif", "-q"], "roadseg predict a.tif -o b.tif"),
        (["predict", "-vv", "a b.tif", "--json", "--no-progress"], "roadseg predict 'a b.tif'"),
        (["predict", "-qv", "--part", "1/2", "--workers=3", "a.tif", "--quiet"], "roadseg predict a.tif"),
        (["predict", "a.tif", "--overwrite", "-o", "b.tif"], "roadseg predict a.tif -o b.tif"),
        (["predict", "a.tif", "-o", "-", "--grid", "model"], "roadseg predict a.tif -o - --grid model"),
    ],
)
def test_the_stored_command_holds_what_changes_the_result(
    monkeypatch: pytest.MonkeyPatch, words: list[str], stored: str
) -> None:
    monkeypatch.setattr("sys.argv", ["roadseg", *words])
    assert terminal.command_line({"--part", "--workers"}) == stored


def test_commands_are_quoted_as_the_shell_of_the_system_understands_it() -> None:
    words = ["roadseg", "predict", r"C:\my scenes\a.tif", "-o", r"D:\roads.tif", "a&b.tif", ""]
    typed = r'roadseg predict "C:\my scenes\a.tif" -o D:\roads.tif "a&b.tif" ""'
    assert as_typed(words, on_windows=True) == typed
    assert as_typed(["it's", "a b"], on_windows=False) == """'it'"'"'s' 'a b'"""


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "UTF-8", "utf8"])
def test_json_is_utf8_wherever_it_goes(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding, "backslashreplace"))
    terminal.print_json("info", {"scene": "Müritz → 東京.tif"})
    assert json.loads(written.getvalue().decode("utf-8"))["scene"] == "Müritz → 東京.tif"


def test_a_reader_of_stdout_that_ended_is_a_broken_pipe_on_windows_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def write() -> None:
        with named_stdout():
            raise OSError(errno.EINVAL, "Invalid argument")

    with pytest.raises(OSError, match="stdout"):
        write()
    monkeypatch.setattr("roadseg.cli.streams.os", type("Windows", (), {"name": "nt", "strerror": str}))
    with pytest.raises(BrokenPipeError):
        write()
