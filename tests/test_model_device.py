"""Too little memory is told from other failures, on a CPU too."""

import pytest
import torch

from roadseg.model.device import ran_out


def test_more_than_any_machine_has() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert ran_out(caught.value)


def test_a_device_without_memory() -> None:
    assert ran_out(torch.OutOfMemoryError("CUDA out of memory"))


def test_another_failure_is_none_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not ran_out(caught.value)
