"""`python -m trip animate | train | evaluate | bench`: one line for people on every error, exit code 2."""

import argparse
import json
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from tqdm import tqdm

from trip.settings import PRESETS, VARIANTS, AnimateSettings, checked, kind_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a verb; 0 where it went well, 2 where the input was wrong, 130 where the person stopped it."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("trip").setLevel(logging.INFO if options.verbose else logging.WARNING)
    try:
        options.verb(options)
    except (ValueError, FloatingPointError) as error:
        print(f"trip: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("trip: stopped", file=sys.stderr)
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"trip: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m trip", description="TRIP: image-to-video diffusion with an image noise prior.")
    parser.add_argument("--verbose", action="store_true", help="say what is being done")
    verbs = parser.add_subparsers(required=True, metavar="animate | train | evaluate | bench")

    animate = verbs.add_parser("animate", help="a clip from a photo and a prompt")
    animate.add_argument("photo", metavar="PHOTO")
    for name, field in AnimateSettings.model_fields.items():
        action = {"action": "store_true"} if kind_of(name) is bool else {}
        animate.add_argument(f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, help=field.description, **action)
    animate.add_argument("--model", metavar="FOLDER_OR_ID", help="checkpoint folder or hub id; the embedded one where none is given")
    animate.add_argument("--output", type=Path, required=True, metavar="FILE.mp4|FILE.gif|FILE.webp")
    animate.set_defaults(verb=_animate)

    train = verbs.add_parser("train", help="train a preset; the same command goes on where it stopped")
    train.add_argument("--preset", choices=list(PRESETS), default="embedded")
    train.add_argument("--variant", choices=list(VARIANTS), help="a row of the paper's ablations; the preset's where none is given")
    train.add_argument("--photos", type=Path, required=True, metavar="DIR", help="photos that are set in motion")
    train.add_argument("--clips", type=Path, metavar="DIR", help="filmed clips with captions")
    train.add_argument("--output", type=Path, required=True, metavar="RUN")
    train.add_argument("--max-steps", type=int, metavar="N", help="optimizer steps of the denoiser; the preset's where none are given")
    train.add_argument("--max-minutes", type=float, default=math.inf, metavar="M", help="save and stop after so many minutes")
    train.add_argument("--base", type=Path, metavar="FOLDER", help="take autoencoder and text encoder from this checkpoint, untrained on")
    train.add_argument("--init", type=Path, metavar="FOLDER", help="checkpoint of the same preset whose weights the training starts from")
    train.add_argument("--seed", type=int, default=0, metavar="N")
    train.set_defaults(verb=_train)

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
    motion.set_defaults(verb=_evaluate_motion)

    bench = verbs.add_parser("bench", help="time a step, and the share of prior and fusion in it")
    bench.add_argument("--model", metavar="FOLDER_OR_ID")
    bench.add_argument("--repeats", type=int, default=10, metavar="N")
    bench.set_defaults(verb=_bench)
    return parser


def _animate(options: argparse.Namespace) -> None:
    settings = checked(**{name: getattr(options, name) for name in AnimateSettings.model_fields if hasattr(options, name)})
    from trip.media import Clip, check_writable, read_photo, write_clip
    from trip.runtime import load_pipeline

    check_writable(options.output)
    photo = read_photo(options.photo)
    pipe = load_pipeline(options.model)
    settings = pipe.resolve(settings)
    with tqdm(total=settings.num_steps, desc="animate", unit="step") as bar:
        output = pipe(photo, settings, callback_on_step_end=lambda *_: bar.update())
    print(write_clip(Clip(output.frames, output.fps, output.metadata), options.output))


def _train(options: argparse.Namespace) -> None:
    from trip.training.run import TrainingRun

    preset = PRESETS[options.preset]
    if options.variant:
        preset = preset.model_copy(update={"model": preset.model.model_copy(update={"variant": options.variant})})
    if options.max_steps is not None:
        if options.max_steps < 1:
            raise ValueError(f"--max-steps: wanted at least 1, got {options.max_steps}")
        denoiser = preset.recipe.denoiser.model_copy(update={"max_steps": options.max_steps})
        preset = preset.model_copy(update={"recipe": preset.recipe.model_copy(update={"denoiser": denoiser})})
    run = TrainingRun(
        preset,
        options.output,
        options.photos,
        options.clips,
        seed=options.seed,
        max_minutes=options.max_minutes,
        base=options.base,
        init=options.init,
    )
    with tqdm(unit="step") as bar:
        for record in run.stages():
            if bar.desc != f"{record['stage']}: ":
                bar.reset(total=record["max_steps"])
                bar.set_description(record["stage"])
            bar.n = record["step"] + ("loss" in record)
            bar.set_postfix({name: f"{record[name]:.4g}" for name in ("loss", "psnr", "read_right", "held_out_loss") if name in record})
    written = options.output / "model"
    if not written.exists():
        raise ValueError(f"{options.output}: the time was up before there was a model; give the same command again to go on")
    print(written)


def _evaluate_motion(options: argparse.Namespace) -> None:
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
        settings = checked(
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


def _bench(options: argparse.Namespace) -> None:
    from trip.evaluation.speed import time_step
    from trip.runtime import load_pipeline

    print(json.dumps(time_step(load_pipeline(options.model), repeats=options.repeats), indent=1))
