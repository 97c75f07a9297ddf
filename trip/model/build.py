"""From settings to models: the one place that knows both."""

from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler
from transformers import CLIPTextConfig, CLIPTextModel

from trip.model.fusion import NoiseFusion
from trip.model.unet import TripUNet
from trip.settings import VARIANTS, EditorSettings, ModelSettings, Variant


def variant_of(name: str) -> Variant:
    """The named variant of the paper; ValueError names the choices."""
    if name not in VARIANTS:
        raise ValueError(f"unknown variant {name!r}; choose {', '.join(VARIANTS)}")
    return VARIANTS[name]


def build_vae(settings: ModelSettings) -> AutoencoderKL:
    """An untrained image autoencoder, 8 times smaller latents for four blocks."""
    s = settings.vae
    blocks = len(s.block_channels)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=s.block_channels,
        layers_per_block=s.layers_per_block,
        latent_channels=s.latent_channels,
        norm_num_groups=s.norm_groups,
        mid_block_add_attention=s.middle_attention,
        sample_size=settings.frame_size,
    )


def build_text_encoder(settings: ModelSettings | EditorSettings, vocabulary: int | None = None) -> CLIPTextModel:
    """An untrained text encoder; `vocabulary` is the tokenizer's size where that is known."""
    s = settings.text
    vocabulary = vocabulary or s.vocabulary
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=s.width,
            intermediate_size=s.hidden_width,
            num_hidden_layers=s.layers,
            num_attention_heads=s.heads,
            max_position_embeddings=s.max_tokens,
            hidden_act=s.activation,
            projection_dim=s.width,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )


def unet_sizes(settings: ModelSettings) -> dict[str, Any]:
    """What diffusers' own 3D-UNet is told of the settings; the variant's first frame is attached along time."""
    s, levels = settings.unet, len(settings.unet.block_channels)
    return {
        "sample_size": settings.frame_size // 2 ** (len(settings.vae.block_channels) - 1),
        "in_channels": settings.vae.latent_channels,
        "out_channels": settings.vae.latent_channels,
        "down_block_types": ("CrossAttnDownBlock3D",) * (levels - 1) + ("DownBlock3D",),
        "up_block_types": ("UpBlock3D",) + ("CrossAttnUpBlock3D",) * (levels - 1),
        "block_out_channels": s.block_channels,
        "layers_per_block": s.layers_per_block,
        "norm_num_groups": s.norm_groups,
        "cross_attention_dim": settings.text.width,
        "attention_head_dim": s.head_width,
    }


def build_unet(settings: ModelSettings) -> TripUNet:
    """An untrained 3D-UNet for the settings' variant."""
    s, sizes = settings.unet, unet_sizes(settings)
    first_frame = variant_of(settings.variant).first_frame
    if first_frame == "channel":
        sizes["in_channels"] *= 2
    return TripUNet(
        **sizes,
        first_frame=first_frame,
        predicts=settings.schedule.unet_predicts,
        entry_heads=s.entry_heads,
        frame_embedding=s.frame_embedding,
        photo_warp=s.photo_warp,
        warp_space=s.warp_space,
        scene_frequencies=s.scene_frequencies,
        temporal_dropout=s.temporal_dropout,
        added_conditions=s.added_conditions,
        base_schedule=s.base_schedule,
    )


def build_fusion(settings: ModelSettings) -> NoiseFusion:
    """An untrained fusion for the settings' variant."""
    s, variant = settings.fusion, variant_of(settings.variant)
    return NoiseFusion(
        kind=variant.fusion,
        channels=settings.vae.latent_channels,
        width=s.width,
        heads=s.heads,
        depth=s.depth,
        attend=s.attend,
        concatenate=s.concatenate,
        query=s.query,
        skip=s.skip,
        predicts=s.predicts,
        num_frames=settings.num_frames,
        lam_first=s.lam_first,
        lam_last=s.lam_last,
        motion_variance=s.motion_variance if variant.falls_with_snr else 0.0,
    )


def build_scheduler(settings: ModelSettings) -> DDIMScheduler:
    """The paper's sampler on the settings' noise schedule; it is always given noise, whatever the 3D-UNet predicts."""
    s = settings.schedule
    return DDIMScheduler(
        num_train_timesteps=s.num_train_steps,
        beta_start=s.beta_start,
        beta_end=s.beta_end,
        beta_schedule=s.kind,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1 if s.spacing == "leading" else 0,
        timestep_spacing=s.spacing,
        prediction_type="epsilon",
    )
