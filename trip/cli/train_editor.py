"""`python -m trip train-editor`: train the small instruction editor, or go on where it stopped."""

import argparse

from trip.cli.picture_training import add_training, train
from trip.cli.verbs import Verbs
from trip.settings import EDITORS


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    verb = verbs.add_parser("train-editor", help="train the small instruction editor; the same command goes on where it stopped")
    add_training(verb, EDITORS, "photos that are edited by rule")
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    from trip.training.editor_run import EditorRun

    train(options, EditorRun, EDITORS[options.preset])
