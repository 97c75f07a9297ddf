"""How a model is trained."""

from typing import Literal

from pydantic import Field

from trip.settings.base import Settings


class StageSettings(Settings):
    """How one stage of the training runs."""

    max_steps: int = Field(description="optimizer steps, the whole stage")
    batch_size: int = Field(ge=1, description="samples per process and forward pass")
    accumulation: int = Field(1, ge=1, description="forward passes whose gradients are added up before a step")
    num_frames: int | None = Field(None, ge=2, description="frames of a clip that a step sees; none: all")
    learning_rate: float
    fusion_learning_rate: float | None = Field(None, description="learning rate of the fusion module")
    weight_decay: float = 0.01
    betas: tuple[float, float] = Field((0.9, 0.99), description="of AdamW")
    warmup_steps: int = 0
    cooldown: float = Field(0.0, ge=0, le=1, description="last share of the steps, over which the rate falls to zero")
    ema_decay: float = 0.999
    grad_clip: float = 1.0
    save_every: int = Field(200, ge=1, description="steps from one checkpoint to the next")
    save_minutes: float = Field(60.0, gt=0, description="minutes after which a checkpoint is due, whatever the step")
    keep: int = Field(2, ge=1, description="newest checkpoints that stay, beside the best one")
    best_by: str = Field("held_out_loss", description="figure of the evaluation whose lowest value marks the best checkpoint")
    sample_every: int = Field(400, ge=1, description="steps from one evaluation, with samples, to the next")


class RecipeSettings(Settings):
    """How a model is trained: its data and its stages."""

    precision: Literal["no", "bf16", "fp16"] = "no"
    text_drop: float = Field(0.1, ge=0, le=1, description="share of clips whose text is left out, for guidance")
    timestep_spread: float | None = Field(None, description="spread of log-SNR around the middle; none: uniform timesteps")
    loss_weight: Literal["epsilon", "v", "min_snr"] = Field(
        "epsilon", description="epsilon: Eq. 10 as it stands; v: the same error over alpha_bar; min_snr: times min(SNR, 5) / SNR"
    )
    photo_noise: float = Field(0.0, ge=0, description="deviation of the noise on the photo's latent that the 3D-UNet sees, at the last t")
    new_content: float = Field(0.0, ge=0, description="how much more an error weighs where a frame shows what the photo does not")
    added_drop: float = Field(0.1, ge=0, le=1, description="share of clips whose frame rate and strength are not told")
    gradient_checkpointing: bool = Field(False, description="recompute layers in the backward pass: less memory, more time")
    num_cached_clips: int = Field(0, description="moving clips made of photos and encoded ahead of the training")
    num_moments: int = Field(0, description="clips of which the photo and a few moments are enough, for the photo's motion")
    swaying_clips: float = Field(0.0, ge=0, le=1, description="share of the cached clips that are sure to show waves, leaves or flames")
    swaying_moments: float = Field(
        0.0, ge=0, le=1, description="share of those that are sure to show waves, leaves or flames; the rest is as it comes"
    )
    vae: StageSettings | None = None
    decoder: StageSettings | None = Field(None, description="the decoder alone, for sharper pictures of given latents")
    text: StageSettings | None = None
    sentences: StageSettings | None = Field(
        None, description="what a sentence alone decides about the photo's motion, from sentences alone"
    )
    field: StageSettings | None = Field(None, description="the photo's motion alone, from clips whose true motion is known")
    field_trains: Literal["all", "waves", "none"] = Field(
        "all", description="what of the photo's motion is trained: waves, what is left to chance; none: it stays as given"
    )
    half_size: StageSettings | None = Field(None, description="the denoiser at half height and width first, where a clip costs a quarter")
    denoiser: StageSettings
