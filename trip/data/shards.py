"""Filmed data sets encoded ahead of the training, at any size: shards of latents and text, read a few at a time.

FOLDER/key.json                what the latents depend on: autoencoder, text encoder, settings of the window
FOLDER/empty.safetensors       words and sentence of the empty prompt, where text is cached
FOLDER/clips-….safetensors     the clips of so many entries of the data set, and which entries could not be used and why
FOLDER/listing.json            how many entries and shards there are in all; written by whoever lists to the end
FOLDER/index.json              clips of each shard and a digest of its entries, so that opening ten thousand of them costs one file

Shards are made independently of each other, by any number of processes and machines that share the folder. A shard that is there
is not made again, unless its entries have changed since.
"""

import hashlib
import json
import logging
import os
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from trip.data.cache import EncodedClip, check_key
from trip.data.layouts import Entry
from trip.data.windows import Unfit
from trip.system.files import replacing, write_whole

logger = logging.getLogger(__name__)

DECODERS = 4  # threads that decode clips ahead of the autoencoder
MIXED_SHARDS = 8  # whose clips are mixed with each other; all shards are mixed with all


@dataclass(frozen=True)
class Encoders:
    """How a shard is made of entries.

    window   entry, number of the window -> frames f h w 3 uint8, their times f; raises Unfit
    latents  frames, 1 3 f h w in [-1, 1] -> 1 c f h w
    text     captions -> words b n d, sentences b d; none where text is not cached
    """

    window: Callable[[Entry, int], tuple[np.ndarray, np.ndarray]]
    latents: Callable[[Tensor], Tensor]
    text: Callable[[list[str]], tuple[Tensor, Tensor]] | None


def encode_shards(
    folder: Path,
    entries: Iterable[Entry],
    encoders: Encoders,
    *,
    key: dict[str, Any],
    shard_size: int,
    windows: int = 1,
    part: int = 0,
    num_parts: int = 1,
) -> Iterator[dict[str, int]]:
    """Makes every `num_parts`-th shard, from `part` on, and yields after each what is done: shards, clips, and unfit ones by reason.

    windows  clips that are cut from each entry
    """
    folder.mkdir(parents=True, exist_ok=True)
    check_key(folder, {**key, "shard_size": shard_size, "windows": windows})
    if encoders.text and not (folder / "empty.safetensors").exists():
        words, sentence = encoders.text([""])
        _save(folder / "empty.safetensors", {"words": words[0].half(), "sentence": sentence[0].half()}, {})
    done: Counter[str] = Counter(shards=0, clips=0)
    stream, number, listed = iter(entries), 0, 0
    while group := list(islice(stream, shard_size)):
        if number % num_parts == part:
            path, told = folder / f"clips-{number:07d}.safetensors", _digest(group)
            if _entries_of(path) != told:
                _save(path, *_shard(group, encoders, windows, told))
                (folder / "index.json").unlink(missing_ok=True)
            done += Counter(shards=1, clips=_count(path), **Counter(unfit["reason"] for unfit in unfit_in(path)))
            yield dict(done)
        number, listed = number + 1, listed + len(group)
    if not listed:
        raise ValueError(f"{folder}: wanted a data set to encode, its folder lists no clips of that split; check layout and split")
    for path in folder.glob("clips-*.safetensors"):
        if int(path.stem.removeprefix("clips-")) >= number:  # of a longer listing
            path.unlink(missing_ok=True)
    write_whole(folder / "listing.json", json.dumps({"entries": listed, "shards": number}))


