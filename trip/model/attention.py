"""Attention of the 3D-UNet: one processor for every layer, with the kernel that is fast for its size."""

import torch
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

PLAIN_UP_TO = 64  # tokens; on a CPU the fused kernel loses to two matrix products below this
MOST_SEQUENCES = 32_768  # CUDA's fused kernels fail at 65,536 sequences and more


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention of b nh n d, by the kernel that is fast for its size."""
    if q.device.type == "cpu" and k.shape[2] <= PLAIN_UP_TO:
        return ((q @ k.transpose(2, 3)) * q.shape[3] ** -0.5).softmax(dim=3) @ v
    parts = zip(*(x.split(MOST_SEQUENCES) for x in (q, k, v)), strict=True)
    return torch.cat([F.scaled_dot_product_attention(*part) for part in parts])


class VideoAttentionProcessor:
    """Computes a diffusers `Attention` layer."""

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> Tensor:
        """hidden_states: b n d; encoder_hidden_states: b m e or none for self-attention."""
        assert attention_mask is None and attn.group_norm is None and attn.spatial_norm is None
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            rearrange(layer(x), "b n (nh d) -> b nh n d", nh=attn.heads)
            for layer, x in ((attn.to_q, hidden_states), (attn.to_k, source), (attn.to_v, source))
        )
        return attn.to_out[0](rearrange(attend(q, k, v), "b nh n d -> b n (nh d)"))
