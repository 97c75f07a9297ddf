"""`python -m trip animate`: a photo and a prompt to a clip."""

import argparse
from pathlib import Path

from trip.cli.stages import animate
from trip.cli.verbs import Verbs, add_settings, settings_in
from trip.settings import AnimateSettings


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    parser = verbs.add_parser("animate", help="a clip from a photo and a prompt")
    parser.add_argument("photo", metavar="PHOTO")
    parser.add_argument("--last-photo", metavar="PHOTO", help="the clip arrives at this photo; none: it goes where the motion takes it")
    parser.add_argument("--sound", metavar="FILE", help="an .mp4 is heard with it, cut to its length: a sound, or a video that has one")
    add_settings(parser, AnimateSettings)
    parser.add_argument("--model", metavar="FOLDER_OR_ID", help="a checkpoint, folder or hub id; or a video model by others (see: models)")
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder of models by others, beside the hub's cache")
    parser.add_argument("--lora", type=Path, metavar="RUN", help="folder or file of a fine-tune, whose changes are added to the model")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.mp4|FILE.gif|FILE.webp")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    settings = settings_in(options, AnimateSettings)
    from trip.media import MediaError, check_sound, check_writable, read_photo, with_sound

    output, last = check_writable(options.output), None
    if options.sound and output.suffix.lower() != ".mp4":
        raise MediaError(f"--sound: wanted an .mp4 to put a sound into, got {output.name}; choose an .mp4")
    sound = options.sound and check_sound(options.sound)
    if options.last_photo:
        settings.check_arrival()
        last = read_photo(options.last_photo)
    animate(options.model, read_photo(options.photo), settings, output, lora=options.lora, last_photo=last, models=options.models)
    if sound:
        with_sound(output, sound, output)
    print(output)
