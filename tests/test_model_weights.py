"""Weights come back as they were saved, or not at all."""

import json
import os
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from roadseg.errors import ModelError, OutputError
from roadseg.model.card import METADATA_KEY, ModelCard, read_card
from roadseg.model.resunet import ResUNet
from roadseg.model.weights import load_model
from roadseg.training.save import save_model


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    network = ResUNet(bands=4, width=2, upsample="nearest").eval()
    path = tmp_path / "m.safetensors"
    card = save_model(path, network, ModelCard(name="m", mean=(0.1,) * 4, std=(0.2,) * 4))
    return path, network, card


def test_a_model_comes_back(saved):
    path, network, card = saved
    loaded, found = load_model(path)
    assert found == card
    assert (found.bands, found.width, found.upsample) == (4, 2, "nearest")
    assert not loaded.training
    image = torch.randn(1, 4, 32, 40)
    with torch.no_grad():
        torch.testing.assert_close(loaded(image), network(image), atol=0.02, rtol=0.02)
    assert all(p.dtype == torch.float32 for p in loaded.parameters())


def test_saving_twice_gives_the_same_bytes(saved, tmp_path):
    path, _, card = saved
    loaded, _ = load_model(path)
    again = tmp_path / "again.safetensors"
    assert save_model(again, loaded, card) == card
    assert again.read_bytes() == path.read_bytes()


def test_every_damaged_byte_of_the_weights_is_noticed(saved):
    path, *_ = saved
    whole = path.read_bytes()
    (header,) = struct.unpack("<Q", whole[:8])
    for place in (8 + header, (8 + header + len(whole)) // 2, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match=r"damaged \("):
            load_model(path)


@pytest.mark.parametrize("change", [{"width": 4}, {"bands": 3, "mean": [0.5] * 3, "std": [0.5] * 3}])
def test_weights_that_do_not_fit_their_card_are_listed(saved, tmp_path, change):
    path, *_ = saved
    header = json.loads(read_card(path).to_json()) | change
    other = tmp_path / "other.safetensors"
    save_file(load_file(path), other, {METADATA_KEY: json.dumps(header)})
    with pytest.raises(ModelError, match=r"encoder1.conv1.weight \[2, 4, 3, 3\] instead of"):
        load_model(other)


def test_missing_and_unexpected_names_are_listed(saved, tmp_path):
    path, _, card = saved
    tensors = load_file(path)
    tensors["tail.weight"] = tensors.pop("head.weight")
    other = tmp_path / "other.safetensors"
    save_file(tensors, other, {METADATA_KEY: card.to_json()})
    with pytest.raises(ModelError, match=r"head.weight missing .*; tail.weight unexpected"):
        load_model(other)


def test_a_truncated_file_is_refused(saved):
    path, *_ = saved
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"is truncated \("):
        load_model(path)


def test_a_model_that_cannot_be_written_is_kept_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(OutputError, match=r"cannot write .*; the model is kept as .*/m.safetensors; move it") as raised:
        save_model(tmp_path / "missing" / "m.safetensors", ResUNet(width=1), ModelCard(name="m"))
    (kept,) = tmp_path.rglob("m.safetensors")
    assert str(kept) in str(raised.value)
    assert read_card(kept).name == "m"


def test_a_model_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(_):
        seen.append(len(list(tmp_path.iterdir())))
        raise OSError(28, "No space left on device")

    seen = []
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"cannot write .* \(No space left on device\); make room"):
        save_model(path, ResUNet(width=1), ModelCard(name="m"))
    assert path.read_bytes() == b"old"
    assert seen == [3, 2]  # the new file beside the old one, then among the temporary ones
    assert sorted(tmp_path.rglob("*")) == [path, tmp_path / "temporary"]


def test_a_model_may_be_read_by_whoever_may_read_new_files(saved, tmp_path):
    (tmp_path / "new").touch()
    assert saved[0].stat().st_mode == (tmp_path / "new").stat().st_mode
