"""`python -m trip evaluate generate`: a checkpoint over a data set, each clip beside the real one; the same command goes on."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from trip.cli.data import add_window, check_counts
from trip.cli.verbs import Verbs
from trip.settings import AnimateSettings
from trip.system.files import check_run_folder

if TYPE_CHECKING:
    from trip.backbones.backbone import Backbone
    from trip.evaluation.clips import Asked, GeneratedClip
    from trip.pipeline import TripPipeline


def add(measures: Verbs) -> None:
    """What the verb takes."""
    parser = measures.add_parser("generate", help="animate the first frame of every clip of a data set; the same command goes on")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--model", metavar="FOLDER_OR_ID", help="a checkpoint, or a video model by others (see: models)")
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder of models by others, beside the hub's cache")
    parser.add_argument("--lora", type=Path, metavar="RUN")
    parser.add_argument("--output", type=Path, required=True, metavar="RUN")
    add_window(parser)
    parser.add_argument("--squeeze", action="store_true", help="squeeze the whole picture into the square instead of cutting its centre")
    parser.add_argument("--split", choices=["train", "validation", "test", "all"], help="the paper's where none is given")
    parser.add_argument("--num-clips", type=int, metavar="N", help="a sample by seed; the paper's number where none is given")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--system", default="", metavar="NAME", help="what makes the clips, for tables (default: the model's name)")
    parser.add_argument("--variant", default="", metavar="NAME", help="which of the paper's variants it is, for Tables 5 and 6")
    parser.add_argument(
        "--first-frame", default="photo", choices=["photo", "network"], help="frame 0: the photo, or its own decoding of it"
    )
    parser.add_argument("--only", choices=["network", "rendered"], help="keep one of a model's two clips; else both")
    parser.add_argument("--num-steps", type=int, metavar="N")
    parser.add_argument("--guidance-scale", type=float, metavar="X")
    parser.add_argument("--scheduler", default="ddim", choices=["ddim", "dpm++", "unipc"])
    parser.add_argument("--part", type=int, default=0, metavar="I", help="which part this process makes, where no launcher says it")
    parser.add_argument("--num-parts", type=int, default=1, metavar="N", help="parts that clips are dealt out to")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Does it."""
    check_counts(options, num_frames=2, fps=0.1, size=16, num_clips=1, seed=0, part=0, num_parts=1)
    part, num_parts = options.part, options.num_parts
    if "WORLD_SIZE" in os.environ and num_parts == 1:  # accelerate launch
        part, num_parts = int(os.environ.get("RANK", 0)), int(os.environ["WORLD_SIZE"])
    if part >= num_parts:
        raise ValueError(f"--part: wanted one of 0 to {num_parts - 1}, got {part}")
    if options.only == "rendered" and options.first_frame == "network":
        raise ValueError("--only: wanted network with --first-frame network, as a rendered clip begins with the photo, got rendered")
    asked = {name: getattr(options, name) for name in ("num_steps", "guidance_scale", "scheduler")}
    AnimateSettings.checked(**asked)
    check_run_folder(options.output)
    from trip.backbones.opening import acquire
    from trip.evaluation.generation import chosen_entries

    chosen = chosen_entries(options.data, options.layout, options.split, options.num_clips, options.seed, options.categories)
    _choose_gpu()
    with acquire(options.model, options.lora, options.models) as pipe:
        _generate(options, pipe, asked, chosen, part, num_parts)


