"""Clips through a network, once: features and motion are kept on disk, piece by piece, under a name that says what they depend on."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from trip.data.windows import Unfit
from trip.evaluation.camera import FLOW_SIDE, at_most, neighbour_flows
from trip.evaluation.clip_sets import ClipSet
from trip.evaluation.extractors import FeatureExtractor
from trip.system.files import atomic_write

PIECE = 64  # clips that are kept together; a kill loses at most so many
LARGEST_SHARE = 0.05  # of the pixels, those that move most: a subject may be small
LEAST_STEP = 6 / 256  # of the short side from frame to frame: then a step moves
LEAST_STEPS = 0.25  # of the steps must move: then the clip does
Progress = Callable[[float, str], None]  # share done, what was just read


@dataclass(frozen=True)
class Features:
    """What a network says of the clips of a set.

    names   of the clips that could be read     n
    values  features                            n d, or of frames n f d
    way     mean way of a pixel over the clip, frame widths                              n
    moves   whether a clip moves, after VBench's dynamic degree, with Farneback's flow   n, 0 or 1
    unfit   the clips that could not be read
    """

    names: list[str]
    values: np.ndarray
    way: np.ndarray
    moves: np.ndarray
    unfit: list[Unfit]

    def __len__(self) -> int:
        return len(self.names)

    def of(self, chosen: np.ndarray | list[int]) -> "Features":
        """Those of some clips."""
        return Features([self.names[i] for i in chosen], self.values[chosen], self.way[chosen], self.moves[chosen], self.unfit)


def versions() -> dict[str, str]:
    """Of the packages that decode, resize and compute."""
    from importlib.metadata import version

    return {"torch": torch.__version__.partition("+")[0], "opencv": cv2.__version__, "av": version("av")}


def features_of(
    clips: ClipSet, extractor: FeatureExtractor, cache: Path | None = None, progress: Progress = lambda share, text: None
) -> Features:
    """Features and motion of all clips of a set that can be read; what was measured before, by this network on these files, is read back.

    cache  folder of what was measured before; none: measure all of it, keep nothing
    Raises ValueError where fewer than two clips can be read.
    """
    pieces = []
    for start in range(0, len(clips), PIECE):
        piece = replace(clips, sources=clips.sources[start : start + PIECE])
        share = partial_progress(progress, start / len(clips), len(piece) / len(clips))
        path = cache / f"{extractor.name}-{_key(piece, extractor)}.safetensors" if cache else None
        found = _kept(path) if path else None
        if found is None:
            found = _measured(piece, extractor, share)
            if path and len(found):
                _keep(path, found)
        pieces.append(found)
        share(1.0, clips.label)
    full = [piece for piece in pieces if len(piece)]
    unfit = [one for piece in pieces for one in piece.unfit]
    if sum(map(len, full)) < 2:
        why = f" ({unfit[0]}; in all {len(unfit)} left out)" if unfit else ""
        raise ValueError(
            f"{clips.label}: wanted at least 2 clips that can be read, got {sum(map(len, full))}{why}; see the flags of how clips are read"
        )
    arrays = (np.concatenate([getattr(piece, name) for piece in full]) for name in ("values", "way", "moves"))
    return Features([name for piece in full for name in piece.names], *arrays, unfit)


def partial_progress(progress: Progress, start: float, share: float) -> Progress:
    """Tells the progress of a part as that of the whole."""
    return lambda done, text: progress(start + share * done, text)


def motion_of(frames: np.ndarray) -> tuple[float, bool]:
    """Mean way of a pixel over a clip, frame widths, and whether the clip moves: f h w 3, uint8."""
    flow = np.linalg.norm(neighbour_flows(at_most(frames, FLOW_SIDE)), axis=-1)
    height, width = flow.shape[1:]
    most = np.sort(flow.reshape(len(flow), -1), axis=1)[:, -max(round(LARGEST_SHARE * height * width), 1) :].mean(axis=1)
    steps = (most > LEAST_STEP * min(height, width)).mean()
    return float(flow.mean(axis=(1, 2)).sum() / width), bool(steps >= LEAST_STEPS)


def _measured(clips: ClipSet, extractor: FeatureExtractor, progress: Progress) -> Features:
    names, values, motion, unfit = [], [], [], []
    for index, (source, frames) in enumerate(clips.windows()):
        if isinstance(frames, Unfit):
            unfit.append(frames)
        else:
            names.append(source.name)
            values.append(extractor.features(frames))
            motion.append(motion_of(frames))
        progress((index + 1) / len(clips), source.name)
    way, moves = np.array(motion, np.float64).reshape(-1, 2).T
    return Features(names, np.array(values, np.float32), way, moves, unfit)


def _key(clips: ClipSet, extractor: FeatureExtractor) -> str:
    depends = [clips.digest(exact=True), extractor.name, extractor.digest, extractor.input, versions()]
    return hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:16]


def _keep(path: Path, found: Features) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"names": json.dumps(found.names), "unfit": json.dumps([(one.name, one.reason, str(one)) for one in found.unfit])}
    with atomic_write(path) as partial:
        arrays = {"values": found.values, "way": found.way, "moves": found.moves}
        in_order = {name: np.ascontiguousarray(array) for name, array in arrays.items()}  # else read back shuffled
        save_file(in_order, partial, metadata=metadata)


def _kept(path: Path) -> Features | None:
    """What was measured before; none where there is nothing, or half of it."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata()
            arrays = [file.get_tensor(name) for name in ("values", "way", "moves")]
    except (OSError, SafetensorError):
        return None
    return Features(json.loads(metadata["names"]), *arrays, list(_again(json.loads(metadata["unfit"]))))


def _again(unfit: list[list[str]]) -> Iterator[Unfit]:
    for name, reason, words in unfit:
        yield Unfit(name, reason, words.removeprefix(f"{name}: "))
