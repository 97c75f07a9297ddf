"""The accelerator of this machine: which one, in what precision, and how a Space lends its own."""

import time
from collections.abc import Callable
from functools import cache
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


@cache
def has_wide_vectors() -> bool:
    """Whether this CPU computes by AVX-512, and torch has the library that does so."""
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"


@cache
def arithmetic(on: torch.device) -> torch.dtype | None:
    """What to compute in where weights are kept in float32: bfloat16 on a CPU that convolves a third faster in it, as those with
    AVX512-BF16 or AMX do. Others are many times slower; as flags do not tell which torch makes use of, it is tried.
    """
    if on.type != "cpu" or not has_wide_vectors():
        return None
    seconds = {torch.float32: [], torch.bfloat16: []}
    for dtype in 5 * list(seconds):  # turn by turn: what else the machine does hits both alike
        x, weight = torch.zeros(16, 64, 24, 24, dtype=dtype), torch.zeros(64, 64, 3, 3, dtype=dtype)
        with torch.no_grad():
            started = time.perf_counter()
            torch.conv2d(x, weight, padding=1)
            seconds[dtype].append(time.perf_counter() - started)
    return torch.bfloat16 if min(seconds[torch.bfloat16]) < 0.75 * min(seconds[torch.float32]) else None


def gpu(function: Callable[..., Any], seconds: Callable[..., int]) -> Callable[..., Any]:
    """Runs a function with a Spaces GPU held for as long as `seconds` says of the same arguments; elsewhere the function itself."""
    if not on_spaces_gpu():
        return function
    import spaces  # must come before the first use of CUDA, and means nothing elsewhere

    return spaces.GPU(duration=seconds)(function)
