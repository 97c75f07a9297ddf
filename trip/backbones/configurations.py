"""The real sizes of the catalogue's video models, as their own configurations on the hub have them: for what is worked out before anything
is fetched. What is opened is what its folder says.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
import transformers
from torch import Tensor, nn

from trip.backbones.kinds import KINDS

SD_BLOCKS = {"block_out_channels": (128, 256, 512, 512), "down_block_types": ("DownEncoderBlock2D",) * 4, "layers_per_block": 2}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_H = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}
VISION_H = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16, "patch_size": 14}
T5_XXL = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "feed_forward_proj": "gated-gelu"}
WAN_DECODED = 4  # latents in time


def _sd_vae() -> nn.Module:
    return diffusers.AutoencoderKL(**SD_BLOCKS, up_block_types=("UpDecoderBlock2D",) * 4)


def _clip(**sizes: int) -> nn.Module:
    return transformers.CLIPTextModel(transformers.CLIPTextConfig(**sizes))


def _eyes() -> nn.Module:
    return transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**VISION_H, projection_dim=1024))


def _t5() -> nn.Module:
    return transformers.T5EncoderModel(transformers.T5Config(**T5_XXL, vocab_size=32_128))


def _umt5() -> nn.Module:
    return transformers.UMT5EncoderModel(transformers.UMT5Config(**T5_XXL, vocab_size=256_384))


def _wan() -> nn.Module:
    return diffusers.WanTransformer3DModel(
        num_attention_heads=24, attention_head_dim=128, in_channels=48, out_channels=48, ffn_dim=14_336, num_layers=30, cross_attn_norm=True
    )


def _wan_vae() -> nn.Module:
    return diffusers.AutoencoderKLWan(
        base_dim=160, decoder_base_dim=256, z_dim=48, dim_mult=[1, 2, 4, 4], num_res_blocks=2, temperal_downsample=[False, True, True],
        is_residual=True, in_channels=12, out_channels=12, patch_size=2, scale_factor_spatial=16, latents_mean=[0.0] * 48,
        latents_std=[1.0] * 48,
    )  # fmt: skip


def _cogvideox() -> nn.Module:
    return diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=48, num_layers=42, in_channels=32, use_rotary_positional_embeddings=True, use_learned_positional_embeddings=True
    )


@dataclass(frozen=True)
class Configuration:
    """One model, by parts.

    parts    name -> what makes it
    denoiser, decoder  names of the parts that a step and the decoding take
    latents  one clip's, at the shape and length that it was made for, as the decoder takes them   1 c f h w
    step     (denoiser, latents) -> a step's prediction, guidance included
    decode   (decoder, latents) -> pixels
    """

    parts: dict[str, Callable[[], nn.Module]]
    denoiser: str
    latents: tuple[int, int, int, int, int]
    step: Callable[[nn.Module, Tensor], Any]
    decode: Callable[[nn.Module, Tensor], Any]
    decoder: str = "vae"


def _words(latents: Tensor, width: int, tokens: int = 77, batch: int = 2) -> Tensor:
    return latents.new_empty(batch, tokens, width)


def _frames(latents: Tensor) -> Tensor:
    """As pictures: b c f h w -> (b f) c h w."""
    return latents.transpose(1, 2).flatten(0, 1)


def _each_frame(vae: nn.Module, latents: Tensor) -> Any:
    """Slice by slice, as the pipelines here decode."""
    vae.enable_slicing()
    return vae.decode(_frames(latents)).sample


def _in_tiles(vae: nn.Module, latents: Tensor) -> Any:
    vae.enable_tiling()
    return vae.decode(latents, return_dict=False)


def _wan_decode(vae: nn.Module, latents: Tensor) -> Any:
    """A few latents in time, for which each is decoded alike, while the pixels of the others pile up."""
    few, times = latents[:, :, :WAN_DECODED], latents.shape[2] - WAN_DECODED
    beside = few.new_empty(3, 4 * times, 16 * few.shape[3], 16 * few.shape[4])
    return beside, _in_tiles(vae, few)


def _unet_step(unet: nn.Module, latents: Tensor) -> Any:
    return unet(latents.repeat(2, 1, 1, 1, 1), 500, _words(latents, 1024))


def _motion_step(unet: nn.Module, latents: Tensor) -> Any:
    clips = latents.repeat(2, 1, 1, 1, 1)
    return unet(clips, 500, _words(latents, 768, batch=2 * clips.shape[2]))


def _pictures_step(unet: nn.Module, latents: Tensor) -> Any:
    frames = _frames(latents).repeat(2, 1, 1, 1)
    return unet(frames, 500, _words(latents, 768, batch=len(frames)))


def _i2vgen_step(unet: nn.Module, latents: Tensor) -> Any:
    clips = latents.repeat(2, 1, 1, 1, 1)
    seen = {"image_latents": clips, "image_embeddings": latents.new_empty(2, 1024), "fps": torch.full((2,), 8, device=latents.device)}
    return unet(clips, 500, encoder_hidden_states=_words(latents, 1024), **seen)


def _svd_step(unet: nn.Module, latents: Tensor) -> Any:
    clips = torch.cat([latents, latents], dim=1).transpose(1, 2).repeat(2, 1, 1, 1, 1)
    return unet(clips, 1.0, _words(latents, 1024, tokens=1), added_time_ids=latents.new_empty(2, 3))


def _wan_step(transformer: nn.Module, latents: Tensor) -> Any:
    times = latents.new_empty(1, latents[0, 0].numel() // 4)
    return transformer(latents, times, _words(latents, 4096, tokens=512, batch=1), return_dict=False)  # each branch of guidance by itself


def _cogvideox_step(transformer: nn.Module, latents: Tensor) -> Any:
    clips, cells = torch.cat([latents, latents], dim=1).transpose(1, 2).repeat(2, 1, 1, 1, 1), latents[0, 0].numel() // 4
    turns = (latents.new_empty(cells, 64, dtype=torch.float32),) * 2
    times = torch.zeros(2, dtype=torch.long, device=latents.device)
    return transformer(clips, _words(latents, 4096, tokens=226), times, image_rotary_emb=turns, return_dict=False)


def _ltx_step(transformer: nn.Module, latents: Tensor) -> Any:
    f, h, w = latents.shape[2:]
    cells = latents.flatten(2).transpose(1, 2).repeat(2, 1, 1)
    mask = torch.ones(2, 128, dtype=torch.long, device=latents.device)
    times = latents.new_empty(2, f * h * w)
    return transformer(cells, _words(latents, 4096, tokens=128), times, mask, num_frames=f, height=h, width=w, return_dict=False)


def _svd_decode(vae: nn.Module, latents: Tensor) -> Any:
    chunk = KINDS["StableVideoDiffusionPipeline"].chunk
    return vae.decode(_frames(latents)[:chunk], num_frames=chunk).sample


_SD15 = {"text_encoder": lambda: _clip(**CLIP_L), "vae": _sd_vae}
CONFIGURATIONS: dict[str, Configuration] = {
    "animatediff": Configuration(
        _SD15 | {"unet": lambda: diffusers.UNetMotionModel(cross_attention_dim=768, num_attention_heads=8, use_motion_mid_block=False)},
        "unet", (1, 4, 16, 64, 64), _motion_step, _each_frame,
    ),
    "text2video-zero": Configuration(
        _SD15 | {"unet": lambda: diffusers.UNet2DConditionModel(cross_attention_dim=768)},
        "unet", (1, 4, 8, 64, 64), _pictures_step, _each_frame,
    ),
    "modelscope": Configuration(
        {"text_encoder": lambda: _clip(**CLIP_H), "vae": _sd_vae, "unet": diffusers.UNet3DConditionModel},
        "unet", (1, 4, 16, 32, 32), _unet_step, _each_frame,
    ),
    "zeroscope": Configuration(
        {"text_encoder": lambda: _clip(**CLIP_H), "vae": _sd_vae, "unet": diffusers.UNet3DConditionModel},
        "unet", (1, 4, 24, 40, 72), _unet_step, _each_frame,
    ),
    "i2vgen-xl": Configuration(
        {"text_encoder": lambda: _clip(**CLIP_H), "image_encoder": _eyes, "vae": _sd_vae, "unet": diffusers.I2VGenXLUNet},
        "unet", (1, 4, 16, 88, 160), _i2vgen_step, _each_frame,
    ),
    "wan-ti2v-5b": Configuration(
        {"text_encoder": _umt5, "vae": _wan_vae, "transformer": _wan}, "transformer", (1, 48, 31, 44, 80), _wan_step, _wan_decode
    ),
    "cogvideox-i2v": Configuration(
        {"text_encoder": _t5, "vae": diffusers.AutoencoderKLCogVideoX, "transformer": _cogvideox},
        "transformer", (1, 16, 13, 60, 90), _cogvideox_step, _in_tiles,
    ),
    "ltx": Configuration(
        {"text_encoder": _t5, "vae": diffusers.AutoencoderKLLTXVideo, "transformer": diffusers.LTXVideoTransformer3DModel},
        "transformer", (1, 128, 16, 16, 22), _ltx_step, _in_tiles,
    ),
    "svd-xt": Configuration(
        {
            "image_encoder": _eyes,
            "vae": lambda: diffusers.AutoencoderKLTemporalDecoder(**SD_BLOCKS),
            "unet": diffusers.UNetSpatioTemporalConditionModel,
        },
        "unet", (1, 4, 25, 72, 128), _svd_step, _svd_decode,
    ),
}  # fmt: skip
CONFIGURATIONS["animatelcm"] = CONFIGURATIONS["animatediff"]
