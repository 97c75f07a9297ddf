"""A model over a data set: each clip's first frame and sentence go in, and what comes out lies beside the real clip, frame by frame.

RUN/run.json           what was asked for; another request into the same folder is refused
RUN/real/NAME/000.png  the real window; its frame 0 is the photo
RUN/network/NAME/…     what the network drew, and where that is not the same RUN/rendered/NAME/…, the clip that people get
RUN/clips/NAME.json    sentence, seed and seconds of a clip that is whole
RUN/unfit/PART.jsonl   what could not be used, and why

Clips are made independently of each other, by any number of processes and machines that share the folder; one that is there is not made
again. Pictures are PNG, since what a codec loses moves every figure.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trip.data.layouts import SPLITS, Entry, category_key, entries, layout_of
from trip.data.windows import Unfit
from trip.evaluation.clip_sets import RUN, Reading, numbered_sources
from trip.evaluation.clips import ClipRequest, GeneratedClip, clip_seed
from trip.media import write_picture
from trip.system.files import atomic_write_text

NETWORKS_OWN = "the network's own"  # what frame 0 is, where the photo was not pasted
DTDB_CATEGORIES = ("fire", "clouds", "vegetation", "waterfall")  # of the paper's Table 2, as the data set's folders begin
PROTOCOLS = {  # layout -> split that the paper measures on, and how many of its clips, all where no number is given
    "webvid": ("validation", 2048),
    "msrvtt": ("test", None),
    "dtdb": ("test", None),
}


@dataclass(frozen=True)
class Request:
    """What a run is made of; all of it is in run.json.

    data, split, num_clips, seed  which clips, drawn by the seed where they are not all
    stride                        seconds between two frames, of real and of made clips
    first_frame                   what frame 0 of the made clips is, in words
    system, variant, settings     what makes them, and `weights` sixteen letters of it
    """

    data: str
    split: str | None
    num_clips: int | None
    seed: int
    num_frames: int
    stride: float
    size: int
    crop: bool
    first_frame: str
    system: str
    variant: str
    weights: str
    settings: dict[str, Any]


def chosen_entries(
    folder: Path,
    layout: str = "auto",
    split: str | None = None,
    num_clips: int | None = None,
    seed: int = 0,
    categories: Sequence[str] = (),
) -> tuple[str, str | None, int | None, list[Entry]]:
    """Layout, split, number and clips that a measurement runs over: the paper's where nothing else is asked for, a sample by seed where
    there are more. Of DTDB the categories asked for, or the four of the paper.

    Raises ValueError where none are left.
    """
    layout = layout_of(Path(folder)) if layout == "auto" and Path(folder).is_dir() else layout
    own_split, own_number = PROTOCOLS.get(layout, (None, None))
    split = None if split == "all" else split or own_split
    num_clips = num_clips or own_number
    found = list(entries(folder, layout, split, categories=categories))
    if layout == "dtdb" and not categories:
        found = [entry for entry in found if _is_of_paper(entry.path.parent.name)]
    if not found:
        kinds = f" in {', '.join(DTDB_CATEGORIES)}" if layout == "dtdb" else ""
        raise ValueError(
            f"{folder}: wanted clips of the split {split or 'all'}{kinds}, found none; choose another --split ({', '.join(SPLITS)}, all)"
        )
    if num_clips and num_clips < len(found):
        drawn = np.random.default_rng(seed).choice(len(found), num_clips, replace=False)
        found = [found[index] for index in sorted(drawn)]
    return layout, split, num_clips, found


def _is_of_paper(folder: str) -> bool:
    """Whether a folder of DTDB is of one of the paper's categories, by its whole name or its first word."""
    keys = {category_key(folder), category_key(re.split("[^a-zA-Z]", folder)[0])}
    return not keys.isdisjoint(map(category_key, DTDB_CATEGORIES))


def sentence(entry: Entry, seed: int) -> str:
    """One of the captions, drawn by the seed and the clip's name; empty where it has none."""
    return entry.captions[clip_seed(entry.name, seed) % len(entry.captions)] if entry.captions else ""


def begin(run: Path, request: Request) -> None:
    """Makes the folder of a run; ValueError where it holds a run that was asked for otherwise."""
    run.mkdir(parents=True, exist_ok=True)
    path, settings = run / RUN, json.loads(json.dumps(asdict(request)))
    if path.exists():
        try:
            known = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path}: wanted what the run was asked for, got no JSON; choose another --output") from error
        if known != settings:
            other = ", ".join(f"{name} {known.get(name)} and now {value}" for name, value in settings.items() if known.get(name) != value)
            raise ValueError(f"{run} holds a run with {other}; choose another --output, or ask for the same")
    atomic_write_text(path, json.dumps(settings, indent=1))


def generate(
    run: Path,
    found: Sequence[Entry],
    animate: Callable[[ClipRequest], GeneratedClip],
    request: Request,
    *,
    kinds: Sequence[str] = ("network", "rendered"),
    part: int = 0,
    num_parts: int = 1,
) -> Iterator[dict[str, int]]:
    """Makes every `num_parts`-th clip, from `part` on, and yields after each how many are done: made now, here before, unfit.

    animate  gives frames whose frame 0 is what the request says
    kinds    which of a model's two clips are kept
    """
    reading = Reading(request.num_frames, 1 / request.stride, request.size, request.crop)
    counts = {"made": 0, "here": 0, "unfit": 0}
    (run / "unfit").mkdir(exist_ok=True)
    unfit = run / "unfit" / f"{part:05d}-of-{num_parts:05d}.jsonl"
    lines = []
    for source in list(numbered_sources(found))[part::num_parts]:
        if (run / "clips" / f"{source.name}.json").is_file():
            counts["here"] += 1
            yield dict(counts)
            continue
        begun = time.monotonic()
        try:
            real = source.read(reading)
        except Unfit as error:
            lines.append(json.dumps({"name": error.name, "reason": error.reason, "why": str(error)}))
            atomic_write_text(unfit, "\n".join(lines) + "\n")
            counts["unfit"] += 1
            yield dict(counts)
            continue
        wanted = ClipRequest(real[0], real[0], 0, 0, sentence(source.entry, request.seed), clip_seed(source.name, request.seed))
        generated = animate(wanted).sources(request.size, request.num_frames)
        for kind, frames in {"real": real, **{kind: generated[kind][0] for kind in kinds if kind in generated}}.items():
            write_pictures(run / kind / source.name, frames)
        record = {"prompt": wanted.prompt, "seed": wanted.seed, "seconds": round(time.monotonic() - begun, 2)}
        path = run / "clips" / f"{source.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, json.dumps(record))
        counts["made"] += 1
        yield dict(counts)


def write_pictures(folder: Path, frames: np.ndarray) -> None:
    """Frames f h w 3, uint8, as numbered PNGs."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        write_picture(Image.fromarray(frame), folder / f"{index:03d}.png")
