"""Options of ``roadseg predict``, and of the device that every network runs on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from roadseg.settings.option import Option

EngineName = Literal["auto", "torch", "onnx", "openvino"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
PixelType = Literal["uint8", "float32"]
GridChoice = Literal["scene", "model"]

BANDS = Option("--bands", "Band numbers in the model's order, such as 4,3,2.", "Input", "N,N,…")
ASCENDING = ("2 numbers separated by commas, the lower number first", lambda pair: pair[0] < pair[1])
RECTANGLE = ("xmin,ymin,xmax,ymax with xmin < xmax and ymin < ymax", lambda box: box[0] < box[2] and box[1] < box[3])


@dataclass(frozen=True)
class EngineSettings:
    """Where and how a network is computed."""

    device: Annotated[
        str,
        Option(
            "--device", "auto (CUDA, then MPS, then the CPU), cpu, cuda, cuda:N or mps.", "Model and device", "DEVICE"
        ),
    ] = "auto"
    precision: Annotated[
        Precision,
        Option(
            "--precision",
            "Number format; auto is a 16-bit one on CUDA and on CPUs that compute in bfloat16, else float32.",
            "Model and device",
        ),
    ] = "auto"
    batch_size: Annotated[
        int | None, Option("--batch", "Windows per batch; chosen by default.", "Model and device", "N", min=1, max=4096)
    ] = None
    tta: Annotated[
        bool,
        Option("--tta", "Average over all flips and turns of each window: better, 8 times slower.", "Model and device"),
    ] = False
    engine: Annotated[
        EngineName,
        Option(
            "--engine",
            "Library that runs the model; auto is PyTorch on a GPU, the fastest one installed on a CPU.",
            "Model and device",
        ),
    ] = "auto"


@dataclass(frozen=True)
class PredictSettings:
    """How a scene is read and predicted."""

    bands: Annotated[tuple[int, ...] | None, BANDS] = None
    value_range: Annotated[
        tuple[float, float] | None,
        Option(
            "--range",
            "Values stretched to black and white; by default percentiles 2 and 98; uint8 is not stretched.",
            "Input",
            "LO,HI",
            rule=ASCENDING,
        ),
    ] = None
    pixel_m: Annotated[
        float | None, Option("--gsd", "Metres per pixel, if the file does not say.", "Input", "M", min=1e-4, max=1e5)
    ] = None
    bbox: Annotated[
        tuple[float, float, float, float] | None,
        Option(
            "--bbox",
            "Predict only this rectangle, in the scene's coordinates.",
            "Area",
            "XMIN,YMIN,XMAX,YMAX",
            rule=RECTANGLE,
        ),
    ] = None
    aoi: Annotated[
        Path | None, Option("--aoi", "Predict only inside the polygons of this vector file, in any CRS.", "Area")
    ] = None
    threshold: Annotated[
        float | None,
        Option("--threshold", "Probability of road in the mask; by default the model's.", "Output", "P", min=0, max=1),
    ] = None
    dtype: Annotated[PixelType, Option("--dtype", "Data type of the probability raster.", "Output")] = "uint8"
    grid: Annotated[GridChoice, Option("--grid", "Pixels to write: the scene's, or those the model saw.", "Output")] = (
        "scene"
    )
    overwrite: Annotated[
        bool, Option("--overwrite", "Replace outputs, and partial ones made with other settings.", "Output")
    ] = False
    overlap_px: Annotated[
        int, Option("--overlap", "Overlap of neighbouring windows, in pixels.", "Tuning", "PX", min=0, max=223)
    ] = 32
    block_px: Annotated[
        int,
        Option(
            "--block",
            "Side of a block in pixels; larger is faster and takes more memory.",
            "Tuning",
            "PX",
            min=224,
            max=10**6,
        ),
    ] = 6144


_MACHINES = "More than one machine"


def _is_part(text: str) -> bool:
    number, slash, count = text.partition("/")
    return bool(slash) and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)


@dataclass(frozen=True)
class MachineSettings:
    """How the work is shared by several processes."""

    part: Annotated[
        str | None,
        Option(
            "--part",
            "Predict part I of N and write no output; afterwards, the command without --part does.",
            _MACHINES,
            "I/N",
            rule=("I/N with whole numbers from 1/1, such as 2/5", _is_part),
        ),
    ] = None

    @property
    def share(self) -> tuple[int, int] | None:
        """The index of the part, from 0, and the number of parts; None for all of the work."""
        number, _, count = (self.part or "").partition("/")
        return (int(number) - 1, int(count)) if number else None


@dataclass(frozen=True)
class PredictOutputs:
    """Where results go: the probability raster and, if asked for, a mask, a road network and a picture."""

    raster: Path
    mask: Annotated[Path | None, Option("--mask", "Also write a mask: 1 road, 0 not road, 255 nodata.", "Output")] = (
        None
    )
    preview: Annotated[Path | None, Option("--preview", "Also draw the roads over the scene, as PNG.", "Output")] = None
    vector: Annotated[Path | None, Option("--vector", "Also write the road network, such as roads.gpkg.", "Output")] = (
        None
    )

    def paths(self) -> list[Path]:
        """Return the paths that are set."""
        return [path for path in (self.raster, self.mask, self.preview, self.vector) if path]


class EngineOptions(TypedDict, total=False):
    """Keyword options of ``roadseg.predict.load_model``."""

    device: str
    precision: Precision
    batch: int | None
    tta: bool
    engine: EngineName


class PredictOptions(EngineOptions, total=False):
    """Keyword options of ``roadseg.predict.predict``; ``roadseg predict --help`` says what each means."""

    bands: Sequence[int] | None
    range: tuple[float, float] | None
    gsd: float | None
    bbox: tuple[float, float, float, float] | None
    aoi: str | Path | None
    threshold: float | None
    dtype: PixelType
    grid: GridChoice
    overwrite: bool
    overlap: int
    block: int
    part: str | None
    vector: str | Path | None
    mask: str | Path | None
    preview: str | Path | None
