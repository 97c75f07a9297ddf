"""What a person asks of one clip."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from trip.settings.base import Request


def _numbers(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


def _inside(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, width, height = box
    if min(left, top) < 0 or min(width, height) < 0.01 or max(left + width, top + height) > 1 + 1e-6:
        raise ValueError("outside the photo")
    return box


def _name(value: Any) -> Any:
    if value is None:
        return "auto"
    return str(value) if isinstance(value, int) else value


Size = Annotated[Literal["auto", "model", "512", "768", "1024", "photo"], BeforeValidator(_name)]
Crop = Annotated[tuple[float, float, float, float], BeforeValidator(_numbers), AfterValidator(_inside)]


class AnimateSettings(Request):
    """What a person asks of one clip. None means: what the checkpoint was made for."""

    prompt: str = Field(
        "", title="Prompt", description="What moves, and how: 'the camera pans right', 'the clouds drift to the left'", max_length=10_000
    )
    negative_prompt: str = Field("", title="Negative prompt", description="What the clip should keep away from", max_length=10_000)
    motion: float = Field(1.0, ge=0, le=2, title="Motion", description="0 holds still, 1 is as told, 2 moves twice as far")
    num_frames: int | None = Field(None, ge=2, le=128, title="Frames", description="Length of the clip, the photo included")
    fps: float | None = Field(
        None, ge=1, le=60, title="Frames per second", description="How fast the network's frames play: fewer make a longer clip"
    )
    num_steps: int | None = Field(None, ge=1, le=1000, title="Steps", description="Denoising steps: more are slower and cleaner")
    guidance_scale: float | None = Field(
        None, ge=1, le=30, title="Guidance", description="How strictly the prompt is followed; 1 is without guidance and twice as fast"
    )
    scheduler: Literal["ddim", "dpm++", "unipc"] = Field(
        "ddim", title="Sampler", description="DDIM is the paper's; the other two need fewer steps"
    )
    fusion: Literal["trained", "linear", "none"] = Field(
        "trained",
        title="Fusion",
        description="What makes one noise of prior and residual: what was trained, the linear blend of Eq. 9, or the residual alone",
    )
    aspect: Literal["1:1", "4:3", "3:4", "16:9", "9:16", "photo"] = Field(
        "1:1",
        title="Aspect",
        description="Width to height of the clip; photo: as the animated part of the photo, up to 7:3; models are trained on squares",
    )
    crop: Crop | None = Field(
        None,
        title="Crop",
        description="Part of the photo to animate: left, top, width, height in shares of the photo; empty takes all",
        json_schema_extra={"wanted": "left, top, width, height from 0 to 1, inside the photo"},
    )
    size: Size = Field(
        "auto",
        title="Size",
        description="Short side of the clip, pixels, never more than the photo has; photo: as large as it is, up to 1080; model: what the "
        "network drew, untouched; auto: as large as the photo is, up to 768",
    )
    frame_rate: float = Field(
        24.0, ge=1, le=60, title="Frame rate", description="Frames a second of the finished clip, which plays no longer or shorter for it"
    )
    loop: bool = Field(False, title="Close the loop", description="The clip comes back to the photo, so that it plays on without a jump")
    seed: int | None = Field(
        None, ge=0, lt=2**31, title="Seed", description="The same seed and settings give the same clip; empty draws one"
    )

    def check_arrival(self) -> None:
        """ValueError where a clip cannot arrive at a last photo."""
        if self.loop:
            raise ValueError("wanted a clip that comes back to its photo or one that arrives at a last photo, got both; choose one")
