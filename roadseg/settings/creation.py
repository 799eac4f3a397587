"""Creation options of GDAL's COG driver that change how a raster is stored, but neither its pixels nor its grid."""

import re
from collections.abc import Sequence

from roadseg.errors import UsageError

_SWITCH = ("YES", "NO")
_LOSSLESS = ("NONE", "LZW", "DEFLATE", "LZMA", "ZSTD")
_VALUES = {
    "BIGTIFF": (*_SWITCH, "IF_NEEDED", "IF_SAFER"),
    "BLOCKSIZE": ("128", "256", "512", "1024", "2048", "4096"),
    "COMPRESS": _LOSSLESS,
    "LEVEL": ("a whole number from 1 to 22",),
    "NUM_THREADS": ("ALL_CPUS", "a whole number from 1 on"),
    "OVERVIEWS": ("AUTO", "NONE"),
    "OVERVIEW_COMPRESS": ("AUTO", *_LOSSLESS),
    "OVERVIEW_RESAMPLING": ("NEAREST", "AVERAGE", "BILINEAR", "CUBIC", "CUBICSPLINE", "LANCZOS", "MODE", "RMS"),
    "PREDICTOR": (*_SWITCH, "STANDARD", "FLOATING_POINT"),
    "SPARSE_OK": (*_SWITCH, "TRUE", "FALSE"),
    "STATISTICS": ("AUTO", *_SWITCH),
}
"""What each may be; sentences say it in these words."""

_NUMBERS = {"LEVEL": r"[1-9]|1\d|2[0-2]", "NUM_THREADS": r"[1-9]\d*"}
"""Patterns of the numbers among them."""


def _are_creation_options(options: Sequence[str]) -> bool:
    """Return whether all are creation options.

    Raises
    ------
    UsageError
        If one is none, or has a value it cannot have; the sentence names it alone.
    """
    for option in options:
        key, _, value = option.upper().partition("=")
        if key not in _VALUES:
            raise UsageError(f"--co must be KEY=VALUE with one of {', '.join(_VALUES)}, not {option!r}")
        if value not in _VALUES[key] and not re.fullmatch(_NUMBERS.get(key, r"(?!)"), value):
            raise UsageError(f"--co {key} must be {' or '.join(_VALUES[key])}, not {value!r}")
    return True


CREATION = ("creation options", _are_creation_options)


def predicts_floats(options: Sequence[str]) -> bool:
    """Return whether one of the options asks for the predictor that only files of float32 can have."""
    return "PREDICTOR=FLOATING_POINT" in {option.upper() for option in options}
