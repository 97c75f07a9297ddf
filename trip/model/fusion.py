"""Fusing the image noise prior with the residual noise: Eq. 9 (linear), Eq. 11 (attention), or not at all."""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from trip.diffusion import image_noise_prior, linear_fusion, noise_from_v, prior_share, spread, v_from_noise
from trip.model.attention import attend
from trip.model.layers import TokenLinear


class AdaptiveNorm(nn.Module):
    """Layer norm whose scale and shift follow the time step."""

    def __init__(self, width: int, time_width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(time_width, 2 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x: b n d, time: b e."""
        scale, shift = self.modulation(F.silu(time)).unsqueeze(1).chunk(2, dim=-1)
        return self.norm(x) * (1 + scale) + shift


class Attention(nn.Module):
    """Multi-head attention of `x` over `context`."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = TokenLinear(width, width, bias=False)
        self.key_value = TokenLinear(width, 2 * width, bias=False)
        self.out = TokenLinear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x: b n d, context: b m d."""
        q = rearrange(self.query(x), "b n (nh d) -> b nh n d", nh=self.heads)
        k, v = rearrange(self.key_value(context), "b n (two nh d) -> two b nh n d", two=2, nh=self.heads)
        return self.out(rearrange(attend(q, k, v), "b nh n d -> b n (nh d)"))


class FusionBlock(nn.Module):
    """Adaptive norm, self-attention, adaptive norm, cross-attention to both noises (Figure 3)."""

    def __init__(self, width: int, heads: int, time_width: int):
        super().__init__()
        self.self_norm = AdaptiveNorm(width, time_width)
        self.self_attention = Attention(width, heads)
        self.cross_norm = AdaptiveNorm(width, time_width)
        self.cross_attention = Attention(width, heads)

    def forward(self, x: Tensor, context: Tensor, time: Tensor) -> Tensor:
        """x: b n d, context: b m d, time: b e."""
        normed = self.self_norm(x, time)
        x = x + self.self_attention(normed, normed)
        return x + self.cross_attention(self.cross_norm(x, time), context)


class NoiseFusion(ModelMixin, ConfigMixin):
    """Noise of each frame from the image noise prior and the 3D-UNet's residual noise.

    kind             none: the residual itself; linear: Eq. 9; attention: the Temporal Noise Fusion module (Eq. 11)
    attend           what the attention runs over: the places of a frame (space) or the frames at a place (time)
    concatenate      how keys and values are made of both noises: channels of one token a place, or tokens side by side
    query            what the query begins as: the residual noise, or both noises as one token a place
    skip             add the attention's output, zero at first, to the linear blend; off is the paper's form, which starts as the
                     residual itself, so that nothing of what a given 3D-UNet knows is lost
    predicts         what the attention works on without skip: noises, as in the paper (epsilon), or what both mean as v_prediction, which
                     is then exact at much noise, where a small error of a noise is a large one of the clean clip
    lam_first        share of the prior at the photo, lam_last from frame num_frames on
    motion_variance  mean squared distance of a clip's latents to the photo's; 0 takes t out of the share
    """

    @register_to_config
    def __init__(
        self,
        kind: str = "attention",
        channels: int = 4,
        width: int = 256,
        heads: int = 8,
        depth: int = 1,
        attend: str = "space",
        concatenate: str = "tokens",
        query: str = "residual",
        skip: bool = False,
        predicts: str = "epsilon",
        num_frames: int = 16,
        lam_first: float = 0.9,
        lam_last: float = 0.1,
        motion_variance: float = 0.5,
    ):
        super().__init__()
        if kind not in ("none", "linear", "attention"):
            raise ValueError(f"unknown fusion {kind!r}; choose none, linear or attention")
        if attend not in ("space", "time"):
            raise ValueError(f"unknown axis of attention {attend!r}; choose space or time")
        if concatenate not in ("channels", "tokens") or query not in ("residual", "both"):
            raise ValueError(f"unknown form {concatenate!r}, {query!r}; choose channels or tokens, and residual or both")
        if predicts not in ("epsilon", "v_prediction"):
            raise ValueError(f"unknown prediction {predicts!r}; choose epsilon or v_prediction")
        if skip and predicts != "epsilon":
            raise ValueError("wanted epsilon for a fusion with skip, which adds to a blend of noises, got v_prediction; choose one of them")
        if kind == "attention" and width < (least := 2 * channels + 2):  # room for both noises, a constant and a mean
            raise ValueError(f"wanted a fusion of at least {least} features for {channels} channels, got {width}")
        if kind != "attention":
            self.register_buffer("no_weights", torch.zeros(1))  # a module has one tensor at least: files, devices and precisions go by it
            return
        self.time_features = Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(width, width)
        if concatenate == "tokens":
            self.prior_in = nn.Linear(channels, width)
        if concatenate == "tokens" or query == "residual":
            self.residual_in = nn.Linear(channels, width)
        if concatenate == "channels" or query == "both":
            self.both_in = nn.Linear(2 * channels, width)
        self.blocks = nn.ModuleList(FusionBlock(width, heads, width) for _ in range(depth))
        self.out_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, channels)
        if skip:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)
        else:
            self._start_at_the_residual()

    @torch.no_grad()
    def _start_at_the_residual(self, signal: float = 0.25) -> None:
        """Weights by which the residual passes through; the attention adds nothing yet.

        Noises enter along directions at right angles to each other and to a constant, which is larger and so all but decides what the
        norm at the end divides by; the output reads those of the residual.

        signal  variance of the noises in a token, that of the constant is 1: less is more exact, more is easier to attend by
        """
        for block in self.blocks:
            for attention in (block.self_attention, block.cross_attention):
                nn.init.zeros_(attention.out.weight)
                nn.init.zeros_(attention.out.bias)
        enter = self.residual_in if self.config.query == "residual" else self.both_in
        width, count, channels = *enter.weight.shape, len(self.out.bias)  # of both noises, the residual comes last
        random = torch.randn(width, count + 1, dtype=torch.float32)  # by name: models are also made in half precision, or without memory
        directions = torch.linalg.qr(torch.cat([torch.ones_like(random[:, :1]), random], dim=1)).Q[:, 1:]  # mean 0, as the norm wants
        scale = (signal * width / count) ** 0.5
        enter.weight.copy_(scale * directions[:, :count])
        enter.bias.copy_(width**0.5 * directions[:, count])
        self.out.weight.copy_((1 + signal) ** 0.5 / scale * directions[:, count - channels : count].T)
        nn.init.zeros_(self.out.bias)

    def share(self, alpha_bar: Tensor, times: Tensor) -> Tensor:
        """Share of the prior in the linear blend, b 1 f 1 1 (Eq. 9's lam)."""
        names = ("num_frames", "lam_first", "lam_last", "motion_variance")
        return prior_share(alpha_bar, times, **{name: self.config[name] for name in names})

    @property
    def kinds(self) -> tuple[str, ...]:
        """Fusions that these weights can do: their own, and what it is built on."""
        blend = ("linear",) if self.config.kind == "attention" and self.config.skip else ()
        return tuple(dict.fromkeys((self.config.kind, *blend, "none")))

    def forward(
        self,
        z_t: Tensor,
        z_first: Tensor,
        residual: Tensor,
        timestep: Tensor,
        alpha_bar: Tensor,
        times: Tensor,
        kind: str | None = None,
    ) -> Tensor:
        """The fused noise, b c f h w, float32.

        z_t        noised clip                 b c f h w
        z_first    clean latent of the photo   b c 1 h w
        residual   noise from the 3D-UNet      b c f h w
        timestep   as the 3D-UNet got it       b
        alpha_bar  share of signal left        b
        times      distance of each frame to the photo, in frames   b f
        kind       one of `kinds`; none: the one that was trained
        """
        residual, kind = residual.float(), kind or self.config.kind
        assert kind in self.kinds, kind
        if kind == "none":
            return residual
        prior = image_noise_prior(z_t, z_first, alpha_bar)
        if kind == "linear":
            return linear_fusion(prior, residual, self.share(alpha_bar, times))
        if self.config.predicts == "v_prediction":
            prior, residual = (v_from_noise(noise, z_t, alpha_bar) for noise in (prior, residual))
            return noise_from_v(self._attend(prior, residual, timestep, alpha_bar), z_t, alpha_bar)
        attended = self._attend(prior, residual, timestep, alpha_bar).float()
        if not self.config.skip:
            return attended
        blend = linear_fusion(prior, residual, self.share(alpha_bar, times))
        return blend + spread(alpha_bar).sqrt() * attended  # bounded in the clean clip, whatever t is

    def _attend(self, prior: Tensor, residual: Tensor, timestep: Tensor, alpha_bar: Tensor) -> Tensor:
        b, _, f, h, w = residual.shape
        fold, unfold = {
            "space": ("b c f h w -> (b f) (h w) c", "(b f) (h w) c -> b c f h w"),
            "time": ("b c f h w -> (b h w) f c", "(b h w) f c -> b c f h w"),
        }[self.config.attend]
        repeats = f if self.config.attend == "space" else h * w
        time = self.time_embedding(self.time_features(timestep).to(self.dtype)).repeat_interleave(repeats, dim=0)

        bounded_prior = (1 - spread(alpha_bar)).sqrt() * prior
        prior, residual = (rearrange(noise, fold).to(self.dtype) for noise in (bounded_prior, residual))
        x, context = self._tokens(prior, residual)
        for block in self.blocks:
            x = block(x, context, time)
        return rearrange(self.out(self.out_norm(x)), unfold, b=b, f=f, h=h, w=w)

    def _tokens(self, prior: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """What the query begins as, b n d, and what keys and values are made of, b m d, from both noises, b n c."""
        tokens = {}
        if hasattr(self, "residual_in"):
            tokens["residual"] = self.residual_in(residual)
        if hasattr(self, "both_in"):
            tokens["both"] = self.both_in(torch.cat([prior, residual], dim=2))
        if self.config.concatenate == "channels":
            return tokens[self.config.query], tokens["both"]
        return tokens[self.config.query], torch.cat([self.prior_in(prior), tokens["residual"]], dim=1)
