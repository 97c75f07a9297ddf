"""`python -m trip VERB`: one line for people on every error, exit code 2.

A file a verb: `add` says what it takes, `run` does it. `app` has what app.py takes.
"""

import logging
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from trip.cli import (
    ablate,
    animate,
    bench,
    compare,
    control,
    data,
    edit,
    encode,
    evaluate,
    figure9,
    finetune,
    models,
    study,
    tables,
    text_to_video,
    train,
    train_editor,
)
from trip.cli.verbs import VerbParser

VERBS = (
    *(animate, text_to_video, edit, control, figure9, compare, models),
    *(data, encode, train, train_editor, finetune, evaluate, tables, ablate, study, bench),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a verb; 0 where it went well, 2 where the input was wrong, 130 where the person stopped it."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):  # names of files may hold what no encoding knows
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("trip").setLevel(logging.INFO if options.verbose else logging.WARNING)
    try:
        options.run(options)
    except (ValueError, FloatingPointError) as error:
        print(f"trip: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that went away: what could be checked was, before the work
        print(f"trip: {error.filename or 'a file'}: {error.strerror or error}; choose another place", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("trip: stopped", file=sys.stderr)
        return 130
    return 0


def _parser() -> VerbParser:
    parser = VerbParser(prog="python -m trip", description="TRIP: image-to-video diffusion with an image noise prior.")
    parser.add_argument("--verbose", action="store_true", help="say what is being done")
    verbs = parser.add_subparsers(required=True, metavar=" | ".join(verb.__name__.rpartition(".")[2].replace("_", "-") for verb in VERBS))
    for verb in VERBS:
        verb.add(verbs)
    return parser
