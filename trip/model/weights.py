"""Weights as they come out of a file."""

import torch
from torch import nn


def check_finite(name: str, *modules: nn.Module) -> None:
    """ValueError, in one line, where a weight is no number or infinite: everything that is made with it would be."""
    for module in modules:
        for key, weight in module.state_dict().items():
            if weight.is_floating_point() and weight.device.type != "meta" and not torch.isfinite(weight.sum(dtype=torch.float64)):
                raise ValueError(f"{name}: its weight {key} of {type(module).__name__} holds what is no number; copy or download it again")
