"""ONNX Runtime and OpenVINO give PyTorch's probabilities, and engines are chosen by stated rules."""

import os
import sys

import numpy as np
import pytest
from commands import run_python

from roadseg.errors import DeviceError, ModelError
from roadseg.export import export
from roadseg.model import device
from roadseg.prediction.engines import choose
from roadseg.prediction.engines.choose import choose_engine, load
from roadseg.settings import EngineSettings

GRAPH_ENGINES = [
    pytest.param("onnx", marks=pytest.mark.skipif(not choose.is_installed("onnx"), reason="onnxruntime is missing")),
    pytest.param(
        "openvino", marks=pytest.mark.skipif(not choose.is_installed("openvino"), reason="openvino is missing")
    ),
]


def windows(count=5, size=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def answers(name, model, batches, **options):
    settings = EngineSettings(**{"device": "cpu", "precision": "float32", **options}, engine=name)
    return list(load(str(model), settings).engine(iter(batches)))


@pytest.mark.parametrize("name", GRAPH_ENGINES)
@pytest.mark.parametrize("tta", [False, True])
def test_engines_agree_to_half_a_grey_level(name, tta, model_file):
    batches = [windows(3), windows(2, seed=1)]
    expected = answers("torch", model_file, batches, tta=tta)
    found = answers(name, model_file, batches, tta=tta)
    assert [part.shape for part in found] == [(3, 64, 64), (2, 64, 64)]
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float32
        assert np.abs(one - other).max() < 1 / 508
    assert np.ptp(expected[0]) > 0.1


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_answers_stay_what_they_are_when_the_next_batch_is_computed(name, model_file):
    batches = [windows(1, seed=seed) for seed in range(4)]
    kept = answers(name, model_file, batches)
    again = [answers(name, model_file, [batch])[0] for batch in batches]
    assert all(np.array_equal(one, other) for one, other in zip(kept, again, strict=True))


@pytest.mark.skipif(not choose.is_installed("openvino"), reason="openvino is missing")
def test_ctrl_c_after_two_openvino_engines_is_no_crash(model_file):
    """OpenVINO's runtimes leave a freed stack for signals if they go in the order in which they came."""
    code = f"""
import faulthandler, gc, signal
from roadseg.prediction.engines.choose import load
from roadseg.settings import EngineSettings
faulthandler.enable()
first, second = (load({str(model_file)!r}, EngineSettings(engine="openvino")) for _ in range(2))
del first; gc.collect()
del second; gc.collect()
signal.signal(signal.SIGINT, lambda *_: print("handled"))
signal.raise_signal(signal.SIGINT)
"""
    assert run_python(code) == "handled\n"


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_floats_and_bytes_mean_the_same(name, model_file):
    pixels = windows(2)
    as_bytes, as_floats = (answers(name, model_file, [p])[0] for p in (pixels, pixels.astype(np.float32) / 255))
    assert np.allclose(as_bytes, as_floats, atol=1e-6)


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_an_exported_model_predicts_by_itself(name, model_file, tmp_path):

    exported = export(model_file, tmp_path / "tiny.onnx").output
    batch = windows(2)
    assert np.array_equal(answers(name, exported, [batch])[0], answers(name, model_file, [batch])[0])
    cards = [load(str(path), EngineSettings(engine=name)).card for path in (exported, model_file)]
    assert cards[0] == cards[1]


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_prediction_needs_no_torch(name, model_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert answers(name, model_file, [windows(1)])[0].shape == (1, 64, 64)


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_other_devices_and_formats_are_refused(name, model_file):
    with pytest.raises(DeviceError, match="runs on the CPU, not on cuda"):
        answers(name, model_file, [], device="cuda")
    with pytest.raises(DeviceError, match="float16"):
        answers(name, model_file, [], precision="float16")


@pytest.fixture
def machine(monkeypatch):
    """Return a function that sets what is installed and what the processor and its GPU can do."""

    def make(*installed, bfloat16=False, gpu=None):
        monkeypatch.setattr(choose, "is_installed", lambda engine: engine in installed)
        monkeypatch.setattr(device, "cpu_has_bfloat16", lambda: bfloat16)
        monkeypatch.setattr(choose, "may_have_gpu", lambda: gpu is not None)
        if gpu:
            import torch

            monkeypatch.setattr(choose, "choose_device", lambda _: (torch.device(gpu), "found"))

    return make


@pytest.mark.parametrize(
    ("installed", "bfloat16", "gpu", "settings", "expected"),
    [
        (("torch",), True, None, {}, "torch"),
        (("torch", "onnx", "openvino"), True, None, {}, "openvino"),
        (("torch", "onnx", "openvino"), False, None, {}, "onnx"),
        (("torch", "onnx"), True, None, {}, "torch"),
        (("torch", "onnx"), True, None, {"precision": "float32"}, "onnx"),
        (("torch", "openvino"), False, None, {}, "openvino"),
        (("onnx",), True, None, {}, "onnx"),
        (("torch", "onnx", "openvino"), True, "cuda", {}, "torch"),
        (("torch", "onnx", "openvino"), True, None, {"device": "cuda:1"}, "torch"),
        (("torch", "onnx", "openvino"), True, "cuda", {"device": "cpu"}, "openvino"),
        (("torch", "onnx", "openvino"), True, None, {"engine": "onnx"}, "onnx"),
    ],
)
def test_the_fastest_engine_that_fits_is_chosen(machine, installed, bfloat16, gpu, settings, expected):
    machine(*installed, bfloat16=bfloat16, gpu=gpu)
    assert choose_engine(EngineSettings(**settings)) == expected


def test_an_onnx_file_is_never_given_to_torch(machine):
    machine("torch", "onnx", bfloat16=True)
    assert choose_engine(EngineSettings(), is_onnx=True) == "onnx"
    with pytest.raises(DeviceError, match="does not read"):
        choose_engine(EngineSettings(engine="torch"), is_onnx=True)


def test_what_is_not_installed_is_named_with_the_cure(machine):
    machine("torch")
    with pytest.raises(DeviceError, match=r"pip install 'roadseg\[openvino\]'"):
        choose_engine(EngineSettings(engine="openvino"))
    machine()
    with pytest.raises(DeviceError, match="no engine is installed"):
        choose_engine(EngineSettings())


@pytest.mark.skipif(not choose.is_installed("onnx"), reason="onnxruntime is missing")
def test_a_foreign_onnx_file_is_refused(tmp_path):
    (tmp_path / "noise.onnx").write_bytes(b"no graph at all")
    with pytest.raises(ModelError, match=r"noise\.onnx"):
        load(str(tmp_path / "noise.onnx"), EngineSettings(engine="onnx"))


def test_model_and_device_may_come_from_the_environment(model_file, monkeypatch):
    monkeypatch.setenv("ROADSEG_MODEL", str(model_file))
    monkeypatch.setenv("ROADSEG_DEVICE", "cpu")
    loaded = load(None, EngineSettings(engine="torch"))
    assert loaded.card.name == "tiny"
    assert "cpu (as asked)" in loaded.engine.description
    assert load("compact", EngineSettings(engine="torch", device="cpu")).card.name == "compact"
    monkeypatch.setenv("ROADSEG_DEVICE", "toaster")
    with pytest.raises(DeviceError, match="toaster"):
        load(None, EngineSettings(engine="torch"))


def _shape_of_a_weight(graph):
    weight = next(one for one in graph.initializer if one.name.endswith("norm1.bias"))
    weight.dims[0] = 2**62


def _operator(graph):
    next(node for node in graph.node if node.op_type == "Relu").op_type = "Loop"


def _weight_of_another_layer(graph):
    node = next(node for node in graph.node if node.op_type == "Conv")
    node.input[1] = next(one.name for one in graph.initializer if len(one.dims) == 1)


def _one_channel(graph):
    last = graph.node[-1]
    last.op_type = "ReduceMax"
    last.attribute.add(name="axes", type=7, ints=[1])  # INTS


@pytest.mark.parametrize("name", GRAPH_ENGINES)
@pytest.mark.parametrize("damage", [_shape_of_a_weight, _operator, _weight_of_another_layer, _one_channel])
def test_a_damaged_graph_is_one_sentence(name, damage, model_file, tmp_path):
    """Each of these was a traceback of the library."""
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "m.onnx"
    export(model_file, path)
    model = onnx.load(path)
    damage(model.graph)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"the ONNX model (cannot be run|answers) .*; export it again with"):
        answers(name, path, [windows(2)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
@pytest.mark.parametrize("engine", ["torch", *GRAPH_ENGINES])
def test_a_forked_process_does_not_wait_for_threads_it_has_not(draw, model_file, engine, tmp_path):
    """It predicts; where the library cannot, a sentence says so."""
    scene = str(draw(70, 90))
    code = f"""
import multiprocessing, os, warnings
os.environ.pop("OMP_NUM_THREADS", None)  # of libraries that compute with one thread, none is missing
from roadseg.errors import DeviceError
from roadseg.predict import load_model, predict

def again():
    try:
        predict({scene!r}, {str(tmp_path / "b.tif")!r}, model=model)
    except DeviceError as error:
        print(error, flush=True)

warnings.simplefilter("ignore")  # newer Pythons warn of forks beside threads
model = load_model({str(model_file)!r}, engine={engine!r}, device="cpu")
predict({scene!r}, {str(tmp_path / "a.tif")!r}, model=model)
child = multiprocessing.get_context("fork").Process(target=again)
child.start()
child.join(20)
print(child.exitcode)
os.kill(child.pid, 9) if child.is_alive() else None
"""
    said = run_python(code).strip().splitlines()
    assert said[-1] == "0"
    sentence = "OpenVINO cannot be used in a process forked from one that used it; start processes with spawn "
    if engine == "openvino":
        assert said[0].startswith(sentence)
    else:
        assert (tmp_path / "b.tif").exists()
