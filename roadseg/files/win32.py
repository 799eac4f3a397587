"""What Windows says of processes, memory and paths; nothing here can be called on other systems.

The functions are described in Microsoft's documentation of the Windows API.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_PROCESS_QUERY_LIMITED_INFORMATION = 0x1000
_ERROR_INVALID_PARAMETER = 87
_WAIT_OBJECT_0, _WAIT_ABANDONED = 0, 0x80

_PATIENCE_MS = 2000


def start_of_process(process: int) -> str | None:
    """Return when a process was started, in 100 ns since 1601; empty if it has ended, None if that is not told."""
    kernel = _kernel()
    handle = ctypes.c_void_p(kernel.OpenProcess(_PROCESS_QUERY_LIMITED_INFORMATION, False, process))
    if not handle:
        return "" if ctypes.get_last_error() == _ERROR_INVALID_PARAMETER else None  # type: ignore[attr-defined]
    started, ended, *spent = (ctypes.c_uint64() for _ in range(4))
    try:
        is_known = kernel.GetProcessTimes(handle, *map(ctypes.byref, (started, ended, *spent)))
    finally:
        kernel.CloseHandle(handle)
    if not is_known:
        return None
    return "" if ended.value else str(started.value)


@contextmanager
def one_process(name: str) -> Iterator[None]:
    """Context manager that one process of this machine enters at a time, or one that has waited for two seconds.

    Parameters
    ----------
    name
        Name of the mutex, which ends with the process that holds it.
    """
    kernel = _kernel()
    mutex = ctypes.c_void_p(kernel.CreateMutexW(None, False, f"Global\\{name}"))
    is_held = bool(mutex) and kernel.WaitForSingleObject(mutex, _PATIENCE_MS) in {_WAIT_OBJECT_0, _WAIT_ABANDONED}
    try:
        yield
    finally:
        if is_held:
            kernel.ReleaseMutex(mutex)
        if mutex:
            kernel.CloseHandle(mutex)


def free_memory() -> int:
    """Return the bytes of memory that are free: ``ullAvailPhys`` of MEMORYSTATUSEX, two numbers of 32 bits, 7 of 64."""
    status = (ctypes.c_uint64 * 8)(ctypes.sizeof(ctypes.c_uint64) * 8)
    _kernel().GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status[2])


def are_long_paths_on() -> bool:
    """Return whether paths may have more than 259 letters in this process."""
    try:
        return bool(ctypes.WinDLL("ntdll").RtlAreLongPathsEnabled())  # type: ignore[attr-defined]
    except (AttributeError, OSError):  # before Windows 10
        return False


@cache
def _kernel() -> Any:
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
    kernel.OpenProcess.restype = kernel.CreateMutexW.restype = ctypes.c_void_p
    return kernel
