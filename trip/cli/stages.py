"""What the verbs that make a first frame share: pictures first, then the clip, and every picture kept beside it."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from trip.cli.verbs import add_settings, settings_in
from trip.settings import AnimateSettings, PictureSettings

if TYPE_CHECKING:
    from PIL import Image

    from trip.first_frame.drawing import Step
    from trip.first_frame.generation import GenerationResult
    from trip.output import AnimatedClip

CLIP = "clip-"  # prefix of the flags that set the clip
PICTURE = f"picture-{2**31 - 1}"  # what a picture beside a clip is called at most
BAR_DELAY = 0.5  # seconds before a bar is drawn: what is refused by then is refused in one line


def add_stages(parser: argparse.ArgumentParser, schema: type[PictureSettings]) -> None:
    """Flags of the picture, of the clip, and of both models."""
    add_settings(parser, schema)
    add_settings(parser, AnimateSettings, CLIP)
    parser.add_argument("--model", metavar="FOLDER_OR_ID", help="TRIP checkpoint; the embedded one where none is given")
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder of picture models, beside the hub's cache")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.mp4|FILE.png", help="a PNG stops at the picture")


def checked_output(options: argparse.Namespace, *more: str) -> Path:
    """Where the result goes; ValueError, in one line, where it cannot be written, or what is kept beside it cannot."""
    from trip.media import check_target

    output = check_target(options.output, (".mp4", ".gif", ".webp", ".png"))
    for what in more:
        check_target(picture_path(output, what), (".png",))
    return output


def picture_path(output: Path, what: str) -> Path:
    """Where a picture is kept: clip.mp4 -> clip-map.png."""
    return output.with_name(f"{output.stem}-{what}.png")


def generate(
    options: argparse.Namespace,
    settings: PictureSettings,
    photo: "Image.Image | None" = None,
    found: "Image.Image | None" = None,
) -> "GenerationResult":
    """The pictures, with a bar; what people should know is printed above it."""
    from trip.first_frame.generation import PictureGenerator

    with tqdm(total=1.0, bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}", delay=BAR_DELAY) as bar:

        def on_step(step: "Step") -> None:
            bar.set_description_str(step.words, refresh=False)
            bar.update(step.fraction - bar.n)

        result = PictureGenerator(options.models, on_step, anywhere=True).generate(settings, photo, found)
    for note in result.pictures.notes:
        print(f"trip: {note}", file=sys.stderr)
    return result


def save_pictures(result: "GenerationResult", output: Path) -> list[Path]:
    """Writes pictures and map beside the output, or the first picture to the output itself where that is a PNG."""
    from trip.media import write_picture

    paths = [picture_path(output, f"picture-{picture.seed}") for picture in result.pictures.pictures]
    if output.suffix.lower() == ".png":
        paths[0] = output
    for picture, path in zip(result.pictures.pictures, paths, strict=True):
        write_picture(picture.image, path, result.settings.model_dump() | {"seed": picture.seed, "num_pictures": 1})
    if result.pictures.map is not None:
        write_picture(result.pictures.map, picture_path(output, "map"))
        paths.append(picture_path(output, "map"))
    return paths


def write_outputs(options: argparse.Namespace, result: "GenerationResult", output: Path, **clip_defaults: Any) -> None:
    """Keeps the pictures, and animates the first one unless the output is a PNG; prints what was written."""
    settings = settings_in(options, AnimateSettings, CLIP, **clip_defaults)
    paths = save_pictures(result, output)
    if output.suffix.lower() != ".png":
        animate(options.model, result.pictures.pictures[0].image, settings, output)
        paths.append(output)
    for path in paths:
        print(path)


def animate(
    model: str | None,
    image: "Image.Image",
    settings: AnimateSettings,
    output: Path | None,
    title: str = "animate",
    lora: Path | None = None,
    last_photo: "Image.Image | None" = None,
    models: Path | None = None,
) -> Any:
    """The clip of a picture, written where there is an output; with a bar.

    model   a TRIP checkpoint or a video model by others; the embedded one where none is given
    models  folder of models by others, beside the hub's cache
    """
    from trip.backbones.opening import acquire

    with acquire(model, lora, models) as pipe:
        settings = pipe.resolve(settings)
        with tqdm(total=settings.num_steps, desc=title, unit="step") as bar:
            clip = pipe.animate(image, settings, last_photo, callback_on_step_end=lambda *_: bar.update())
    for note in clip.notes:
        print(f"trip: {note}", file=sys.stderr)
    if output:
        write_rendered(clip, settings, output)
    return clip


def write_rendered(clip: "AnimatedClip", settings: AnimateSettings, output: Path) -> None:
    """Renders a clip into a file, frame by frame; says what a GIF weighs, which is made smaller where no size was asked for."""
    from trip.media import GIF_SHORT, write_frames
    from trip.render import Rendering

    is_gif = output.suffix.lower() == ".gif"
    frames = Rendering(clip, settings.size, settings.frame_rate, most=GIF_SHORT if is_gif and settings.size == "auto" else None)
    write_frames(frames, frames.fps, output, clip.metadata)
    if is_gif:
        height, width = frames.shape
        print(f"trip: {width} x {height} pixels, {output.stat().st_size / 1e6:.1f} MB; an .mp4 is far smaller", file=sys.stderr)
