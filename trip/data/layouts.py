"""Data sets as they lie on disk: each layout is a stream of entries, so that ten million of them take no memory.

webvid   results_10M_train.csv (videoid, name, page_dir) and videos/PAGE_DIR/VIDEOID.mp4, the folders optional
msrvtt   a json of videos and sentences, twenty a clip, and the clips as VIDEO_ID.mp4; splits as the json says
dtdb     …/TRAIN/CATEGORY/*.mp4 and …/TEST/CATEGORY/*.mp4; the category is the prompt, some of them can be chosen
table    a csv with a column for the file (video, path, file, file_name, videoID …) and one for the caption: OpenVid, Panda-70M
folder   clips in any folders, captions from clips.csv or a .txt beside the clip
"""

import ast
import json
import logging
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from trip.data.clips import LISTS, captions_of, sidecar
from trip.data.photos import is_held_out
from trip.data.tables import CAPTION_COLUMNS, CLIP_SUFFIXES, FILE_COLUMNS, Row, header_of, read_table
from trip.settings.base import shortened

logger = logging.getLogger(__name__)

PLACES = ("", "videos", "video", "clips", "videos/all", "all", "TrainValVideo", "TestVideo", "train", "val", "test")
SPLITS = ("train", "validation", "test")
EVALUATED = ("msrvtt", "dtdb")  # the paper trains on neither: 2,990 clips of MSR-VTT's test split, four categories of DTDB (Sec. 4.1)


@dataclass(frozen=True)
class Entry:
    """One clip of a data set, before anything opened it.

    name      file within the data set
    captions  what people or models wrote about it; empty where nobody did
    begin     seconds of the file where the clip begins; it ends at `end`, or with the file
    fault     why there is no such clip, in words: what lists it cannot be understood; empty for a good one
    """

    name: str
    path: Path
    captions: tuple[str, ...]
    split: str
    begin: float = 0.0
    end: float | None = None
    fault: str = ""


