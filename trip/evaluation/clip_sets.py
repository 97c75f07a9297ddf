"""Folders of clips as the measures read them: windows of one length, rate and size, each under its name; what cannot be read is named and
counted, and stops nothing.

A folder holds films (any layout that `trip.data.layouts` knows), or folders of numbered pictures, a clip each.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from trip.data.layouts import Entry, entries
from trip.data.tables import CLIP_SUFFIXES
from trip.data.windows import Unfit, read_at_rate, squared
from trip.evaluation.clips import evenly
from trip.media import PHOTO_SUFFIXES, MediaError, open_video, read_photo

AHEAD = 4  # clips decoded while the network works
Change = Callable[[np.ndarray], np.ndarray]  # frames f h w 3, uint8 -> the same shape
RUN = "run.json"  # beside the folders of a run: how its clips were made
MAX_NAMED = 20  # unfit clips that a report names, of each reason


@dataclass(frozen=True)
class Reading:
    """How a clip becomes frames: the paper's 16 at 4 a second, centre square of 256 pixels, from the clip's beginning.

    fps   frames a second, by the clip's own times; none: the first frames as they come, as of pictures, which have no times
    crop  the centre square; off: the whole picture squeezed into it
    skip  frames left out at the beginning: 1 where the given photo is not to count
    """

    num_frames: int = 16
    fps: float | None = 4.0
    size: int = 256
    crop: bool = True
    skip: int = 0


@dataclass(frozen=True)
class Source:
    """One clip of a set: an entry of a data set, or pictures in order. Clips of two sets with one name belong together."""

    name: str
    entry: Entry | None = None
    pictures: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """What it is read from."""
        return self.pictures or (self.entry.path,)

    def read(self, reading: Reading) -> np.ndarray:
        """Its frames, f size size 3, uint8. Raises Unfit."""
        try:
            if self.pictures:
                frames = _read_pictures(self.name, self.pictures, reading)
            elif reading.fps is None:
                frames = _read_first(self.entry, reading)
            else:
                more = {"num_frames": reading.num_frames, "size": reading.size, "crop": reading.crop}
                frames = read_at_rate(self.entry, fps=reading.fps, rng=None, **more)[0]
            return frames[reading.skip :]
        except MediaError as error:
            raise Unfit(self.name, "broken", str(error)) from error


@dataclass(frozen=True)
class ClipSet:
    """Clips to be measured.

    label   what it is called
    stride  seconds between two frames; none: nobody knows, they are taken as they come
    change  what is done to each window, and `changed` says that in a word; none: nothing
    """

    label: str
    sources: tuple[Source, ...]
    reading: Reading
    stride: float | None = None
    change: Change | None = None
    changed: str = ""

    def __len__(self) -> int:
        return len(self.sources)

    def windows(self) -> Iterator[tuple[Source, np.ndarray | Unfit]]:
        """Each clip's frames, or why it has none; some are decoded ahead."""

        def read(source: Source) -> np.ndarray | Unfit:
            try:
                frames = source.read(self.reading)
            except Unfit as error:
                return error
            return self.change(frames) if self.change else frames

        with ThreadPoolExecutor(AHEAD, "decode") as pool:
            coming = [(source, pool.submit(read, source)) for source in self.sources[:AHEAD]]
            for index in range(len(self.sources)):
                source, result = coming.pop(0)
                found = result.result()
                coming += [(one, pool.submit(read, one)) for one in self.sources[index + AHEAD : index + AHEAD + 1]]
                yield source, found

    def digest(self, *, exact: bool = False) -> str:
        """Sixteen letters that change with the names and sizes of its files and with what is done to them; `exact`: with their times."""
        state = hashlib.sha256(repr((self.reading, self.changed)).encode())
        for source in self.sources:
            found = [path.stat() if path.is_file() else None for path in source.files]
            sizes = [(one.st_size, one.st_mtime_ns if exact else 0) if one else None for one in found]
            span = (source.entry.begin, source.entry.end) if source.entry else ()
            state.update(repr((source.name, sizes, span)).encode())
        return state.hexdigest()[:16]

    def with_change(self, label: str, change: Change, changed: str) -> "ClipSet":
        """The same clips, each of them changed."""
        return replace(self, label=label, change=change, changed=changed)


