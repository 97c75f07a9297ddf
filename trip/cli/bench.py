"""`python -m trip bench`: seconds per step, and the share of prior and fusion."""

import argparse
import json

from trip.cli.verbs import Verbs


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    bench = verbs.add_parser("bench", help="time a step, and the share of prior and fusion in it")
    bench.add_argument("--model", metavar="FOLDER_OR_ID")
    bench.add_argument("--repeats", type=int, default=10, metavar="N")
    bench.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    from trip.evaluation.speed import time_step
    from trip.runtime import load_pipeline

    print(json.dumps(time_step(load_pipeline(options.model), repeats=options.repeats), indent=1))
