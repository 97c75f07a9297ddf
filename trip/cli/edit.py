"""`python -m trip edit`: a photo changed by an instruction, and a clip of it (Sec. 4.5, Figure 9)."""

import argparse

from trip.cli.stages import CLIP, PICTURE, add_stages, checked_output, generate, write_outputs
from trip.cli.verbs import Verbs, settings_in
from trip.settings import AnimateSettings, EditSettings


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    parser = verbs.add_parser("edit", help="change a photo by an instruction, then make a clip of it")
    parser.add_argument("photo", metavar="PHOTO")
    add_stages(parser, EditSettings)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    from trip.media import read_photo

    settings = settings_in(options, EditSettings)
    settings_in(options, AnimateSettings, CLIP)
    output = checked_output(options, PICTURE)
    write_outputs(options, generate(options, settings, read_photo(options.photo)), output)
