"""The sizes and parts of a model. Model classes never see a settings object; `trip.model.build` turns it into keywords."""

from typing import Literal, NamedTuple

from pydantic import Field

from trip.settings.base import Settings


class Variant(NamedTuple):
    """One row of the paper's ablations: where the photo's latent goes, and how prior and residual are fused.

    falls_with_snr  whether the prior's share of the linear blend falls with the signal-to-noise ratio too, as the preset's
                    `motion_variance` says; the share of Eq. 9 knows the frame alone
    """

    first_frame: Literal["head", "tail", "channel"]
    fusion: Literal["attention", "linear", "none"]
    falls_with_snr: bool = True


VARIANTS = {
    "trip":       Variant("head",    "attention"),  # full method, Sec. 3.4
    "trip-c":     Variant("channel", "attention"),  # Table 5
    "trip-te":    Variant("tail",    "attention"),  # Table 5
    "trip-minus": Variant("head",    "none"),       # Table 6, no shortcut path
    "trip-w":     Variant("head",    "linear", falls_with_snr=False),  # Table 6, Eq. 9
    "trip-w-snr": Variant("head",    "linear"),     # ours: Eq. 9 with a share that knows the noise level
}  # fmt: skip


class VaeSettings(Settings):
    """Sizes of the `AutoencoderKL`."""

    block_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    latent_channels: int = 4
    middle_attention: bool = True
    norm_groups: int = 32


class TextSettings(Settings):
    """Sizes of the `CLIPTextModel` and of its tokenizer."""

    width: int = 1024
    layers: int = 23
    heads: int = 16
    hidden_width: int = 4096
    max_tokens: int = 77
    vocabulary: int = 49408
    activation: Literal["gelu", "quick_gelu"] = "gelu"


class UnetSettings(Settings):
    """Sizes of the 3D-UNet, and what ours may add to the base class (all off: the public weights load)."""

    block_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    head_width: int = 64
    norm_groups: int = 32
    entry_heads: int = Field(8, description="heads of the temporal transformer at the entry")
    frame_embedding: bool = Field(False, description="tell every convolution the frame's time and the sentence's meaning")
    temporal_dropout: float = Field(0.1, ge=0, lt=1, description="of the temporal convolutions, while training")
    photo_warp: bool = Field(False, description="show the network the photo as each frame would show it after the motion told")
    warp_space: Literal["latent", "pixel"] = Field("latent", description="what is moved for that: the photo's latents, or its pixels")
    scene_frequencies: int = Field(0, ge=0, description="frequencies of the scene's waves, drawn from noise for each clip; 0: no waves")
    added_conditions: tuple[Literal["fps", "strength"], ...] = Field(
        (), description="numbers a clip that go in beside the time step, zero at first"
    )
    base_schedule: tuple[str, float, float, int] | None = Field(
        None, description="kind, start, end, steps of the noise schedule that given weights were trained on; none: the model's own"
    )


class FusionSettings(Settings):
    """The Temporal Noise Fusion module, and the shares of the prior that linear fusion uses (Eq. 9)."""

    width: int = 256
    heads: int = 8
    depth: int = 1
    attend: Literal["space", "time"] = Field("space", description="what the attention of the fusion runs over")
    concatenate: Literal["channels", "tokens"] = Field("tokens", description="how keys and values are made of both noises")
    query: Literal["residual", "both"] = Field("residual", description="what the query begins as")
    skip: bool = Field(False, description="learn a correction of the linear blend; off: the paper's form")
    predicts: Literal["epsilon", "v_prediction"] = Field(
        "epsilon", description="what the attention works on without skip: noises, as in the paper, or what they mean as v"
    )
    lam_first: float = Field(0.9, ge=0, le=1, description="share of the prior at the photo")
    lam_last: float = Field(0.1, ge=0, le=1, description="share of the prior at the last frame")
    motion_variance: float = Field(0.5, ge=0, description="mean squared distance of a clip's latents to the photo's")


class ScheduleSettings(Settings):
    """The noise schedule."""

    kind: Literal["linear", "scaled_linear"] = "linear"
    beta_start: float = 1e-4
    beta_end: float = 2e-2
    num_train_steps: int = 1000
    spacing: Literal["leading", "trailing"] = Field("leading", description="which of the training's steps the sampler visits")
    unet_predicts: Literal["epsilon", "v_prediction"] = Field("epsilon", description="turned into noise before Eq. 9 and 11")


class ModelSettings(Settings):
    """A whole model."""

    variant: str = "trip"
    frame_size: int = Field(256, description="height and width of a frame, pixels")
    num_frames: int = Field(16, description="frames of a clip")
    fps: float = Field(4.0, description="frames per second of a clip")
    num_steps: int = Field(50, description="denoising steps where nobody asks for others")
    guidance_scale: float = Field(9.0, description="guidance where nobody asks for another")
    vae: VaeSettings = VaeSettings()
    text: TextSettings = TextSettings()
    unet: UnetSettings = UnetSettings()
    fusion: FusionSettings = FusionSettings()
    schedule: ScheduleSettings = ScheduleSettings()
