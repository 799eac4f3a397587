"""Checkpoints: split into small files and joined again they are the same, or nearly so with 16-bit numbers."""

import sys
from pathlib import Path

import torch

from roadseg.training.checkpoint import read_checkpoint, write_checkpoint

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
from small_files import join_checkpoint, split_checkpoint

TENSORS = {
    "network.w": torch.rand(64, 64, 3, 3, generator=torch.Generator().manual_seed(0)),
    "optimizer.0.momentum_buffer": torch.full((64, 64, 3, 3), 1e-20),
    "optimizer.0.step": torch.tensor(7.0),
    "network.norm": torch.arange(64) / 3,
}


def test_parts_stay_below_their_size_and_join_to_the_same_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, TENSORS, {"step": 7, "loss": 0.5})
    whole = next(tmp_path.iterdir()).stat().st_size
    split_checkpoint(tmp_path, part_mib=0.35)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) > 1
    assert max(sizes) < 0.35 * (1 << 20)
    assert sum(sizes) < 0.65 * whole
    assert read_checkpoint(tmp_path) is None
    join_checkpoint(tmp_path)
    found = read_checkpoint(tmp_path)
    assert found is not None
    assert found.metadata == {"step": 7, "loss": 0.5}
    assert set(found.tensors) == set(TENSORS)
    for name, value in TENSORS.items():
        assert found.tensors[name].dtype == value.dtype
        assert torch.allclose(found.tensors[name], value, rtol=1e-2, atol=1e-3 if name == "network.w" else 0)


def test_parts_of_which_one_is_missing_are_left_alone(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, TENSORS, {"step": 7})
    split_checkpoint(tmp_path, part_mib=0.35)
    min(tmp_path.iterdir()).unlink()
    join_checkpoint(tmp_path)
    assert read_checkpoint(tmp_path) is None


def test_an_older_checkpoint_goes_once_a_newer_one_is_complete(tmp_path: Path) -> None:
    for step in (3, 4):
        write_checkpoint(tmp_path, TENSORS, {"step": step})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-4.safetensors"]
