"""What a job costs over the same clip made and written by hand: python tests/stress/overhead.py [--model FOLDER] [--steps N] [--times 15].

By hand is what `python -m trip animate` does: photo, pipeline, MP4. Both are done by turns in one process with the same photo, seed
and settings. What else a machine does can only add to a time, so the shortest of each are compared; beside that, the median of each
job against the turns by hand before and after it. Below, each part of a job alone, in shares of the same clip.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from app_process import PHOTO, tiny_model
from PIL import Image

from trip.evaluation.clip_metrics import clip_metrics
from trip.inside import InsideRecorder
from trip.jobs.store import State
from trip.jobs.worker import strip
from trip.media import Clip, loop_gap, read_photo, with_photo, write_clip
from trip.pipeline import TripPipeline
from trip.settings import AnimateSettings
from trip.ui.studio import Studio

MOST = 0.03  # of a clip's time, wanted


def seconds_of(call: Callable[..., Any], *arguments: Any) -> float:
    """How long a call takes."""
    begun = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - begun


def job(studio: Studio, settings: AnimateSettings) -> None:
    """Asks for a clip and makes it."""
    asked = studio.animate("overhead", str(PHOTO), settings)
    studio.worker.work_until(asked.id)
    assert studio.store.get(asked.id).state == State.DONE, studio.store.get(asked.id).error


def by_hand(pipe: TripPipeline, settings: AnimateSettings, folder: Path) -> None:
    """The same clip without a job."""
    made = pipe.animate(read_photo(str(PHOTO)), settings)
    write_clip(Clip(made.frames, made.fps, made.metadata), folder / "by-hand.mp4")


def parts(pipe: TripPipeline, settings: AnimateSettings, folder: Path) -> dict[str, float]:
    """Seconds of each part of a job, alone."""
    spent = {"recorder of Inside, all steps": 0.0, "previews, all steps": 0.0}
    recorder = InsideRecorder(settings.num_steps)

    def after_step(pipe: TripPipeline, step: int, timestep: int, tensors: dict) -> None:
        spent["recorder of Inside, all steps"] += seconds_of(recorder, pipe, step, timestep, tensors)
        spent["previews, all steps"] += seconds_of(lambda: strip(pipe.preview(tensors["z_0"])))

    made, photo = pipe.animate(str(PHOTO), settings, callback_on_step_end=after_step), read_photo(str(PHOTO))
    frames = made.frames
    picture = Image.fromarray(frames[-1])
    clip = Clip(frames, made.fps, with_photo(made.metadata, photo))
    return spent | {
        "clip metrics": seconds_of(clip_metrics, frames, frames[0]),
        "loop gap": seconds_of(loop_gap, frames),
        "inside.npz": seconds_of(lambda: recorder.result().save(folder / "inside.npz")),
        "first.png and last.png": 2 * seconds_of(lambda: picture.save(folder / "last.png", compress_level=1)),
        "photo into the metadata": seconds_of(with_photo, made.metadata, photo),
        "MP4": seconds_of(write_clip, clip, folder / "clip.mp4"),
        "photo.png out": seconds_of(lambda: photo.save(folder / "photo.png", compress_level=1)),
        "photo.png in": seconds_of(read_photo, folder / "photo.png"),
    }


def main() -> None:
    """Flags, turns, the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder of a checkpoint (default: a tiny random one)")
    parser.add_argument("--steps", type=int, help="denoising steps (default: as the model was made)")
    parser.add_argument("--times", type=int, default=15, help="turns")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trip-overhead-") as name:
        folder = Path(name)
        studio = Studio(str(args.model or tiny_model(folder / "model")), folder / "outputs")
        pipe = studio.pipeline()
        settings = pipe.resolve(AnimateSettings(seed=1, num_steps=args.steps, prompt="the camera pans right"))
        job(studio, settings.model_copy(update={"num_steps": 2}))  # warm
        hand, through = [seconds_of(by_hand, pipe, settings, folder)], []
        for _ in range(args.times):
            through.append(seconds_of(job, studio, settings))
            hand.append(seconds_of(by_hand, pipe, settings, folder))
        shares = [2 * job / (before + after) - 1 for job, before, after in zip(through, hand, hand[1:], strict=False)]
        clip, best = min(hand), min(through)
        print(f"shortest of {args.times}: by hand {clip:.2f} s, a job {best:.2f} s, {best / clip - 1:+.1%}; wanted {MOST:.0%}")
        print(f"pair by pair {median(shares):+.1%}, from {min(shares):+.1%} to {max(shares):+.1%}; load {os.getloadavg()[0]:.1f}")
        spent = parts(pipe, settings, folder)
        for part, seconds in spent.items():
            print(f"  {part:30} {seconds:7.3f} s {seconds / clip:6.1%}")
        machinery = sum(spent.values()) - spent["MP4"]
        print(f"  {'all but the MP4, as by hand':30} {machinery:7.3f} s {machinery / clip:6.1%}")
        studio.close()


if __name__ == "__main__":
    main()
