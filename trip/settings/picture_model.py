"""What the small models of pictures share: the sizes of their networks, and how many photos they see."""

from pydantic import Field

from trip.settings.base import Settings
from trip.settings.model import TextSettings


class PictureModelSettings(Settings):
    """Sizes of a U-Net of pictures and of its text encoder."""

    size: int = Field(description="height and width of the photos it learns from, pixels")
    block_channels: tuple[int, ...] = Field(description="of the U-Net, a level each; all levels but the first and the last attend to words")
    layers_per_block: int = 2
    heads: int = 4
    norm_groups: int = 16
    text: TextSettings
    num_photos: int = Field(description="crops of photos that are edited and encoded ahead of the training")
    num_edits: int = Field(description="edits of each of them")
