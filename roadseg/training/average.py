"""The exponential moving average of a model's weights, which is what a run keeps."""

import torch
from torch import Tensor, nn


class WeightAverage:
    """Averages the weights of a model over the steps of a run; integer counters are copied.

    Parameters
    ----------
    model
        Its weights are the first average.
    decay
        Share of the average that each step keeps; smaller in the first steps, so that random weights soon fade.

    Attributes
    ----------
    weights
        The average by name, as in the model's ``state_dict``.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.weights: dict[str, Tensor] = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self._decay = decay

    def follow(self, model: nn.Module) -> None:
        """Average this model's tensors from now on, in their memory format, starting at ``weights``."""
        current = model.state_dict()
        self.weights = {name: torch.empty_like(value).copy_(self.weights[name]) for name, value in current.items()}
        floats = [name for name, value in current.items() if value.dtype.is_floating_point]
        self._averages, self._values = [self.weights[name] for name in floats], [current[name] for name in floats]
        self._counters = [(self.weights[name], value) for name, value in current.items() if name not in floats]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Include the weights as they are after this step (from 0)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._values, 1 - decay)
        for counter, value in self._counters:
            counter.copy_(value)
