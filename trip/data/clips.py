"""Folders of filmed clips with captions: found once, split by source, read a window of frames at a time."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from trip.data.photos import is_held_out
from trip.data.tables import CLIP_SUFFIXES, SOURCE_COLUMN, few, rows_about
from trip.media import MediaError, Video, open_video
from trip.system.files import bounded_text

logger = logging.getLogger(__name__)

LISTS = ("clips.csv", "metadata.csv", "metadata.jsonl")
REFERENCE_FPS = 8  # the clock of data/motion.py: a 16-frame clip of the embedded model plays at this rate
SPACING = (0.5, 2.0)  # reference frames from one frame of a window to the next, where the clip is long enough
LEAST_CROP = 0.7  # of the short side
MOST_CAPTION_BYTES = 64 * 2**10  # of a .txt; a prompt has at most 10,000 characters
MOST_TABLE_BYTES = 64 * 2**20  # of a list of captions, which is read whole


@dataclass(frozen=True)
class ClipFile:
    """One clip on disk.

    caption  what happens; empty where nobody wrote it down
    source   what it was cut from; clips of one source stay on one side of the split
    """

    path: Path
    caption: str = ""
    source: str = ""


def find_clips(folder: Path, *, held_out: bool | None, min_frames: int = 2) -> list[ClipFile]:
    """One side of the split, or with none for `held_out` both; each file's first frame is decoded once, and broken and short files are
    counted, named and left out.

    Captions come from clips.csv, metadata.csv (columns file or file_name, caption or text, and source_path where there is one) or
    metadata.jsonl (the same keys) in the folder or above it, as `trip.data.tables` reads them, else from a .txt beside the clip.
    Raises ValueError where nothing is left.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise ValueError(f"{folder}: wanted a folder of clips, found none there; check the path")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in CLIP_SUFFIXES)
    captions = captions_of(folder, paths)
    clips, faults = [], []
    for path in paths:
        caption, source = captions.get(path, ("", ""))
        if held_out not in (None, is_held_out(source or path.name)):
            continue
        if fault := _fault(path, min_frames):
            faults.append(fault)
        else:
            clips.append(ClipFile(path, caption or sidecar(path), source))
    if faults and clips:
        logger.warning("%d of %d clips left out: %s", len(faults), len(faults) + len(clips), few(faults))
    if not clips:
        side = {True: "held-out clips", False: "training clips", None: "clips"}[held_out]
        reason = f" ({few(faults)})" if faults else ""
        raise ValueError(f"{folder}: wanted {side} ({', '.join(sorted(CLIP_SUFFIXES))}) that decode, found none{reason}; add clips")
    return clips


def draw_window(clips: list[ClipFile], *, num_frames: int, size: int, rng: np.random.Generator) -> tuple[ClipFile, np.ndarray, np.ndarray]:
    """A clip drawn by `rng` and a window of it; one that turns out broken is named in a warning and another is drawn.

    Raises ValueError where none of them can be read.
    """
    for index in rng.permutation(len(clips)):
        try:
            return clips[index], *read_window(clips[index], num_frames=num_frames, size=size, rng=rng)
        except MediaError as error:
            logger.warning("clip left out: %s", error)
    raise ValueError(f"wanted a clip of {num_frames} frames, none of {len(clips)} has them; add longer clips or ask for fewer frames")


def read_window(clip: ClipFile, *, num_frames: int, size: int, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
    """A square window of a clip and the times of its frames; without `rng` the middle square, from the clip's beginning.

    frames  f size size 3, uint8; every frame of the clip or every n-th, never mirrored, since captions name sides
    times   reference frames since the first, from the time stamps   f, float32

    Raises MediaError where the clip is broken or too short.
    """
    with open_video(clip.path) as video:
        stride = _stride(video, num_frames, rng)
        span = (num_frames - 1) * stride + 1
        first = rng.integers(0, video.num_frames - span + 1) if rng else 0
        seconds, frames, crop = [], [], None
        for time, frame in islice(video.timed_frames(start=(first - 0.5) / video.fps), 0, span, stride):
            pixels = video.upright(frame)  # one at a time: a window of large frames would not fit
            crop = crop or _crop(*pixels.shape[:2], rng)
            seconds.append(time)
            frames.append(_square(pixels, size, crop))
        if len(frames) < num_frames:
            raise MediaError(f"{video.name}: wanted {span} frames from frame {first} on, got fewer than its header says; leave it out")
    times = (np.array(seconds) - seconds[0]) * REFERENCE_FPS
    return np.stack(frames), times.astype(np.float32)


def _stride(video: Video, num_frames: int, rng: np.random.Generator | None) -> int:
    """The n of "every n-th frame": SPACING apart where the clip is long enough, else as far apart as it allows."""
    assert num_frames > 1
    longest = (video.num_frames - 1) // (num_frames - 1)
    if longest < 1:
        raise MediaError(f"{video.name}: wanted at least {num_frames} frames, got {video.num_frames}; leave it out or ask for fewer")
    per_reference_frame = video.fps / REFERENCE_FPS
    least = min(longest, max(1, int(np.ceil(SPACING[0] * per_reference_frame))))
    most = min(longest, max(1, int(SPACING[1] * per_reference_frame)))
    return int(rng.integers(least, most + 1)) if rng else min(most, max(least, round(per_reference_frame)))


def _crop(height: int, width: int, rng: np.random.Generator | None) -> tuple[int, int, int]:
    """Top, left and side of a square in a picture: the middle one, or one that `rng` draws."""
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    if rng:
        side = max(1, int(side * rng.uniform(LEAST_CROP, 1.0)))
        top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    return int(top), int(left), side


def _square(pixels: np.ndarray, size: int, crop: tuple[int, int, int]) -> np.ndarray:
    top, left, side = crop
    how = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return cv2.resize(pixels[top : top + side, left : left + side], (size, size), interpolation=how)


def _fault(path: Path, min_frames: int) -> str:
    """Why a clip cannot be used, as far as its header and first frame tell; empty for a good one."""
    try:
        with open_video(path) as video:
            if next(video.timed_frames(), None) is None or video.num_frames < min_frames:
                return f"{path.name}: wanted at least {min_frames} frames, got {video.num_frames}"
    except MediaError as error:
        return str(error)
    return ""


def sidecar(path: Path) -> str:
    """Caption from the .txt beside a clip; empty where there is none."""
    text = path.with_suffix(".txt")
    return " ".join(bounded_text(text, MOST_CAPTION_BYTES, "a caption").split()) if text.is_file() else ""


def captions_of(folder: Path, paths: Sequence[Path]) -> dict[Path, tuple[str, str]]:
    """Caption and source of clips in a folder, of those that are listed, from the first list that there is in it or above it.

    Raises ValueError, in one line, where that list cannot be understood.
    """
    for table in (place / name for place in (folder, folder.parent) for name in LISTS):
        if table.is_file():
            if table.stat().st_size > MOST_TABLE_BYTES:
                raise ValueError(f"{table}: wanted a table of at most {MOST_TABLE_BYTES >> 20} MB, got more; split the folder")
            rows = rows_about(table, folder, paths)
            return {path: (row.caption, row.first_of([SOURCE_COLUMN])) for path, row in rows.items()}
    return {}
