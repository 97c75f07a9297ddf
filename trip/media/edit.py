"""Clips made of clips: one after the other, there and back; how well a clip loops; all its frames without loss."""

import io
import json
import math
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from trip.media.clip import Clip, Metadata
from trip.media.files import MediaError, check_target
from trip.media.video import Video
from trip.system.files import replacing

GIF_SHORT = 384  # pixels of the short side of a GIF where no size was asked for: it weighs ten times an .mp4
PARTS = "parts"  # metadata of a joined clip: JSON list of its parts' metadata, in the order they play


def joined_metadata(first: Metadata, second: Metadata) -> Metadata:
    """What a clip and its continuation were made with; see `parts`."""
    return {PARTS: json.dumps([*parts(first), *parts(second)])}


def check_joins(first: Video, shape: tuple[int, int], fps: float) -> None:
    """Raises MediaError where a clip of that height, width and rate cannot go on from a video."""
    height, width = shape
    if first.size != (width, height):
        sizes = "{} x {}".format(*first.size), f"{width} x {height}"
        raise MediaError(f"wanted clips of one size to join, got {sizes[0]} and {sizes[1]} pixels; animate at one size")
    if not math.isclose(first.fps, fps, rel_tol=1e-2):  # a rate read from a file is not exact
        raise MediaError(f"wanted clips of one rate to join, got {first.fps:g} and {fps:g} frames per second; choose one rate")


def parts(metadata: Metadata) -> list[Metadata]:
    """What each part of a clip was made with; of a clip that was not joined the one it is. Raises MediaError where the list is broken."""
    if PARTS not in metadata:
        return [metadata]
    try:
        found = json.loads(str(metadata[PARTS]))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(part, dict) for part in found):
        raise MediaError("wanted a joined clip with a list of its parts, got a broken list; join the clips again")
    return found


def smaller(clip: Clip, short_side: int) -> Clip:
    """A clip whose short side has at most so many pixels."""
    height, width = clip.frames.shape[1:3]
    scale = short_side / min(height, width)
    if scale >= 1:
        return clip
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return replace(clip, frames=np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in clip.frames]))


def boomerang(clip: Clip) -> Clip:
    """There and back: f frames become 2 f - 2, since both end frames show once and the loop goes on with the first."""
    return Clip(np.concatenate([clip.frames, clip.frames[-2:0:-1]]), clip.fps, {**clip.metadata, "played": "there and back"})


def loop_gap(frames: np.ndarray) -> float:
    """How far the last frame is from the first, in steps of the clip: the root mean square difference of their pixels over the median
    of that between neighbours.

    1: the loop goes on as smoothly as any other step; 5: it jumps by five of them. 1 for a clip that stands still; infinite where
    most steps stand still and this one does not.

    frames  f h w 3, uint8; at least 2
    """
    if len(frames) < 2:
        raise MediaError(f"wanted at least 2 frames to loop, got {len(frames)}")
    steps = [_distance(a, b) for a, b in zip(frames[:-1], frames[1:], strict=True)]
    gap, usual = _distance(frames[-1], frames[0]), float(np.median(steps))
    if usual == 0:
        return 1.0 if gap == 0 else math.inf
    return gap / usual


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.square(a.astype(np.float32) - b).mean()))


def write_png_zip(clip: Clip, path: str | Path) -> Path:
    """Writes a .zip of every frame without loss, frame_0000.png and so on, and settings.json with rate and metadata; whole or not at
    all. Raises MediaError.
    """
    path = check_target(path, (".zip",))
    try:
        with replacing(path) as partial, zipfile.ZipFile(partial, "w") as archive:  # stored: a PNG is compressed already
            archive.writestr("settings.json", json.dumps({**clip.metadata, "fps": clip.fps}, indent=2))
            for index, pixels in enumerate(clip.frames):
                picture = io.BytesIO()
                Image.fromarray(pixels).save(picture, "PNG")
                archive.writestr(f"frame_{index:04d}.png", picture.getvalue())
    except OSError as error:  # a full disk
        raise MediaError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    return path
