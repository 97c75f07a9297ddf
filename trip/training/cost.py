"""What a training step costs, computed on tensors without content: operations, and the most memory held at any moment.

No device is needed and none is measured: real allocators round up, and kernels take workspaces of their own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

from trip.model.build import build_fusion, build_unet, build_vae
from trip.model.denoiser import Condition, Denoiser
from trip.settings import ModelSettings
from trip.system.held_bytes import HeldBytes

ADAM, AVERAGE = 8, 4  # bytes a weight, in float32


@dataclass(frozen=True)
class Cost:
    """Of one clip and one forward and backward pass.

    forward_flops  of 3D-UNet and fusion together; the backward pass takes twice that, and checkpointing the same once more
    activations    bytes held between forward and backward pass
    peak           bytes at the worst moment, beside weights, optimizer and average; gradients are in it
    """

    weights: int
    forward_flops: int
    activations: int
    peak: int
    checkpointing: bool

    @property
    def training_flops(self) -> int:
        """Of forward and backward pass."""
        return self.forward_flops * (4 if self.checkpointing else 3)

    @property
    def memory(self) -> int:
        """Bytes on one device that holds everything."""
        return self.weights * (4 + ADAM + AVERAGE) + self.peak


@cache
def cost_of_a_clip(model: ModelSettings, *, precision: str, checkpointing: bool, num_frames: int | None = None) -> Cost:
    """Cost of a clip of a preset, on meta tensors."""
    channels, side = model.vae.latent_channels, latent_side(model)
    f = num_frames or model.num_frames
    with torch.device("meta"):
        denoiser = Denoiser(build_unet(model), build_fusion(model)).train()
        z_0 = torch.empty(1, channels, f, side, side)
        words, sentence = torch.empty(1, model.text.max_tokens, model.text.width), torch.empty(1, model.text.width)
        condition = Condition(z_0[:, :, :1], words, sentence, torch.empty(1, f))
        timestep, alpha_bar = torch.zeros(1, dtype=torch.long), torch.empty(1)
    if checkpointing:
        denoiser.unet.enable_gradient_checkpointing()
    with _as_on_a_gpu(precision), HeldBytes() as held:
        with FlopCounterMode(display=False) as counter:  # not around the backward pass: it holds on to what is recomputed there
            eps_hat = denoiser(z_0, timestep, alpha_bar, condition).eps
        loss = eps_hat.float().square().mean()
        activations = held.now
        loss.backward()
    return Cost(sum(p.numel() for p in denoiser.parameters()), counter.get_total_flops(), activations, held.peak, checkpointing)


def encoding_flops(model: ModelSettings) -> int:
    """Of one clip through the autoencoder."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        build_vae(model).encode(torch.empty(1, 3, model.frame_size, model.frame_size))
    return counter.get_total_flops() * model.num_frames


def latent_side(model: ModelSettings) -> int:
    """Height and width of a latent."""
    return model.frame_size // 2 ** (len(model.vae.block_channels) - 1)


@contextmanager
def _as_on_a_gpu(precision: str) -> Iterator[None]:
    """Layers compute in the types and by the kernels that autocast and a GPU would choose: fused attention, norms in float32.

    Autocast itself knows no meta tensors; and a mode of torch's would not reach the layers that are recomputed in the backward pass.
    """
    low = {"bf16": torch.bfloat16, "fp16": torch.float16, "no": torch.float32}[precision]
    names = {"linear": low, "conv2d": low, "conv3d": low, "group_norm": torch.float32, "layer_norm": torch.float32}
    before = {name: getattr(F, name) for name in (*names, "scaled_dot_product_attention")}

    def cast(function: Callable, dtype: torch.dtype) -> Callable:
        def computed(*arguments: Any, **more: Any) -> Tensor:
            arguments, more = tree_map(lambda x: x.to(dtype) if isinstance(x, Tensor) else x, (arguments, more))
            return function(*arguments, **more)

        return computed

    def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.to(low) for x in (q, k, v))
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, False, return_debug_mask=False)[0]

    try:
        for name, dtype in names.items():
            setattr(F, name, cast(before[name], dtype))
        F.scaled_dot_product_attention = fused
        yield
    finally:
        for name, function in before.items():
            setattr(F, name, function)
