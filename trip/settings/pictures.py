"""What a person asks of a first frame: painted from words, edited by an instruction, or drawn over a control map."""

from typing import Any, Literal, Self

from pydantic import Field

from trip.settings.base import Request

Annotator = Literal["canny", "hed", "lineart", "depth", "normal", "pose", "mlsd", "scribble", "segment"]
MODEL_HELP = "Of the list, or another folder or hub id that is on this machine; empty takes the first of the list that is here"


class PictureSettings(Request):
    """What the three ways to a picture share. None means: what the model was made for."""

    negative_prompt: str = Field("", title="Negative prompt", description="What the picture should keep away from", max_length=10_000)
    num_pictures: int = Field(1, ge=1, le=8, title="Pictures", description="How many to choose from")
    size: int | None = Field(
        None, ge=64, le=2048, title="Size", description="Pixels of a side of a square; other shapes get as many pixels in all"
    )
    num_steps: int | None = Field(None, ge=1, le=200, title="Steps", description="Denoising steps: more are slower and cleaner")
    guidance_scale: float | None = Field(
        None, ge=1, le=30, title="Guidance", description="How strictly the words are followed; 1 is without guidance and faster"
    )
    lora: str = Field("", title="LoRA", description="A .safetensors file of the models folder's loras, added to the model", max_length=500)
    lora_weight: float = Field(1.0, ge=-2, le=2, title="LoRA weight", description="How much of the LoRA is added")
    embedding: str = Field(
        "",
        title="Embedding",
        description="A .safetensors file of the models folder's embeddings (textual inversion); its name becomes a word",
        max_length=500,
    )
    seed: int | None = Field(
        None, ge=0, lt=2**31, title="Seed", description="Of the first picture, the next ones count on; empty draws one"
    )


class PaintSettings(PictureSettings):
    """A picture from words alone."""

    prompt: str = Field("", title="Picture", description="What the picture shows", max_length=10_000)
    picture_model: str = Field("", title="Model", description=MODEL_HELP, max_length=500)
    aspect: Literal["1:1", "4:3", "3:4", "16:9", "9:16"] = Field("1:1", title="Aspect", description="Width to height of the picture")
    refine: bool = Field(False, title="Refine", description="The SDXL refiner takes over for the last fifth of the steps")


class EditSettings(PictureSettings):
    """A photo changed by an instruction (InstructPix2Pix)."""

    instruction: str = Field("", title="Instruction", description="What to change: 'make it winter', 'make it sunset'", max_length=10_000)
    picture_model: str = Field("", title="Model", description=MODEL_HELP, max_length=500)
    image_guidance: float | None = Field(
        None, ge=1, le=5, title="Image guidance", description="How closely the edit keeps to the photo; more is closer"
    )


class ControlSettings(PictureSettings):
    """A picture from words, drawn over the map of a photo (ControlNet)."""

    prompt: str = Field("", title="Picture", description="What the picture shows", max_length=10_000)
    picture_model: str = Field("", title="Model", description=MODEL_HELP, max_length=500)
    annotator: Annotator = Field("canny", title="Annotator", description="What is taken over from the photo; canny needs no download")
    controlnet: str = Field(
        "", title="ControlNet", description="Empty takes the one that fits model and annotator; or a folder or hub id", max_length=500
    )
    is_map: bool = Field(False, title="The photo is a map already", description="It is used as it is")
    low: int = Field(100, ge=1, le=255, title="Canny, low", description="Edges weaker than this are dropped")
    high: int = Field(200, ge=1, le=255, title="Canny, high", description="Edges stronger than this are kept")
    strength: float = Field(1.0, ge=0, le=2, title="Strength", description="How strictly the map is followed")
    start: float = Field(0.0, ge=0, le=1, title="Start", description="Share of the steps after which the map begins to count")
    end: float = Field(1.0, ge=0, le=1, title="End", description="Share of the steps after which the map no longer counts")

    @classmethod
    def checked(cls, **values: Any) -> Self:
        """As in `Request`; ValueError as well where a range ends before it starts."""
        settings = super().checked(**values)
        for first, last in (("start", "end"), ("low", "high")):
            lowest, highest = getattr(settings, first), getattr(settings, last)
            if lowest >= highest:
                titles = [cls.model_fields[name].title for name in (first, last)]
                raise ValueError(f"{titles[1]} must be above {titles[0]}, which is {lowest:g}, not {highest:g}")
        return settings
