"""A window of a filmed clip at a wanted rate: frames at even times, or the reason why there are none."""

import cv2
import numpy as np

from trip.data.layouts import Entry
from trip.media import MediaError, Video, open_video

UNEVEN = 1.5  # times the usual gap between two frames: more, and the rate varies
REASONS = ("listed", "missing", "broken", "short", "slow", "variable")


class Unfit(ValueError):
    """A clip that cannot be used, and why: its row in the list cannot be understood (listed), or it is missing, broken, short, slow (fewer
    frames a second than wanted) or of variable rate.
    """

    def __init__(self, name: str, reason: str, detail: str):
        super().__init__(f"{name}: {detail}")
        self.name, self.reason = name, reason


def read_at_rate(
    entry: Entry, *, num_frames: int, fps: float, size: int, rng: np.random.Generator | None, crop: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Frames of a window at a rate, and their seconds since the window's beginning.

    frames   f size size 3, uint8: the centre square, or with `crop` off the whole picture squeezed into it
    seconds  f, float32, from the time stamps: at most half a frame of the file off the even times
    rng      draws the window's place; without it the window begins where the clip does

    Raises Unfit.
    """
    if entry.fault:
        raise Unfit(entry.name, "listed", entry.fault)
    if not entry.path.is_file():
        raise Unfit(entry.name, "missing", "there is no such file")
    try:
        with open_video(entry.path) as video:
            begin = _beginning(video, entry, (num_frames - 1) / fps, fps, rng)
            times, frames = _nearest(entry, video, begin - 1 / video.fps, begin + np.arange(num_frames) / fps)
    except MediaError as error:
        raise Unfit(entry.name, "broken", str(error)) from error
    return np.stack([squared(frame, size, crop) for frame in frames]), (times - times[0]).astype(np.float32)


def _beginning(video: Video, entry: Entry, length: float, fps: float, rng: np.random.Generator | None) -> float:
    """Where the window begins, seconds; its last frame must still lie in the clip."""
    if video.fps < 0.99 * fps:
        raise Unfit(entry.name, "slow", f"{video.fps:.3g} frames a second, wanted at least {fps:g}")
    last = (video.num_frames - 1) / video.fps
    room = (min(last, entry.end) if entry.end else last) - entry.begin - length
    if room < -0.5 / video.fps:
        raise Unfit(entry.name, "short", f"{room + length:.2f} s, wanted at least {length:.2f} s")
    return entry.begin + (rng.uniform(0, max(room, 0)) if rng else 0.0)


def _nearest(entry: Entry, video: Video, start: float, wanted: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """For each wanted time the frame, from `start` on, whose time is nearest; never one frame twice."""
    seen, chosen, frames = [], [], []
    before = None
    for time, frame in video.timed_frames(start):
        seen.append(time)
        while len(chosen) < len(wanted) and time >= wanted[len(chosen)] - 1e-6:
            nearer = before if before and wanted[len(chosen)] - before[0] < time - wanted[len(chosen)] else (time, frame)
            chosen.append(nearer[0])
            frames.append(video.upright(nearer[1]))
        before = (time, frame)
        if len(chosen) == len(wanted):
            break
    if len(chosen) == len(wanted) - 1 and before and len(seen) > 1 and wanted[-1] - before[0] < 0.5 * (seen[-1] - seen[-2]) + 1e-3:
        chosen.append(before[0])  # the file's last frame, a little early
        frames.append(video.upright(before[1]))
    if len(chosen) < len(wanted):
        raise Unfit(entry.name, "short", f"ends after {len(chosen)} of {len(wanted)} frames, before its header says")
    gaps = np.diff(seen)
    if gaps.max() > UNEVEN * np.median(gaps) + 1e-3 or (np.diff(chosen) <= 0).any():
        raise Unfit(entry.name, "variable", f"gaps between frames from {gaps.min():.3f} to {gaps.max():.3f} s")
    return np.array(chosen), frames


def squared(pixels: np.ndarray, size: int, crop: bool = True) -> np.ndarray:
    """The centre square of a picture, or with `crop` off all of it squeezed into one: h w 3, uint8 -> size size 3."""
    height, width = pixels.shape[:2]
    if crop:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        pixels = pixels[top : top + side, left : left + side]
    how = cv2.INTER_AREA if min(pixels.shape[:2]) > size else cv2.INTER_CUBIC
    return cv2.resize(pixels, (size, size), interpolation=how)
