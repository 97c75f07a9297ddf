"""The 3D-UNet: diffusers' `UNet3DConditionModel`, weights and keys alike, and what the embedded model adds to it."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from diffusers import ModelMixin, UNet3DConditionModel  # noqa: F401  a pipeline's loader looks for ModelMixin in this module
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import Timesteps
from diffusers.models.resnet import ResnetBlock2D, TemporalConvLayer
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from diffusers.models.unets.unet_3d_condition import UNet3DConditionOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trip.model.attention import VideoAttentionProcessor
from trip.model.conditioning import photo_of
from trip.model.layers import make_fast
from trip.model.warp import REFERENCE_FRAMES, MotionField, PhotoWarp, moved


class FrameEmbedding(nn.Module):
    """Embedding of a frame's time and of what the sentence wants by then; zero at first."""

    def __init__(self, sentence_width: int, out_width: int, num_waves: int = 4):
        super().__init__()
        self.register_buffer("frequencies", math.pi * torch.arange(1, num_waves + 1).float(), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(1 + 2 * num_waves + 2 * sentence_width, out_width),
            nn.SiLU(),
            nn.Linear(out_width, out_width),
            nn.SiLU(),
            nn.Linear(out_width, out_width),
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, times: Tensor, sentence: Tensor) -> Tensor:
        """times: b f, in reference frames; sentence: b d. Gives (b f) e."""
        share = (times.float() / REFERENCE_FRAMES).unsqueeze(2)
        waves = share * self.frequencies
        sentence = sentence.float().unsqueeze(1).expand(-1, times.shape[1], -1)
        features = torch.cat([share, waves.sin(), waves.cos(), sentence, sentence * share], dim=2)
        return self.layers(features.to(self.layers[0].weight.dtype)).flatten(0, 1)


class NumberEmbedding(nn.Module):
    """Embedding of one number a clip, such as its frame rate; zero at first, and where the number is not known (NaN)."""

    def __init__(self, out_width: int, num_waves: int = 64):
        super().__init__()
        self.waves = Timesteps(2 * num_waves, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.layers = nn.Sequential(nn.Linear(2 * num_waves, out_width), nn.SiLU(), nn.Linear(out_width, out_width))
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, numbers: Tensor) -> Tensor:
        """numbers: b, not negative. Gives b e."""
        unknown = numbers.isnan()
        features = self.waves(100 * torch.log2(1 + numbers.float().masked_fill(unknown, 0)))
        return self.layers(features.to(self.layers[0].weight.dtype)).masked_fill(unknown.unsqueeze(1), 0)


RECOMPUTED = (ResnetBlock2D, TemporalConvLayer, Transformer2DModel, TransformerTemporalModel)