def open_set(
    folder: Path,
    reading: Reading,
    *,
    layout: str = "auto",
    split: str | None = None,
    categories: Sequence[str] = (),
    most: int | None = None,
    label: str = "",
) -> ClipSet:
    """The clips of a folder, in order of their names, at most so many from all along it. Raises ValueError where there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: wanted a folder of clips or of pictures in folders, found none there; check the path")
    may_be_films = layout != "auto" or bool(categories) or _has_films(folder)
    found = list(numbered_sources(entries(folder, layout, split, categories=categories))) if may_be_films else []
    found = found or (_pictured(folder) if layout == "auto" else [])
    if not found:
        kinds = ", ".join(sorted(CLIP_SUFFIXES))
        raise ValueError(f"{folder}: wanted clips ({kinds}) or folders of numbered pictures, found neither; check path, layout and split")
    found = evenly(sorted(found, key=lambda source: source.name), most)
    of_pictures = any(source.pictures for source in found)
    stride = run_metadata(folder).get("stride") if of_pictures else reading.fps and 1 / reading.fps
    return ClipSet(label or folder.name, tuple(found), reading, stride)


def run_metadata(folder: Path) -> dict[str, Any]:
    """What the `run.json` beside a folder says of its clips, as `python -m trip evaluate generate` writes it; {} where there is none."""
    try:
        metadata = json.loads((Path(folder).absolute().parent / RUN).read_text())
    except (OSError, ValueError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def named(entry: Entry) -> str:
    """A clip's name: its path in the data set without suffix, which is also the folder of its pictures where `generate` wrote them, so
    that it leads nowhere else, whatever a list says.
    """
    parts = [re.sub(r"[^\w.-]+", "_", part) for part in PurePosixPath(entry.name).parts if part not in ("/", ".", "..")]
    return PurePosixPath(*parts).with_suffix("").as_posix() if parts else "clip"


def grouped(clips: ClipSet) -> dict[str, ClipSet]:
    """A set for each folder that clips lie in, by its name, such as the categories of DTDB."""
    groups: dict[str, list[Source]] = {}
    for source in clips.sources:
        groups.setdefault(Path(source.name).parent.name, []).append(source)
    return {name: replace(clips, label=f"{clips.label}, {name}" if name else clips.label, sources=tuple(of)) for name, of in groups.items()}


def numbered_sources(found: Iterable[Entry]) -> Iterator[Source]:
    """Each clip under a name of its own: several may be cut from one file."""
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    for entry in found:
        name = own = named(entry)
        while own in seen:
            counts[name] += 1
            own = f"{name}-{counts[name]}"
        seen.add(own)
        yield Source(own, entry)


def faults(unfit: list[Unfit]) -> dict[str, dict]:
    """How many clips were left out for which reason, and some of them by name."""
    return {
        "counts": dict(Counter(one.reason for one in unfit)),
        "named": {reason: [str(one) for one in unfit if one.reason == reason][:MAX_NAMED] for reason in sorted({u.reason for u in unfit})},
    }


def _has_films(folder: Path) -> bool:
    return any(path.suffix.lower() in CLIP_SUFFIXES for path in folder.rglob("*")) or any(
        path.suffix.lower() in {".csv", ".tsv", ".json"} for path in folder.glob("*.*")
    )


def _pictured(folder: Path) -> list[Source]:
    """Folders that hold pictures themselves."""
    pictures: dict[Path, list[Path]] = {}
    for path in folder.rglob("*"):
        if path.suffix.lower() in PHOTO_SUFFIXES:
            pictures.setdefault(path.parent, []).append(path)
    return [
        Source("." if place == folder else place.relative_to(folder).as_posix(), None, tuple(sorted(paths, key=_number)))
        for place, paths in pictures.items()
    ]


def _number(path: Path) -> tuple:
    """Frames in order: 2 before 10."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", path.name) if part)


def _read_pictures(name: str, pictures: tuple[Path, ...], reading: Reading) -> np.ndarray:
    if len(pictures) < reading.num_frames:
        raise Unfit(name, "short", f"{len(pictures)} pictures, wanted at least {reading.num_frames}")
    return np.stack([squared(np.asarray(read_photo(path)), reading.size, reading.crop) for path in pictures[: reading.num_frames]])


def _read_first(entry: Entry, reading: Reading) -> np.ndarray:
    if entry.fault:
        raise Unfit(entry.name, "listed", entry.fault)
    if not entry.path.is_file():
        raise Unfit(entry.name, "missing", "there is no such file")
    with open_video(entry.path) as video:
        found = video.timed_frames(entry.begin)
        frames = [squared(video.upright(frame), reading.size, reading.crop) for _, frame in islice(found, reading.num_frames)]
    if len(frames) < reading.num_frames:
        raise Unfit(entry.name, "short", f"{len(frames)} frames, wanted at least {reading.num_frames}")
    return np.stack(frames)
