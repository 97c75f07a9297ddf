"""What the catalogue's video models take of an accelerator's memory, computed on tensors without content; nothing is fetched or measured.

Weights in bfloat16 (Wan's autoencoder in float32, as it is opened), and the most that is alive beside them in a step with guidance and
while the clip is decoded, at the shape and length that the model was made for, with fused attention. Allocators round up, kernels take
workspaces of their own, and text encoders work on little: none of that is in it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn
from torch.nn import functional as F

from trip.backbones.configurations import CONFIGURATIONS
from trip.model_cache import BY_LAYER, IN_TURN, USABLE, WHOLE
from trip.system.held_bytes import HeldBytes

BUDGETS = (8, 12, 16, 24)  # GB of accelerators that people have


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes.

    weights  of each part
    working  beside them, of the parts that work on a clip
    layer    the largest weights of one layer
    """

    weights: dict[str, int]
    working: dict[str, int]
    layer: int

    def needed(self, way: int) -> int:
        """What a way to place the parts takes: all there, each only while it works, or each layer only while it works."""
        if way == WHOLE:
            return sum(self.weights.values()) + max(self.working.values())
        if way == IN_TURN:
            return max(num_bytes + self.working.get(name, 0) for name, num_bytes in self.weights.items())
        return self.layer + max(self.working.values())

    def way(self, gigabytes: float) -> int | None:
        """The fastest of the model cache's ways that fits so much memory; none where none does."""
        ways = (WHOLE, IN_TURN, BY_LAYER)
        return next((way for way in ways if self.needed(way) <= USABLE * gigabytes * 1e9), None)


@cache
def memory_plan(name: str) -> MemoryPlan:
    """That of a video model of the catalogue."""
    configuration = CONFIGURATIONS[name]
    with torch.device("meta"):
        latents = torch.empty(configuration.latents, dtype=torch.bfloat16)
        parts = {part: _built(make) for part, make in configuration.parts.items()}
    weights = {part: _num_bytes(module) for part, module in parts.items()}
    layer = max(_num_bytes(module) for part in parts.values() for module in part.modules() if not list(module.children()))
    working = {
        configuration.denoiser: _held(configuration.step, parts[configuration.denoiser], latents),
        configuration.decoder: _held(configuration.decode, parts[configuration.decoder], latents),
    }
    return MemoryPlan(weights, working, layer)


def _built(make: Callable[[], nn.Module]) -> nn.Module:
    module = make().eval()
    dtype = torch.float32 if isinstance(module, AutoencoderKLWan) else torch.bfloat16
    return module.to(device="meta", dtype=dtype)  # what is filled with numbers as it is built is elsewhere


def _num_bytes(module: nn.Module) -> int:
    return sum(weight.nbytes for weight in module.parameters())


def _held(call: Callable[[nn.Module, Tensor], Any], module: nn.Module, latents: Tensor) -> int:
    """The most bytes alive while a part works."""
    with torch.no_grad(), torch.device("meta"), _fused_attention(), HeldBytes() as held:
        call(module, latents.to(next(module.parameters()).dtype))
    return held.peak


@contextmanager
def _fused_attention() -> Iterator[None]:
    """Attention holds no scores, as on a GPU: on meta tensors torch would take the way that does."""
    before = F.scaled_dot_product_attention

    def fused(query: Tensor, key: Tensor, value: Tensor, *_: Any, **more: Any) -> Tensor:
        return query.new_empty(*query.shape[:-1], value.shape[-1])

    try:
        F.scaled_dot_product_attention = fused
        yield
    finally:
        F.scaled_dot_product_attention = before