def _recomputed(forward: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    """A layer whose inside is forgotten and computed again when its gradient is wanted."""
    if not torch.is_grad_enabled():
        return forward(*arguments, **more)
    return checkpoint(forward, *arguments, use_reentrant=False, **more)


class TripUNet(UNet3DConditionModel):
    """Residual noise of a clip; without its own options it equals the base class.

    first_frame            where the photo's latent is attached: head, tail or channel (Table 5)
    predicts               what the output means: epsilon or v_prediction
    entry_heads            heads of the temporal transformer at the entry; the base class has 8
    frame_embedding        tell every convolution the frame's time and the sentence
    temporal_dropout       of the temporal convolutions, while training; the base class has 0.1
    photo_warp             show the network the photo as each frame would show it after the motion that the sentence tells
    warp_space             what is moved for that: the photo's latents, or its pixels, which are encoded then (`pixel`). Latents that lie
                           between cells are blurred, and pixels far less; but who calls then brings `moved_photo`
    scene_frequencies      frequencies of the scene's waves, drawn from noise for each clip; 0: nothing of the motion is left to chance
    added_conditions       numbers a clip that the network is told beside the time step: fps (frames per second), strength (of the
                           motion, 1 for the usual one)
    base_schedule          kind, start, end and steps of the noise schedule that its time steps were learnt on, where that is not the
                           checkpoint's own: see `Denoiser`
    """

    _supports_gradient_checkpointing = True
    _skip_layerwise_casting_patterns = [*UNet3DConditionModel._skip_layerwise_casting_patterns, "added_embedding", "warp"]  # small ones

    @register_to_config
    def __init__(
        self,
        sample_size: int | None = None,
        in_channels: int = 4,
        out_channels: int = 4,
        down_block_types: tuple[str, ...] = ("CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types: tuple[str, ...] = ("UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        downsample_padding: int = 1,
        mid_block_scale_factor: float = 1,
        act_fn: str = "silu",
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        cross_attention_dim: int = 1024,
        attention_head_dim: int = 64,
        num_attention_heads: None = None,
        time_cond_proj_dim: int | None = None,
        first_frame: str = "head",
        predicts: str = "epsilon",
        entry_heads: int = 8,
        frame_embedding: bool = False,
        photo_warp: bool = False,
        warp_space: str = "latent",
        scene_frequencies: int = 0,
        temporal_dropout: float = 0.1,
        added_conditions: tuple[str, ...] = (),
        base_schedule: tuple[str, float, float, int] | None = None,
    ):
        super().__init__(
            sample_size=sample_size,
            in_channels=in_channels,
            out_channels=out_channels,
            down_block_types=down_block_types,
            up_block_types=up_block_types,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            downsample_padding=downsample_padding,
            mid_block_scale_factor=mid_block_scale_factor,
            act_fn=act_fn,
            norm_num_groups=norm_num_groups,
            norm_eps=norm_eps,
            cross_attention_dim=cross_attention_dim,
            attention_head_dim=attention_head_dim,
            num_attention_heads=num_attention_heads,
            time_cond_proj_dim=time_cond_proj_dim,
        )
        if entry_heads != 8:
            self.transformer_in = TransformerTemporalModel(
                entry_heads, attention_head_dim, block_out_channels[0], norm_num_groups=norm_num_groups
            )
        embedding_width = block_out_channels[0] * 4
        if frame_embedding:
            self.frame_time_embedding = FrameEmbedding(cross_attention_dim, embedding_width)
        if photo_warp:
            self.warp = PhotoWarp(out_channels, cross_attention_dim, frequencies=scene_frequencies)
            self.photo_in = nn.Conv2d(out_channels + 1, block_out_channels[0], 3, padding=1)
            nn.init.zeros_(self.photo_in.weight)
            nn.init.zeros_(self.photo_in.bias)
        if added_conditions:
            self.added_embedding = nn.ModuleDict({name: NumberEmbedding(embedding_width) for name in added_conditions})
        for module in self.modules():
            if isinstance(module, TemporalConvLayer):
                for part in module.modules():
                    if isinstance(part, nn.Dropout):
                        part.p = temporal_dropout
        make_fast(self)
        self.set_attn_processor(VideoAttentionProcessor())

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        *,
        frame_times: Tensor | None = None,
        sentence: Tensor | None = None,
        added_conditions: dict[str, Tensor] | None = None,
        field: MotionField | None = None,
        moved_photo: Tensor | None = None,
        return_dict: bool = True,
    ) -> UNet3DConditionOutput | tuple[Tensor]:
        """Output of every frame that came in.

        sample                 frames, the photo's attached     b c f h w
        timestep               of the whole clip                b, or one number
        encoder_hidden_states  words of the prompt              b n d
        frame_times            time of each frame, in reference frames; for the options below   b f
        sentence               the prompt as one vector; for the options below                  b d
        added_conditions       numbers for the option of that name; one that is not there counts as not known   each b
        field                  what `motion_field` gave for photo and sentence, where the caller has it already
        moved_photo            what `encoded_after_moving` gave for the frames; none: the photo's latents are moved   b c+1 f h w
        return_dict            off: a tuple
        """
        b, _, f = sample.shape[:3]
        timestep = torch.as_tensor(timestep, device=sample.device).expand(b)
        embedding = self.time_embedding(self.time_proj(timestep).to(self.dtype))
        for name in self.config.added_conditions:
            if added_conditions and name in added_conditions:
                embedding = embedding + self.added_embedding[name](added_conditions[name])
        embedding = embedding.repeat_interleave(f, dim=0)
        if self.config.frame_embedding:
            embedding = embedding + self.frame_time_embedding(frame_times, sentence)
        words = {"encoder_hidden_states": encoder_hidden_states.repeat_interleave(f, dim=0)}

        hidden = self.conv_in(rearrange(sample, "b c f h w -> (b f) c h w"))
        if self.config.photo_warp:
            photo = photo_of(sample, self.config.first_frame)
            if moved_photo is None:
                moved_photo = moved(photo, field or self.warp(photo, sentence), frame_times)
            hidden = hidden + self.photo_in(rearrange(moved_photo, "b c f h w -> (b f) c h w").to(hidden.dtype))
        hidden = self.transformer_in(hidden, num_frames=f, return_dict=False)[0]

        skips = (hidden,)
        for block in self.down_blocks:
            hidden, more = block(hidden, temb=embedding, num_frames=f, **(words if _has_words(block) else {}))
            skips += more

        hidden = self.mid_block(hidden, embedding, num_frames=f, **words)

        for block in self.up_blocks:
            count = len(block.resnets)
            own, skips = skips[-count:], skips[:-count]
            size = skips[-1].shape[2:] if skips else None
            hidden = block(hidden, own, temb=embedding, num_frames=f, upsample_size=size, **(words if _has_words(block) else {}))

        hidden = self.conv_out(self.conv_act(self.conv_norm_out(hidden)))
        sample = rearrange(hidden, "(b f) c h w -> b c f h w", f=f)
        return UNet3DConditionOutput(sample=sample) if return_dict else (sample,)

    @property
    def moves_pixels(self) -> bool:
        """Whether `moved_photo` is wanted: the options `photo_warp` and `warp_space` say so."""
        return self.config.photo_warp and self.config.warp_space == "pixel"

    @apply_forward_hook
    def motion_field(self, photo: Tensor, sentence: Tensor, noise: Tensor | None = None) -> MotionField | None:
        """How the sentence moves the photo, the same at every noise level; none without the option `photo_warp`.

        photo     clean latent of the photo                                     b c h w
        sentence  the prompt as one vector                                      b d
        noise     what `scene_noise` gave; none: nothing is left to chance      b n h' w'
        """
        return self.warp(photo, sentence, noise) if self.config.photo_warp else None

    def scene_noise(self, height: int, width: int, generators: Sequence[torch.Generator]) -> Tensor | None:
        """What chance decides about the scenes of clips with latents of this size, b n h' w'; none without `scene_frequencies`."""
        return self.warp.draw_noise(height, width, generators) if self.config.photo_warp else None

    def set_default_attn_processor(self) -> None:
        """Attention as it was built: the base class knows its own processors alone."""
        self.set_attn_processor(VideoAttentionProcessor())

    def set_attention_slice(self, slice_size: str | int | list[int] | None) -> None:
        """Attention in slices, for less memory and more time; none: as it was built. Layers of fewer heads than a slice stay whole."""
        if slice_size is None:
            return self.set_default_attn_processor()
        heads = [layer.sliceable_head_dim for layer in self.modules() if layer is not self and hasattr(layer, "set_attention_slice")]
        if not isinstance(slice_size, list):
            slice_size = [
                max(1, most // 2) if slice_size == "auto" else 1 if slice_size == "max" else min(slice_size, most) for most in heads
            ]
        super().set_attention_slice(slice_size)

    def _set_gradient_checkpointing(self, enable: bool = True, gradient_checkpointing_func: Callable[..., Any] | None = None) -> None:
        """What `enable_gradient_checkpointing` asks for; the base class has it nowhere. Layer by layer: blocks would hold too much."""
        self.gradient_checkpointing = enable
        for layer in self.modules():
            if isinstance(layer, RECOMPUTED):
                layer.__dict__.pop("forward", None)
                if enable:
                    layer.forward = partial(_recomputed, layer.forward)


def _has_words(block: nn.Module) -> bool:
    return getattr(block, "has_cross_attention", False)
