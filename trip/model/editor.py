"""The parts of the small instruction editor, untrained: classes of diffusers and transformers at a small size."""

from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

from trip.settings import EditorSettings


def build_editor_unet(settings: EditorSettings, latent_channels: int) -> UNet2DConditionModel:
    """A U-Net of v, which takes the noised latent and the photo's latent.

    The sentence as a whole moves every block, added to the timestep's embedding, as most edits are of the whole picture. Single words
    are attended to on the inner levels, where that is cheap.
    """
    inner = len(settings.block_channels) - 2
    unet = UNet2DConditionModel(
        sample_size=settings.size // 8,
        in_channels=2 * latent_channels,
        out_channels=latent_channels,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * inner, "DownBlock2D"),
        up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * inner, "UpBlock2D"),
        block_out_channels=settings.block_channels,
        layers_per_block=settings.layers_per_block,
        norm_num_groups=settings.norm_groups,
        cross_attention_dim=settings.text.width,
        attention_head_dim=settings.heads,  # diffusers reads this as the number of heads
        addition_embed_type="text",
        addition_embed_type_num_heads=settings.heads,
    )
    unet.set_attn_processor(AttnProcessor())  # plain products: on a CPU the fused kernel is slower backwards, for so few places
    return unet


def build_editor_scheduler() -> DDIMScheduler:
    """Stable Diffusion's schedule, pulled to zero signal at its end, so that a dark night is in reach (Lin et al. 2024); v-prediction."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
