"""`python -m trip train-painter`: train a small painter over canny maps, or go on where it stopped.

None is shipped: see trip/training/README.md for what was measured.
"""

import argparse
from pathlib import Path

from trip.cli.picture_training import add_training, train
from trip.cli.verbs import Verbs
from trip.settings import PAINTERS


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    verb = verbs.add_parser("train-painter", help="train a small painter over canny maps; on a CPU half an hour was not enough")
    add_training(verb, PAINTERS, "photos with captions, in photos.csv beside or above them")
    verb.add_argument("--editor", type=Path, metavar="FOLDER", help="begin with the U-Net and text encoder of RUN/model of train-editor")
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    from trip.training.painter_run import PainterRun

    train(options, PainterRun, PAINTERS[options.preset], editor=options.editor)
