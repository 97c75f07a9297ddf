"""Tiny random models of the real classes, saved to a models folder as the hub's are."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, PreTrainedTokenizerBase

from trip.model.text import train_tokenizer

WIDTH = 32  # of either text encoder
WORDS = ["a red house under a blue sky", "make it winter", "the camera pans right"]


def make_models(folder: Path) -> Path:
    """The models of the catalogue that the tests use, at 32 pixels."""
    torch.manual_seed(0)
    sdxl = _sdxl(StableDiffusionXLPipeline)
    sdxl.save_pretrained(folder / "sdxl", variant="fp16")
    _sdxl(StableDiffusionXLPipeline, EulerAncestralDiscreteScheduler(timestep_spacing="trailing")).save_pretrained(folder / "sdxl-turbo")
    lightning = folder / "ByteDance--SDXL-Lightning" / "sdxl_lightning_4step_unet.safetensors"
    lightning.parent.mkdir()
    save_file(_unet(xl=True).state_dict(), lightning)
    _refiner().save_pretrained(folder / "sdxl-refiner")
    sd = stable_diffusion(StableDiffusionPipeline)
    sd.save_pretrained(folder / "sd15")
    stable_diffusion(StableDiffusionInstructPix2PixPipeline, channels=8).save_pretrained(folder / "ip2p")
    _sdxl(StableDiffusionXLInstructPix2PixPipeline, channels=8).save_pretrained(folder / "ip2p-xl")
    _controlnet(sd.unet).save_pretrained(folder / "control-sd15-canny")
    _controlnet(sdxl.unet).save_pretrained(folder / "control-sdxl-canny", variant="fp16")
    return folder


def _tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(WORDS, vocabulary=600, max_tokens=77)


def _text_config() -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(_tokenizer()), hidden_size=WIDTH, intermediate_size=WIDTH, projection_dim=WIDTH, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=77,
    )  # fmt: skip


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 16), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4, norm_num_groups=8, sample_size=32,
    )  # fmt: skip


def _unet(*, xl: bool, channels: int = 4, refiner: bool = False) -> UNet2DConditionModel:
    more = {}
    if xl:
        num_ids = 5 if refiner else 6  # that are embedded beside the sentence
        more = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 8 * num_ids + WIDTH,
            "transformer_layers_per_block": (1, 2),
            "use_linear_projection": True,
        }
    return UNet2DConditionModel(
        sample_size=16, in_channels=channels, out_channels=4, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4), cross_attention_dim=2 * WIDTH if xl and not refiner else WIDTH, **more,
    )  # fmt: skip


def _sdxl(kind: type, scheduler: object = None, channels: int = 4) -> StableDiffusionXLPipeline:
    return kind(
        vae=_vae(), text_encoder=CLIPTextModel(_text_config()), text_encoder_2=CLIPTextModelWithProjection(_text_config()),
        tokenizer=_tokenizer(), tokenizer_2=_tokenizer(), unet=_unet(xl=True, channels=channels),
        scheduler=scheduler or EulerDiscreteScheduler(), force_zeros_for_empty_prompt=True, add_watermarker=False,
    )  # fmt: skip


def _refiner() -> StableDiffusionXLImg2ImgPipeline:
    return StableDiffusionXLImg2ImgPipeline(
        vae=_vae(), text_encoder=None, tokenizer=None, text_encoder_2=CLIPTextModelWithProjection(_text_config()),
        tokenizer_2=_tokenizer(), unet=_unet(xl=True, refiner=True), scheduler=EulerDiscreteScheduler(),
        requires_aesthetics_score=True, add_watermarker=False,
    )  # fmt: skip


def stable_diffusion(kind: type, channels: int = 4) -> StableDiffusionPipeline:
    return kind(
        vae=_vae(), text_encoder=CLIPTextModel(_text_config()), tokenizer=_tokenizer(), unet=_unet(xl=False, channels=channels),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def _controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16))
    for parameter in controlnet.parameters():  # else the new convolutions are zero, and no map would count
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return controlnet
