"""Muon: singular values near 1, steps of AdamW's size, AdamW for what is no matrix."""

import copy

import pytest
import torch

from roadseg.model.resunet import ResUNet
from roadseg.training.muon import Muon, orthogonal, split


def network(**form):
    torch.manual_seed(1)
    return ResUNet(**{"bands": 3, "width": 8, "upsample": "bilinear", **form})


def with_gradients(model, scale=1.0):
    for number, parameter in enumerate(model.parameters()):
        generator = torch.Generator().manual_seed(number)
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (16, 16)])
def test_singular_values_come_close_to_one_and_vectors_stay(shape):
    generator = torch.Generator().manual_seed(0)
    left, values, right = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    values = torch.linspace(1, 20, len(values))
    made = orthogonal(left @ values.diag() @ right)
    core = left.T @ made @ right.T
    found = core.diagonal()
    assert found.min() > 0.6
    assert found.max() < 1.3
    assert torch.allclose(core, found.diag(), atol=1e-4)


def test_bfloat16_is_about_as_good():
    """Its step of a large matrix points where that of float32 does, and small ones are the same."""
    steps = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = network(width=16)
        before = copy.deepcopy(model.state_dict())
        Muon(*split(with_gradients(model)), lr=0.01, weight_decay=0.0, dtype=dtype).step()
        steps[dtype] = {n: (p.detach() - before[n]).flatten() for n, p in model.named_parameters() if p.ndim == 4}
    fine, coarse = steps.values()
    alike = {name: float(torch.cosine_similarity(fine[name], coarse[name], dim=0)) for name in fine}
    assert alike["bridge.conv2.weight"] > 0.995
    assert not torch.equal(fine["bridge.conv2.weight"], coarse["bridge.conv2.weight"])
    assert torch.equal(fine["encoder2.conv2.weight"], coarse["encoder2.conv2.weight"])


def test_nothing_to_do_is_no_division_by_zero():
    assert torch.equal(orthogonal(torch.zeros(4, 9)), torch.zeros(4, 9))


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_matrices_are_what_lies_inside_the_network(bands):
    model = network(bands=bands)
    names = {id(p): name for name, p in model.named_parameters()}
    matrices, others = split(model)
    assert len(matrices) + len(others) == len(names)
    inside = {names[id(p)] for p in matrices}
    outside = {"encoder1.conv1.weight", "encoder1.shortcut.weight", "head.weight"}
    assert inside == {n for n, p in model.named_parameters() if p.ndim == 4} - outside


def test_a_step_has_the_size_of_adamw_whatever_the_gradient():
    steps = []
    for scale in (1e-4, 1.0):
        model = network()
        before = copy.deepcopy(model.state_dict())
        optimizer = Muon(*split(with_gradients(model, scale)), lr=0.01, weight_decay=0.0)
        optimizer.step()
        steps.append({n: p.detach() - before[n] for n, p in model.named_parameters() if p.ndim == 4})
    inner = "decoder2.residual.conv1.weight"
    assert torch.allclose(steps[0][inner], steps[1][inner], atol=1e-6)
    assert 0.15 * 0.01 < float(steps[0][inner].square().mean().sqrt()) < 0.25 * 0.01


def test_others_are_stepped_as_adamw_does():
    mine, theirs = with_gradients(network()), with_gradients(network())
    Muon(*split(mine), lr=0.01, weight_decay=0.1).step()
    torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1).step()
    matrices = {id(p) for p in split(mine)[0]}
    for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other) == (id(one) not in matrices)


def test_weights_decay_and_a_missing_gradient_is_left_alone():
    model = network()
    matrices, others = split(model)
    matrices[0].grad = torch.zeros_like(matrices[0])
    first, second = matrices[0].detach().clone(), matrices[1].detach().clone()
    Muon(matrices, others, lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(matrices[0], 0.95 * first)
    assert torch.equal(matrices[1], second)
