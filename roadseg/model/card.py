"""The model card: what is needed to use a model correctly, stored in the file with its weights.

The card is JSON in the metadata of a safetensors file. Reading it needs no torch, runs no code and does
not touch the weights. It sets the bands and their normalization, the ground resolution, the window,
the threshold and the calibration, and documents the model's origin and its measured accuracy.
"""

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

from roadseg.errors import ModelError

FORMAT = 1
"""Version of the card's layout; files with a higher version need a newer roadseg."""

MAYBE_ROAD = 0.3
"""Probability from which a pixel may be road to a model."""

METADATA_KEY = "roadseg"

_HEADER_LIMIT = 100_000_000


@dataclass(frozen=True)
class Measurement:
    """One measured figure.

    Parameters
    ----------
    name, value
        For example ``"IoU"``, 0.55.
    definition
        What was counted, and at which threshold.
    data
        The images it was measured on, and their split.
    command
        Command that reproduces it.
    """

    name: str
    value: float
    definition: str
    data: str
    command: str = ""


@dataclass(frozen=True)
class Sureness:
    """How sure a model is of its roads on its dev tiles.

    Parameters
    ----------
    threshold
        Probability from which a pixel surely is road.
    share
        Share of the pixels that may be road (``MAYBE_ROAD``) that surely is.
    """

    threshold: float
    share: float


@dataclass(frozen=True)
class ModelCard:
    """What a model is, which input it needs, and how accurate it is.

    Parameters
    ----------
    name, description
        Name, and one sentence for people.
    bands, width, upsample
        Parameters of the ResUNet.
    mean, std
        Normalization per band on the 0–1 scale.
    gsd_m, gsd_range_m
        Metres per pixel it was trained at, and the finest and coarsest of its training images, if known.
    finest_gsd_m
        Metres per pixel down to which it reads scenes much finer than that at twice their pixels; None if it does not.
    seen
        Ranges of the colours of its training crops, by band, see ``roadseg.model.likeness``.
    window_px
        Side of the windows it predicts; a multiple of 8.
    threshold
        Probability from which a pixel is road.
    temperature, bias
        Calibration: probability = sigmoid(logit / temperature + bias).
    sure_share, sure_from
        How sure it is of its roads on its dev tiles, see ``Sureness``; None if not known.
    training_data, licence, attribution
        Training data, and their terms of use.
    recipe
        Settings it was trained with.
    measurements
        Measured accuracy.
    hash
        SHA-256 of the weights, filled in when saved.
    roadseg_version, created
        Version of roadseg that wrote the file, and ISO date.
    """

    name: str
    description: str = ""
    bands: int = 3
    width: int = 64
    upsample: str = "bilinear"
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    gsd_m: float = 1.0
    gsd_range_m: tuple[float, float] | None = None
    finest_gsd_m: float | None = None
    window_px: int = 224
    threshold: float = 0.5
    temperature: float = 1.0
    bias: float = 0.0
    sure_share: float | None = None
    sure_from: float = 0.95
    training_data: str = ""
    licence: str = ""
    attribution: str = ""
    seen: dict[str, list[list[float]]] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    hash: str = ""
    roadseg_version: str = ""
    created: str = ""
    architecture: str = "ResUNet"
    format: int = FORMAT

    @property
    def sureness(self) -> Sureness | None:
        """How sure it is of its roads on its dev tiles; None if not known."""
        return None if self.sure_share is None else Sureness(self.sure_from, self.sure_share)

    def to_json(self) -> str:
        """Return the card as JSON; bytes of file names that are not UTF-8 become question marks."""
        return json.dumps(asdict(self), ensure_ascii=False).encode("utf-8", "replace").decode()


def card_from_json(text: str, path: Path) -> ModelCard:
    """Parse and check a card.

    Raises
    ------
    ModelError
        If it is of a newer version, or not a card.
    """
    try:
        found = json.loads(text)
        version = int(found["format"])
        if version > FORMAT:
            raise ModelError(
                f"{path} has a model card of format {version}, this roadseg reads up to {FORMAT}; "
                "install a newer roadseg"
            )
        known = {f.name for f in fields(ModelCard)}
        card = {key: value for key, value in found.items() if key in known}
        card["measurements"] = tuple(Measurement(**m) for m in found.get("measurements", ()))
        card["mean"], card["std"] = tuple(found["mean"]), tuple(found["std"])
        card["gsd_range_m"] = tuple(found["gsd_range_m"]) if found.get("gsd_range_m") else None
        result = ModelCard(**card)
        damaged = _impossible(result)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelError(f"the model card in {path} is damaged ({error}); get the file again") from error
    if damaged:
        raise ModelError(f"the model card in {path} is damaged ({damaged}); get the file again")
    if result.architecture != "ResUNet" or len(result.mean) != result.bands or len(result.std) != result.bands:
        raise ModelError(f"{path} holds a {result.architecture} of another form; roadseg only runs its own ResUNet")
    return result


