"""Moving clips encoded ahead of the training: shards of latents with their captions, written once, read by index.

Encoding a frame costs more than training on it, so each clip is encoded once and seen many times, with other noise and
other frames. A shard that is there is never made again; a cache made under other settings is refused.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from trip.data.clips import ClipFile, draw_window
from trip.data.filmed_motion import filmed
from trip.data.motion import MovingClip, render
from trip.data.photos import Photo
from trip.data.prompts import MOTIONS, SWAYING, describe, draw_motion
from trip.system.files import atomic_write, atomic_write_text

logger = logging.getLogger(__name__)

SHARD_SIZE = 128  # clips
FILMED_SHARE = 0.1  # clips that were filmed, where there are some; the rest is made of photos
TIME_SCALES, TIME_SCALE_SHARES = (0.5, 1.0, 2.0), (0.15, 0.65, 0.2)  # reference frames from one frame to the next
MOMENTS, LAST_MOMENT = 3, 30.0  # frames of a clip of which moments alone are looked at, and the latest of them, in reference frames


@dataclass(frozen=True)
class Sample:
    """A clip before encoding: frames f h w 3 uint8, times f in reference frames, and where it is known the truth about its motion.

    sways  whether chance has a say in how things move: neither photo nor sentence tells all
    """

    frames: np.ndarray
    times: np.ndarray
    caption: str
    motion: MovingClip | None = None
    sways: bool = True


def draw_moments(photos: list[Photo], clips: list[ClipFile], *, size: int, rng: np.random.Generator, swaying: float = 0.0) -> Sample:
    """The photo and some moments of a clip, at any time: enough to learn where the photo goes.

    swaying  share of the clips that show something SWAYING, of a photo that suits it; the rest is as it comes
    """
    times = np.concatenate([[0], np.sort(rng.uniform(0, LAST_MOMENT, MOMENTS - 1))])
    return _drawn(photos, clips, times, size, rng, swaying)


def draw_sample(
    photos: list[Photo], clips: list[ClipFile], *, num_frames: int, size: int, rng: np.random.Generator, swaying: float = 0.0
) -> Sample:
    """One clip of the training mix: a photo set in motion, or a filmed clip; `swaying` as in `draw_moments`."""
    times = np.arange(num_frames) * rng.choice(TIME_SCALES, p=TIME_SCALE_SHARES)
    return _drawn(photos, clips, times, size, rng, swaying)


def _drawn(photos: list[Photo], clips: list[ClipFile], times: np.ndarray, size: int, rng: np.random.Generator, swaying: float) -> Sample:
    """A photo set in motion, seen at these times, or a filmed clip of as many frames."""
    if swaying and rng.random() < swaying:
        suited = [photo for photo in photos if any(photo.kind in MOTIONS[name].suits for name in SWAYING)]
        if not suited:
            kinds = ", ".join(sorted(frozenset[str].union(*(MOTIONS[name].suits for name in SWAYING))))
            raise ValueError(
                f"recipe.swaying_moments or swaying_clips: wanted photos of the kinds {kinds}, got none; see photos.csv, or set 0"
            )
        return _set_in_motion(suited, times, size, rng, SWAYING)
    if clips and rng.random() < FILMED_SHARE:
        clip, frames, times = draw_window(clips, num_frames=len(times), size=size, rng=rng)
        return Sample(frames, times, clip.caption, filmed(frames))
    return _set_in_motion(photos, times, size, rng)


def _set_in_motion(photos: list[Photo], times: np.ndarray, size: int, rng: np.random.Generator, wanted: Set[str] = frozenset()) -> Sample:
    """A photo set in motion: in any, or in one of those wanted, which must suit the photos."""
    while True:
        photo = photos[rng.integers(len(photos))]
        motions = draw_motion(rng, photo.kind)
        names = {motion.name for motion in motions}
        if not wanted or names & wanted:
            break
    caption = describe(motions, rng, photo.caption)
    clip = render(photo.pixels, motions, times, size, rng)
    return Sample(clip.frames, times, caption, clip, sways=bool(names & SWAYING))


def encode_cache(
    folder: Path,
    draw: Callable[[np.random.Generator], Sample],
    encode: Callable[[Tensor], Tensor],
    *,
    num_clips: int,
    seed: int,
    key: dict[str, str | int],
    keeps_photo: bool = False,
) -> Iterator[tuple[int, int]]:
    """Fills the cache and yields (clips done, clips wanted) after each shard; goes on where it stopped.

    draw    gives a clip for a source of chance
    encode  frames, 1 3 f h w in [-1, 1] -> latents, 1 c f h w
    key     what the latents depend on; written beside them and compared when the cache is opened again
    keeps_photo  whether the first frame is kept as it is, too
    """
    folder.mkdir(parents=True, exist_ok=True)
    check_key(folder, key)
    for start in range(0, num_clips, SHARD_SIZE):
        path = folder / f"clips-{start:07d}.safetensors"
        if not path.exists():
            _write_shard(path, draw, encode, range(start, min(start + SHARD_SIZE, num_clips)), seed, keeps_photo)
        yield min(start + SHARD_SIZE, num_clips), num_clips


def check_key(folder: Path, key: dict[str, Any]) -> None:
    """Notes what the latents of a cache depend on; ValueError where those that are there depend on something else."""
    path = folder / "key.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    if any(name not in key or key[name] != value for name, value in known.items()):  # what an older one does not name is noted now
        raise ValueError(
            f"{folder}: wanted latents made with {key}, found {path.read_text().strip()}; delete the folder or use another run"
        )
    atomic_write_text(path, json.dumps(key))


def _write_shard(path: Path, draw: Callable, encode: Callable, indices: range, seed: int, keeps_photo: bool) -> None:
    latents, times, captions, motions, sways, photos = [], [], [], [], [], []
    with ThreadPoolExecutor(1, "clips") as drawer:  # the next clips are drawn while one is encoded
        for sample in drawer.map(lambda index: draw(np.random.default_rng([seed, index])), indices):
            motions += [_motion_tensor(sample.motion)] if sample.motion else []
            video = torch.from_numpy(sample.frames).permute(3, 0, 1, 2).unsqueeze(0).float() / 127.5 - 1
            latents.append(encode(video)[0].half().cpu())
            times.append(torch.from_numpy(sample.times).float())
            captions.append(sample.caption)
            sways.append(sample.sways)
            photos += [torch.from_numpy(sample.frames[0])] if keeps_photo else []
    tensors = {"latents": torch.stack(latents), "times": torch.stack(times), "sways": torch.tensor(sways)}
    if len(motions) not in (0, len(captions)):
        raise ValueError(f"wanted the motion of every clip of a cache or of none, got it of {len(motions)} of {len(captions)}")
    if motions:
        tensors["motion"] = torch.stack(motions)
    if photos:
        tensors["photos"] = torch.stack(photos)
    with atomic_write(path) as partial:
        save_file(tensors, partial, metadata={"captions": json.dumps(captions)})


def _motion_tensor(clip: MovingClip) -> Tensor:
    """x and y of `places`, `visibility` and `known`: f 4 g g, half."""
    parts = (clip.places, clip.visibility[..., None], clip.known[..., None])
    return torch.from_numpy(np.concatenate(parts, axis=3)).permute(0, 3, 1, 2).half().contiguous()


@dataclass(frozen=True)
class EncodedClip:
    """A clip of a cache: latents c f h w (half), times f, caption.

    words, sentence  where text is cached too      n d and d, half
    motion           where the true motion is known: x and y of `MovingClip.places`, `visibility`, `known`   f 4 g g, half
    sways            whether chance has a say in how things move
    photo            the first frame, where it is kept                             h w 3, uint8
    """

    latents: Tensor
    times: Tensor
    caption: str
    words: Tensor | None = None
    sentence: Tensor | None = None
    motion: Tensor | None = None
    sways: bool = True
    photo: Tensor | None = None


class LatentCache:
    """The shards of a cache, in memory: latents n c f h w (half), times n f, captions, and where they were written motion n f 4 g g
    and photos n h w 3.
    """

    unsaid: tuple[Tensor, Tensor] | None = None  # words and sentence of the empty prompt, where text is cached

    def __init__(self, folder: Path):
        latents, times, motion, sways, photos, self.captions = [], [], [], [], [], []
        for path in sorted(folder.glob("clips-*.safetensors")):
            with safe_open(path, framework="pt") as shard:
                latents.append(shard.get_tensor("latents"))
                times.append(shard.get_tensor("times"))
                motion += [shard.get_tensor("motion")] if "motion" in shard.keys() else []  # noqa: SIM118  no mapping
                sways += [shard.get_tensor("sways") if "sways" in shard.keys() else torch.ones(len(times[-1]), dtype=torch.bool)]  # noqa: SIM118
                photos += [shard.get_tensor("photos")] if "photos" in shard.keys() else []  # noqa: SIM118
                self.captions += json.loads(shard.metadata()["captions"])
        if not latents:
            raise ValueError(f"{folder}: wanted encoded clips, found none; encode some first")
        self.latents = torch.cat(latents)
        self.times = torch.cat(times)
        self.motion = torch.cat(motion) if motion else None
        self.sways = torch.cat(sways).tolist()
        self.photos = torch.cat(photos) if len(photos) == len(times) else None  # older shards have none

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def num_frames(self) -> int:
        """Frames of each clip."""
        return self.latents.shape[2]

    def draw(self, seed: int, position: int) -> EncodedClip:
        """The clip at a position of the training's endless row of clips, drawn by chance."""
        return self.clip(int(np.random.default_rng([seed, position]).integers(len(self))))

    def first(self, count: int) -> list[EncodedClip]:
        """The first clips, for validation: always the same."""
        return [self.clip(index) for index in range(min(count, len(self)))]

    def clip(self, index: int) -> EncodedClip:
        """One clip."""
        motion = None if self.motion is None else self.motion[index]
        photo = None if self.photos is None else self.photos[index]
        return EncodedClip(
            self.latents[index], self.times[index], self.captions[index], motion=motion, sways=self.sways[index], photo=photo
        )


def data_digest(photos: Sequence[Photo], clips: Sequence[ClipFile]) -> str:
    """Sixteen letters that change with any photo or clip, and with what is said about it."""
    state = hashlib.blake2b()
    for photo in photos:
        state.update(repr((photo.name, photo.caption, photo.kind, photo.pixels.shape)).encode())
        state.update(np.ascontiguousarray(photo.pixels))
    for clip in clips:
        with clip.path.open("rb") as file:
            content = hashlib.file_digest(file, "blake2b").digest()
        state.update(repr((clip.path.name, clip.caption, clip.source, content)).encode())
    return state.hexdigest()[:16]


def digest(tensors: dict[str, Tensor]) -> str:
    """Sixteen letters that change with any of the weights."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        state.update(name.encode())
        state.update(tensors[name].detach().float().cpu().numpy().tobytes())
    return state.hexdigest()[:16]
