"""`python -m trip figure9`: a photo, its edit by InstructPix2Pix and its ControlNet picture, animated alike, side by side (Figure 9)."""

import argparse
import sys
from pathlib import Path

from trip.cli.stages import CLIP, animate, generate, picture_path
from trip.cli.verbs import Verbs, add_settings, settings_in
from trip.settings import AnimateSettings, ControlSettings, EditSettings

EDIT, CONTROL = "edit-", "control-"
HEIGHT = 256  # of each clip, pixels


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    parser = verbs.add_parser("figure9", help="animate a photo, its edit and its ControlNet picture with one seed, side by side")
    parser.add_argument("photo", metavar="PHOTO")
    add_settings(parser, EditSettings, EDIT)
    add_settings(parser, ControlSettings, CONTROL)
    add_settings(parser, AnimateSettings, CLIP)
    parser.add_argument("--model", metavar="FOLDER_OR_ID", help="TRIP checkpoint; the embedded one where none is given")
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder of picture models, beside the hub's cache")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.mp4", help="clips side by side; a sheet of frames beside it")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it, with whatever models are here; what is missing is said."""
    from trip.evaluation.sheets import contact_sheet, side_by_side
    from trip.media import Clip, check_target, check_writable, read_photo, write_clip, write_picture
    from trip.render import Rendering

    edit, control = settings_in(options, EditSettings, EDIT), settings_in(options, ControlSettings, CONTROL)
    clip = settings_in(options, AnimateSettings, CLIP, seed=0)
    output = check_writable(options.output)
    for what in ("sheet", "picture-0"):
        check_target(picture_path(output, what), (".png",))
    photo = read_photo(options.photo)
    pictures, missing = {"original": photo}, []
    for label, settings in ((f"edit: {edit.instruction}", edit), (f"{control.annotator}: {control.prompt}", control)):
        try:
            pictures[label] = generate(options, settings, photo).pictures.pictures[0].image
        except ValueError as error:
            missing.append(f"trip: left out: {error}")
    clips = [animate(options.model, picture, clip, None, label) for label, picture in pictures.items()]
    frames = [Rendering(one, clip.size, clip.frame_rate, most=HEIGHT) for one in clips]
    print(write_clip(Clip(side_by_side(frames, list(pictures), HEIGHT), frames[0].fps, clips[0].metadata), output))
    print(contact_sheet(frames, list(pictures), picture_path(output, "sheet")))
    for index, picture in enumerate(pictures.values()):
        print(write_picture(picture, picture_path(output, f"picture-{index}")))
    print(*missing, sep="\n", end="\n" if missing else "", file=sys.stderr)
