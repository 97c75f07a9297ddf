"""`python -m trip models`: the models by others, for first frames, for clips and to judge them: which are here, how to get the rest."""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from trip.cli.stages import BAR_DELAY
from trip.cli.verbs import Verbs


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    models = verbs.add_parser("models", help="list the models by others, or fetch one")
    models.add_argument("--models", type=Path, metavar="DIR", help="folder of models, beside the hub's cache")
    models.add_argument("--fetch", metavar="NAME", help="download this one and what it needs, or a hub id")
    models.add_argument("--task", default="paint", choices=["paint", "edit", "control", "video"], help="what a hub id is for")
    models.add_argument("--convert", type=Path, metavar="FOLDER", help="write the pickled weights of a pipeline's folder as safetensors")
    models.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    if options.fetch:
        return _fetch(options)
    if options.convert:
        return _convert(options.convert)
    from trip.first_frame.catalogue import JUDGES, cards, size_of
    from trip.first_frame.local_models import card_folder

    if options.models and not options.models.is_dir():
        raise ValueError(f"{options.models}: wanted a folder of models, found none; create it or choose another --models")
    for name, card in (cards() | JUDGES).items():
        folder = card_folder(card, options.models)
        place = f"here: {folder}" if folder else f"not here; about {size_of(card.about_bytes)}"
        more = "".join(f"; {words}" for words in (card.note, card.memory_words) if words)
        print(f"{name:24} {card.title}\n{'':24} {place}; {card.licence}; {card.source}{more}")
    return None


def _fetch(options: argparse.Namespace) -> None:
    from trip.first_frame.catalogue import CARDS
    from trip.first_frame.fetch import fetch

    card = CARDS.get(options.fetch)
    if card and not card.is_free:
        print(f"trip: {card.title} is under {card.licence}: {card.note}", file=sys.stderr)
    with tqdm(unit="B", unit_scale=True, desc=options.fetch, total=0, delay=BAR_DELAY) as bar:

        def on_progress(done: int, total: int, speed: float) -> None:
            bar.total = total
            bar.update(done - bar.n)

        folders = fetch(options.fetch, options.models, on_progress, options.task)
    for folder in folders:
        print(folder)


def _convert(folder: Path) -> None:
    from trip.first_frame.archive import convert_pickles

    for path in convert_pickles(folder):
        print(path)
