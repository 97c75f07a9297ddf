"""`python -m trip train-editor`: train the small instruction editor, or go on where it stopped."""

import argparse
import math
from pathlib import Path

from trip.cli.data import check_counts
from trip.cli.progress import show_steps
from trip.cli.verbs import Verbs
from trip.settings import EDITORS
from trip.system.files import check_run_folder


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    train = verbs.add_parser("train-editor", help="train the small instruction editor; the same command goes on where it stopped")
    train.add_argument("--preset", choices=list(EDITORS), default="embedded")
    train.add_argument("--photos", type=Path, required=True, metavar="DIR", help="photos that are edited by rule")
    train.add_argument("--output", type=Path, required=True, metavar="RUN")
    train.add_argument(
        "--base", type=Path, metavar="FOLDER", help="TRIP checkpoint whose autoencoder is taken; the embedded one's as a rule"
    )
    train.add_argument("--max-steps", type=int, metavar="N", help="optimizer steps at full size; the preset's where none are given")
    train.add_argument("--max-minutes", type=float, default=math.inf, metavar="M", help="save and stop after so many minutes")
    train.add_argument("--seed", type=int, default=0, metavar="N")
    train.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    from trip.model_cache import EMBEDDED
    from trip.training.editor.run import EditorRun
    from trip.training.folder import run_lock

    check_run_folder(options.output)
    settings = EDITORS[options.preset]
    if options.max_steps is not None:
        check_counts(options, max_steps=1)
        settings = settings.model_copy(update={"full_size": settings.full_size.model_copy(update={"max_steps": options.max_steps})})
    run = EditorRun(settings, options.output, options.photos, options.base or EMBEDDED, seed=options.seed, max_minutes=options.max_minutes)
    with run_lock(options.output):
        show_steps(run.steps())
    print(options.output / "model")
