"""What can be set, and the only place where defaults stand; the command line reads them here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Precision = Literal["auto", "float32", "bfloat16", "float16"]
PixelType = Literal["uint8", "float32"]
GridChoice = Literal["scene", "model"]
Neighbourhood = Literal["square", "disk"]
Upsampling = Literal["bilinear", "nearest"]
VectorFormat = Literal["GeoPackage", "FlatGeobuf", "GeoJSON", "GeoJSONSeq", "GeoParquet", "Shapefile"]


@dataclass(frozen=True)
class EngineSettings:
    """Where and how to compute.

    Parameters
    ----------
    device
        ``"auto"`` takes CUDA, then MPS, then the CPU; ``"cuda:1"`` names one of several.
    precision
        ``"auto"``: bfloat16 on CUDA devices that have it, float16 on older ones, else float32.
    batch_size
        Windows at a time; None lets the engine choose.
    tta
        Test-time augmentation: average the answers to all eight symmetries of each window, in eight times the time.
    """

    device: str = "auto"
    precision: Precision = "auto"
    batch_size: int | None = None
    tta: bool = False


@dataclass(frozen=True)
class PredictSettings:
    """How to predict; the command line reads its defaults here.

    Parameters
    ----------
    bands, pixel_m, value_range
        See ``SceneSettings``.
    overlap_px
        How far neighbouring windows overlap.
    block_px
        Side of a block; larger ones need more memory and less repeated work.
    threshold
        Probability from which a pixel is road in the mask; None takes the model card's.
    dtype
        Of the probability raster: uint8 with 255 grey levels, or float32.
    grid
        ``"scene"`` writes the scene's own pixels, ``"model"`` those the model saw.
    bbox
        Wanted part (xmin, ymin, xmax, ymax) in the scene's CRS.
    aoi
        Vector file with polygons, in any CRS; only pixels inside are wanted.
    overwrite
        Replace existing outputs, and throw away partial ones of other settings.
    """

    bands: tuple[int, ...] | None = None
    pixel_m: float | None = None
    value_range: tuple[float, float] | None = None
    overlap_px: int = 32
    block_px: int = 6144
    threshold: float | None = None
    dtype: PixelType = "uint8"
    grid: GridChoice = "scene"
    bbox: tuple[float, float, float, float] | None = None
    aoi: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Outputs:
    """Where results go: the probability raster, and on demand a 0/1/255 mask, a PNG to look at, a road network."""

    raster: Path
    mask: Path | None = None
    preview: Path | None = None
    vector: Path | None = None

    def paths(self) -> list[Path]:
        """Return those asked for."""
        return [path for path in (self.raster, self.mask, self.preview, self.vector) if path]


@dataclass(frozen=True)
class EvaluateSettings:
    """How to score roads.

    Parameters
    ----------
    threshold
        Probability from which a pixel is road; None takes the one noted in the predictions, else 0.5.
    slack
        How far a road pixel may lie off in the relaxed measures.
    slack_in_metres
        Whether ``slack`` is in metres on the ground; in pixels of the truth otherwise.
    neighbourhood
        Shape of the slack: ``"square"`` as in published figures, or ``"disk"``.
    resample
        Bring predictions on another grid to the truth's instead of refusing them.
    cldice
        Whether to compute clDice, which takes longer than the rest together.
    network
        Make networks of rasters, as ``roadseg vectorize`` does, and score those.
    buffer_m, junction_m
        Of completeness and correctness, and how far apart matched junctions may be.
    block_px
        Side of the blocks that rasters are read in.
    worst
        How many of the worst images the report shows.
    overwrite
        Replace existing outputs.
    """

    threshold: float | None = None
    slack: float = 3.0
    slack_in_metres: bool = False
    neighbourhood: Neighbourhood = "square"
    resample: bool = False
    cldice: bool = True
    network: bool = False
    buffer_m: float = 3.0
    junction_m: float = 10.0
    block_px: int = 2048
    worst: int = 4
    overwrite: bool = False


@dataclass(frozen=True)
class EvaluateOutputs:
    """Where scores go besides the terminal: a page, a JSON file, a map of the errors."""

    report: Path | None = None
    json: Path | None = None
    errors: Path | None = None

    def paths(self) -> list[Path]:
        """Return those asked for."""
        return [path for path in (self.report, self.json, self.errors) if path]


@dataclass(frozen=True)
class VectorizeSettings:
    """How to make a road network, or road areas, of a raster; metres on the ground, pixels without a CRS.

    Parameters
    ----------
    threshold
        Probability a road has somewhere along it; None takes the one noted in the raster, else 0.5.
    low_threshold
        Probability it has everywhere (hysteresis); None takes a share of ``threshold``.
    min_area_m2, max_hole_m2
        Smaller patches of road are dropped, smaller holes in it filled.
    min_length_m
        A piece of network shorter than this altogether is dropped; 0 keeps all.
    spur_m
        Dead ends shorter than this are pruned, beside what the local road width explains; None leaves it to the
        width, 0 prunes none.
    bridge_m
        Longest gap that is bridged; 0 bridges none.
    merge_junctions
        Make one junction of those that lie inside each other's width.
    simplify_m
        How far a line may be moved to save vertices; None takes 0.75 px, 0 keeps all.
    pixel_m
        Metres per pixel to extract at; None takes that of the model which made the raster, else the raster's own.
    areas
        Make polygons of the road area instead of middle lines.
    crs
        Of the result, anything PROJ understands; None keeps the raster's.
    block_px, workers
        Side of the blocks, and how many processes share them; the result depends on neither.
    overwrite
        Replace existing outputs.
    """

    threshold: float | None = None
    low_threshold: float | None = None
    min_area_m2: float = 60.0
    max_hole_m2: float = 60.0
    min_length_m: float = 40.0
    spur_m: float | None = None
    bridge_m: float = 40.0
    merge_junctions: bool = True
    simplify_m: float | None = None
    pixel_m: float | None = None
    areas: bool = False
    crs: str | None = None
    block_px: int = 2048
    workers: int = 1
    overwrite: bool = False


@dataclass(frozen=True)
class VectorOutputs:
    """Where a road network goes.

    Parameters
    ----------
    vector
        The file of roads.
    format
        Of the files; None takes that of their ending.
    layer
        Name of the roads' layer; None calls it ``roads``. A name given allows to add it to a GeoPackage that is there.
    junctions
        File of their own for the junctions, which a GeoPackage holds as a layer otherwise.
    preview
        PNG with the roads drawn over the raster.
    image
        Draw them over this instead.
    """

    vector: Path
    format: VectorFormat | None = None
    layer: str | None = None
    junctions: Path | None = None
    preview: Path | None = None
    image: Path | None = None

    def paths(self) -> list[Path]:
        """Return those asked for."""
        return [path for path in (self.vector, self.junctions, self.preview) if path]


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Parameters
    ----------
    pixel_m
        Metres per pixel of the tiles, if they do not know.
    width, upsample
        Of the ResUNet.
    start
        Model to go on from, by file or bundled name, instead of random weights; it must be of the same form.
    steps, batch, crop
        Number of steps, crops per step, side of a crop in pixels (a multiple of 8).
    learning_rate, warmup_steps, weight_decay, clip_norm
        AdamW with a linear warm-up, then a cosine to zero; gradients are clipped to a norm.
    average_decay
        Of the moving average of the weights, which is what is kept.
    dice_weight
        Weight of the Dice term beside the cross-entropy.
    seed
        Of everything random.
    evaluations
        How often the dev tiles are scored on the way, the end included.
    checkpoint_minutes
        Time between checkpoints.
    compile
        Let torch.compile speed up the steps; needs a C++ compiler on a CPU.
    """

    pixel_m: float | None = None
    width: int = 64
    upsample: Upsampling = "bilinear"
    start: str | None = None
    steps: int = 4600
    batch: int = 8
    crop: int = 224
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    average_decay: float = 0.998
    dice_weight: float = 1.0
    seed: int = 0
    evaluations: int = 4
    checkpoint_minutes: float = 2.0
    compile: bool = False
