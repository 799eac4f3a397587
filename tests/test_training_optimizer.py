"""Muon: singular values near 1, updates of AdamW's size, AdamW for all that is no matrix."""

import copy
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from roadseg.model.resunet import ResUNet
from roadseg.training.optimizer import Muon, matrices_and_others, orthogonalize


class CountOperations(TorchDispatchMode):
    """Counts the operations that PyTorch is asked for."""

    count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), options: Any = None) -> Any:
        self.count += 1
        return operation(*args, **(options or {}))


def make_model(**form: Any) -> ResUNet:
    torch.manual_seed(1)
    return ResUNet(**{"bands": 3, "width": 8, "upsample": "bilinear", **form})


def with_gradients(model: ResUNet, scale: float = 1.0) -> ResUNet:
    for number, parameter in enumerate(model.parameters()):
        generator = torch.Generator().manual_seed(number)
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator)
    return model


def newton_schulz(matrix: torch.Tensor) -> torch.Tensor:
    """Run the five rounds as published, on the matrix itself, in double precision."""
    y = matrix.double() / matrix.double().norm()
    for _ in range(5):
        square = y @ y.T
        y = 3.4445 * y + (-4.7750 * square + 2.0315 * square @ square) @ y
    return y.float()


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (16, 16)])
def test_singular_values_come_close_to_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    left, values, right = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    values = torch.linspace(1, 20, len(values))
    (made,) = orthogonalize([left @ values.diag() @ right])
    core = left.T @ made @ right.T
    found = core.diagonal()
    assert found.min() > 0.6
    assert found.max() < 1.3
    assert torch.allclose(core, found.diag(), atol=1e-4)


def test_orthogonalizing_together_is_newton_schulz_for_each() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(16, 144), (8, 72), (16, 32), (16, 144), (8, 16)]
    matrices = [torch.randn(shape, generator=generator) for shape in shapes]
    matrices[0][1:] = matrices[0][:1] + 1e-3 * matrices[0][1:]  # singular values that differ by a factor of 1,000
    for made, matrix in zip(orthogonalize(matrices), matrices, strict=True):
        assert torch.allclose(made, newton_schulz(matrix), atol=2e-4)


def test_orthogonalizing_many_matrices_takes_few_operations() -> None:
    matrices = [p.detach().flatten(1) for p in matrices_and_others(make_model(width=16))[0]]
    with CountOperations() as operations:
        orthogonalize(matrices)
    assert operations.count < 30 * len(matrices)


def test_a_matrix_of_zeros_stays_one() -> None:
    assert torch.equal(orthogonalize([torch.zeros(4, 9)])[0], torch.zeros(4, 9))


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_matrices_are_what_lies_inside_the_model(bands: int) -> None:
    model = make_model(bands=bands)
    names = {id(p): name for name, p in model.named_parameters()}
    matrices, others = matrices_and_others(model)
    assert len(matrices) + len(others) == len(names)
    inside = {names[id(p)] for p in matrices}
    outside = {"encoder1.conv1.weight", "encoder1.shortcut.weight", "head.weight"}
    assert inside == {n for n, p in model.named_parameters() if p.ndim == 4} - outside


def test_an_update_has_the_size_of_adamw_whatever_the_gradient() -> None:
    steps = []
    for scale in (1e-4, 1.0):
        model = make_model()
        before = copy.deepcopy(model.state_dict())
        optimizer = Muon(*matrices_and_others(with_gradients(model, scale)), lr=0.01, weight_decay=0.0)
        optimizer.step()
        steps.append({n: p.detach() - before[n] for n, p in model.named_parameters() if p.ndim == 4})
    inner = "decoder2.residual.conv1.weight"
    assert torch.allclose(steps[0][inner], steps[1][inner], atol=1e-6)
    assert 0.15 * 0.01 < float(steps[0][inner].square().mean().sqrt()) < 0.25 * 0.01


def test_others_are_updated_as_adamw_does() -> None:
    mine, theirs = with_gradients(make_model()), with_gradients(make_model())
    Muon(*matrices_and_others(mine), lr=0.01, weight_decay=0.1).step()
    torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1).step()
    matrices = {id(p) for p in matrices_and_others(mine)[0]}
    for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other) == (id(one) not in matrices)


def test_weights_decay_and_a_missing_gradient_is_left_alone() -> None:
    model = make_model()
    matrices, others = matrices_and_others(model)
    matrices[0].grad = torch.zeros_like(matrices[0])
    first, second = matrices[0].detach().clone(), matrices[1].detach().clone()
    Muon(matrices, others, lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(matrices[0], 0.95 * first)
    assert torch.equal(matrices[1], second)
