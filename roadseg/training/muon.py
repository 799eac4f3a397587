"""Muon: momentum whose matrix is made orthogonal before it is taken as a step.

The gradient of a convolution, as a matrix of one row for each kernel, has a few large singular values; steps along
them leave the other directions untrained. Muon sets all singular values to about 1, by five rounds of an odd
polynomial instead of a decomposition. What is no matrix inside the network (norms, biases, the layers that see the
image or make the logit) is left to AdamW, and steps are scaled to the size of AdamW's, so both share a learning rate.
Sources: K. Jordan et al. 2024 (kellerjordan.github.io/posts/muon), Liu et al. 2025 (arXiv:2502.16982, the scale).
"""

from collections.abc import Iterable
from itertools import compress
from typing import Any

import torch
from torch import Tensor, nn

from roadseg.model.resunet import ResUNet

_POLYNOMIAL = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_STEP_SIZE = 0.2
"""Root mean square of AdamW's steps, in learning rates."""

_LARGE = 1 << 16


class Muon(torch.optim.AdamW):
    """Muon for matrices, AdamW for everything else.

    Parameters
    ----------
    matrices
        Weights of at least two dimensions, the first of them that of the outputs.
    others
        All other parameters.
    lr, weight_decay
        Of both; the decay is decoupled.
    momentum
        Of the matrices, in Nesterov's form.
    dtype
        That large matrices are made orthogonal in; bfloat16 is four times as fast where it is built in.
    """

    def __init__(
        self, matrices: Iterable[Tensor], others: Iterable[Tensor], *, lr: float, weight_decay: float,
        momentum: float = 0.95, dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        groups: list[dict[str, Any]] = [{"params": list(matrices)}, {"params": list(others)}]
        super().__init__(groups, lr, weight_decay=weight_decay)
        self._dtype = dtype
        for group, share in zip(self.param_groups, (momentum, None), strict=True):
            group["muon"] = share

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step; gradients of the matrices are used up."""
        for group in self.param_groups:
            if group["muon"] is None:
                continue
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                momentum = self._momentum(weight, weight.grad, group["muon"])
                matrix = momentum.flatten(1)
                large = matrix.numel() >= _LARGE  # small ones gain nothing
                matrix = orthogonal(matrix.to(self._dtype) if large else matrix).to(weight.dtype)
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(matrix.reshape(weight.shape), alpha=-group["lr"] * _STEP_SIZE * max(matrix.shape) ** 0.5)
                weight.grad = None  # AdamW has nothing to do for it
        super().step(closure)

    def _momentum(self, weight: Tensor, gradient: Tensor, share: float) -> Tensor:
        state = self.state[weight]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight)
            state["step"] = torch.zeros(())  # AdamW looks for it in every state that is loaded
        buffer: Tensor = state["momentum_buffer"]
        buffer.lerp_(gradient, 1 - share)
        return gradient.lerp(buffer, share)


def orthogonal(matrix: Tensor) -> Tensor:
    """Bring the singular values of a matrix close to 1 (0.7 to 1.2) and leave its singular vectors.

    Parameters
    ----------
    matrix
        (rows, columns) float32 or bfloat16.

    Returns
    -------
    The same shape; a matrix of zeros stays one.
    """
    first, third, fifth = _POLYNOMIAL
    y: Tensor = matrix / matrix.norm().clamp(min=1e-12)
    y = y.T if y.shape[0] > y.shape[1] else y
    for _ in range(_ROUNDS):
        square = y @ y.T
        y = first * y + (third * square + fifth * square @ square) @ y  # (rows, columns)
    return y.T if matrix.shape[0] > matrix.shape[1] else y


def split(network: ResUNet) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the matrices inside a network, and all else: norms, biases, what sees the image or makes the logit."""
    parameters = list(network.parameters())
    inside = [p.ndim > 1 and min(p.shape[:2]) > network.bands for p in parameters]
    return list(compress(parameters, inside)), list(compress(parameters, (not one for one in inside)))
