"""The accelerator of this machine: which one, in what precision, and how a Space lends its own."""

from collections.abc import Callable
from typing import Any

import torch

from trip.system.environment import on_spaces_gpu


def device() -> torch.device:
    """The accelerator of this machine, or its CPU."""
    if torch.cuda.is_available() or on_spaces_gpu():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def precision(on: torch.device) -> torch.dtype:
    """What weights are kept in: bfloat16 on a CUDA device, float32 elsewhere."""
    return torch.bfloat16 if on.type == "cuda" else torch.float32


def gpu(function: Callable[..., Any], seconds: Callable[..., int]) -> Callable[..., Any]:
    """Runs a function with a Spaces GPU held for as long as `seconds` says of the same arguments; elsewhere the function itself."""
    if not on_spaces_gpu():
        return function
    import spaces  # must come before the first use of CUDA, and means nothing elsewhere

    return spaces.GPU(duration=seconds)(function)
