"""`python -m trip finetune`: teach a checkpoint the motion of a few clips, or go on where it stopped."""

import argparse
import json
import os
import sys
import threading
from pathlib import Path

from trip.cli.progress import progress_bar, show_steps
from trip.cli.verbs import Verbs, add_settings, settings_in
from trip.settings import FinetuneSettings
from trip.system.files import check_run_folder
from trip.training.requests import ask, forget_requests


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    finetune = verbs.add_parser("finetune", help="teach a checkpoint the motion of a few clips; the same command goes on where it stopped")
    finetune.add_argument("--clips", type=Path, required=True, metavar="DIR", help="clips of one motion, with captions as for train")
    finetune.add_argument(
        "--held-out", type=Path, metavar="DIR", help="clips of the same motion that are only measured; else one in five of the clips"
    )
    finetune.add_argument("--output", type=Path, required=True, metavar="RUN")
    finetune.add_argument("--model", metavar="FOLDER_OR_ID", help="checkpoint to start from; the embedded one where none is given")
    finetune.add_argument("--dry-run", action="store_true", help="say what it would take, measured on a few steps, and train nothing")
    finetune.add_argument("--while-stdin", action="store_true", help="stop, and save, once standard input ends: who started it has gone")
    add_settings(finetune, FinetuneSettings)
    finetune.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    settings = settings_in(options, FinetuneSettings)
    check_run_folder(options.output)
    forget_requests(options.output)
    from trip.data.intake import clips_to_learn
    from trip.model_cache import load_pipeline
    from trip.training.finetune.run import FinetuneRun

    pipe = load_pipeline(options.model)
    clips, held_out = clips_to_learn(options.clips, options.held_out, min_frames=pipe.config.num_frames)
    run = FinetuneRun(pipe, clips, held_out, options.output, settings)
    if options.dry_run:
        with progress_bar() as on_progress:
            plan = run.plan(on_progress)
        print(json.dumps(vars(plan), indent=1))
        return
    if options.while_stdin:
        threading.Thread(target=_stop_at_end_of_input, args=(options.output,), daemon=True).start()
    show_steps(run.steps(), ("smoothed", "held_out_loss", "seen_loss"))
    if (result := run.result()) is None:
        raise ValueError(f"{options.output}: the time was up before there was a result; give the same command again to go on")
    print(result)


def _stop_at_end_of_input(folder: Path) -> None:
    while os.read(sys.stdin.fileno(), 1024):  # unbuffered: a buffer's lock, held by a thread, would break Python's own end
        pass
    ask(folder, "stop")
