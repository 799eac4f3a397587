"""The functions promised to stay: named and defaulted as the command line, silent, with a result and our errors."""

import copy
import errno
import inspect
import os
import re
from pathlib import Path
from types import NoneType
from typing import get_args, get_type_hints

import numpy as np
import pytest
import typer.main
from commands import run_python
from road_rasters import draw_t, sorted_lengths, write_levels
from training_tiles import make_folder
from worlds import names_in, read_band

import roadseg.adapt
import roadseg.compare
import roadseg.evaluate
import roadseg.predict
import roadseg.train
import roadseg.vectorize
from roadseg import settings
from roadseg.adapt import adapt
from roadseg.cli import app
from roadseg.compare import compare
from roadseg.errors import ModelError, OutputError, SceneError, TrainingError, UsageError
from roadseg.evaluate import evaluate
from roadseg.export import export
from roadseg.predict import load_model, predict
from roadseg.roads.network import RoadNetwork
from roadseg.settings.option import offered
from roadseg.train import train
from roadseg.training.recipes import RECIPES
from roadseg.vectorize import vectorize

VERBS = {
    "predict": (
        predict,
        settings.PredictOptions,
        (settings.PredictOutputs, settings.EngineSettings, settings.PredictSettings, settings.MachineSettings),
    ),
    "vectorize": (vectorize, settings.VectorizeOptions, (settings.VectorOutputs, settings.VectorizeSettings)),
    "evaluate": (evaluate, settings.EvaluateOptions, (settings.EvaluateOutputs, settings.EvaluateSettings)),
    "compare": (compare, settings.CompareOptions, (settings.CompareSettings,)),
    "adapt": (adapt, settings.AdaptOptions, (settings.AdaptSettings, settings.CardTexts)),
    "train": (
        train,
        settings.TrainOptions,
        (settings.DataSettings, settings.TrainSettings, settings.RecipeSettings, settings.CardTexts),
    ),
}
MODULES = [roadseg.predict, roadseg.vectorize, roadseg.evaluate, roadseg.compare, roadseg.adapt, roadseg.train]
ONLY_ON_THE_COMMAND_LINE = {
    "names",
    "scenes",
    "asset",
    "summary",
    "progress",
    "quiet",
    "verbose",
    "as_json",
    "check",
    "print_config",
}


def as_text(kind, *, given=False):
    """Return a type as text; as ``given``, any sequence stands for a tuple of any length, and a text for a path."""
    text = str(kind).replace("pathlib._local.", "pathlib.")
    if given:
        text = re.sub(r"tuple\[([\w.]+), \.\.\.\]", r"collections.abc.Sequence[\1]", text)
        text = text.replace("pathlib.Path", "str | os.PathLike[str]")
    return text


@pytest.mark.parametrize("verb", VERBS)
def test_options_have_the_types_of_their_fields(verb):
    _, options, classes = VERBS[verb]
    declared = {name: one for settings_class in classes for name, one in offered(settings_class).items()}
    assert sum(len(offered(settings_class)) for settings_class in classes) == len(declared)
    hints = get_type_hints(options)
    assert set(hints) == set(declared)
    for name, one in declared.items():
        kind = Path | None if name in {"from_", "model", "teacher"} else one.type  # a model's file, or its name
        assert as_text(hints[name]) == as_text(kind, given=True), name
    assert set(get_type_hints(settings.EngineOptions)) == set(offered(settings.EngineSettings))


@pytest.mark.parametrize("verb", VERBS)
def test_the_command_line_has_the_same_options_and_defaults(verb):
    function, _, classes = VERBS[verb]
    explicit = {name for name in inspect.signature(function).parameters if name != "options"}
    params = {param.name: param for param in typer.main.get_command(app).get_command(None, verb).params}
    own = {"scenes", "rasters"} | explicit | ONLY_ON_THE_COMMAND_LINE
    declared = {name: one for settings_class in classes for name, one in offered(settings_class).items()}
    assert set(params) - own == set(declared)
    for name, one in declared.items():
        param = params[name]
        assert {*param.opts, *param.secondary_opts} == {*one.option.flag.split("/"), one.option.alias} - {None}
        assert param.help.startswith(one.option.help)
        assert one.option.help.endswith(".")
        if verb == "train" and name in offered(settings.TrainSettings):  # a recipe may change the default
            assert param.default is None
            assert one.default in {None, False} or f"[default: {shown(one.default)}]" in param.help
        elif one.default in {None, (), ""}:
            assert param.default is None
        elif isinstance(param.default, str):
            assert param.default == shown(one.default), name
        else:
            assert param.default == one.default, name


