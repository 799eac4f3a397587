"""What happens before the first block: outputs are checked, the scene is looked at, and its blocks are planned."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roadseg.files.outputs import behind_links
from roadseg.files.states import FileStates, file_states
from roadseg.files.targets import GEOTIFF, PNG, check_distinct, check_extension, check_target
from roadseg.prediction.engines.engine import LoadedModel
from roadseg.prediction.fingerprint import fingerprint
from roadseg.prediction.outputs import style_files
from roadseg.prediction.plan import ScenePlan, describe, plan_scene, scene_warnings
from roadseg.progress import Listener
from roadseg.raster.area import polygon_area
from roadseg.raster.partial import interrupted_targets
from roadseg.raster.scene import Scene
from roadseg.settings import PredictOutputs, PredictSettings, VectorizeSettings, VectorOutputs


@dataclass(frozen=True)
class PreparedScene:
    """The plan of a scene, the state of its files when it was opened, and the fingerprint of its blocks."""

    plan: ScenePlan
    states: FileStates
    fingerprint: dict[str, object]


def prepare(
    scene: Scene, outputs: PredictOutputs, model: LoadedModel, settings: PredictSettings, listener: Listener
) -> PreparedScene:
    """Check the outputs against the scene's files, plan its blocks, and report what was chosen.

    Raises
    ------
    RoadsegError
        If an output may not be written, or the scene, its area or the model do not fit.
    """
    states = file_states(scene.local_files())
    check_outputs(outputs, settings, [*states, *([model.path] if model.path else [])])
    if outputs.vector:
        from roadseg.roads.files.outputs import check_target_crs

        check_target_crs(VectorOutputs(outputs.vector), VectorizeSettings(), scene.grid.crs)
    prepared = plan_blocks(scene, outputs, model, settings, states)
    plan = prepared.plan
    listener.report(describe(scene, plan, model.card, model.engine.description))
    pixel_m = scene.grid.mean_pixel_m()
    if settings.pixel_m is None and pixel_m and scene.grid.lacks_geotransform:
        listener.warn(
            f"{scene.path} has a CRS but no geotransform; its pixels are assumed to be {pixel_m:.3g} m wide, "
            "give their size with --gsd if they are not"
        )
    if settings.pixel_m is None and pixel_m is None:
        listener.warn(
            f"{scene.path} has no CRS with known metres; its pixels are assumed to be {model.card.gsd_m:g} m wide, "
            "give their size with --gsd if they are not"
        )
    for warning in scene_warnings(scene, model.card):
        listener.warn(warning)
    return prepared


def plan_blocks(
    scene: Scene, outputs: PredictOutputs, model: LoadedModel, settings: PredictSettings, states: FileStates
) -> PreparedScene:
    """Plan the blocks of a scene without a look at the outputs; the same wherever it is done.

    Raises
    ------
    RoadsegError
        If the scene, its area or the model do not fit.
    """
    aoi = None
    if settings.aoi:
        from roadseg.roads.files.read import read_polygons

        aoi = polygon_area(scene.grid, *read_polygons(settings.aoi), scene.path)
    plan = plan_scene(scene, model.card, settings, outputs, aoi)
    return PreparedScene(plan, states, fingerprint(scene, plan, model, settings, states))


def check_outputs(outputs: PredictOutputs, settings: PredictSettings, inputs: Sequence[Path]) -> None:
    """Check before any work that the outputs may be written.

    Raises
    ------
    OutputError
        If one may not, or two are the same file.
    """
    targets = [*outputs.paths(), *(style_files(outputs).values() if settings.style else [])]
    check_distinct(targets)
    for target in filter(None, (outputs.raster, outputs.mask, outputs.uncertainty)):
        check_extension(target, GEOTIFF)
    if outputs.preview:
        check_extension(outputs.preview, PNG)
    mine = interrupted_targets(outputs.raster)
    inputs = [*inputs, *([settings.aoi] if settings.aoi else [])]
    for target in targets:
        may_replace = settings.overwrite or behind_links(target) in mine
        if target == outputs.vector:
            from roadseg.roads.files.outputs import check_vector_targets

            check_vector_targets(VectorOutputs(target), VectorizeSettings(overwrite=may_replace), inputs)
        else:
            check_target(target, overwrite=may_replace, inputs=inputs)
