"""Options of ``roadseg export``."""

from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict

from roadseg.settings.option import Option

GraphPrecision = Literal["float32", "float16"]


@dataclass(frozen=True)
class ExportSettings:
    """How a model is written for other programs."""

    precision: Annotated[
        GraphPrecision, Option("--precision", "Number format of the convolutions in an ONNX file.", "Output")
    ] = "float32"
    overwrite: Annotated[bool, Option("--overwrite", "Replace the output.", "Output")] = False


class ExportOptions(TypedDict, total=False):
    """Keyword options of ``roadseg.export.export``; ``roadseg export --help`` says what each means."""

    precision: GraphPrecision
    overwrite: bool