def _impossible(card: ModelCard) -> str:
    """Return the first field with an impossible value, for the message; empty if there is none."""
    texts = ("name", "description", "training_data", "licence", "attribution", "hash", "roadseg_version", "created")
    checks = {
        **{name: _is_text(getattr(card, name)) for name in (*texts, "architecture")},
        "bands": _is_whole(card.bands, 1, _MOST_BANDS),
        "width": _is_whole(card.width, 1, _MOST_WIDTH),
        "upsample": card.upsample in {"bilinear", "nearest"},
        "mean": all(_is_number(value, -_LARGEST, _LARGEST) for value in card.mean),
        "std": all(_is_number(value, 1 / _LARGEST, _LARGEST) for value in card.std),
        "gsd_m": _is_number(card.gsd_m, *_GSD_M),
        "gsd_range_m": card.gsd_range_m is None or _is_range(card.gsd_range_m, *_GSD_M),
        "finest_gsd_m": card.finest_gsd_m is None or _is_number(card.finest_gsd_m, *_GSD_M),
        "window_px": _is_whole(card.window_px, 8, _LARGEST_WINDOW_PX) and card.window_px % 8 == 0,
        "threshold": _is_number(card.threshold, 0, 1),
        "temperature": _is_number(card.temperature, 1 / _LARGEST, _LARGEST),
        "bias": _is_number(card.bias, -_LARGEST, _LARGEST),
        "sure_share": card.sure_share is None or _is_number(card.sure_share, 0, 1),
        "sure_from": _is_number(card.sure_from, 0, 1),
        "recipe": isinstance(card.recipe, dict),
        "measurements": all(_is_measurement(one) for one in card.measurements),
    }
    wrong = next((name for name, possible in checks.items() if not possible), "")
    if not wrong and not all(_are_ranges(ranges, card.bands) for ranges in card.seen.values()):
        wrong = "seen"
    return f"{wrong} {str(getattr(card, wrong))[:60]!r}" if wrong else ""


_MOST_BANDS, _MOST_WIDTH, _LARGEST_WINDOW_PX = 1024, 1024, 4096
_GSD_M, _LARGEST = (1e-4, 1e5), 1e6
"""Bounds of what a card may ask for: a file from elsewhere must not take all memory."""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)  # is UTF-8


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: object, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _is_range(limits: Sequence[float], least: float, most: float) -> bool:
    """Return whether limits are a low and a high number between two others."""
    return len(limits) == 2 and all(_is_number(limit, least, most) for limit in limits) and limits[0] <= limits[1]


def _are_ranges(ranges: Sequence[Sequence[float]], bands: int) -> bool:
    return len(ranges) == bands and all(_is_range(limits, -_LARGEST, _LARGEST) for limits in ranges)


def _is_measurement(one: Measurement) -> bool:
    texts = (one.name, one.definition, one.data, one.command)
    return all(map(_is_text, texts)) and isinstance(one.value, int | float)


def read_card(path: Path) -> ModelCard:
    """Read the card of a model file without its weights.

    Raises
    ------
    ModelError
        If the file is missing, truncated, not safetensors, or has no card.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if not 2 <= length <= _HEADER_LIMIT:
                raise ValueError
            if length > size - 8:
                raise ModelError(f"{path} is truncated ({size} bytes, its header alone has {8 + length}); get it again")
            header = json.loads(file.read(length))
        end = max((t["data_offsets"][1] for k, t in header.items() if k != "__metadata__"), default=0)
        if not isinstance(end, int):
            raise ValueError
    except FileNotFoundError:
        raise ModelError(_no_such_model(str(path))) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise ModelError(f"{path} is not a safetensors file; roadseg only loads models in that format") from error
    if size < 8 + length + end:
        raise ModelError(f"{path} is truncated ({size} of {8 + length + end} bytes); get it again")
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or METADATA_KEY not in metadata:
        raise ModelError(f"{path} has no roadseg model card; only models from roadseg train can be used")
    return card_from_json(metadata[METADATA_KEY], path)


def bundled_models() -> dict[str, Path]:
    """Return the paths of the models in the package, by name."""
    folder = Path(str(resources.files("roadseg.model") / "bundled"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def find_model(wanted: str | None) -> Path:
    """Return the path of a model file or bundled model; None means that of ``ROADSEG_MODEL``, else the default model.

    Raises
    ------
    ModelError
        If there is neither a file nor a bundled model of that name.
    """
    bundled = bundled_models()
    wanted = wanted or os.environ.get("ROADSEG_MODEL") or None
    if wanted is None:
        name = next((n for n in DEFAULT_MODELS if n in bundled), None)
        if name is None:
            raise ModelError("this installation holds no bundled model; name a model file with --model")
        return bundled[name]
    if wanted in bundled:
        return bundled[wanted]
    if Path(wanted).is_file():
        return Path(wanted)
    raise ModelError(_no_such_model(wanted))


DEFAULT_MODELS = ("resunet", "compact")
"""The default model is the first of these that is bundled."""


def _no_such_model(wanted: str) -> str:
    names = ", ".join(bundled_models()) or "none"
    return f"there is no model file {wanted}; give a .safetensors file or a bundled model ({names})"