def entries(folder: Path, layout: str = "auto", split: str | None = None, *, categories: Sequence[str] = ()) -> Iterator[Entry]:
    """The clips of a data set in a fixed order, of one split or of all; ValueError where the folder is not one.

    categories  those of DTDB that are wanted, all where none are named; "waterfall" is Water_Falls
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise ValueError(f"{folder}: wanted the folder of a data set, found none there; check the path")
    if split not in (None, *SPLITS):
        raise ValueError(f"unknown split {split!r}; choose {', '.join(SPLITS)}")
    layout = layout_of(folder) if layout == "auto" else layout
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; choose auto, {', '.join(LAYOUTS)}")
    found = LAYOUTS[layout](folder)
    if categories:
        found = _of_categories(folder, layout, categories)
    return (entry for entry in found if split is None or entry.split == split)


def splits_of(layout: str) -> tuple[str, ...]:
    """The splits of a data set that are wanted where none is named: those to train with, or what the paper evaluates on."""
    return ("test",) if layout in EVALUATED else ("train", "validation")


def layout_of(folder: Path) -> str:
    """How a data set lies on disk, by the lists that it has."""
    if any(_msrvtt_in(path) for path in sorted(folder.glob("*.json"))):
        return "msrvtt"
    headers = [header_of(path) for path in _tables(folder)]
    if any({"videoid", "name"} <= header for header in headers):
        return "webvid"
    if any(map(_lists_clips, _tables(folder))):
        return "table"
    if any(path.is_dir() for path in (*folder.glob("TRAIN"), *folder.glob("*/TRAIN"))):
        return "dtdb"
    return "folder"


def _webvid(folder: Path) -> Iterator[Entry]:
    find = _Finder(folder)
    for table in _tables(folder):
        split = _split_in(table.stem) or "train"
        for row in read_table(table):
            if row.fault or not (video := row.first_of(["videoid"])):
                yield _unreadable(row, split, "wanted the columns videoid and name")
            else:
                name = "/".join(filter(None, (row.first_of(["page_dir"]), f"{video}.mp4")))
                yield Entry(name, find(name, f"{video}.mp4"), _captions(row.first_of(["name"])), split)


def _msrvtt(folder: Path) -> Iterator[Entry]:
    find, seen = _Finder(folder), set()
    for path in sorted(folder.glob("*.json")):
        if not (annotations := _msrvtt_in(path)):
            continue
        sentences = defaultdict(list)
        for number, sentence in enumerate(annotations["sentences"]):
            try:
                sentences[sentence["video_id"]].append(str(sentence["caption"]))
            except (LookupError, TypeError):
                yield Entry(path.name, path, (), "train", fault=f"sentence {number} has no video_id and caption")
        for number, video in enumerate(annotations["videos"]):
            if not isinstance(video, dict) or not isinstance(video.get("video_id"), str):
                yield Entry(path.name, path, (), "train", fault=f"video {number} has no video_id")
                continue
            name = f"{video['video_id']}.mp4"
            if name not in seen:  # the json of all splits may lie beside those of each
                seen.add(name)
                split = _split_in(str(video.get("split", ""))) or _split_in(path.stem) or "train"
                yield Entry(name, find(name), _captions(*sentences[video["video_id"]]), split)


def _dtdb(folder: Path) -> Iterator[Entry]:
    for path in _clips_below(folder):
        name = path.relative_to(folder)
        category = re.sub(r"[_\s]+", " ", name.parent.name).strip().lower() if len(name.parts) > 1 else ""
        yield Entry(name.as_posix(), path, _captions(category), _split_in(name.as_posix()) or "train")


def _of_categories(folder: Path, layout: str, wanted: Sequence[str]) -> Iterator[Entry]:
    """Clips of some categories of DTDB; ValueError for one that it does not have."""
    if layout != "dtdb":
        raise ValueError(f"--category: wanted the layout dtdb, which has some, got {layout}; leave it out")
    found = {path.parent.name for path in _clips_below(folder)}
    keys = {category_key(name) for name in wanted}
    if missing := [name for name in wanted if category_key(name) not in map(category_key, found)]:
        raise ValueError(f"unknown category {missing[0]!r}; choose {shortened(sorted(found))}")
    return (entry for entry in _dtdb(folder) if category_key(entry.path.parent.name) in keys)


def category_key(name: str) -> str:
    """Water_Falls -> waterfall: whatever the spelling."""
    return re.sub(r"[^a-z]", "", name.lower()).removesuffix("s")


def _table(folder: Path) -> Iterator[Entry]:
    find = _Finder(folder)
    for table in _tables(folder):
        if not _lists_clips(table):
            continue
        for row in read_table(table):
            file = PureWindowsPath(row.file.strip())  # knows both slashes
            name = file.relative_to(file.anchor).as_posix()
            split = _split_in(table.stem) or _split_by_name(name)
            if row.fault or not row.file:
                yield _unreadable(row, split, "wanted a file and a caption")
                continue
            name = name if Path(name).suffix.lower() in CLIP_SUFFIXES else f"{name}.mp4"
            try:
                spans = list(_spans(row))
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
                yield _unreadable(row, split, f"its time stamps and captions cannot be understood ({error})")
                continue
            path = find(name, *([Path(name).name] if file.anchor else []))  # whole paths are those of another machine
            for (begin, end), captions in spans:
                yield Entry(name, path, captions, split, begin, end)


def _folder(folder: Path) -> Iterator[Entry]:
    captions: dict[Path, tuple[str, str]] = {}
    if any((place / name).is_file() for place in (folder, folder.parent) for name in LISTS):
        captions = captions_of(folder, list(_clips_below(folder)))
    for path in _clips_below(folder):
        name = path.relative_to(folder).as_posix()
        caption, source = captions.get(path, ("", ""))
        split = _split_by_name(source or path.name)
        try:
            yield Entry(name, path, _captions(caption or sidecar(path)), split)
        except ValueError as error:  # a caption that is none
            yield Entry(name, path, (), split, fault=str(error))


LAYOUTS: dict[str, Callable[[Path], Iterator[Entry]]] = {
    "webvid": _webvid,
    "msrvtt": _msrvtt,
    "dtdb": _dtdb,
    "table": _table,
    "folder": _folder,
}


class _Finder:
    """Where a listed file lies: the place that the last one was found in is tried first."""

    def __init__(self, folder: Path):
        self.places = [os.path.join(folder, place) for place in PLACES]

    def __call__(self, *names: str) -> Path:
        for place in self.places:
            for name in names:
                path = os.path.join(place, name)
                if os.path.isfile(path):
                    if place != self.places[0]:
                        self.places.remove(place)
                        self.places.insert(0, place)
                    return Path(path)
        return Path(self.places[0], names[0])


def _unreadable(row: Row, split: str, wanted: str) -> Entry:
    """A row that gives no clip, so that it is counted."""
    return Entry(row.place, Path(row.place), (), split, fault=row.fault or f"{wanted}, got {shortened(row.values)}")


def _spans(row: Row) -> Iterator[tuple[tuple[float, float | None], tuple[str, ...]]]:
    """Parts of a row's file with their captions: Panda-70M lists several, a caption each or one for all. Raises what a list that is none
    raises.
    """
    stamps = row.first_of(["timestamp"])
    if not stamps.startswith("["):
        yield (0.0, None), _captions(row.caption)
        return
    spans, words = ast.literal_eval(stamps), row.first_of(CAPTION_COLUMNS)
    captions = ast.literal_eval(words) if words.strip().startswith("[") else [words] * len(spans)
    if len(captions) != len(spans):
        raise ValueError(f"{len(spans)} time stamps and {len(captions)} captions")
    for (begin, end), caption in zip(spans, captions, strict=True):
        begin, end = _seconds(begin), _seconds(end)
        if not 0 <= begin < end:
            raise ValueError(f"from {begin:g} to {end:g} s")
        yield (begin, end), _captions(str(caption))


def _seconds(clock: str | float) -> float:
    """0:01:02.5 -> 62.5; a number is seconds."""
    total = 0.0
    for part in str(clock).split(":"):
        total = 60 * total + float(part)
    return total


def _split_in(text: str) -> str:
    """The split that a name speaks of; empty where it speaks of none."""
    words = set(re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()))
    known = {"train": {"train", "training"}, "validation": {"val", "validate", "validation"}, "test": {"test", "testing"}}
    return next((split for split, names in known.items() if names & words), "")


def _split_by_name(name: str) -> str:
    return "validation" if is_held_out(Path(name).name) else "train"


def _captions(*texts: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (" ".join((text or "").split()) for text in texts)))


def _clips_below(folder: Path) -> Iterator[Path]:
    """Clips in all folders, in order of their names; a folder's names are held at once, not the data set's."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(place, file) for file in sorted(files) if Path(file).suffix.lower() in CLIP_SUFFIXES)


def _tables(folder: Path) -> list[Path]:
    return sorted(path for suffix in ("csv", "tsv") for path in folder.glob(f"*.{suffix}"))


def _lists_clips(table: Path) -> bool:
    header = header_of(table)
    return bool(set(FILE_COLUMNS) & header and set(CAPTION_COLUMNS) & header)


def _msrvtt_in(path: Path) -> dict[str, list] | None:
    """What a json says of videos and sentences; none where it is another one. Its beginning and end are looked at first: some are large."""
    with path.open("rb") as file:
        head = file.read(4096)
        file.seek(max(0, path.stat().st_size - 4096))
        around = head + file.read()
    if b'"video_id"' not in around or not (b'"sen_id"' in around or b'"caption"' in around):
        return None
    try:
        annotations = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        logger.warning("%s: wanted one JSON object of videos and sentences (%s); left out", path.name, error)
        return None
    is_whole = isinstance(annotations, dict) and all(isinstance(annotations.get(name), list) for name in ("videos", "sentences"))
    return annotations if is_whole else None
