"""What the verbs that train the small models of pictures share."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from trip.settings import EditorSettings, PainterSettings

if TYPE_CHECKING:
    from trip.training.picture_run import PictureRun

Sizes = TypeVar("Sizes", EditorSettings, PainterSettings)


def add_training(train: argparse.ArgumentParser, presets: dict[str, Sizes], photos: str) -> None:
    """What such a verb takes; `photos` says what the photos are for."""
    train.add_argument("--preset", choices=list(presets), default=next(iter(presets)))
    train.add_argument("--photos", type=Path, required=True, metavar="DIR", help=photos)
    train.add_argument("--output", type=Path, required=True, metavar="RUN")
    train.add_argument(
        "--base", type=Path, metavar="FOLDER", help="TRIP checkpoint whose autoencoder is taken; the embedded one's as a rule"
    )
    train.add_argument("--max-steps", type=int, metavar="N", help="optimizer steps at full size; the preset's where none are given")
    train.add_argument("--max-minutes", type=float, default=math.inf, metavar="M", help="save and stop after so many minutes")
    train.add_argument("--seed", type=int, default=0, metavar="N")


def train(options: argparse.Namespace, kind: type["PictureRun"], settings: Sizes, **more: Any) -> None:
    """Trains with a bar, and prints where the model is; `more` goes to the run."""
    from trip.runtime import EMBEDDED

    if options.max_steps is not None:
        if options.max_steps < 1:
            raise ValueError(f"--max-steps: wanted at least 1, got {options.max_steps}")
        settings = settings.model_copy(update={"full_size": settings.full_size.model_copy(update={"max_steps": options.max_steps})})
    common = {"seed": options.seed, "max_minutes": options.max_minutes}
    run = kind(settings, options.output, options.photos, options.base or EMBEDDED, **common, **more)
    with tqdm(unit="step") as bar:
        for record in run.steps():
            if bar.desc != f"{record['stage']}: ":
                bar.reset(total=record["max_steps"])
                bar.set_description(record["stage"])
            bar.n = record["step"] + ("loss" in record)
            bar.set_postfix({name: f"{record[name]:.4g}" for name in ("loss", "held_out_loss") if name in record})
    print(options.output / "model")
