"""A filmed data set that is decoded and encoded while it is trained on: for small ones, and to see what the cache saves."""

import logging
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trip.data.cache import EncodedClip
from trip.data.layouts import Entry, entries
from trip.data.windows import Unfit

logger = logging.getLogger(__name__)


class FilmedClips:
    """Clips of a data set, a window of each read anew whenever it is drawn.

    read    entry, number of the window -> frames f h w 3 uint8, times f; raises Unfit
    encode  frames, 1 3 f h w in [-1, 1] -> latents, 1 c f h w
    """

    unsaid = None

    def __init__(self, folder: Path, split: str, *, layout: str, num_frames: int, read: Callable, encode: Callable[[Tensor], Tensor]):
        self.entries = list(entries(folder, layout, split))
        if not self.entries:
            raise ValueError(f"{folder}: wanted clips of the {split} split, found none; check layout and split")
        self.num_frames = num_frames
        self.read, self.encode = read, encode
        self.unfit: set[int] = set()
        self._epoch: tuple[Any, ...] = ()  # seed, number and order of the last one

    def __len__(self) -> int:
        return len(self.entries)

    def draw(self, seed: int, position: int) -> EncodedClip:
        """The clip at a position of the training's endless row of clips: each epoch sees all, in an order of its own.

        One that cannot be used is named once, and another takes its place by chance.
        """
        epoch, rest = divmod(position, len(self))
        rng = np.random.default_rng([seed, position])
        if self._epoch[:2] != (seed, epoch):
            self._epoch = seed, epoch, np.random.default_rng([seed, epoch, 2]).permutation(len(self))
        index = int(self._epoch[2][rest])
        while len(self.unfit) < len(self):
            clip = None if index in self.unfit else self._clip(index, window=position, rng=rng)
            if clip:
                return clip
            index = int(rng.integers(len(self)))
        raise ValueError(f"wanted clips that can be used, all {len(self)} cannot; run python -m trip data check to see why")

    def first(self, count: int) -> list[EncodedClip]:
        """The first clips that can be used, for validation: always the same."""
        clips = (self._clip(index, window=0, rng=None) for index in range(len(self)))
        return list(islice((clip for clip in clips if clip), count))

    def _clip(self, index: int, *, window: int, rng: np.random.Generator | None) -> EncodedClip | None:
        entry: Entry = self.entries[index]
        try:
            frames, times = self.read(entry, window)
        except Unfit as error:
            self.unfit.add(index)
            logger.warning("clip left out, %d of %d so far: %s", len(self.unfit), len(self), error)
            return None
        video = torch.from_numpy(frames).permute(3, 0, 1, 2).unsqueeze(0).float() / 127.5 - 1
        said = entry.captions or ("",)
        caption = said[int(rng.integers(len(said))) if rng else 0]
        return EncodedClip(self.encode(video)[0].half().cpu(), torch.from_numpy(times).float(), caption)
