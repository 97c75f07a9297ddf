"""How each class of diffusers' video pipelines is called, and what it was made for where its folder does not say."""

from dataclasses import dataclass
from pathlib import Path

from trip.first_frame.local_models import index_of


@dataclass(frozen=True)
class Kind:
    """A class of pipelines.

    shape             height and width that it was made for, pixels
    is_square         that is the square of its U-Net's own size, where its folder says one
    num_frames, fps, num_steps, guidance_scale  what is used where nothing else is asked for
    sees_photo        whether it takes the photo itself; another one knows it by the prior alone
    reads_prompt      whether it takes a sentence
    multiple          sides are multiples of it, pixels
    stride            a clip has a multiple of so many frames, and one more
    least_steps       fewer are too few
    chunk             frames that are decoded at once, where that is told; none: as the class has it
    most_frames       it gives noise beyond
    is_fixed          it draws its own shape alone
    words             of our words those that it has others for; a word without one is not taken
    """

    shape: tuple[int, int]
    num_frames: int
    fps: float
    num_steps: int
    guidance_scale: float
    sees_photo: bool = False
    reads_prompt: bool = True
    multiple: int = 8
    stride: int = 1
    most_frames: int = 64
    least_steps: int = 1
    chunk: int | None = None
    is_fixed: bool = False
    is_square: bool = False
    words: tuple[tuple[str, str], ...] = ()

    def word(self, name: str) -> str:
        """What the class calls one of our words; empty where it does not take it."""
        return dict(self.words).get(name, name if name != "fps" else "")


KINDS = {
    "AnimateDiffPipeline": Kind((512, 512), 16, 8.0, 25, 7.5, most_frames=32, is_square=True),
    "TextToVideoSDPipeline": Kind((256, 256), 16, 8.0, 50, 9.0, is_square=True),
    "TextToVideoZeroPipeline": Kind((512, 512), 8, 4.0, 50, 7.5, is_square=True, least_steps=4, words=(("num_frames", "video_length"),)),
    "I2VGenXLPipeline": Kind((704, 1280), 16, 8.0, 50, 9.0, sees_photo=True, words=(("fps", "target_fps"),)),
    "WanPipeline": Kind((480, 832), 81, 16.0, 50, 5.0, multiple=16, stride=4, most_frames=121),
    "WanImageToVideoPipeline": Kind((704, 1280), 121, 24.0, 50, 5.0, sees_photo=True, multiple=32, stride=4, most_frames=121),
    "CogVideoXPipeline": Kind((480, 720), 49, 8.0, 50, 6.0, stride=8, most_frames=49, is_fixed=True),
    "CogVideoXImageToVideoPipeline": Kind((480, 720), 49, 8.0, 50, 6.0, sees_photo=True, stride=8, most_frames=49, is_fixed=True),
    "LTXPipeline": Kind((512, 704), 121, 24.0, 50, 3.0, multiple=32, stride=8, most_frames=121, words=(("fps", "frame_rate"),)),
    "LTXImageToVideoPipeline": Kind(
        (512, 704), 121, 24.0, 50, 3.0, sees_photo=True, multiple=32, stride=8, most_frames=121, words=(("fps", "frame_rate"),)
    ),
    "StableVideoDiffusionPipeline": Kind(
        (576, 1024), 25, 7.0, 25, 3.0, sees_photo=True, reads_prompt=False, multiple=64, most_frames=25, chunk=8,
        words=(("fps", "fps"), ("guidance_scale", "max_guidance_scale"), ("prompt", ""), ("negative_prompt", "")),
    ),
}  # fmt: skip


def class_of(folder: Path) -> str:
    """Name of the class that opens a folder, one of KINDS; empty where it is no video model of others.

    A text-to-video folder of Wan 2.2's smaller model and of LTX opens as the class that takes the photo too: the weights are the same.
    """
    index = index_of(folder) or {}
    name = index.get("_class_name")
    if name == "WanPipeline" and index.get("expand_timesteps"):
        return "WanImageToVideoPipeline"
    if name == "LTXPipeline":
        return "LTXImageToVideoPipeline"
    return name if isinstance(name, str) and name in KINDS else ""
