"""SIGINT and SIGTERM in the process of the tests, as handlers see them; test_cli_interruption.py tries commands."""

import ctypes
import signal
import threading
import time
from collections.abc import Iterator

import pytest
import typer

from roadseg.cli import interruption, terminal
from roadseg.cli.interruption import Interruptions, Terminated
from roadseg.cli.terminal import exit_statuses
from roadseg.errors import DeviceError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Give the time as the handlers see it, and put the handlers back at the end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}.items():
        signal.signal(number, handler)
    now = [0.0]
    monkeypatch.setattr(interruption.time, "monotonic", lambda: now[0])
    yield now
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_raises_and_its_repetition_does_not_disturb_the_cleaning_up(
    clock: list[float], number: int, kind: type[BaseException]
) -> None:
    def work() -> None:
        with Interruptions().handled():
            try:
                signal.raise_signal(number)
            finally:
                clock[0] = 1.9
                signal.raise_signal(number)
                cleaned.append(True)

    cleaned: list[bool] = []
    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    assert (caught.type, cleaned) == (kind, [True])
    clock[0] = 4
    with pytest.raises(kind):  # the process is about to end, but may hang
        signal.raise_signal(number)


def test_a_deferred_signal_is_raised_at_the_end(clock: list[float], capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with signals.handled(), signals.deferred():
            with signals.deferred() as pending:
                reached.append(pending())
                signal.raise_signal(signal.SIGTERM)
                reached.append(pending())
            reached.append("the end")

    signals, reached = Interruptions(), list[object]()
    with pytest.raises(Terminated):
        work()
    assert reached == [False, True, "the end"]
    assert "stopping after this step" in capfd.readouterr().err


def test_a_second_signal_does_not_wait(clock: list[float]) -> None:
    def work() -> None:
        with signals.handled(), signals.deferred():
            signal.raise_signal(signal.SIGINT)
            reached.append("first")
            clock[0] = 2.1
            signal.raise_signal(signal.SIGINT)
            reached.append("second")

    signals, reached = Interruptions(), list[str]()
    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["first"]


def test_handlers_are_there_only_while_handled_and_only_in_the_main_thread(clock: list[float]) -> None:
    def handlers() -> list[object]:
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def elsewhere() -> None:
        with signals.handled():
            seen.append(handlers())

    signals, seen, usual = Interruptions(), [], handlers()
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [usual]
    with signals.handled():
        assert all(handler not in usual for handler in handlers())
    assert handlers() == usual
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup and background jobs do
    with signals.handled():
        assert handlers()[0] is signal.SIG_IGN


@pytest.mark.parametrize(("kind", "status"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_an_interrupt_that_a_callback_swallows_is_raised_again(
    kind: type[BaseException], status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """As where GDAL reports an error in the moment of Ctrl-C; ctypes ignores errors of callbacks as Cython does."""

    @ctypes.CFUNCTYPE(None)
    def callback() -> None:
        raise kind

    def work() -> None:
        with exit_statuses(0):
            callback()
            time.sleep(5)

    with pytest.raises(typer.Exit) as end:
        work()
    assert end.value.exit_code == status
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_of_which_a_library_makes_an_error_is_one(
    clock: list[float], number: int, status: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As an import does that is stopped: OpenVINO was said not to be installed."""
    monkeypatch.setattr(terminal, "INTERRUPTIONS", Interruptions())

    def work() -> None:
        with terminal.exit_statuses(0):
            try:
                signal.raise_signal(number)
            except KeyboardInterrupt as interrupt:
                raise DeviceError("OpenVINO is not installed") from interrupt

    with pytest.raises(typer.Exit) as end:
        work()
    assert end.value.exit_code == status
    assert "OpenVINO" not in capfd.readouterr().err
    with pytest.raises(typer.Exit) as later, terminal.exit_statuses(0):
        raise DeviceError("no such device")
    assert later.value.exit_code == 1
