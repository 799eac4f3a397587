"""Export writes a checked ONNX file or a catalogue item, whole or not at all."""

import hashlib
import json

import pytest

from roadseg.errors import ModelError, OutputError, UsageError
from roadseg.export import ExportResult, export
from roadseg.progress import Listener

pytest.importorskip("onnx")


def test_an_onnx_file_is_checked_against_this_packages_prediction(model_file, tmp_path):
    pytest.importorskip("onnxruntime")
    result = export(model_file, tmp_path / "tiny.onnx")
    assert (result.format, result.opset) == ("ONNX", 17)
    assert result.difference is not None
    assert result.difference < 1 / 508
    assert result.output.stat().st_size > 1_000


def test_a_graph_with_other_answers_is_not_written(model_file, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    from roadseg.model import onnx_graph

    build = onnx_graph.build_onnx
    wrong = {"encoder2.conv1.weight": 3.0}

    def spoilt(weights, card, **options):
        return build({name: value * wrong.get(name, 1.0) for name, value in weights.items()}, card, **options)

    monkeypatch.setattr(onnx_graph, "build_onnx", spoilt)
    with pytest.raises(ModelError, match="was not written"):
        export(model_file, tmp_path / "tiny.onnx")
    assert not list(tmp_path.iterdir())


def test_a_catalogue_item_names_the_file_and_its_checksum(model_file, tmp_path):
    result = export(model_file, tmp_path / "tiny.json")
    item = json.loads(result.output.read_text("utf-8"))
    asset = item["assets"]["model"]
    assert asset["href"] == model_file.name
    assert asset["file:checksum"] == "1220" + hashlib.sha256(model_file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "message"), [("tiny.pt", "neither .onnx nor .json"), ("missing/tiny.onnx", "does not exist")]
)
def test_bad_outputs_are_refused_with_a_cure(name, message, model_file, tmp_path):
    with pytest.raises(OutputError, match=message):
        export(model_file, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_number_format_is_that_of_an_onnx_file(model_file, tmp_path):
    with pytest.raises(UsageError, match=r"--precision is that of an ONNX file"):
        export(model_file, tmp_path / "tiny.json", precision="float16")
    done = ExportResult(tmp_path / "tiny.onnx", "ONNX", 17, 0.00138)
    assert done.sentence().endswith("at most 0.0014 off in probability")


def test_an_existing_file_is_kept_unless_told_otherwise(model_file, tmp_path):
    (tmp_path / "tiny.json").write_text("mine", "utf-8")
    with pytest.raises(OutputError, match="--overwrite"):
        export(model_file, tmp_path / "tiny.json")
    assert (tmp_path / "tiny.json").read_text("utf-8") == "mine"
    export(model_file, tmp_path / "tiny.json", overwrite=True, listener=Listener())
    assert json.loads((tmp_path / "tiny.json").read_text("utf-8"))["type"] == "Feature"
