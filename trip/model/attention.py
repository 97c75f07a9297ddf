"""Attention of the 3D-UNet: one processor for every layer, and a displaced look at the photo for spatial layers."""

import math
from dataclasses import dataclass

import torch
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

PLAIN_UP_TO = 64  # tokens; on a CPU the fused kernel loses to two matrix products below this
MOST_SEQUENCES = 32_768  # CUDA's fused kernels fail at 65,536 sequences and more


@dataclass(frozen=True)
class FrameContext:
    """What the attention layers of a call share.

    num_frames      frames of a clip, the clean photo included
    photo_position  index of the photo among them
    embedding       time and frame embedding of every frame   (b f) e
    height, width   size of the latents that came in
    """

    num_frames: int
    photo_position: int
    embedding: Tensor
    height: int
    width: int


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention of b nh n d, by the kernel that is fast for its size."""
    if q.device.type == "cpu" and k.shape[2] <= PLAIN_UP_TO:
        return ((q @ k.transpose(2, 3)) * q.shape[3] ** -0.5).softmax(dim=3) @ v
    parts = zip(*(x.split(MOST_SEQUENCES) for x in (q, k, v)), strict=True)
    return torch.cat([F.scaled_dot_product_attention(*part) for part in parts])


class PhotoWindow(nn.Module):
    """Lets a spatial attention layer look at the photo's features instead of its own, around a displaced place.

    A query at place p of frame i has its attention weighed by a Gaussian around `p + A_i (p, 1) + s`: the affine map A_i
    follows the embedding of frame and sentence (a camera move is one), the shift s the features at p. Both are zero at
    first. Coordinates run from -1 to 1 over the frame, so that what is learnt holds at any resolution.
    """

    def __init__(self, width: int, heads: int, embedding_width: int, first_radius: float = 0.15):
        super().__init__()
        self.heads = heads
        self.affine = nn.Linear(embedding_width, heads * 6)
        self.shift = nn.Linear(width, heads * 2)
        for layer in (self.affine, self.shift):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.log_sharpness = nn.Parameter(torch.full((heads,), -2 * math.log(first_radius)))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, tokens: Tensor, frames: FrameContext) -> Tensor:
        """q, tokens: (b f) n of every frame; k, v: b nh n d of the photo. Gives (b f) n (nh d)."""
        f, nh = frames.num_frames, self.heads
        n = tokens.shape[1]
        places = _places(n, frames.height / frames.width, tokens.device)  # n 2
        affine = rearrange(self.affine(F.silu(frames.embedding)), "bf (nh xy c) -> bf nh xy c", nh=nh, xy=2)
        shift = rearrange(self.shift(tokens), "bf n (nh xy) -> bf nh n xy", nh=nh)

        # Below, a Gaussian weight exp(-|p' - u|^2 / (2 r^2)) is a dot product: its |u|^2 cancels in the softmax.
        with torch.autocast(tokens.device.type, enabled=False):
            homogeneous = torch.cat([places, torch.ones_like(places[:, :1])], dim=1)  # n 3
            looked_at = places + torch.einsum("bhxc,nc->bhnx", affine.float(), homogeneous) + shift.float()
            sharpness = self.log_sharpness.float().exp().view(1, nh, 1, 1)
            q = torch.cat([q.float() * q.shape[3] ** -0.5, looked_at * sharpness, sharpness.expand(q.shape[0], -1, n, 1)], dim=3)
            of_keys = torch.cat([places, -0.5 * places.square().sum(dim=1, keepdim=True)], dim=1)  # n 3
            k = torch.cat([k.float(), of_keys.expand(*k.shape[:3], 3)], dim=3)
            q = rearrange(q, "(b f) nh n d -> b nh (f n) d", f=f)
            weights = (q @ k.transpose(2, 3)).softmax(dim=3)
        return rearrange(weights.to(v.dtype) @ v, "b nh (f n) d -> (b f) n (nh d)", f=f)


def _places(num_tokens: int, aspect: float, device: torch.device) -> Tensor:
    """Centres of the cells of a feature map with `aspect` = height / width, as (x, y) in -1 … 1: n 2."""
    height = round(math.sqrt(num_tokens * aspect))
    width = num_tokens // height
    y = (torch.arange(height, device=device) + 0.5) * 2 / height - 1
    x = (torch.arange(width, device=device) + 0.5) * 2 / width - 1
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=2).reshape(-1, 2)


class VideoAttentionProcessor:
    """Computes a diffusers `Attention` layer; where the layer carries a `photo_window`, its keys are the photo's."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        frames: FrameContext | None = None,
    ) -> Tensor:
        """hidden_states: b n d; encoder_hidden_states: b m e or none for self-attention."""
        assert attention_mask is None and attn.group_norm is None and attn.spatial_norm is None
        window = getattr(attn, "photo_window", None)
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if window is not None:
            source = hidden_states.unflatten(0, (-1, frames.num_frames))[:, frames.photo_position]
        q, k, v = (
            rearrange(layer(x), "b n (nh d) -> b nh n d", nh=attn.heads)
            for layer, x in ((attn.to_q, hidden_states), (attn.to_k, source), (attn.to_v, source))
        )
        if window is not None:
            return attn.to_out[0](window(q, k, v, hidden_states, frames))
        return attn.to_out[0](rearrange(attend(q, k, v), "b nh n d -> b n (nh d)"))