def shown(default):
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_every_recipe_can_be_chosen():
    assert get_args(get_type_hints(settings.RecipeSettings)["recipe"]) == tuple(RECIPES)


@pytest.mark.parametrize("function", [predict, load_model, vectorize, evaluate, compare, train])
def test_functions_are_typed_and_documented(function):
    parameters = inspect.signature(function).parameters
    assert len(parameters) <= 8
    assert all(p.annotation is not p.empty for p in parameters.values())
    assert get_type_hints(function)["return"] is not NoneType
    assert all(name in function.__doc__ for name in parameters)


@pytest.mark.parametrize("function", [predict, vectorize, evaluate, train])
def test_an_unknown_option_is_a_type_error(function):
    with pytest.raises(TypeError, match=rf"{function.__name__}\(\) got an unexpected keyword argument 'fast'"):
        function("a.tif", "b.tif", fast=True)


@pytest.mark.parametrize(
    ("verb", "arguments", "options"),
    [
        ("predict", ["--overlap", "300"], {"overlap": 300}),
        ("predict", ["--dtype", "int16"], {"dtype": "int16"}),
        ("predict", ["--gsd", "nan"], {"gsd": float("nan")}),
        ("predict", ["--range", "7,7"], {"range": "7,7"}),
        ("predict", ["--bbox", "5,2,3,4"], {"bbox": "5,2,3,4"}),
        ("predict", ["--batch", "0"], {"batch": 0}),
        ("vectorize", ["--as", "dots"], {"as_": "dots"}),
        ("vectorize", ["--threshold", "2"], {"threshold": 2}),
        ("vectorize", ["--image", "i.tif"], {"image": "i.tif"}),
        ("vectorize", ["--as", "polygons", "--junctions", "j.fgb"], {"as_": "polygons", "junctions": "j.fgb"}),
        ("evaluate", ["--slack", "far"], {"slack": "far"}),
        ("evaluate", ["--neighbourhood", "star"], {"neighbourhood": "star"}),
        ("train", ["--crop", "33"], {"crop": 33}),
        ("train", ["--recipe", "mine"], {"recipe": "mine"}),
        ("train", ["--set", "lerning_rate=1"], {"set": ["lerning_rate=1"]}),
        ("train", ["--dev-fraction", "1"], {"dev_fraction": 1}),
        ("train", ["--steps", "0"], {"steps": 0}),
    ],
)
def test_a_bad_value_is_refused_with_the_sentence_of_the_command_line(say, verb, arguments, options):
    function, folder = VERBS[verb][0], Path("here").resolve()
    with pytest.raises((UsageError, roadseg.errors.TrainingError)) as caught:
        function("a.tif", "b.gpkg", **options)
    places = ["a.tif", "b.tif"] if verb == "evaluate" else ["a.tif", "-o", "b.gpkg"]
    said = say(verb, *places, *arguments)
    assert (said.status, said.stdout) == (2, "")
    assert said.stderr == f"roadseg: {caught.value}\n"
    assert not folder.exists()


def test_predict_writes_what_the_command_writes_and_prints_nothing(say, draw, model_file, capfd):
    scene = draw(90, 130)
    done = say("predict", scene, "-o", "a.tif", "--model", model_file, "--mask", "m.tif", "--device", "cpu", "--tta")
    assert done.status == 0
    capfd.readouterr()
    result = predict(str(scene), Path("b.tif"), model=model_file, mask="n.tif", device="cpu", tta=True)
    assert capfd.readouterr() == ("", "")
    assert (read_band("a.tif") == read_band("b.tif")).all()
    assert (read_band("m.tif") == read_band("n.tif")).all()
    assert result.outputs == {"raster": Path("b.tif"), "mask": Path("n.tif")}
    assert 0 < result.road_fraction < 1
    assert result.threshold == 0.4


