"""`python -m trip train`: train a preset from nothing, or go on where it stopped."""

import argparse
import math
from pathlib import Path

from tqdm import tqdm

from trip.cli.verbs import Verbs
from trip.settings import PRESETS, VARIANTS


def add(verbs: Verbs) -> None:
    """What the verb takes."""
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
    train.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
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
