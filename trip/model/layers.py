"""Layers of the 3D-UNet as a CPU computes them fast: weights and keys are those of the classes that they stand for."""

from functools import cache

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.attention import FeedForward
from torch import Tensor, nn
from torch.nn import functional as F

from trip.system.accelerator import has_wide_vectors

FEWEST_TOKENS = 512  # below this a matrix product is over before a convolution has begun
HIDDEN_AT_ONCE = 450_000  # values of a feed-forward's hidden layer that stay in the cache until they are used
FEWEST_AT_ONCE = 1024  # tokens of a feed-forward at once, however wide they are: weights are read again for each part
FEWEST_ROWS = 16  # of a picture of tokens: on one thread torch gives smaller batches of 1x1 convolutions to the slow product


class FrameConv(nn.Conv3d):
    """A convolution over frames alone, as one over a picture of frames by places: torch computes that much faster on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """b c f h w -> b c f h w."""
        y = F.conv2d(x.flatten(3), self.weight.squeeze(4), self.bias, padding=(self.padding[0], 0))
        return y.unflatten(3, x.shape[3:])


class TokenLinear(nn.Linear):
    """A linear layer over many tokens, as a 1x1 convolution of a picture of them: where torch's matrix products stay below AVX-512, as
    they do in float32 on AMD's processors, its convolutions are twice as fast.
    """

    def forward(self, x: Tensor) -> Tensor:
        """... d -> ... e."""
        num_tokens = x.numel() // x.shape[-1]
        rows = _rows(num_tokens) if num_tokens >= FEWEST_TOKENS and _convolves(x) else 0
        if not rows:
            return super().forward(x)
        picture = x.reshape(rows, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)
        return F.conv2d(picture, self.weight[:, :, None, None], self.bias).permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


class GatedFeedForward(FeedForward):
    """A feed-forward whose hidden layer, eight times as wide as the tokens, is never there as a whole where no gradient is wanted."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """... d -> ... d."""
        enter, dropout, leave = self.net
        if hidden_states.device.type != "cpu" or torch.is_grad_enabled() or type(enter) is not GEGLU or self.training and dropout.p:
            return super().forward(hidden_states)
        tokens = hidden_states.reshape(-1, hidden_states.shape[-1])
        num_rows = max(FEWEST_AT_ONCE, HIDDEN_AT_ONCE // leave.in_features // 64 * 64)
        parts = []
        for part in tokens.split(num_rows):
            value, gate = enter.proj(part).chunk(2, dim=1)
            parts.append(leave(enter.gelu(gate).mul_(value)))
        return torch.cat(parts).view(*hidden_states.shape[:-1], -1)


def _convolves(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and has_wide_vectors() and not torch.is_autocast_enabled("cpu")


@cache
def _rows(num_tokens: int) -> int:
    """Rows of a picture of so many tokens; 0 where there is none."""
    return next((rows for rows in range(FEWEST_ROWS, num_tokens // FEWEST_ROWS + 1) if num_tokens % rows == 0), 0)


FAST = {nn.Linear: TokenLinear, FeedForward: GatedFeedForward, nn.Conv3d: FrameConv}


def make_fast(network: nn.Module) -> None:
    """Turns a network's layers into those of this module, in place; what is of another class already stays."""
    for layer in network.modules():
        layer.__class__ = FAST.get(type(layer), type(layer))
