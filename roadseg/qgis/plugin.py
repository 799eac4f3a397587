"""The plugin and its Processing provider: algorithms that run the roadseg command."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import (
    QgsApplication,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
    QgsProcessingProvider,
)

from .commands import (
    ALGORITHMS,
    RASTERS,
    VECTORS,
    Algorithm,
    Parameter,
    arguments,
    output_of,
    progress_of,
    with_labels,
)

_FOLDER = Path(__file__).parent
_SETTING = "ROADSEG_EXECUTABLE"
_DOUBLE = QgsProcessingParameterNumber.Double


class RoadsegPlugin:
    """Registers the provider while the plugin is loaded."""

    def __init__(self) -> None:
        self._provider: RoadsegProvider | None = None

    def initProcessing(self) -> None:
        """Register the provider; qgis_process calls this alone."""
        self._provider = RoadsegProvider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:
        """Register the provider in the desktop application."""
        self.initProcessing()

    def unload(self) -> None:
        """Take the provider away again."""
        if self._provider:
            QgsApplication.processingRegistry().removeProvider(self._provider)


class RoadsegProvider(QgsProcessingProvider):
    """The group "roadseg" of the toolbox."""

    def id(self) -> str:
        """Return the prefix of the algorithms, as in ``roadseg:predict``."""
        return "roadseg"

    def name(self) -> str:
        """Return the name people see."""
        return "roadseg"

    def supportsNonFileBasedOutput(self) -> bool:
        """Return that outputs are files: the command writes neither layers in memory nor tables of databases."""
        return False

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        """Return the endings of rasters, the usual one first."""
        return list(RASTERS)

    def supportedOutputVectorLayerExtensions(self) -> list[str]:
        """Return the endings of vector files, the usual one first."""
        return list(VECTORS)

    def load(self) -> bool:
        """Add the option that holds the path of the command."""
        ProcessingConfig.settingIcons["roadseg"] = self.icon()
        ProcessingConfig.addSetting(
            Setting("roadseg", _SETTING, "roadseg command", default_executable(), valuetype=Setting.FILE)
        )
        ProcessingConfig.readSettings()
        self.refreshAlgorithms()
        return True

    def unload(self) -> None:
        """Take the option away again."""
        ProcessingConfig.removeSetting(_SETTING)

    def loadAlgorithms(self) -> None:
        """Add all algorithms."""
        for algorithm in ALGORITHMS:
            self.addAlgorithm(RoadsegAlgorithm(algorithm))


class RoadsegAlgorithm(QgsProcessingAlgorithm):
    """One roadseg command."""

    def __init__(self, algorithm: Algorithm) -> None:
        super().__init__()
        self._algorithm = algorithm
        self._style: _Style | None = None  # QGIS does not keep it alive

    def createInstance(self) -> "RoadsegAlgorithm":
        """Return another one of the same kind."""
        return RoadsegAlgorithm(self._algorithm)

    def name(self) -> str:
        """Return the name after the prefix."""
        return self._algorithm.name

    def displayName(self) -> str:
        """Return the title."""
        return self._algorithm.title

    def shortHelpString(self) -> str:
        """Return the help text."""
        return self._algorithm.help

    def initAlgorithm(self, configuration: Any = None) -> None:
        """Declare the parameters."""
        for parameter in self._algorithm.parameters:
            self.addParameter(_definition(parameter))

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> dict[str, str]:
        """Run the command; QGIS shows its messages and its progress, and may cancel it."""
        values = {p.name: self._value(p, parameters, context) for p in self._algorithm.parameters}
        command = [_executable(), *arguments(self._algorithm, values)]
        feedback.pushCommandInfo(_as_typed(command))
        _run(command, feedback, lambda line: with_labels(self._algorithm, line))
        if feedback.isCanceled():
            feedback.pushInfo("canceled")
            return {}
        outputs = {p.name: values[p.name] for p in self._algorithm.parameters if p.kind.startswith("to ")}
        raster = outputs.get("OUTPUT")
        if self._algorithm.name == "predict" and raster and context.willLoadLayerOnCompletion(raster):
            self._style = _Style(_FOLDER / "probability.qml")
            context.layerToLoadOnCompletionDetails(raster).setPostProcessor(self._style)
        return {name: value for name, value in outputs.items() if value}

    def _value(self, parameter: Parameter, parameters: Any, context: Any) -> Any:
        """Return a parameter as the command wants it; None if it was left empty."""
        name, kind = parameter.name, parameter.kind
        if parameters.get(name) is None and kind not in {"flag", "choice"}:
            return None
        readers: dict[str, Callable[[], Any]] = {
            "raster": lambda: _file_of(self.parameterAsRasterLayer(parameters, name, context), parameter.label),
            "number": lambda: self.parameterAsDouble(parameters, name, context),
            "choice": lambda: parameter.choices[self.parameterAsEnum(parameters, name, context)],
            "flag": lambda: self.parameterAsBool(parameters, name, context),
            "extent": lambda: self._extent(parameters, name, context),
            "to raster": lambda: self.parameterAsOutputLayer(parameters, name, context),
            "to vector": lambda: self.parameterAsOutputLayer(parameters, name, context),
            "to file": lambda: self.parameterAsFileOutput(parameters, name, context),
        }
        return readers.get(kind, lambda: self.parameterAsString(parameters, name, context))()

    def _extent(self, parameters: Any, name: str, context: Any) -> list[float]:
        """Return an extent in the CRS of the imagery."""
        scene = self.parameterAsRasterLayer(parameters, "INPUT", context)
        box = self.parameterAsExtent(parameters, name, context, scene.crs())
        return [box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()]


def _file_of(layer: Any, label: str) -> str:
    """Return the file behind a raster layer, or what else GDAL opens."""
    if layer is None:
        raise QgsProcessingException(f"{label}: there is no such raster layer or file; choose another")
    provider = layer.dataProvider().name()
    if provider != "gdal":
        raise QgsProcessingException(
            f"{label}: the layer {layer.name()} comes from a service ({provider}), not from a file; "
            "export it as a GeoTIFF first (Export, Save As, Raw data)"
        )
    # The source of a layer may name a part of the file and a filter after a bar.
    return str(layer.source().split("|")[0])


class _Style(QgsProcessingLayerPostProcessorInterface):
    """Gives a loaded layer a style file."""

    def __init__(self, style: Path) -> None:
        super().__init__()
        self._style = style

    def postProcessLayer(self, layer: Any, context: Any, feedback: Any) -> None:
        layer.loadNamedStyle(str(self._style))
        layer.triggerRepaint()


def _definition(parameter: Parameter) -> Any:
    """Return what QGIS knows a parameter by."""
    name, label, optional = parameter.name, parameter.label, parameter.optional
    anything = QgsProcessing.TypeVectorAnyGeometry
    asked = not optional  # whether the output is made unless the user says otherwise
    makers: dict[str, Callable[[], Any]] = {
        "raster": lambda: QgsProcessingParameterRasterLayer(name, label, optional=optional),
        "file": lambda: QgsProcessingParameterFile(name, label, optional=optional),
        "text": lambda: QgsProcessingParameterString(name, label, optional=optional),
        "number": lambda: QgsProcessingParameterNumber(name, label, _DOUBLE, None, optional),
        "choice": lambda: QgsProcessingParameterEnum(name, label, list(parameter.choices), defaultValue=0),
        "flag": lambda: QgsProcessingParameterBoolean(name, label, defaultValue=False),
        "extent": lambda: QgsProcessingParameterExtent(name, label, optional=optional),
        "to raster": lambda: QgsProcessingParameterRasterDestination(name, label, None, optional, asked),
        "to vector": lambda: QgsProcessingParameterVectorDestination(name, label, anything, None, optional, asked),
        "to file": lambda: QgsProcessingParameterFileDestination(name, label, "HTML (*.html)", optional=optional),
    }
    definition = makers[parameter.kind]()
    if parameter.advanced:
        definition.setFlags(definition.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
    return definition


def default_executable() -> str:
    """Return the command that installed this plugin, else the one on the PATH, else its plain name."""
    noted = _FOLDER / "executable.txt"
    path = noted.read_text(encoding="utf-8").strip() if noted.exists() else ""
    return path if path and Path(path).exists() else shutil.which("roadseg") or "roadseg"


def _executable() -> str:
    path = ProcessingConfig.getSetting(_SETTING) or default_executable()
    if not (Path(path).is_file() or shutil.which(path)):
        raise QgsProcessingException(
            f"the roadseg command {path} is missing; set its path under Settings, Options, Processing, Providers"
        )
    return str(path)


def _as_typed(command: list[str]) -> str:
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)


def _run(command: list[str], feedback: Any, in_words: Callable[[str], str]) -> None:
    """Run a command to its end, or until the user cancels; ``in_words`` makes its lines those of the dialog."""
    # QGIS sets these for its own Python; they would lead another one to the wrong modules.
    own = {"PYTHONHOME", "PYTHONPATH"}
    environment = {key: value for key, value in os.environ.items() if key not in own} | {"PYTHONIOENCODING": "utf-8"}
    last = ""
    with subprocess.Popen(  # noqa: S603 (the command is the user's own)
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # on Windows, a console would appear
    ) as process:
        for line in output_of(process, feedback.isCanceled):
            percent = progress_of(line)
            if percent is None:
                last = in_words(line)
                feedback.pushInfo(last)
            else:
                feedback.setProgress(percent)
    if process.returncode and not feedback.isCanceled():
        raise QgsProcessingException(last or f"roadseg ended with status {process.returncode}")
