"""The errors roadseg raises on purpose: one small tree.

Each message is one sentence that names what is at fault and how to fix it. The command line prints it and exits with
status 1, or 2 for a ``UsageError``. A wrong argument of an internal function is a plain ``ValueError``.
"""


class RoadsegError(Exception):
    """Base of every error a user can meet."""


class UsageError(RoadsegError, ValueError):
    """An option has a value it cannot have, or does not go with another."""


class SceneError(RoadsegError):
    """An input raster or vector file cannot be used as asked."""


class OutputError(RoadsegError):
    """An output cannot be written where it was asked for."""


class ModelError(RoadsegError):
    """A model is missing, damaged, or does not fit."""


class DeviceError(RoadsegError):
    """The device asked for is absent or too small for the work."""


class TrainingError(RoadsegError):
    """Training data or a training run cannot be used as asked."""
