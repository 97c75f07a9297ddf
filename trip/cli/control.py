"""`python -m trip control`: a picture from words over the map of a photo, and a clip of it (Sec. 4.5, Figure 9)."""

import argparse
import sys

from trip.cli.stages import CLIP, PICTURE, add_stages, checked_output, generate, picture_path, write_outputs
from trip.cli.verbs import Verbs, settings_in
from trip.settings import AnimateSettings, ControlSettings


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    parser = verbs.add_parser("control", help="draw a picture over the control map of a photo, then make a clip of it")
    parser.add_argument("photo", metavar="PHOTO")
    parser.add_argument("--map", metavar="FILE", help="a control map that was made before, perhaps edited since")
    parser.add_argument("--map-only", action="store_true", help="stop at the control map; with canny this needs no model")
    add_stages(parser, ControlSettings)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    from trip.media import read_photo

    settings = settings_in(options, ControlSettings)
    clip = {"prompt": settings.prompt}
    settings_in(options, AnimateSettings, CLIP, **clip)
    output = checked_output(options, "map", *([] if options.map_only else [PICTURE]))
    photo = read_photo(options.photo)
    if options.map_only:
        return _map_only(options, settings, photo, output)
    found = read_photo(options.map) if options.map else None
    return write_outputs(options, generate(options, settings, photo, found), output, **clip)


def _map_only(options: argparse.Namespace, settings: ControlSettings, photo: object, output: object) -> None:
    from trip.first_frame.generation import PictureGenerator
    from trip.media import write_picture

    found = PictureGenerator(options.models, lambda step: None, anywhere=True).make_map(photo, settings)
    path = output if output.suffix.lower() == ".png" else picture_path(output, "map")
    write_picture(found.image, path)
    for note in found.notes:
        print(f"trip: {note}", file=sys.stderr)
    print(path)
