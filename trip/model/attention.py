"""Attention of the 3D-UNet: one processor for every layer, with the kernel that is fast for its size."""

from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from trip.system.accelerator import has_wide_vectors

PLAIN_UP_TO = 64  # tokens; on a CPU the fused kernel loses to two matrix products below this
LONG_FROM = 256  # tokens; on a CPU the fused kernel gains nothing from bfloat16, and matrix products do from here on
MOST_SEQUENCES = 32_768  # CUDA's fused kernels fail at 65,536 sequences and more
MOST_SCORES = 1_200_000  # at once; more leave the cache


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention of b nh n d, by the kernel that is fast for its size."""
    if q.device.type == "cpu":
        with torch.autocast("cpu", enabled=False):
            return _attend_on_cpu(q, k, v)
    return torch.cat([F.scaled_dot_product_attention(*part) for part in _parts(MOST_SEQUENCES, q, k, v)])


def _attend_on_cpu(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    if q.dtype == torch.bfloat16:
        if k.shape[2] >= LONG_FROM and has_wide_vectors():
            return _InParts.apply(q, k, v)
        return _attend_on_cpu(q.float(), k.float(), v.float()).to(q.dtype)
    return _head_by_head(q, k, v) if k.shape[2] <= PLAIN_UP_TO else F.scaled_dot_product_attention(q, k, v)


def _head_by_head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """All sequences of one head at once: products of many small matrices, of the linear layers' outputs as they lie there."""
    q = q * q.shape[3] ** -0.5
    heads = zip(*(x.unbind(dim=1) for x in (q, k, v)), strict=True)
    mixed = [torch.bmm(torch.bmm(q, k.transpose(1, 2)).softmax(dim=2), v) for q, k, v in heads]
    return torch.stack(mixed, dim=2).transpose(1, 2)


class _InParts(torch.autograd.Function):
    """Attention by matrix products, of so few sequences at once that their scores stay in the cache; backwards they are made again."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mixed, scores, shares = torch.empty_like(q), *_room(q, k)
        for q_, k_, v_, mixed_ in _parts(len(scores), q * q.shape[3] ** -0.5, k, v, mixed):
            shares_ = _shares(q_, k_, scores, shares)
            mixed_.copy_((shares_ @ v_.flatten(0, 1)).view_as(mixed_))
        ctx.save_for_backward(q, k, v, mixed)
        return mixed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, mixed = ctx.saved_tensors
        scale, (scores, shares), found = q.shape[3] ** -0.5, _room(q, k), [torch.empty_like(x) for x in (q, k, v)]
        inner = (gradient.float() * mixed.float()).sum(dim=3, keepdim=True).to(q.dtype)
        for q_, k_, v_, gradient_, inner_, *found_ in _parts(len(scores), q * scale, k, v, gradient, inner, *found):
            shares_, gradient_ = _shares(q_, k_, scores, shares), gradient_.flatten(0, 1)
            of_v = shares_.transpose(1, 2) @ gradient_
            of_scores = torch.bmm(gradient_, v_.flatten(0, 1).transpose(1, 2), out=scores[: len(q_)].flatten(0, 1))
            of_scores.sub_(inner_.flatten(0, 1)).mul_(shares_)
            of_q, of_k = of_scores @ k_.flatten(0, 1) * scale, of_scores.transpose(1, 2) @ q_.flatten(0, 1)
            for into, part in zip(found_, (of_q, of_k, of_v), strict=True):
                into.copy_(part.view_as(into))
        return tuple(found)


def _room(q: Tensor, k: Tensor) -> Tensor:
    """Memory for scores and for shares of as many sequences as MOST_SCORES allow, which all parts use one after the other: 2 b nh n m."""
    each = q.shape[1] * q.shape[2] * k.shape[2]
    return q.new_empty(2, min(len(q), max(1, MOST_SCORES // each)), *q.shape[1:3], k.shape[2])


def _parts(count: int, *tensors: Tensor) -> zip:
    return zip(*(x.split(count) for x in tensors), strict=True)


def _shares(q: Tensor, k: Tensor, scores: Tensor, shares: Tensor) -> Tensor:
    """Soft-max of the scores: q scaled, b nh n d, and k -> (b nh) n m."""
    scores, shares = (room[: len(q)].flatten(0, 1) for room in (scores, shares))
    torch.bmm(q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2), out=scores)
    return torch.softmax(scores, dim=2, out=shares)


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
