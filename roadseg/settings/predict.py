"""Options of ``roadseg predict``, and of the device that every network runs on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from roadseg.errors import UsageError
from roadseg.settings.creation import CREATION, predicts_floats
from roadseg.settings.option import AnyPath, Option
from roadseg.settings.parts import MACHINES, PART, share_of

EngineName = Literal["auto", "torch", "onnx", "openvino"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
PixelType = Literal["uint8", "float32"]
GridChoice = Literal["scene", "model"]

BANDS = Option("--bands", "Band numbers in the model's order, such as 4,3,2.", "Input", "N,N,…")
ASCENDING = ("2 numbers separated by commas, the lower number first", lambda pair: pair[0] < pair[1])
RECTANGLE = ("xmin,ymin,xmax,ymax with xmin < xmax and ymin < ymax", lambda box: box[0] < box[2] and box[1] < box[3])
SCALES = (
    "different numbers from 0.25 to 4 separated by commas",
    lambda scales: all(0.25 <= scale <= 4 for scale in scales) and len(set(scales)) == len(scales) > 0,
)


@dataclass(frozen=True)
class EngineSettings:
    """Where and how a network is computed."""

    device: Annotated[
        str,
        Option(
            "--device",
            "auto (CUDA, then MPS, then the CPU), cpu, mps, cuda (all there are), cuda:N or cuda:N,cuda:M.",
            "Model and device",
            "DEVICE",
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
        float | None,
        Option("--gsd", "Metres per pixel, if the file does not say or is wrong.", "Input", "M", min=1e-4, max=1e5),
    ] = None
    bbox: Annotated[
        tuple[float, float, float, float] | None,
        Option(
            "--bbox",
            "Predict only this rectangle, in the scene's coordinates, or those of --bbox-crs.",
            "Area",
            "XMIN,YMIN,XMAX,YMAX",
            rule=RECTANGLE,
        ),
    ] = None
    bbox_crs: Annotated[str | None, Option("--bbox-crs", "CRS of --bbox, such as EPSG:4326.", "Area", "CRS")] = None
    aoi: Annotated[
        Path | None, Option("--aoi", "Predict only inside the polygons of this vector file, in any CRS.", "Area")
    ] = None
    threshold: Annotated[
        float | None,
        Option("--threshold", "Probability of road in the mask; by default the model's.", "Output", "P", min=0, max=1),
    ] = None
    recalibrate: Annotated[
        bool,
        Option(
            "--recalibrate/--no-recalibrate",
            "Raise probabilities where the model is unsure of the roads it finds, so that 0.5 fits other places, too.",
            "Output",
        ),
    ] = True
    dtype: Annotated[PixelType, Option("--dtype", "Data type of the probability raster.", "Output")] = "uint8"
    grid: Annotated[GridChoice, Option("--grid", "Pixels to write: the scene's, or those the model saw.", "Output")] = (
        "scene"
    )
    style: Annotated[
        bool, Option("--style", "Also write styles for QGIS beside the rasters: roads.qml for roads.tif.", "Output")
    ] = False
    creation: Annotated[
        tuple[str, ...],
        Option("--co", "Creation option of GDAL's COG driver; may be repeated.", "Output", "KEY=VALUE", rule=CREATION),
    ] = ()
    overwrite: Annotated[
        bool, Option("--overwrite", "Replace outputs, and partial ones made with other settings.", "Output")
    ] = False
    scales: Annotated[
        tuple[float, ...] | None,
        Option(
            "--scales",
            "Shares of the model's own pixels to read any scene at; the mean of 1,0.63 is 3.5 times slower.",
            "Tuning",
            "S,S,…",
            rule=SCALES,
        ),
    ] = None
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

    @property
    def scale(self) -> float:
        """The first scale: that of the roads, and of the pixels of ``grid="model"``."""
        return self.scales[0] if self.scales else 1.0

    @property
    def other_scales(self) -> tuple[float, ...]:
        """The other scales, as shares of the first one."""
        return tuple(scale / self.scale for scale in (self.scales or ())[1:])


@dataclass(frozen=True)
class MachineSettings:
    """How the work is shared by several processes."""

    part: Annotated[str | None, PART] = None
    dask: Annotated[
        str | None,
        Option("--dask", "Predict on a Dask cluster: address of its scheduler, or local.", MACHINES, "ADDRESS"),
    ] = None
    workers: Annotated[
        int | None,
        Option("--workers", "Processes of --dask local; by default one per processor.", MACHINES, "N", min=1),
    ] = None

    @property
    def share(self) -> tuple[int, int] | None:
        """The index of the part, from 0, and the number of parts; None for all of the work."""
        return share_of(self.part)


@dataclass(frozen=True)
class BatchSettings:
    """Many scenes in one command."""

    scenes: Annotated[
        Path | None,
        Option("--scenes", "List of scenes (.txt, .csv, .parquet, STAC .json); finished ones are skipped.", "Input"),
    ] = None
    asset: Annotated[str | None, Option("--asset", "Asset of STAC items that is the scene.", "Input", "NAME")] = None
    summary: Annotated[
        Path | None, Option("--summary", "Also write what was done with each scene, as JSON.", "Output")
    ] = None


def check_lists(batch: BatchSettings) -> None:
    """Refuse options that only make sense with others.

    Raises
    ------
    UsageError
        If one of them is missing.
    """
    if batch.asset and not batch.scenes:
        raise UsageError("--asset is one of the STAC items of --scenes; give both, or neither")


def check_machines(machines: MachineSettings) -> None:
    """Refuse options that exclude each other.

    Raises
    ------
    UsageError
        If they do.
    """
    if machines.part and machines.dask:
        raise UsageError("--part and --dask are two ways to share the work; choose one")
    if machines.workers and machines.dask != "local":
        raise UsageError("--workers is the number of processes of --dask local; give both, or neither")


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
    uncertainty: Annotated[
        Path | None,
        Option(
            "--uncertainty",
            "Also write the standard deviation of two predictions, or all of --scales or --tta.",
            "Output",
        ),
    ] = None

    def paths(self) -> list[Path]:
        """Return the paths that are set."""
        return [path for path in (self.raster, self.mask, self.uncertainty, self.preview, self.vector) if path]


def check_views(outputs: PredictOutputs, settings: PredictSettings, *, shared: bool) -> None:
    """Refuse what needs predictions of the whole scene before the first block, or float32, where these cannot be had.

    Raises
    ------
    UsageError
        If the work is shared, or a raster is to have a predictor of other pixels than its own.
    """
    if predicts_floats(settings.creation) and (outputs.mask or settings.dtype != "float32"):
        raise UsageError(
            "--co PREDICTOR=FLOATING_POINT is for float32 alone; give --dtype float32 and no --mask, or leave it out"
        )
    several = [
        ("--scales with several values", settings.other_scales),
        ("--uncertainty", outputs.uncertainty),
    ]
    for name, asked in several:
        if shared and asked:
            raise UsageError(f"{name} cannot be shared by --part or --dask; leave one of them out")


def check_combinations(output: str, settings: PredictSettings) -> None:
    """Refuse options that only make sense with others.

    Raises
    ------
    UsageError
        If one of them is missing, or excludes another.
    """
    if output == "-" and settings.style:
        raise UsageError("--style writes a file beside the raster; name a file with -o")
    if settings.bbox_crs and not settings.bbox:
        raise UsageError("--bbox-crs is the CRS of --bbox; give both")
    if settings.bbox and settings.aoi:
        raise UsageError("--bbox and --aoi both say which part of the scene is predicted; choose one")


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
    bbox_crs: str | None
    aoi: AnyPath | None
    threshold: float | None
    recalibrate: bool
    dtype: PixelType
    grid: GridChoice
    style: bool
    co: Sequence[str]
    overwrite: bool
    scales: Sequence[float] | None
    overlap: int
    block: int
    part: str | None
    dask: str | None
    workers: int | None
    vector: AnyPath | None
    mask: AnyPath | None
    uncertainty: AnyPath | None
    preview: AnyPath | None
