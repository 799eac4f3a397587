"""Options of ``roadseg train``: the recipe, and what the model card says; those of the data are in ``data``.

``TrainSettings`` and ``AugmentSettings`` are also what ``--config`` files and ``--set`` may hold; most of them have no
option of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from roadseg.settings.data import SplitUnit
from roadseg.settings.option import AnyPath, Option
from roadseg.settings.predict import Precision

Upsampling = Literal["bilinear", "nearest"]
LossName = Literal["bce", "focal", "mse"]
OptimizerName = Literal["adamw", "muon", "sgd"]
ScheduleName = Literal["cosine", "steps", "flat"]
CalibrationGoal = Literal["threshold", "probability", "none"]
WeightType = Literal["float16", "float32"]

MODEL, RUN, CARD = "Model and training", "Recipe and run", "Model card"


@dataclass(frozen=True)
class AugmentSettings:
    """How strongly crops are augmented; 0 or false switches an augmentation off."""

    flips: Annotated[bool, Option(None, "Mirror crops.")] = True
    quarter_turns: Annotated[bool, Option(None, "Rotate by multiples of 90°, which costs no sharpness.")] = True
    rotate_deg: Annotated[float, Option(None, "Largest rotation by any angle, either way.", min=0, max=360)] = 0.0
    zoom: Annotated[float, Option(None, "Largest zoom: 0.25 is from 1/1.25 to 1.25.", min=0, max=10)] = 0.0
    gamma: Annotated[float, Option(None, "Largest change of gamma, as a logarithm.", min=0, max=5)] = 0.3
    contrast: Annotated[float, Option(None, "Largest change of contrast, as a logarithm.", min=0, max=5)] = 0.25
    brightness: Annotated[float, Option(None, "Largest change of brightness, as a logarithm.", min=0, max=5)] = 0.2
    balance: Annotated[
        float, Option(None, "Largest change of a single band's brightness, as a logarithm.", min=0, max=5)
    ] = 0.06
    hue_deg: Annotated[
        float, Option(None, "Largest rotation of colours around grey; three bands only.", min=0, max=360)
    ] = 0.0
    blur_px: Annotated[float, Option(None, "Largest standard deviation of a Gaussian blur.", min=0, max=32)] = 0.0
    compression: Annotated[
        float,
        Option(None, "Coarsest rounding of 8 × 8 blocks, as in JPEG: 1 is a quality of about 50.", min=0, max=100),
    ] = 0.0
    exposure: Annotated[float, Option(None, "Largest gain of all bands together, as a logarithm.", min=0, max=5)] = 0.0
    white_balance: Annotated[
        float,
        Option(None, "Largest gain of single bands, as a logarithm; unlike balance it scales contrast.", min=0, max=5),
    ] = 0.0
    mixing: Annotated[float, Option(None, "Largest share of each other band mixed into a band.", min=0, max=1)] = 0.0
    saturation: Annotated[float, Option(None, "Largest change of saturation, as a logarithm.", min=0, max=5)] = 0.0
    grey: Annotated[float, Option(None, "Share of crops without any colour.", min=0, max=1)] = 0.0
    haze: Annotated[float, Option(None, "Largest share of bright veil in half of the crops.", min=0, max=1)] = 0.0
    tone: Annotated[float, Option(None, "Largest bend of the tone curve into an S or against it.", min=0, max=10)] = 0.0
    shadow: Annotated[float, Option(None, "Darkest shadow with a soft edge, on half of the crops.", min=0, max=1)] = 0.0
    noise: Annotated[
        float,
        Option(
            None, "Largest standard deviation of Gaussian noise, values 0 to 1, on half of the crops.", min=0, max=10
        ),
    ] = 0.0
    sharpen: Annotated[
        float, Option(None, "Strongest unsharp mask, on half of the crops not blurred.", min=0, max=100)
    ] = 0.0
    plain: Annotated[float, Option(None, "Share of crops whose light and colours stay as they are.", min=0, max=1)] = (
        0.0
    )


@dataclass(frozen=True)
class TrainSettings:
    """How to train; the defaults are the recipe called ``default``."""

    pixel_m: Annotated[
        float | None,
        Option("--gsd", "Metres per pixel to train at; other tiles are resampled.", MODEL, "M", min=1e-4, max=1e5),
    ] = None
    width: Annotated[
        int,
        Option(
            "--width", "Channels of the first level: 64 is the full network, 16 compact.", MODEL, "N", min=1, max=1024
        ),
    ] = 64
    upsample: Annotated[Upsampling, Option("--upsample", "Upsampling in the decoder.", MODEL)] = "bilinear"
    start: Annotated[
        str | None,
        Option("--from", "Model to start from, a file or bundled name, instead of random weights.", MODEL, "MODEL"),
    ] = None
    steps: Annotated[
        int, Option("--steps", "Training steps; 0 only calibrates the model of --from.", MODEL, "N", min=0, max=10**9)
    ] = 4600
    batch: Annotated[int, Option("--batch", "Crops per step and process.", MODEL, "N", min=1, max=4096)] = 8
    crop: Annotated[
        int,
        Option(
            "--crop",
            "Side of a crop in pixels, a multiple of 8.",
            MODEL,
            "PX",
            min=16,  # at 8 px the deepest level has one pixel, too few for batch statistics
            max=8192,
            rule=("a multiple of 8", lambda side: side % 8 == 0),
        ),
    ] = 224
    pool: Annotated[
        int, Option(None, "Number of different crops, reshuffled each epoch; 0 never repeats one.", min=0, max=10**9)
    ] = 0
    augment: AugmentSettings = AugmentSettings()
    loss: Annotated[LossName, Option("--loss", "Loss per pixel: cross-entropy, focal, or squared error.", MODEL)] = (
        "bce"
    )
    focal_gamma: Annotated[
        float, Option(None, "How strongly the focal loss plays down easy pixels.", min=0, max=100)
    ] = 2.0
    teacher: Annotated[str | None, Option(None, "Model to learn from besides the labels, a file or bundled name.")] = (
        None
    )
    teacher_weight: Annotated[float, Option(None, "Share of the teacher in each pixel's target.", min=0, max=1)] = 0.5
    dice_weight: Annotated[float, Option(None, "Weight of a soft Dice term.", min=0, max=1e6)] = 1.0
    cldice_weight: Annotated[float, Option(None, "Weight of a soft clDice term.", min=0, max=1e6)] = 0.0
    missing_after: Annotated[
        float,
        Option(
            None,
            "Share of the run after which sure predictions far from any label count as unknown; 1 never.",
            min=0,
            max=1,
        ),
    ] = 1.0
    optimizer: Annotated[OptimizerName, Option(None, "Optimizer.")] = "muon"
    learning_rate: Annotated[float, Option("--learning-rate", "Peak learning rate.", MODEL, min=0, max=100)] = 2e-3
    momentum: Annotated[float, Option(None, "Momentum of SGD.", min=0, rule=("below 1", lambda share: share < 1))] = 0.9
    weight_decay: Annotated[float, Option(None, "Weight decay.", min=0, max=1000)] = 1e-2
    warmup_steps: Annotated[
        int, Option(None, "Steps of linear warm-up, at most a tenth of the run.", min=0, max=10**9)
    ] = 200
    schedule: Annotated[
        ScheduleName, Option(None, "Learning rate after the warm-up: cosine, steps, or flat with a cool-down.")
    ] = "cosine"
    drop_at: Annotated[
        tuple[float, ...], Option(None, "Where steps lowers the learning rate, as shares of the run.", min=0, max=1)
    ] = (0.4, 0.8)
    drop_factor: Annotated[float, Option(None, "Factor by which steps multiplies the learning rate.", min=0, max=1)] = (
        0.1
    )
    clip_norm: Annotated[float, Option(None, "Norm to clip gradients to; 0 does not clip.", min=0, max=1e9)] = 1.0
    average_decay: Annotated[
        float,
        Option(
            None,
            "Decay of the moving average of the weights, which is saved; 0 saves the last weights.",
            min=0,
            rule=("below 1", lambda share: share < 1),
        ),
    ] = 0.998
    patience: Annotated[
        int,
        Option(
            "--patience",
            "Stop after so many dev scores without improvement; 0 never stops early.",
            MODEL,
            "N",
            min=0,
            max=10**9,
        ),
    ] = 0
    seed: Annotated[int, Option("--seed", "Seed of all random numbers.", MODEL, "N", min=0, max=2**63 - 1)] = 0
    evaluations: Annotated[
        int,
        Option(
            "--evaluations", "Number of dev scores during the run, the last one included.", MODEL, "N", min=1, max=10**6
        ),
    ] = 4
    dev_tiles: Annotated[
        int, Option(None, "Number of dev tiles scored during the run; all at the end.", min=1, max=10**6)
    ] = 16
    calibration: Annotated[
        CalibrationGoal,
        Option(
            "--calibration",
            "Calibration on the dev tiles: best threshold at 0.5, true probabilities, or none.",
            MODEL,
        ),
    ] = "threshold"
    shift_tiles: Annotated[
        int,
        Option(None, "Number of dev tiles scored in other colours, too, at the end; 0 scores none.", min=0, max=10**6),
    ] = 2
    finest_gsd_m: Annotated[
        float | None,
        Option(
            None,
            "Metres per pixel down to which the model reads much finer scenes at twice their pixels; by default as "
            "that of --from, else not.",
            min=1e-4,
            max=1e5,
        ),
    ] = None
    precision: Annotated[
        Precision, Option(None, "Number format; auto is bfloat16 or float16 on CUDA, else float32.")
    ] = "auto"
    tf32: Annotated[bool, Option(None, "Let CUDA multiply float32 numbers with 10 bits of mantissa.")] = True
    compile: Annotated[
        bool,
        Option("--compile/--no-compile", "Faster steps by torch.compile; a CPU needs a C++ compiler.", RUN),
    ] = False
    dtype: Annotated[WeightType, Option("--dtype", "Data type of the weights in the file.", MODEL)] = "float16"
    checkpoint_minutes: Annotated[float, Option(None, "Time between checkpoints.", min=0, max=1e6)] = 2.0
    minutes: Annotated[
        float,
        Option(
            "--minutes", "Stop after so many minutes; the same command resumes; 0 never.", RUN, "MIN", min=0, max=1e9
        ),
    ] = 0.0


@dataclass(frozen=True)
class CardTexts:
    """What the card says about a model: its name, what it is for, its data and their terms."""

    name: Annotated[str, Option("--name", "Name of the model; by default the file's.", CARD)] = ""
    description: Annotated[str, Option("--description", "What the model is for.", CARD)] = ""
    training_data: Annotated[str, Option("--training-data", "What it was trained on.", CARD)] = ""
    licence: Annotated[str, Option("--licence", "Terms of the weights.", CARD)] = ""
    attribution: Annotated[str, Option("--attribution", "Whom to name.", CARD)] = ""


@dataclass(frozen=True)
class RecipeSettings:
    """Where the training settings start from, where to train, and whether to replace an earlier run."""

    recipe: Annotated[Literal["default", "paper"], Option("--recipe", "Recipe to start from.", RUN)] = "default"
    config: Annotated[
        Path | None, Option("--config", "TOML file of settings; options given here take precedence.", RUN)
    ] = None
    assignments: Annotated[
        tuple[str, ...],
        Option("--set", "Any setting of --print-config, such as augment.rotate_deg=20.", RUN, "NAME=VALUE"),
    ] = ()
    device: Annotated[
        str, Option("--device", "auto (CUDA, then MPS, then the CPU), cpu, cuda, cuda:N or mps.", RUN, "DEVICE")
    ] = "auto"
    overwrite: Annotated[
        bool, Option("--overwrite", "Replace the model, and a checkpoint made with other settings.", "Output")
    ] = False


class TrainOptions(TypedDict, total=False):
    """Keyword options of ``roadseg.train.train``; ``roadseg train --help`` says what each means."""

    images: Sequence[AnyPath]
    labels: AnyPath | None
    label_layer: str | None
    road_width: float | None
    width_attribute: str | None
    width_table: AnyPath | None
    bands: Sequence[int] | None
    dev: Sequence[AnyPath]
    dev_fraction: float
    dev_split: SplitUnit
    dev_block: float
    cache: AnyPath | None
    skip_unreadable: bool
    memory: float | None
    road_share: float
    gsd: float | None
    width: int
    upsample: Upsampling
    from_: AnyPath | None
    steps: int
    batch: int
    crop: int
    loss: LossName
    learning_rate: float
    patience: int
    seed: int
    evaluations: int
    calibration: CalibrationGoal
    compile: bool
    dtype: WeightType
    minutes: float
    name: str
    description: str
    training_data: str
    licence: str
    attribution: str
    recipe: Literal["default", "paper"]
    config: AnyPath | None
    set: Sequence[str]
    device: str
    overwrite: bool