def _shard(group: list[Entry], encoders: Encoders, windows: int, told: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a shard; entries that cannot be used leave a line instead of a clip."""
    latents, times, said, unfit = [], [], [], []
    for entry, found in _windows(group, encoders.window, windows):
        if isinstance(found, Unfit):
            unfit.append({"name": found.name, "reason": found.reason, "why": str(found)})
            continue
        frames, frame_times = found
        video = torch.from_numpy(frames).permute(3, 0, 1, 2).unsqueeze(0).float() / 127.5 - 1
        latents.append(encoders.latents(video)[0].half().cpu())
        times.append(torch.from_numpy(frame_times).float())
        said.append(entry.captions or ("",))
    captions = list(dict.fromkeys(caption for several in said for caption in several))
    tensors = {"latents": torch.stack(latents), "times": torch.stack(times)} if latents else {}
    if encoders.text and captions:
        parts = [encoders.text(captions[start : start + 32]) for start in range(0, len(captions), 32)]
        words, sentences = (torch.cat(several).half().cpu() for several in zip(*parts, strict=True))
        tensors |= {"words": words, "sentences": sentences}
    number = {caption: index for index, caption in enumerate(captions)}
    metadata = {
        "entries": told,
        "count": str(len(latents)),
        "captions": json.dumps(captions),
        "said": json.dumps([[number[caption] for caption in several] for several in said]),
        "unfit": json.dumps(unfit),
    }
    return tensors, metadata


def _windows(group: list[Entry], read: Callable, windows: int) -> Iterator[tuple[Entry, tuple[np.ndarray, np.ndarray] | Unfit]]:
    """Each entry's windows, or once why it has none; some are decoded ahead, in threads, while others are encoded."""

    def found(entry: Entry, window: int) -> tuple[np.ndarray, np.ndarray] | Unfit:
        try:
            return read(entry, window)
        except Unfit as error:
            return error

    wanted = [(entry, window) for entry in group for window in range(windows)]
    with ThreadPoolExecutor(DECODERS, "decode") as pool:
        coming = deque(pool.submit(found, *one) for one in wanted[: 2 * DECODERS])
        for index, (entry, window) in enumerate(wanted):
            result = coming.popleft().result()
            coming.extend(pool.submit(found, *one) for one in wanted[index + 2 * DECODERS : index + 2 * DECODERS + 1])
            if window == 0 or not isinstance(result, Unfit):
                yield entry, result


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with replacing(path) as partial:
        save_file(tensors, partial, metadata=metadata)


def _digest(group: list[Entry]) -> str:
    """Sixteen letters that change with the listed entries, and with the size of any of their files."""
    state = hashlib.sha256()
    for entry in group:
        size = entry.path.stat().st_size if entry.path.is_file() else -1
        state.update(repr((entry.name, entry.captions, entry.begin, entry.end, size)).encode())
    return state.hexdigest()[:16]


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as shard:
        return shard.metadata()


def _entries_of(path: Path) -> str:
    return _metadata(path)["entries"] if path.exists() else ""


def _count(path: Path) -> int:
    return int(_metadata(path)["count"])


def unfit_in(path: Path) -> list[dict[str, str]]:
    """The entries of a shard that could not be used: name, reason and why."""
    return json.loads(_metadata(path)["unfit"])


class EncodedDataSet:
    """The shards of an encoded data set, of which a few are open at a time.

    Every epoch sees each clip once: shards in an order of their own, the clips of `MIXED_SHARDS` neighbours mixed. The clip at a
    position is a function of seed and position alone, so a run resumes anywhere at once, on any number of processes.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        index = _index(folder)
        self.counts = {name: count for name, (count, _) in index.items()}
        self.contents = {name: told for name, (_, told) in index.items()}
        self.names = list(self.counts)
        self.sizes = np.array([self.counts[name] for name in self.names])
        if not self.sizes.sum():
            raise ValueError(f"{folder}: wanted encoded clips, found none; run python -m trip encode first")
        self.key = json.loads((folder / "key.json").read_text())
        self._open: OrderedDict[str, _Shard] = OrderedDict()
        self._epoch: tuple[Any, ...] = ()
        self._group: tuple[Any, ...] = ()
        empty = folder / "empty.safetensors"
        self.unsaid = None
        if empty.exists():
            with safe_open(empty, framework="pt") as file:
                self.unsaid = file.get_tensor("words"), file.get_tensor("sentence")

    def __len__(self) -> int:
        return int(self.sizes.sum())

    @property
    def num_frames(self) -> int:
        """Frames of each clip."""
        return self.key["num_frames"]

    @property
    def digest(self) -> str:
        """Sixteen letters that change with the shards, their clips and what is said about them."""
        return hashlib.sha256(json.dumps([self.key, self.counts, self.contents]).encode()).hexdigest()[:16]

    def draw(self, seed: int, position: int) -> EncodedClip:
        """The clip at a position of the training's endless row of clips, with one of its captions."""
        name, row = self.place(seed, position)
        return self._shard(name).clip(row, np.random.default_rng([seed, position]))

    def place(self, seed: int, position: int) -> tuple[str, int]:
        """Shard and row of the clip at a position."""
        epoch, rest = divmod(position, len(self))
        order, ends = self._order(seed, epoch)
        group = int(np.searchsorted(ends, rest, side="right"))
        shards, rows = self._mixed(seed, epoch, group, order)
        place = rest - (ends[group - 1] if group else 0)
        return self.names[shards[place]], int(rows[place])

    def _order(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Order of the shards in an epoch, and the clips up to the end of each group of them."""
        if self._epoch[:2] != (seed, epoch):
            order = np.random.default_rng([seed, epoch, 0]).permutation(len(self.names))
            ends = np.add.reduceat(self.sizes[order], np.arange(0, len(order), MIXED_SHARDS)).cumsum()
            self._epoch = seed, epoch, order, ends
        return self._epoch[2:]

    def _mixed(self, seed: int, epoch: int, group: int, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shard and row of each clip of a group, mixed."""
        if self._group[:3] != (seed, epoch, group):
            members = order[group * MIXED_SHARDS : (group + 1) * MIXED_SHARDS]
            shards = np.repeat(members, self.sizes[members])
            rows = np.concatenate([np.arange(self.sizes[member]) for member in members])
            mixed = np.random.default_rng([seed, epoch, 1, group]).permutation(len(shards))
            self._group = seed, epoch, group, shards[mixed], rows[mixed]
        return self._group[3:]

    def _shard(self, name: str) -> "_Shard":
        if name not in self._open:
            self._open[name] = _Shard(self.folder / name)
            while len(self._open) > 2 * MIXED_SHARDS:
                self._open.popitem(last=False)
        self._open.move_to_end(name)
        return self._open[name]

    def first(self, count: int) -> list[EncodedClip]:
        """The first clips, for validation: always the same, each with its first caption."""
        clips = []
        for name, size in zip(self.names, self.sizes, strict=True):
            clips += [self._shard(name).clip(row, None) for row in range(min(int(size), count - len(clips)))]
        return clips


class _Shard:
    """One shard, mapped into memory: what is read of it is what is used."""

    def __init__(self, path: Path):
        self.file = safe_open(path, framework="pt")
        metadata = self.file.metadata()
        self.captions, self.said = json.loads(metadata["captions"]), json.loads(metadata["said"])
        self.has_text = "words" in self.file.keys()  # noqa: SIM118  not a dict

    def clip(self, row: int, rng: np.random.Generator | None) -> EncodedClip:
        said = self.said[row]
        caption = said[int(rng.integers(len(said))) if rng else 0]
        text = (self._row("words", caption), self._row("sentences", caption)) if self.has_text else (None, None)
        return EncodedClip(self._row("latents", row), self._row("times", row), self.captions[caption], *text)

    def _row(self, name: str, row: int) -> Tensor:
        return self.file.get_slice(name)[row]


def _index(folder: Path) -> dict[str, tuple[int, str]]:
    """Clips of each shard and the digest of its entries; headers are read where index.json does not know them, and it is brought up to
    date.
    """
    names = sorted(entry.name for entry in os.scandir(folder) if entry.name.startswith("clips-") and entry.name.endswith(".safetensors"))
    path = folder / "index.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known = {name: one for name, one in known.items() if isinstance(one, list)}  # an older one had the counts alone
    if list(known) != names:
        known = {name: known[name] if name in known else [_count(folder / name), _entries_of(folder / name)] for name in names}
        write_whole(path, json.dumps(known))
    listing = folder / "listing.json"
    wanted = json.loads(listing.read_text())["shards"] if listing.exists() else None
    if wanted != len(names):
        logger.warning("%s: encoding is not finished, %d of %s shards are there", folder, len(names), wanted or "an unknown number of")
    return {name: tuple(one) for name, one in known.items()}
