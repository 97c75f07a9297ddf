"""`python -m trip evaluate`: measure a checkpoint."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from trip.cli.verbs import Verbs
from trip.settings import AnimateSettings


def add(verbs: Verbs) -> None:
    """What the verb takes."""
    evaluate = verbs.add_parser("evaluate", help="measure a checkpoint")
    measures = evaluate.add_subparsers(required=True, metavar="motion")
    motion = measures.add_parser("motion", help="does the optical flow go where the prompt says, on photos held out of training")
    motion.add_argument("--photos", type=Path, required=True, metavar="DIR")
    motion.add_argument("--model", metavar="FOLDER_OR_ID")
    motion.add_argument("--output", type=Path, required=True, metavar="report.json")
    motion.add_argument("--num-photos", type=int, metavar="N", help="only the first so many held-out photos")
    motion.add_argument("--num-steps", type=int, metavar="N")
    motion.add_argument("--guidance-scale", type=float, metavar="X")
    motion.add_argument("--scheduler", default="ddim", choices=["ddim", "dpm++", "unipc"])
    motion.add_argument("--least-gain", type=float, default=2.0, metavar="DB", help="wanted gain over a still clip, dB")
    motion.add_argument("--sheet", type=Path, metavar="FILE.png", help="also draw some of the clips")
    motion.set_defaults(run=_motion)


def _motion(options: argparse.Namespace) -> None:
    from trip.data.photos import read_photos
    from trip.evaluation.motion import evaluate_motion
    from trip.evaluation.sheets import contact_sheet
    from trip.media.clip import check_target
    from trip.runtime import load_pipeline

    check_target(options.output, (".json",))
    if options.sheet:
        check_target(options.sheet, (".png",))
    pipe = load_pipeline(options.model)
    photos = read_photos(options.photos, held_out=True)[: options.num_photos]

    drawn: dict[str, np.ndarray] = {}  # the first clip of each prompt

    def animate(pixels: np.ndarray, prompt: str, seed: int) -> np.ndarray:
        settings = AnimateSettings.checked(
            prompt=prompt, seed=seed, num_steps=options.num_steps, guidance_scale=options.guidance_scale, scheduler=options.scheduler
        )
        frames = pipe(pixels, settings).frames
        drawn.setdefault(prompt, frames)
        return frames

    with tqdm(total=1.0, bar_format="{l_bar}{bar}| {elapsed}<{remaining}") as bar:

        def progress(done: float, text: str) -> None:
            bar.set_description(text)
            bar.update(done - bar.n)

        report = evaluate_motion(
            animate, photos, size=pipe.frame_size, num_frames=pipe.config.num_frames, least_gain_db=options.least_gain, progress=progress
        )
    options.output.write_text(json.dumps({"model": pipe.model_name, "scheduler": options.scheduler, **report}, indent=1))
    if options.sheet:
        contact_sheet(list(drawn.values()), list(drawn), options.sheet)
    for name, check in report["checks"].items():
        print(f"{name}: {check}", file=sys.stderr)
    print(options.output)
