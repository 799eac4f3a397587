"""What can be set: every option is declared once, with its default, help and bounds.

One module per command. Each holds frozen dataclasses, which the code passes around, and the ``TypedDict`` of the
command's keyword options in Python. The command line, its ``--help`` and configuration files read the dataclasses.
"""

from roadseg.settings.adapt import AdaptOptions, AdaptSettings, LabelQuality
from roadseg.settings.compare import CompareOptions, CompareSettings
from roadseg.settings.data import DataSettings, DevFolder, LabelSettings, SplitUnit
from roadseg.settings.evaluate import EvaluateOptions, EvaluateOutputs, EvaluateSettings, Neighbourhood
from roadseg.settings.export import ExportOptions, ExportSettings, GraphPrecision
from roadseg.settings.info import ArchitectureSettings
from roadseg.settings.predict import (
    BatchSettings,
    EngineName,
    EngineOptions,
    EngineSettings,
    GridChoice,
    MachineSettings,
    PixelType,
    Precision,
    PredictOptions,
    PredictOutputs,
    PredictSettings,
)
from roadseg.settings.train import (
    AugmentSettings,
    CalibrationGoal,
    CardTexts,
    LossName,
    OptimizerName,
    RecipeSettings,
    ScheduleName,
    TrainOptions,
    TrainSettings,
    Upsampling,
    WeightType,
)
from roadseg.settings.vectorize import Geometry, VectorFormat, VectorizeOptions, VectorizeSettings, VectorOutputs

__all__ = [
    "AdaptOptions",
    "AdaptSettings",
    "ArchitectureSettings",
    "AugmentSettings",
    "BatchSettings",
    "CalibrationGoal",
    "CardTexts",
    "CompareOptions",
    "CompareSettings",
    "DataSettings",
    "DevFolder",
    "EngineName",
    "EngineOptions",
    "EngineSettings",
    "EvaluateOptions",
    "EvaluateOutputs",
    "EvaluateSettings",
    "ExportOptions",
    "ExportSettings",
    "Geometry",
    "GraphPrecision",
    "GridChoice",
    "LabelQuality",
    "LabelSettings",
    "LossName",
    "MachineSettings",
    "Neighbourhood",
    "OptimizerName",
    "PixelType",
    "Precision",
    "PredictOptions",
    "PredictOutputs",
    "PredictSettings",
    "RecipeSettings",
    "ScheduleName",
    "SplitUnit",
    "TrainOptions",
    "TrainSettings",
    "Upsampling",
    "VectorFormat",
    "VectorOutputs",
    "VectorizeOptions",
    "VectorizeSettings",
    "WeightType",
]
