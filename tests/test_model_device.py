"""Too little memory is told from other failures, on a CPU too."""

import pytest
import torch

from roadseg.model.device import is_out_of_memory


def test_more_than_any_machine_has() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert is_out_of_memory(caught.value)


def test_a_device_without_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))


def test_another_failure_is_none_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not is_out_of_memory(caught.value)
