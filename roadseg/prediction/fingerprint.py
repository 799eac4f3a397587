"""The fingerprint of a run: everything that its blocks depend on.

It lies beside the finished blocks. A run resumes only where the fingerprints are equal; the keys are the words
by which a message names what differs.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import roadseg
from roadseg.files.states import FileStates, states_hash
from roadseg.prediction.engines.engine import LoadedModel
from roadseg.prediction.plan import ScenePlan
from roadseg.raster.scene import Scene
from roadseg.settings import PredictSettings
from roadseg.settings.option import declared


def fingerprint(
    scene: Scene, plan: ScenePlan, model: LoadedModel, settings: PredictSettings, states: FileStates
) -> dict[str, object]:
    """Return what the blocks of a scene depend on, ready for JSON.

    Parameters
    ----------
    scene, plan, model, settings
        The scene, its plan, the model with its engine, and the settings that the plan follows from.
    states
        Sizes and dates of the scene's files when it was opened.
    """
    path = Path(scene.path)
    return {
        "roadseg version": roadseg.__version__,
        "scene": str(path.resolve()) if path.exists() else scene.path,
        "scene size or date": states_hash(states),
        "scene size on the server": scene.remote_sizes(),
        "scene grid": [scene.grid.crs, list(scene.grid.transform), scene.grid.height, scene.grid.width],
        "bands": scene.bands,
        "stretch": scene.stretch,
        "GSD": [scene.grid_model.height, scene.grid_model.width],
        "area": [asdict(plan.area.window), _content_hash(settings.aoi) if settings.aoi else None],
        "model": model.card.hash or model.card.name,
        "device, precision or --tta": model.engine.numerics,
        "scales": [settings.scale, *settings.other_scales],
        "overlap": settings.overlap_px,
        "block size": plan.layout.core_px,
        "type": settings.dtype,
        "grid": settings.grid,
        "outputs": [product.name for product in (*plan.written, *([plan.spread] if plan.spread else []))],
        "threshold": plan.threshold,
        "recalibration": plan.sure_at_home and asdict(plan.sure_at_home),
    }


_SAME_PIXELS = {"block_px", "style", "overwrite"}
"""Fields of the settings of which no output depends on the value."""


def settings_tag(model: LoadedModel, settings: PredictSettings) -> str:
    """Return the settings that the outputs depend on, besides scene and model, as JSON; those with defaults left out.

    Polygons stand by what their file holds.
    """
    changed: dict[str, object] = {"--tta": True} if "symmetric" in model.engine.numerics else {}
    for one in declared(PredictSettings):
        value = getattr(settings, one.field)
        if one.field not in _SAME_PIXELS and value != one.default:
            is_there = isinstance(value, Path) and value.exists()
            changed[str(one.option.flag)] = _content_hash(value) if is_there else value
    return json.dumps(changed, default=str, sort_keys=True)


def _content_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or of the files in a folder such as a geodatabase, with their names."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()} {_content_hash(file)} ".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
