"""What can be set: every option is declared once, with its default, help and bounds.

One module per command. Each holds frozen dataclasses, which the code passes around, and the ``TypedDict`` of the
command's keyword options in Python. The command line, its ``--help`` and configuration files read the dataclasses.
A module is imported when one of its names is first asked for here, so that a command starts without those of others.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_NAMES = {
    "adapt": "AdaptOptions AdaptSettings LabelQuality",
    "compare": "CompareOptions CompareSettings",
    "data": "DataSettings DevFolder LabelSettings SplitUnit",
    "evaluate": "EvaluateOptions EvaluateOutputs EvaluateSettings Neighbourhood",
    "export": "ExportOptions ExportSettings GraphPrecision",
    "info": "ArchitectureSettings",
    "predict": (
        "BatchSettings EngineName EngineOptions EngineSettings GridChoice MachineSettings PixelType "
        "Precision PredictOptions PredictOutputs PredictSettings"
    ),
    "train": (
        "AugmentSettings CalibrationGoal CardTexts LossName OptimizerName RecipeSettings ScheduleName "
        "TrainOptions TrainSettings Upsampling WeightType"
    ),
    "vectorize": "Geometry VectorFormat VectorizeOptions VectorizeSettings VectorOutputs",
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
