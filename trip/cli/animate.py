"""`python -m trip animate`: a clip from a photo and a prompt."""

import argparse
from pathlib import Path

from tqdm import tqdm

from trip.cli.verbs import Verbs, add_settings, settings_in
from trip.settings import AnimateSettings


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    animate = verbs.add_parser("animate", help="a clip from a photo and a prompt")
    animate.add_argument("photo", metavar="PHOTO")
    add_settings(animate, AnimateSettings)
    animate.add_argument("--model", metavar="FOLDER_OR_ID", help="checkpoint folder or hub id; the embedded one where none is given")
    animate.add_argument("--lora", type=Path, metavar="RUN", help="folder or file of a fine-tune, whose changes are added to the model")
    animate.add_argument("--output", type=Path, required=True, metavar="FILE.mp4|FILE.gif|FILE.webp")
    animate.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    settings = settings_in(options, AnimateSettings)
    from trip.media import Clip, check_writable, read_photo, write_clip
    from trip.runtime import load_pipeline

    check_writable(options.output)
    photo = read_photo(options.photo)
    pipe = load_pipeline(options.model, options.lora)
    settings = pipe.resolve(settings)
    with tqdm(total=settings.num_steps, desc="animate", unit="step") as bar:
        output = pipe(photo, settings, callback_on_step_end=lambda *_: bar.update())
    print(write_clip(Clip(output.frames, output.fps, output.metadata), options.output))
