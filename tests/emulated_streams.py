"""Streams and memory of an emulated device: work is done as late as a device may, and what is not safe is noted."""

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from emulated_device import Machine

LOCK = threading.RLock()
_AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)


class Stream:
    """Work of a device, done in order, no earlier than somebody waits for it."""

    def __init__(self, machine: "Machine", device: torch.device) -> None:
        self.machine, self.device = machine, device
        self.given = self.done = 0
        self.after: dict[Stream, int] = {}  # how much of other streams is done before what is given to this one next
        self._work: deque[Callable[[], object]] = deque()
        machine.streams.append(self)

    def give(self, work: Callable[[], object]) -> None:
        """Add work at the end."""
        self.given += 1
        self._work.append(work)

    def finish(self, until: int | None = None) -> None:
        """Do the work up to a number, or all of it."""
        with LOCK, torch.inference_mode(), torch._C._ExcludeDispatchKeyGuard(_AUTOCAST):
            while self.done < (self.given if until is None else until):
                self._work.popleft()()
                self.done += 1

    def comes_after(self, other: "Stream", number: int) -> bool:
        """Return whether work of another stream is done before what is given to this one next."""
        return other is self or max(other.done, self.after.get(other, 0)) >= number

    def synchronize(self) -> None:
        """Let the host wait for all work."""
        self.machine.waits.append("stream")
        self.finish()

    def record_event(self) -> "Event":
        """Mark the end of what was given so far."""
        return Event(self)

    def wait_event(self, event: "Event") -> None:
        """Do nothing more before an event."""
        stream, number = event.stream, event.number
        self.give(lambda: stream.finish(number))
        for other, count in [*event.after.items(), (stream, number)]:
            self.after[other] = max(count, self.after.get(other, 0))

    def wait_stream(self, other: "Stream") -> None:
        """Do nothing more before another stream has done what it was given so far."""
        self.wait_event(other.record_event())


class Event:
    """The end of what a stream was given so far."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.number, self.after = stream, stream.given, dict(stream.after)

    def synchronize(self) -> None:
        """Let the host wait for it."""
        self.stream.machine.waits.append("event")
        self.stream.finish(self.number)


class Memory:
    """Memory of a tensor and its views; when the last one goes, the stream that it was taken for may use it again."""

    def __init__(self, stream: Stream, size: int) -> None:
        self.stream, self.size = stream, size
        self.written = stream, 0
        self.used: dict[Stream, int] = {}
        self.recorded: set[Stream] = set()

    def use(self, stream: Stream, what: object, *, writes: bool) -> None:
        """Note that the next work of a stream uses it; raise AssertionError where that need not wait for others."""
        before = [self.written, *(self.used.items() if writes else ())]
        if not all(stream.comes_after(*one) for one in before):
            raise AssertionError(f"{what} does not wait for the stream that used its memory before")
        self.used[stream] = stream.given + 1
        if writes:
            self.written = stream, stream.given + 1

    def __del__(self) -> None:
        machine = self.stream.machine
        machine.used[self.stream.device] -= self.size
        if not all(s in self.recorded or self.stream.comes_after(s, number) for s, number in self.used.items()):
            machine.faults.append("memory is given away while another stream may use it, without record_stream")
