"""The parts of the small models of pictures, untrained: classes of diffusers and transformers at a small size."""

from inspect import signature

import torch
from diffusers import ControlNetModel, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.nn import functional

from trip.settings import PainterSettings, PictureModelSettings


def build_picture_unet(settings: PictureModelSettings, latent_channels: int, *, sees_photo: bool) -> UNet2DConditionModel:
    """A U-Net of v, which takes the noised latent and, where it sees a photo, the photo's latent in more channels.

    The sentence as a whole moves every block, added to the timestep's embedding, as most of what is asked for is of the whole picture.
    Single words are attended to on the inner levels, where that is cheap.
    """
    inner = len(settings.block_channels) - 2
    unet = UNet2DConditionModel(
        sample_size=settings.size // 8,
        in_channels=2 * latent_channels if sees_photo else latent_channels,
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


def build_controlnet(settings: PainterSettings, unet: UNet2DConditionModel) -> ControlNetModel:
    """A ControlNet for maps of the picture's own size, begun as a copy of the U-Net's first half (Zhang et al. 2023, Sec. 3.1).

    As `ControlNetModel.from_unet`, which forgets how many heads pool the sentence.
    """
    shared = {name: unet.config[name] for name in signature(ControlNetModel.__init__).parameters if name in unet.config}
    controlnet = ControlNetModel(**shared, conditioning_embedding_out_channels=settings.map_channels)
    for part in ("conv_in", "time_embedding", "add_embedding", "down_blocks", "mid_block"):
        getattr(controlnet, part).load_state_dict(getattr(unet, part).state_dict())
    controlnet.set_attn_processor(AttnProcessor())
    return controlnet


@torch.no_grad()
def wake_map_reader(controlnet: ControlNetModel, maps: Tensor) -> None:
    """Scales each convolution between map and features to outputs of unit variance, and lets the last one speak, which is zero otherwise.

    Lines on black shrink to nothing on their way through freshly drawn convolutions, and for long no gradient comes back.

    maps  of the kind that will be given   b 3 h w in [0, 1]
    """
    reader = controlnet.controlnet_cond_embedding
    nn.init.kaiming_normal_(reader.conv_out.weight)
    features = maps
    for convolution in (reader.conv_in, *reader.blocks, reader.conv_out):
        convolution.weight /= convolution(features).std()
        features = functional.silu(convolution(features))


def build_picture_scheduler() -> DDIMScheduler:
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
