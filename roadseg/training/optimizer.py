"""Muon: momentum SGD whose update matrices are orthogonalized, and the learning-rate schedule.

The gradient of a convolution, seen as a matrix with one row per kernel, has a few large singular values; plain steps
follow them and leave the other directions untrained. Muon brings all singular values close to 1 with five rounds of an
odd polynomial (Newton-Schulz) instead of a decomposition. Parameters that are not matrices inside the model (norms,
biases, the first and the last layer) are left to AdamW. Updates are scaled to the size of AdamW's, so both share a
learning rate.
Sources: K. Jordan et al. 2024 (kellerjordan.github.io/posts/muon), Liu et al. 2025 (arXiv:2502.16982, the scale).
"""

import math
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any

import torch
from torch import Tensor, nn

from roadseg.model.resunet import ResUNet
from roadseg.settings import TrainSettings

_COOL_DOWN = 0.25


def learning_rate_at(step: int, settings: TrainSettings) -> float:
    """Return the learning rate of a step: a linear warm-up, then a cosine to zero, drops, or flat with a cool-down.

    The cool-down is the last quarter, so that what was trained before it serves a longer run as well.
    """
    warmup = min(settings.warmup_steps, settings.steps // 10)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    if settings.schedule == "steps":
        drops = sum(step >= round(share * settings.steps) for share in settings.drop_at)
        return settings.learning_rate * settings.drop_factor**drops
    if settings.schedule == "flat":
        return settings.learning_rate * min(1.0, (settings.steps - step) / max(1, round(_COOL_DOWN * settings.steps)))
    progress = (step - warmup) / max(1, settings.steps - warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use this learning rate for all parameters from now on."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def make_optimizer(model: ResUNet, settings: TrainSettings, device: torch.device) -> torch.optim.Optimizer:
    """Return the optimizer that the settings name, for the parameters of a model."""
    parameters = model.parameters()
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
    options: Any = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer == "muon":
        return Muon(*matrices_and_others(model), **options)
    return torch.optim.AdamW(parameters, **options, fused=device.type == "cuda" or None)


def follow_memory_format(optimizer: torch.optim.Optimizer) -> None:
    """Bring the state of an optimizer into the memory format of its parameters, which fused kernels on CUDA demand."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


_POLYNOMIAL = (3.4445, -4.7750, 2.0315)
"""Coefficients of σ, σ³ and σ⁵, by which one round maps a singular value σ."""

_ROUNDS = 5

_UPDATE_SIZE = 0.2
"""Root mean square of AdamW's updates, in learning rates."""


class Muon(torch.optim.AdamW):
    """Muon for matrices, AdamW for all other parameters.

    Parameters
    ----------
    matrices
        Weights of at least two dimensions, output channels first.
    others
        All other parameters.
    lr, weight_decay
        Shared by both; the decay is decoupled.
    momentum
        Nesterov momentum of the matrices.
    """

    def __init__(
        self, matrices: Iterable[Tensor], others: Iterable[Tensor], *, lr: float, weight_decay: float,
        momentum: float = 0.95,
    ) -> None:  # fmt: skip
        groups: list[dict[str, Any]] = [{"params": list(matrices)}, {"params": list(others)}]
        super().__init__(groups, lr, weight_decay=weight_decay)
        for group, share in zip(self.param_groups, (momentum, None), strict=True):
            group["muon"] = share

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters; the gradients of the matrices are set to None."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if group["muon"] is None or not weights:
                continue
            updates = orthogonalize([m.flatten(1) for m in self._nesterov(weights, group["muon"])])
            scales = [-group["lr"] * _UPDATE_SIZE * max(update.shape) ** 0.5 for update in updates]
            torch._foreach_mul_(updates, scales)
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(weights, [u.view(w.shape) for u, w in zip(updates, weights, strict=True)])
            for weight in weights:
                weight.grad = None  # AdamW skips parameters without a gradient
        super().step(closure)

    def _nesterov(self, weights: Sequence[Tensor], share: float) -> tuple[Tensor, ...]:
        """Update the momentum buffers and return gradients moved towards them."""
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
                self.state[weight]["step"] = torch.zeros(())  # AdamW looks for it in every state it loads
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        buffers = [self.state[weight]["momentum_buffer"] for weight in weights]
        torch._foreach_lerp_(buffers, gradients, 1 - share)
        return torch._foreach_lerp(gradients, buffers, share)


def orthogonalize(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Bring the singular values of matrices close to 1 (0.7 to 1.2), keeping their singular vectors.

    A round maps a matrix Y to ``P Y`` with ``P = a I + b S + c S²`` and ``S = Y Yᵀ``, and thereby S to ``P S P``. So
    all rounds can work on the small square S alone, for all matrices of one height at once; the product Q of the P
    is applied to Y at the end:

        Y (h, w) ──▶ S (h, h) ──▶ P₁ ─▶ P₂ ─▶ … ─▶ Q = P₅ … P₂ P₁ ──▶ Q Y (h, w)

    For a 3×3 convolution (w = 9 h) that is 38 h³ multiplications instead of 95 h³.

    Parameters
    ----------
    matrices
        (rows, columns) float32 each.

    Returns
    -------
    Matrices of the same shapes; zeros stay zeros.
    """
    wide = [matrix.T if matrix.shape[0] > matrix.shape[1] else matrix for matrix in matrices]
    wide = [matrix / torch.linalg.vector_norm(matrix).clamp(min=1e-12) for matrix in wide]
    for height in {len(matrix) for matrix in wide}:
        same = [index for index, matrix in enumerate(wide) if len(matrix) == height]
        squares = torch.stack([wide[index] @ wide[index].T for index in same])  # (n, height, height)
        for index, product in zip(same, _polynomial_product(squares), strict=True):
            wide[index] = product @ wide[index]
    pairs = zip(wide, matrices, strict=True)
    return [(done.T if matrix.shape[0] > matrix.shape[1] else done).contiguous() for done, matrix in pairs]


def _polynomial_product(squares: Tensor) -> Tensor:
    """Return Q, the product of all rounds' P, for each S in (n, height, height)."""
    first, third, fifth = _POLYNOMIAL
    identity = first * torch.eye(squares.shape[-1], device=squares.device)
    product = polynomial = torch.baddbmm(squares, squares, squares, beta=third, alpha=fifth) + identity
    for _ in range(_ROUNDS - 1):
        squares = polynomial @ squares @ polynomial
        polynomial = torch.baddbmm(squares, squares, squares, beta=third, alpha=fifth) + identity
        product = polynomial @ product
    return product


def matrices_and_others(model: ResUNet) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Separate the matrices inside a model from norms, biases, and the layers at the image and at the logit."""
    parameters = list(model.parameters())
    inside = [p.ndim > 1 and min(p.shape[:2]) > model.bands for p in parameters]
    return list(compress(parameters, inside)), list(compress(parameters, (not one for one in inside)))