def test_a_loaded_model_predicts_many_scenes(draw, model_file, tmp_path):
    model = load_model(str(model_file), device="cpu", batch=2)
    for name, seed in (("a", 0), ("b", 1)):
        predict(draw(70, 90, f"{name}_scene.tif", seed=seed), tmp_path / f"{name}.tif", model=model, overwrite=True)
    assert {"a.tif", "b.tif"} <= set(names_in(tmp_path))
    with pytest.raises(UsageError, match="the model is already loaded; give device, tta to load_model"):
        predict("a.tif", "b.tif", model=model, device="cpu", tta=True)


def test_errors_are_ours(draw, model_file, tmp_path):
    with pytest.raises(SceneError, match="does not exist"):
        predict(tmp_path / "none.tif", tmp_path / "r.tif", model=model_file)
    with pytest.raises(ModelError, match="no model file compakt"):
        predict(draw(), tmp_path / "r.tif", model="compakt")
    with pytest.raises(OutputError, match="exists"):
        predict(draw(), draw(name="there.tif"), model=model_file)
    with pytest.raises(UsageError, match="--batch must be from 1 to 4096"):
        load_model(model_file, batch=0)


def test_vectorize_returns_the_network_and_writes_if_asked(tmp_path, capfd):
    raster = write_levels(tmp_path / "t.tif", draw_t())
    found = vectorize(raster)
    assert isinstance(found.roads, RoadNetwork)
    assert found.network is found.roads
    with pytest.raises(TypeError, match="polygons"):
        _ = found.areas
    assert (found.outputs, names_in(tmp_path)) == ({}, ["t.tif"])
    written = vectorize(str(raster), tmp_path / "t.gpkg", preview=tmp_path / "t.png", min_length=0)
    assert written.outputs == {"vector": tmp_path / "t.gpkg", "preview": tmp_path / "t.png"}
    assert sorted_lengths(written.roads) == sorted_lengths(found.roads)
    areas = vectorize(raster, as_="polygons")
    assert areas.areas is areas.roads
    with pytest.raises(TypeError, match="has no network"):
        _ = areas.network
    assert areas.area_km2 == pytest.approx((draw_t() > 0).sum() / 1e6, rel=0.02)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(UsageError, match="--preview needs an output"):
        vectorize(raster, preview="p.png")


@pytest.mark.parametrize("as_", ["lines", "polygons"])
def test_roads_are_compared_by_what_they_hold(as_, tmp_path):
    one = write_levels(tmp_path / "one.tif", draw_t())
    other = write_levels(tmp_path / "other.tif", draw_t()[::-1])
    mask = write_levels(tmp_path / "mask.tif", (draw_t() > 0).astype(np.uint8), scale=None)
    for raster in (one, mask):  # a mask has no probabilities, which are NaN then
        assert vectorize(raster, as_=as_).roads == vectorize(raster, as_=as_).roads
    found = vectorize(one, as_=as_)
    assert found == copy.deepcopy(found)
    assert found.roads != vectorize(other, as_=as_).roads
    assert found.roads != 3


def test_vectorize_takes_whatever_gdal_opens(tmp_path):
    raster = write_levels(tmp_path / "t.tif", draw_t())
    assert len(vectorize(f"vrt://{raster}?bands=1").roads) == 3


def test_evaluate_returns_figures_by_name(tmp_path, capfd):
    prediction = write_levels(tmp_path / "p.tif", draw_t())
    truth = write_levels(tmp_path / "t.tif", (draw_t() > 0).astype(np.uint8), scale=None)
    result = evaluate(prediction, str(truth), slack="2m", cldice=False, report=tmp_path / "scores.html")
    assert result.figures["IoU"] == 1
    assert result.outputs == {"report": tmp_path / "scores.html"}
    assert result.to_dict()["settings"]["slack unit"] == "m"
    assert capfd.readouterr() == ("", "")


def test_train_returns_what_it_wrote(tmp_path, capfd):
    data, dev = make_folder(tmp_path / "data", ("a", "b")), make_folder(tmp_path / "dev", ("c",))
    small = {"width": 2, "batch": 2, "crop": 32, "device": "cpu"}
    result = train(data, tmp_path / "m.safetensors", dev=dev, steps=2, set=["warmup_steps=1"], **small)
    assert (result.output, result.steps, result.finished) == (tmp_path / "m.safetensors", 2, True)
    again = train(None, tmp_path / "n.safetensors", from_=str(result.output), steps=0, dev=str(dev), device="cpu")
    assert again.output == tmp_path / "n.safetensors"
    assert again.dev is not None
    assert capfd.readouterr() == ("", "")
    with pytest.raises(UsageError, match="train needs folders or CSV files"):
        train(None, tmp_path / "o.safetensors")


