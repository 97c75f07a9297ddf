"""Tiny random twins of the catalogue's video models: the real classes and parts, saved as the hub has them, with the real schedules."""

from pathlib import Path

import diffusers
import torch
from diffusers import CogVideoXDDIMScheduler, DDIMScheduler, EulerDiscreteScheduler, UniPCMultistepScheduler
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from tests.first_frame import tiny as pictures
from trip.model.text import train_tokenizer

WIDTH = pictures.WIDTH
SMALL = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1, "sample_size": 16}
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1, "clip_sample": False}
ZERO_SNR = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}


def make_video_models(folder: Path) -> Path:
    """A twin of each model of the catalogue that makes clips, at 32 to 64 pixels; Stable Diffusion 1.5 with them."""
    torch.manual_seed(1)
    pictures.stable_diffusion(diffusers.StableDiffusionPipeline).save_pretrained(folder / "sd15")
    motion_adapter().save_pretrained(folder / "animatediff")
    motion_adapter().save_pretrained(folder / "animatelcm")
    _lcm_lora(folder)
    for name, make in {
        "modelscope": modelscope,
        "i2vgen-xl": i2vgen,
        "wan-ti2v-5b": wan,
        "cogvideox-i2v": cogvideox,
        "ltx": ltx,
        "svd-xt": svd,
    }.items():
        make().save_pretrained(folder / name)
    return folder


def motion_adapter() -> diffusers.MotionAdapter:
    adapter = diffusers.MotionAdapter(
        block_out_channels=(16, 32), motion_layers_per_block=1, motion_norm_num_groups=8, motion_num_attention_heads=2,
        motion_max_seq_length=32, use_motion_mid_block=False,
    )  # fmt: skip
    return _random(adapter)


def _lcm_lora(folder: Path) -> None:
    """A LoRA as AnimateLCM's: of the U-Net's attention, and zero, so that what it is loaded into is known."""
    from peft import LoraConfig

    pipe = diffusers.AnimateDiffPipeline.from_pretrained(folder / "sd15", motion_adapter=motion_adapter(), safety_checker=None)
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k"]))
    layers = diffusers.utils.convert_state_dict_to_diffusers(_lora_of(pipe.unet))
    pipe.save_lora_weights(folder / "animatelcm", layers, weight_name="AnimateLCM_sd15_t2v_lora.safetensors")


def _lora_of(unet: torch.nn.Module) -> dict[str, torch.Tensor]:
    from peft.utils import get_peft_model_state_dict

    return get_peft_model_state_dict(unet)


def modelscope() -> diffusers.DiffusionPipeline:
    unet = diffusers.UNet3DConditionModel(
        **SMALL, down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"), up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=WIDTH, attention_head_dim=4,
    )  # fmt: skip
    parts = pictures.stable_diffusion(diffusers.StableDiffusionPipeline)
    return diffusers.TextToVideoSDPipeline(parts.vae, parts.text_encoder, parts.tokenizer, _random(unet), DDIMScheduler(**SD))


def i2vgen() -> diffusers.DiffusionPipeline:
    unet = diffusers.I2VGenXLUNet(
        **SMALL, in_channels=4, out_channels=4, cross_attention_dim=WIDTH, attention_head_dim=4, num_attention_heads=None,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"), up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    )  # fmt: skip
    parts = pictures.stable_diffusion(diffusers.StableDiffusionPipeline)
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", steps_offset=1, clip_sample=False, timestep_spacing="leading", **ZERO_SNR
    )  # fmt: skip
    eyes = CLIPImageProcessor(crop_size=224, size=224)
    return diffusers.I2VGenXLPipeline(parts.vae, parts.text_encoder, parts.tokenizer, _eyes(WIDTH), eyes, _random(unet), scheduler)


def wan() -> diffusers.DiffusionPipeline:
    """Wan 2.2's smaller model: every token has a time of its own, and the photo's is 0."""
    transformer = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=48, out_channels=48, text_dim=WIDTH, freq_dim=32,
        ffn_dim=16, num_layers=1, cross_attn_norm=True, rope_max_seq_len=32,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLWan(
        base_dim=4, decoder_base_dim=4, z_dim=48, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
        is_residual=True, in_channels=12, out_channels=12, patch_size=2, scale_factor_spatial=16, latents_mean=[0.1] * 48,
        latents_std=[0.5] * 48,
    )  # fmt: skip
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0)
    text = UMT5EncoderModel(UMT5Config(**_t5()))
    return diffusers.WanPipeline(_tokenizer(512), text, vae, scheduler, _random(transformer), expand_timesteps=True)


def cogvideox() -> diffusers.DiffusionPipeline:
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=32, out_channels=16, text_embed_dim=WIDTH, time_embed_dim=8, num_layers=1,
        sample_width=8, sample_height=8, sample_frames=9, max_text_seq_length=226, use_rotary_positional_embeddings=True,
        use_learned_positional_embeddings=True,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLCogVideoX(
        block_out_channels=(4, 4, 4, 4), down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
        layers_per_block=1, norm_num_groups=2, latent_channels=16, scaling_factor=0.7,
    )  # fmt: skip
    scheduler = CogVideoXDDIMScheduler(snr_shift_scale=1.0, timestep_spacing="trailing", **ZERO_SNR)
    text = T5EncoderModel(T5Config(**_t5()))
    return diffusers.CogVideoXImageToVideoPipeline(_tokenizer(226), text, vae, _random(transformer), scheduler)


def ltx() -> diffusers.DiffusionPipeline:
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16, num_layers=1,
        caption_channels=WIDTH,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8), layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1), patch_size=1, patch_size_t=1,
    )  # fmt: skip
    text = T5EncoderModel(T5Config(**_t5()))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, shift_terminal=0.1, base_image_seq_len=1024, max_image_seq_len=4096
    )
    return diffusers.LTXPipeline(scheduler, vae, text, _tokenizer(128), _random(transformer))


def svd() -> diffusers.DiffusionPipeline:
    unet = diffusers.UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=16, addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"), cross_attention_dim=WIDTH, num_attention_heads=(2, 4),
    )  # fmt: skip
    vae = diffusers.AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4, layers_per_block=1
    )
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", interpolation_type="linear", prediction_type="v_prediction",
        sigma_min=0.002, sigma_max=700.0, timestep_spacing="leading", timestep_type="continuous", use_karras_sigmas=True, steps_offset=1,
    )  # fmt: skip
    return diffusers.StableVideoDiffusionPipeline(vae, _eyes(WIDTH), _random(unet), scheduler, CLIPImageProcessor(crop_size=224, size=224))


def _eyes(width: int) -> CLIPVisionModelWithProjection:
    config = CLIPVisionConfig(
        hidden_size=width,
        projection_dim=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=224,
        intermediate_size=37,
        patch_size=32,
    )
    return CLIPVisionModelWithProjection(config)


def _t5() -> dict[str, int]:
    return {"vocab_size": 700, "d_model": WIDTH, "d_kv": 8, "d_ff": 37, "num_layers": 1, "num_heads": 2}


def _tokenizer(max_tokens: int):
    """Words as numbers; the real ones are sentencepiece's, which have to be fetched."""
    return train_tokenizer(pictures.WORDS, vocabulary=600, max_tokens=max_tokens)


def _random(network: torch.nn.Module) -> torch.nn.Module:
    """Random weights everywhere, also where training starts from zero."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    return network.eval()
