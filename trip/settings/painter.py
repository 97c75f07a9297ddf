"""The small painter over canny maps: its sizes, and how it is trained."""

from pydantic import Field

from trip.settings.model import TextSettings
from trip.settings.picture_model import PictureModelSettings
from trip.settings.recipe import StageSettings


class PainterSettings(PictureModelSettings):
    """Sizes of a Stable Diffusion pipeline with a ControlNet, and the recipe that trains both at once."""

    map_channels: tuple[int, ...] = Field(description="of the convolutions that take a map to the size of latents, a halving each but one")
    half_size: StageSettings | None = Field(None, description="training at half height and width first, where a photo costs a quarter")
    full_size: StageSettings


PAINTERS = {
    "small": PainterSettings(  # the sizes of the embedded editor, with whose weights it can begin
        size=128,
        block_channels=(48, 64, 96),
        layers_per_block=1,
        text=TextSettings(width=128, layers=2, heads=4, hidden_width=256, max_tokens=32, vocabulary=2000),
        num_photos=2816,
        num_edits=2,
        map_channels=(8, 16, 48, 128),
        full_size=StageSettings(
            max_steps=3000,
            batch_size=16,
            learning_rate=1.5e-3,
            warmup_steps=50,
            cooldown=0.35,
            ema_decay=0.99,
            save_every=50,
            sample_every=150,
        ),
    ),
    "tiny": PainterSettings(  # for tests: the same classes, nothing to look at
        size=32,
        block_channels=(8, 8, 8),
        layers_per_block=1,
        heads=1,
        norm_groups=4,
        text=TextSettings(width=16, layers=1, heads=2, hidden_width=16, max_tokens=16, vocabulary=600),
        num_photos=4,
        num_edits=2,
        map_channels=(4, 8),
        half_size=StageSettings(max_steps=2, batch_size=2, learning_rate=1e-3, save_every=2, sample_every=2),
        full_size=StageSettings(max_steps=3, batch_size=2, learning_rate=1e-3, save_every=2, sample_every=2),
    ),
}
