"""Everything a person can set, once: the command line, the page, the API, stored files and presets all read these.

Model classes never see a settings object; `trip.model.build` turns it into keywords.
"""

from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from annotated_types import Ge, Le, Lt
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

SHOWN = 60  # characters of a refused value that an error repeats


class Variant(NamedTuple):
    """One row of the paper's ablations: where the photo's latent goes, and how prior and residual are fused."""

    first_frame: Literal["head", "tail", "channel"]
    fusion: Literal["attention", "linear", "none"]


VARIANTS = {
    "trip":       Variant("head",    "attention"),  # full method, Sec. 3.4
    "trip-c":     Variant("channel", "attention"),  # Table 5
    "trip-te":    Variant("tail",    "attention"),  # Table 5
    "trip-minus": Variant("head",    "none"),       # Table 6, no shortcut path
    "trip-w":     Variant("head",    "linear"),     # Table 6, Eq. 9
}  # fmt: skip


class Settings(BaseModel):
    """Base of all settings: unknown keys are errors, values never change after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _numbers(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


def _inside(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, width, height = box
    if min(left, top) < 0 or min(width, height) < 0.01 or max(left + width, top + height) > 1 + 1e-6:
        raise ValueError("outside the photo")
    return box


Crop = Annotated[tuple[float, float, float, float], BeforeValidator(_numbers), AfterValidator(_inside)]


class AnimateSettings(Settings):
    """What a person asks of one clip. None means: what the checkpoint was made for."""

    prompt: str = Field(
        "", title="Prompt", description="What moves, and how: 'the camera pans right', 'the clouds drift to the left'", max_length=10_000
    )
    negative_prompt: str = Field("", title="Negative prompt", description="What the clip should keep away from", max_length=10_000)
    motion: float = Field(1.0, ge=0, le=2, title="Motion", description="0 holds still, 1 is as told, 2 moves twice as far")
    num_frames: int | None = Field(None, ge=2, le=64, title="Frames", description="Length of the clip, the photo included")
    fps: float | None = Field(None, ge=1, le=60, title="Frames per second", description="How fast the clip plays")
    num_steps: int | None = Field(None, ge=1, le=1000, title="Steps", description="Denoising steps: more are slower and cleaner")
    guidance_scale: float | None = Field(
        None, ge=1, le=30, title="Guidance", description="How strictly the prompt is followed; 1 is without guidance and twice as fast"
    )
    scheduler: Literal["ddim", "dpm++", "unipc"] = Field(
        "ddim", title="Sampler", description="DDIM is the paper's; the other two need fewer steps"
    )
    aspect: Literal["1:1", "4:3", "3:4", "16:9", "9:16"] = Field(
        "1:1", title="Aspect", description="Width to height of the clip; models are trained on squares"
    )
    crop: Crop | None = Field(
        None, title="Crop", description="Part of the photo to animate: left, top, width, height in shares of the photo; empty takes all"
    )
    loop: bool = Field(False, title="Close the loop", description="The clip comes back to the photo, so that it plays on without a jump")
    seed: int | None = Field(
        None, ge=0, lt=2**31, title="Seed", description="The same seed and settings give the same clip; empty draws one"
    )


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


class FusionSettings(Settings):
    """The Temporal Noise Fusion module, and the shares of the prior that linear fusion uses (Eq. 9)."""

    width: int = 256
    heads: int = 8
    depth: int = 1
    attend: Literal["space", "time"] = Field("space", description="what the attention of the fusion runs over")
    skip: bool = Field(False, description="learn a correction of the linear blend; off: the paper's form")
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
    carry_detail: bool = Field(False, description="give the frames back what the autoencoder lost of the photo, along the flow")
    vae: VaeSettings = VaeSettings()
    text: TextSettings = TextSettings()
    unet: UnetSettings = UnetSettings()
    fusion: FusionSettings = FusionSettings()
    schedule: ScheduleSettings = ScheduleSettings()


class StageSettings(Settings):
    """How one stage of the training runs."""

    max_steps: int = Field(description="optimizer steps, the whole stage")
    batch_size: int = Field(description="samples per process and step")
    num_frames: int | None = Field(None, ge=2, description="frames of a clip that a step sees; none: all")
    learning_rate: float
    fusion_learning_rate: float | None = Field(None, description="learning rate of the fusion module")
    weight_decay: float = 0.01
    warmup_steps: int = 0
    cooldown: float = Field(0.0, ge=0, le=1, description="last share of the steps, over which the rate falls to zero")
    ema_decay: float = 0.999
    grad_clip: float = 1.0
    save_every: int = 200
    sample_every: int = 400


class RecipeSettings(Settings):
    """How a model is trained: its data and its stages."""

    precision: Literal["no", "bf16", "fp16"] = "no"
    text_drop: float = Field(0.1, ge=0, le=1, description="share of clips whose text is left out, for guidance")
    timestep_spread: float | None = Field(None, description="spread of log-SNR around the middle; none: uniform timesteps")
    loss_weight: Literal["epsilon", "v"] = Field("epsilon", description="epsilon: Eq. 10 as it stands; v: the same error over alpha_bar")
    num_cached_clips: int = Field(0, description="moving clips made of photos and encoded ahead of the training")
    vae: StageSettings | None = None
    text: StageSettings | None = None
    half_size: StageSettings | None = Field(None, description="the denoiser at half height and width first, where a clip costs a quarter")
    denoiser: StageSettings


class Preset(Settings):
    """A model and the recipe that trains it."""

    model: ModelSettings
    recipe: RecipeSettings
    card: str = Field("", description="what the weights are, in a sentence for people")


PRESETS = {
    "paper": Preset(  # Sec. 4.1; sizes of ModelScopeT2V, on which the paper builds
        model=ModelSettings(),
        recipe=RecipeSettings(
            precision="bf16",
            denoiser=StageSettings(max_steps=200_000, batch_size=4, learning_rate=2e-6, fusion_learning_rate=2e-4),
        ),
    ),
    "embedded": Preset(  # what the project ships: small enough for a laptop without a GPU
        card="The embedded model (128 × 128 pixels), trained by this project on a CPU: the camera goes where told, scenes are weak.",
        model=ModelSettings(
            frame_size=128,
            fps=8.0,
            num_steps=12,
            guidance_scale=1.0,
            carry_detail=True,
            vae=VaeSettings(block_channels=(16, 48, 96, 128), layers_per_block=1, latent_channels=8, middle_attention=False, norm_groups=2),
            text=TextSettings(width=128, layers=2, heads=4, hidden_width=256, max_tokens=48, vocabulary=2048),
            unet=UnetSettings(
                block_channels=(48, 96, 192),
                layers_per_block=1,
                head_width=16,
                norm_groups=16,
                entry_heads=3,
                frame_embedding=True,
                photo_warp=True,
                temporal_dropout=0.0,
            ),
            fusion=FusionSettings(width=64, heads=2, attend="space", skip=True, lam_first=0.5),
            schedule=ScheduleSettings(spacing="trailing", unet_predicts="v_prediction"),
        ),
        recipe=RecipeSettings(
            precision="bf16",
            text_drop=0.1,
            timestep_spread=1.0,
            loss_weight="v",
            num_cached_clips=4096,
            vae=StageSettings(
                max_steps=5400,
                batch_size=8,
                learning_rate=1e-3,
                weight_decay=0.0,
                warmup_steps=50,
                cooldown=0.1,
                ema_decay=0.995,
                save_every=50,
            ),
            text=StageSettings(max_steps=400, batch_size=64, learning_rate=1e-3, warmup_steps=50, cooldown=0.5, ema_decay=0.99),
            half_size=StageSettings(
                max_steps=800,
                batch_size=16,
                num_frames=8,
                learning_rate=8e-4,
                fusion_learning_rate=1e-3,
                warmup_steps=100,
                ema_decay=0.995,
            ),
            denoiser=StageSettings(
                max_steps=1800,
                batch_size=4,
                learning_rate=6e-4,
                fusion_learning_rate=1e-3,
                warmup_steps=20,
                cooldown=0.4,
                ema_decay=0.998,
            ),
        ),
    ),
    "tiny": Preset(  # for tests: the same classes, nothing to look at
        model=ModelSettings(
            frame_size=32,
            num_frames=4,
            fps=8.0,
            num_steps=2,
            guidance_scale=2.0,
            vae=VaeSettings(block_channels=(8, 8), layers_per_block=1, latent_channels=4, middle_attention=False, norm_groups=4),
            text=TextSettings(width=16, layers=1, heads=2, hidden_width=16, max_tokens=16, vocabulary=600),
            unet=UnetSettings(
                block_channels=(8, 16),
                layers_per_block=1,
                head_width=8,
                norm_groups=4,
                entry_heads=1,
                frame_embedding=True,
                photo_warp=True,
            ),
            fusion=FusionSettings(width=16, heads=2, skip=True),
            schedule=ScheduleSettings(spacing="trailing", unet_predicts="v_prediction"),
        ),
        recipe=RecipeSettings(
            loss_weight="v",
            num_cached_clips=8,
            vae=StageSettings(max_steps=3, batch_size=2, learning_rate=1e-3, save_every=2, sample_every=2),
            text=StageSettings(max_steps=3, batch_size=4, learning_rate=1e-3, save_every=2, sample_every=2),
            half_size=StageSettings(max_steps=2, batch_size=2, learning_rate=1e-3, save_every=2, sample_every=2),
            denoiser=StageSettings(max_steps=4, batch_size=2, learning_rate=1e-3, save_every=2, sample_every=2),
        ),
    ),
}


def kind_of(name: str) -> type:
    """Type of a setting, without the None that stands for 'automatic'."""
    annotation = AnimateSettings.model_fields[name].annotation
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    return annotation if get_origin(annotation) is Literal or not kinds else kinds[0]


def bounds(name: str) -> tuple[float | None, float | None]:
    """Lowest and highest value of a setting, both allowed; None where there is no bound."""
    low = high = None
    for rule in AnimateSettings.model_fields[name].metadata:
        if isinstance(rule, Ge):
            low = rule.ge
        elif isinstance(rule, Le):
            high = rule.le
        elif isinstance(rule, Lt):
            high = rule.lt - 1
    return low, high


def checked(**values: Any) -> AnimateSettings:
    """Settings from raw values, where None means the default.

    Raises ValueError with one line that names the control, what it takes and what came.
    """
    try:
        return AnimateSettings(**{name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        raise ValueError("; ".join(complaint(problem) for problem in error.errors(include_url=False))) from None


def complaint(problem: dict[str, Any]) -> str:
    """One line for one problem that pydantic found."""
    name = str(problem["loc"][0])
    if name not in AnimateSettings.model_fields:
        return f"there is no setting {name!r}; choose from {', '.join(AnimateSettings.model_fields)}"
    came = problem["input"]
    if problem["type"] == "string_too_long":
        came = f"{len(came):,}"
    return f"{AnimateSettings.model_fields[name].title} must be {wanted(name)}, not {shortened(came)}"


def wanted(name: str) -> str:
    """What a setting takes, in words."""
    kind, (low, high) = kind_of(name), bounds(name)
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if name == "crop":
        return "left, top, width, height from 0 to 1, inside the photo"
    if kind is bool:
        return "true or false"
    if kind is str:
        longest = next(rule.max_length for rule in AnimateSettings.model_fields[name].metadata if hasattr(rule, "max_length"))
        return f"text of at most {longest:,} characters"
    return f"a {'whole ' if kind is int else ''}number from {low:g} to {high:,}"


def shortened(value: Any) -> str:
    """A refused value as an error repeats it: on one line, and not at length."""
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
