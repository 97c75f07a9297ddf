"""`python -m trip bench`: seconds per step with the share of prior and fusion, or what each way to a first frame costs."""

import argparse
import json
from pathlib import Path

from trip.cli.verbs import Verbs


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    bench = verbs.add_parser("bench", help="time a step, and the share of prior and fusion in it; or the models that make first frames")
    bench.add_argument("--model", metavar="FOLDER_OR_ID")
    bench.add_argument("--repeats", type=int, default=10, metavar="N")
    bench.add_argument("--pictures", metavar="PHOTO", help="time every picture model that is here, a clip, and switches, on this photo")
    bench.add_argument("--models", type=Path, metavar="DIR", help="folder of picture models, beside the hub's cache")
    bench.add_argument("--num-steps", type=int, default=4, metavar="N", help="of each picture")
    bench.add_argument("--size", type=int, metavar="PIXELS", help="of each picture; what each model was made for where none is given")
    bench.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    print(json.dumps(_pictures(options) if options.pictures else _step(options), indent=1))


def _step(options: argparse.Namespace) -> dict:
    from trip.evaluation.speed import time_step
    from trip.model_cache import load_pipeline

    return time_step(load_pipeline(options.model), repeats=options.repeats)


def _pictures(options: argparse.Namespace) -> list[dict]:
    from trip.first_frame.speed import time_pictures
    from trip.media import read_photo

    return time_pictures(read_photo(options.pictures), options.models, options.num_steps, options.size, options.model)
