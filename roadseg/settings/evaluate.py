"""Options of ``roadseg evaluate``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from roadseg.errors import UsageError
from roadseg.settings.option import AnyPath, Option

Neighbourhood = Literal["square", "disk"]


def _distance(slack: float | str) -> float:
    return float(slack.strip().removesuffix("m")) if isinstance(slack, str) else slack


def _is_slack(value: float | str) -> bool:
    try:
        return 0 <= _distance(value) <= 1000
    except ValueError:
        return False


@dataclass(frozen=True)
class EvaluateSettings:
    """How roads are scored; ``slack`` is in pixels of the truth, or a text such as ``"2.5m"`` on the ground."""

    threshold: Annotated[
        float | None,
        Option(
            "--threshold",
            "Probability of road; by default the threshold stored in the prediction, else 0.5.",
            "Rasters",
            "P",
            min=0,
            max=1,
        ),
    ] = None
    slack: Annotated[
        float | str,
        Option(
            "--slack",
            "Slack of the relaxed measures: 3 pixels, or 2.5m on the ground.",
            "Rasters",
            "DISTANCE",
            rule=("a distance from 0 to 1000, such as 3 or 2.5m", _is_slack),
        ),
    ] = 3.0
    neighbourhood: Annotated[
        Neighbourhood, Option("--neighbourhood", "Shape of the slack; published figures use a square.", "Rasters")
    ] = "square"
    resample: Annotated[
        bool, Option("--resample", "Resample predictions on another grid to the truth's.", "Rasters")
    ] = False
    cldice: Annotated[
        bool, Option("--cldice/--no-cldice", "Also compute clDice, which takes the longest.", "Rasters")
    ] = True
    network: Annotated[
        bool,
        Option("--network", "Vectorize rasters and score the networks; the truth may be either.", "Networks"),
    ] = False
    buffer_m: Annotated[
        float,
        Option("--buffer", "Buffer of completeness and correctness, in metres.", "Networks", "M", min=0.01, max=1e6),
    ] = 3.0
    junction_m: Annotated[
        float,
        Option("--junction", "Largest distance of matched junctions, in metres.", "Networks", "M", min=0.01, max=1e6),
    ] = 10.0
    overwrite: Annotated[bool, Option("--overwrite", "Replace outputs.", "Output")] = False
    block_px: int = 2048
    worst: int = 4

    @property
    def slack_distance(self) -> float:
        """The slack without its unit."""
        return _distance(self.slack)

    @property
    def slack_in_metres(self) -> bool:
        """Whether the slack is in metres on the ground, not in pixels of the truth."""
        return isinstance(self.slack, str) and self.slack.strip().endswith("m")


@dataclass(frozen=True)
class EvaluateOutputs:
    """Where scores go, and the imagery that the report shows."""

    report: Annotated[Path | None, Option("--report", "HTML page with the curve, tables and pictures.", "Output")] = (
        None
    )
    errors: Annotated[
        Path | None, Option("--errors", "Map of right, false and missed roads; a folder for several.", "Output")
    ] = None
    images: Annotated[
        Path | None, Option("--images", "Imagery to show in the report: a file or a folder.", "Output")
    ] = None

    def paths(self) -> list[Path]:
        """Return the paths that are set."""
        return [path for path in (self.report, self.errors) if path]


def check_combinations(outputs: EvaluateOutputs) -> None:
    """Refuse options that only make sense with others.

    Raises
    ------
    UsageError
        If one of them is missing.
    """
    if outputs.images and not outputs.report:
        raise UsageError("--images are shown in the --report; give both")


class EvaluateOptions(TypedDict, total=False):
    """Keyword options of ``roadseg.evaluate.evaluate``; ``roadseg evaluate --help`` says what each means."""

    threshold: float | None
    slack: float | str
    neighbourhood: Neighbourhood
    resample: bool
    cldice: bool
    network: bool
    buffer: float
    junction: float
    overwrite: bool
    report: AnyPath | None
    errors: AnyPath | None
    images: AnyPath | None