def _generate(
    options: argparse.Namespace,
    pipe: "TripPipeline | Backbone",
    asked: dict[str, Any],
    chosen: tuple[str, str | None, int | None, list[Any]],
    part: int,
    num_parts: int,
) -> None:
    import torch

    from trip.data.cache import digest
    from trip.evaluation.generation import NETWORKS_OWN, Request, begin, generate
    from trip.evaluation.scores import PHOTO

    layout, split, num_clips, found = chosen
    settings = {**asked, **clock(pipe, options.fps), "num_frames": options.num_frames}
    request = Request(
        data=layout if layout != "folder" else options.data.resolve().name,
        split=split,
        num_clips=num_clips,
        seed=options.seed,
        num_frames=options.num_frames,
        stride=1 / options.fps,
        size=options.size,
        crop=not options.squeeze,
        first_frame=PHOTO if options.first_frame == "photo" else NETWORKS_OWN,
        system=options.system or pipe.model_name,
        variant=options.variant,
        weights=digest(
            {
                f"{part}.{name}": weight
                for part, module in pipe.components.items()
                if isinstance(module, torch.nn.Module)
                for name, weight in module.state_dict().items()
            }
        ),
        settings=settings,
    )
    begin(options.output, request)
    is_rendered = options.first_frame == "photo" and _is_trip(pipe)
    kinds = [options.only] if options.only else ["network", "rendered"] if is_rendered else ["network"]
    counts = {}
    with tqdm(total=len(range(part, len(found), num_parts)), unit="clip", desc="generate") as bar:
        making = generate(options.output, found, animator(pipe, settings, options), request, kinds=kinds, part=part, num_parts=num_parts)
        for done in making:
            counts = done
            bar.update()
    print(f"trip: {counts.get('made', 0)} made, {counts.get('here', 0)} were here, {counts.get('unfit', 0)} left out", file=sys.stderr)
    print(options.output)


def _choose_gpu() -> None:
    import torch

    if torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())


def _is_trip(pipe: "TripPipeline | Backbone") -> bool:
    from trip.pipeline import TripPipeline

    return isinstance(pipe, TripPipeline)


def clock(pipe: "TripPipeline | Backbone", fps: float) -> dict[str, float]:
    """Settings under which frames are so many to the second; ValueError where the checkpoint cannot."""
    if not _is_trip(pipe):
        if pipe.kind.word("fps") or abs(pipe.kind.fps / fps - 1) < 1e-6:
            return {"fps": fps}
        raise ValueError(f"--fps: {pipe.model_name} draws {pipe.kind.fps:g} frames a second, got {fps:g}; choose that --fps")
    unet, own = pipe.unet.config, pipe.config.fps
    if unet.frame_embedding and own / fps <= 2:  # frames are told their times
        return {"fps": fps, "motion": own / fps}
    if "fps" in unet.added_conditions or abs(own / fps - 1) < 1e-6:
        return {"fps": fps, "motion": 1.0}
    least = f"from {own / 2:g} up" if unet.frame_embedding else f"{own:g}"
    raise ValueError(f"--fps: {pipe.model_name} draws {own:g} frames a second, wanted {least}, got {fps:g}; choose another --fps")


def animator(pipe: "TripPipeline | Backbone", settings: dict, options: argparse.Namespace) -> "Callable[[Asked], GeneratedClip]":
    """What makes a clip of a first frame and its sentence; of a video model by others its own frames alone, the photo in the first one's
    place where frame 0 is to be the photo.
    """
    from trip.evaluation.clips import GeneratedClip
    from trip.media import fit_photo
    from trip.render import Rendering

    def animate(asked: "Asked") -> "GeneratedClip":
        clip = pipe.animate(asked.photo, AnimateSettings.checked(prompt=asked.prompt, seed=asked.seed, **settings))
        frames = clip.frames
        if not _is_trip(pipe):
            if options.first_frame == "photo":
                frames = np.concatenate([fit_photo(clip.photo, *frames.shape[1:3])[None], frames[1:]])
            return GeneratedClip(frames)
        if options.first_frame == "network":
            frames = frames.copy()
            frames[0] = clip.decoded_photo
        if options.only == "network" or options.first_frame == "network":
            return GeneratedClip(frames)
        rendered = Rendering(clip, rate=clip.fps, shape=asked.photo.shape[:2])
        return GeneratedClip(frames, rendered, rendered.at)

    return animate
