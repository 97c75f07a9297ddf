"""`python -m trip text-to-video`: a picture from words, and a clip from the picture (Sec. 4.5, Figure 7)."""

import argparse

from trip.cli.stages import CLIP, PICTURE, add_stages, checked_output, generate, write_outputs
from trip.cli.verbs import Verbs, settings_in
from trip.settings import AnimateSettings, PaintSettings


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    parser = verbs.add_parser("text-to-video", help="a picture from words, then a clip from the picture")
    add_stages(parser, PaintSettings)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    settings = settings_in(options, PaintSettings)
    clip = {"prompt": settings.prompt, "aspect": settings.aspect}  # what moves is by default what is there
    settings_in(options, AnimateSettings, CLIP, **clip)
    output = checked_output(options, PICTURE)
    write_outputs(options, generate(options, settings), output, **clip)
