"""`python -m trip encode`: a filmed data set to latents and text, for `train --cache`; the same command goes on where it stopped."""

import argparse
import json
import os
import sys
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from trip.cli.data import add_window, check_counts
from trip.cli.verbs import Verbs
from trip.settings import PRESETS
from trip.system.files import check_run_folder


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    encode = verbs.add_parser("encode", help="encode a data set once, for train --cache; the same command goes on where it stopped")
    encode.add_argument("data", type=Path, metavar="DIR", help="the data set")
    encode.add_argument("--base", required=True, metavar="FOLDER_OR_ID", help="weights whose autoencoder and text encoder are used")
    encode.add_argument("--output", type=Path, required=True, metavar="CACHE")
    add_window(encode)
    encode.add_argument("--squeeze", action="store_true", help="squeeze the whole picture into the square instead of cutting its centre")
    encode.add_argument("--windows", type=int, default=1, metavar="N", help="clips cut from each entry")
    encode.add_argument(
        "--split",
        action="append",
        default=[],
        choices=["train", "validation", "test"],
        help="this one alone; may be given several times, else train and validation, of msrvtt and dtdb test, as the paper evaluates on it",
    )
    encode.add_argument("--num-validation", type=int, default=256, metavar="N", help="entries of the validation split (default: 256)")
    encode.add_argument("--max-clips", type=int, metavar="N", help="entries of the other splits; all where none are given")
    encode.add_argument("--no-text", action="store_true", help="leave the text out: half of the size, a text encoder in the training")
    encode.add_argument("--shard-size", type=int, default=1024, metavar="N", help="entries of a shard")
    encode.add_argument("--seed", type=int, default=0, metavar="N", help="where windows begin")
    encode.add_argument("--num-processes", type=int, default=1, metavar="N", help="processes here; accelerate launch works too")
    encode.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it: alone, as one of the processes that a launcher started, or with processes of its own."""
    check_counts(options, num_frames=2, fps=0.1, size=8, windows=1, num_validation=1, max_clips=1, shard_size=1, seed=0, num_processes=1)
    check_run_folder(options.output)
    rank, num_ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    parts = [(rank * options.num_processes + one, num_ranks * options.num_processes) for one in range(options.num_processes)]
    others = [get_context("spawn").Process(target=_encode_part_apart, args=(options, *part)) for part in parts[1:]]
    try:
        for process in others:
            process.start()
        _encode_part(options, *parts[0])
    except BaseException:
        for process in others:
            if process.pid:  # was started
                process.terminate()
        raise
    for process in others:
        process.join()
    if any(process.exitcode for process in others):
        raise ValueError("some of the processes could not encode their part, see above; give the same command again")
    if rank == 0:
        print(options.output)


def _encode_part_apart(options: argparse.Namespace, part: int, num_parts: int) -> None:
    try:
        _encode_part(options, part, num_parts)
    except (ValueError, OSError) as error:
        print(f"trip: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # who asked for the parts says so
        sys.exit(130)


def _encode_part(options: argparse.Namespace, part: int, num_parts: int) -> None:
    import torch

    from trip.system.accelerator import device
    from trip.training.encode import WindowSettings, encode_data_set
    from trip.training.warm_start import open_base

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", part)) % torch.cuda.device_count())
    base = open_base(options.base, PRESETS["paper"].model)
    settings = WindowSettings(options.num_frames, options.fps, options.size, not options.squeeze, options.windows, options.seed)
    limits = {"train": options.max_clips, "validation": options.num_validation, "test": options.max_clips}
    last_records = {}
    with tqdm(unit="clip", disable=part > 0) as bar:
        for done in encode_data_set(
            options.data,
            options.output,
            base,
            settings,
            layout=options.layout,
            categories=options.categories,
            split=options.split,
            most=limits,
            with_text=not options.no_text,
            shard_size=options.shard_size,
            device=device(),
            part=part,
            num_parts=num_parts,
        ):
            if done["split"] not in last_records:
                bar.reset()
                bar.set_description(done["split"])
            bar.update(done["clips"] - bar.n)
            last_records[done["split"]] = done
    print(f"part {part + 1} of {num_parts}: {json.dumps(list(last_records.values()))}", file=sys.stderr)
