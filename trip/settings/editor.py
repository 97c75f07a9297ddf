"""The small instruction editor: its sizes, and how it is trained."""

from pydantic import Field

from trip.settings.model import TextSettings
from trip.settings.picture_model import PictureModelSettings
from trip.settings.recipe import StageSettings


class EditorSettings(PictureModelSettings):
    """Sizes of an InstructPix2Pix pipeline, and the recipe that trains it."""

    words: StageSettings = Field(description="the text encoder learns which edit a sentence asks for")
    half_size: StageSettings | None = Field(None, description="training at half height and width first, where a photo costs a quarter")
    full_size: StageSettings
    guidance_scale: float = Field(1.0, ge=1, description="text guidance where nobody asks for another")
    image_guidance_scale: float = Field(1.0, ge=1, description="image guidance where nobody asks for another")


EDITORS = {
    "embedded": EditorSettings(  # what the project ships
        size=128,
        block_channels=(48, 64, 96),
        layers_per_block=1,
        text=TextSettings(width=128, layers=2, heads=4, hidden_width=256, max_tokens=32, vocabulary=1400),
        num_photos=1024,
        num_edits=6,
        words=StageSettings(
            max_steps=250, batch_size=48, learning_rate=2e-3, warmup_steps=20, cooldown=0.5, ema_decay=0.98, sample_every=125
        ),
        half_size=StageSettings(
            max_steps=500, batch_size=32, learning_rate=2e-3, warmup_steps=50, ema_decay=0.99, save_every=100, sample_every=150
        ),
        full_size=StageSettings(
            max_steps=2400,
            batch_size=16,
            learning_rate=1.5e-3,
            warmup_steps=20,
            cooldown=0.35,
            ema_decay=0.99,
            save_every=50,
            sample_every=150,
        ),
    ),
    "tiny": EditorSettings(  # for tests: the same classes, nothing to look at
        size=32,
        block_channels=(8, 8, 8),
        layers_per_block=1,
        heads=1,
        norm_groups=4,
        text=TextSettings(width=16, layers=1, heads=2, hidden_width=16, max_tokens=16, vocabulary=600),
        num_photos=4,
        num_edits=2,
        words=StageSettings(max_steps=2, batch_size=2, learning_rate=1e-3, save_every=2, sample_every=2),
        half_size=StageSettings(max_steps=2, batch_size=2, learning_rate=1e-3, save_every=2, sample_every=2),
        full_size=StageSettings(max_steps=3, batch_size=2, learning_rate=1e-3, save_every=2, sample_every=2),
    ),
}
