"""What can be known of a filmed clip's motion: optical flow to its first frame, where forward and backward flow agree."""

import cv2
import numpy as np

from trip.data.motion import PLACES_SIDE, MovingClip, visibility_of
from trip.media import FlowFinder, carried

AGREED_PIXELS, AGREED_SHARE = 1.0, 0.05  # way there and back may differ by so many pixels, and by that share of the way


def filmed(frames: np.ndarray) -> MovingClip:
    """A square filmed clip, f size size 3, uint8, with its motion as far as it can be seen; frame 0 is the photo."""
    size = frames.shape[1]
    there, back = FlowFinder(size, size), FlowFinder(size, size)
    at = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=2).astype(np.float32)
    places = np.empty((len(frames), PLACES_SIDE, PLACES_SIDE, 2), np.float32)
    known = np.empty(places.shape[:3], np.float32)
    for place, trust, frame in zip(places, known, frames, strict=True):
        way = there.flow(frame, frames[0])
        returned, inside = carried(back.flow(frames[0], frame), way)
        differs = np.linalg.norm(way + returned, axis=2)
        agreed = inside & (differs < AGREED_PIXELS + AGREED_SHARE * np.linalg.norm(way, axis=2))
        place[:] = _coarse((at + way + 0.5) * (2 / size) - 1)
        trust[:] = _coarse(agreed.astype(np.float32))
    return MovingClip(frames, places, visibility_of(frames, places) * known, known)


def _coarse(values: np.ndarray) -> np.ndarray:
    return cv2.resize(values, (PLACES_SIDE, PLACES_SIDE), interpolation=cv2.INTER_AREA)
