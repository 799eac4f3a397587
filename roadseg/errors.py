"""Everything roadseg raises on purpose.

One small tree. Each message is one sentence that names the thing at fault and tells the cure; the
command line prints it as it is and exits with status 1. A wrong argument in code is a ``ValueError``.
"""


class RoadsegError(Exception):
    """Base of every error a user can meet."""


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
