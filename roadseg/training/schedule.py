"""The optimizer, and its learning rate over the steps."""

import math
from typing import Any

import torch

from roadseg.model.resunet import ResUNet
from roadseg.settings import TrainSettings
from roadseg.training.muon import Muon, split

_COOL_DOWN = 0.25


def learning_rate_at(step: int, settings: TrainSettings) -> float:
    """Return the learning rate of a step: a linear warm-up, then a cosine to zero, steps, or flat with a cool-down."""
    warmup = min(settings.warmup_steps, settings.steps // 10)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    if settings.schedule == "steps":
        drops = sum(step >= round(share * settings.steps) for share in settings.drop_at)
        return settings.learning_rate * settings.drop_factor**drops
    if settings.schedule == "flat":
        return settings.learning_rate * min(1.0, (settings.steps - step) / max(1, round(_COOL_DOWN * settings.steps)))
    share = (step - warmup) / max(1, settings.steps - warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def make_optimizer(network: ResUNet, settings: TrainSettings, device: torch.device) -> torch.optim.Optimizer:
    """Return the optimizer a run asks for."""
    parameters = network.parameters()
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
    how: Any = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer == "muon":
        dtype = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
        return Muon(*split(network), **how, dtype=dtype)
    return torch.optim.AdamW(parameters, **how, fused=device.type == "cuda" or None)