def test_importing_roadseg_loads_nothing_heavy():
    code = (
        "import sys, roadseg\nprint([name for name in ('torch', 'rasterio', 'numpy', 'typer') if name in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


@pytest.mark.parametrize("module", MODULES)
def test_modules_name_what_stays(module):
    assert all(hasattr(module, name) for name in module.__all__)


class Place:
    """A path as other libraries have them, which is neither a text nor a ``Path``."""

    def __init__(self, path):
        self.path = str(path)

    def __fspath__(self):
        return self.path


def test_any_path_will_do(draw, model_file, tmp_path):
    raster, truth = write_levels(tmp_path / "t.tif", draw_t()), tmp_path / "m.tif"
    model, data = Place(model_file), make_folder(tmp_path / "data", ("a", "b"))
    at = lambda name: Place(tmp_path / name)  # noqa: E731
    predict(Place(draw()), at("r.tif"), model=model, mask=Place(truth), preview=at("p.png"), device="cpu")
    vectorize([Place(raster)], at("v.gpkg"), osm=at("v.geojson"), overwrite=True)
    evaluate(at("r.tif"), Place(truth), report=at("r.html"))
    compare(at("v.gpkg"), at("v.gpkg"), at("c.gpkg"), preview=at("c.png"))
    export(model, at("x.json"))
    for start in (model, Path(model_file)):
        train(None, at("s.safetensors"), from_=start, steps=0, dev=[Place(data)], device="cpu", overwrite=True)
    assert {"r.tif", "m.tif", "p.png", "v.geojson", "r.html", "c.png", "x.json", "s.safetensors"} <= set(
        names_in(tmp_path)
    )
    for verb in (train, adapt):
        with pytest.raises(TrainingError, match="none does not exist"):
            verb(at("none"), at("n.safetensors"))
    with pytest.raises(ModelError, match=r"no model file .*none\.safetensors; give"):
        adapt(Place(data), at("n.safetensors"), model=Path("none.safetensors"))


def test_a_disk_that_is_full_for_pictures_names_them_as_the_user_did(draw, model_file, tmp_path, monkeypatch):
    raster, scene = write_levels(tmp_path / "t.tif", draw_t()), draw()
    roads = vectorize(raster, tmp_path / "t.gpkg").outputs["vector"]
    write = roadseg.files.outputs.write_atomically

    def fill_up(path, *data):
        if path.suffix in {".png", ".geojson"}:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, *data)

    monkeypatch.setattr(roadseg.files.outputs, "write_atomically", fill_up)
    runs = (
        ("a.png", lambda path: predict(scene, tmp_path / "r.tif", model=model_file, device="cpu", preview=path)),
        ("b.png", lambda path: vectorize(raster, tmp_path / "r.gpkg", preview=path)),
        ("c.geojson", lambda path: vectorize(raster, tmp_path / "r.gpkg", osm=path)),
        ("d.png", lambda path: compare(roads, roads, tmp_path / "r.gpkg", preview=path)),
        ("e.geojson", lambda path: compare(roads, roads, tmp_path / "r.gpkg", osm=path)),
    )
    for name, run in runs:
        words = rf"^cannot write {tmp_path}/{name} \(No space left on device\); choose another place$"
        with pytest.raises(OutputError, match=words):
            run(tmp_path / name)
    assert not {"r.tif", "r.gpkg"} & set(names_in(tmp_path))


def test_what_is_no_name_is_said_to_be_none(tmp_path):
    for wrong in (None, ["a.tif"], 3):
        with pytest.raises(TypeError, match=r"expected str, bytes or os\.PathLike object"):
            predict(wrong, tmp_path / "r.tif")
    with pytest.raises(UsageError, match="no raster is named"):
        vectorize([])
    with pytest.raises(UsageError, match="adapt needs scenes with --labels"):
        adapt([], tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())
