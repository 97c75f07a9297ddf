"""Data sets as they lie on disk: each layout is a stream of entries, so that ten million of them take no memory.

webvid   results_10M_train.csv (videoid, name, page_dir) and videos/PAGE_DIR/VIDEOID.mp4, the folders optional
msrvtt   a json of videos and sentences, twenty a clip, and the clips as VIDEO_ID.mp4; splits as the json says
dtdb     …/TRAIN/CATEGORY/*.mp4 and …/TEST/CATEGORY/*.mp4; the category is the prompt
table    a csv with a column for the file (video, path, file, file_name, videoID …) and one for the caption: OpenVid, Panda-70M
folder   clips in any folders, captions from clips.csv or a .txt beside the clip
"""

import ast
import csv
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trip.data.clips import CLIP_SUFFIXES, listed, sidecar
from trip.data.photos import is_held_out

FILE_COLUMNS = ("video", "path", "file", "file_name", "filename", "video_path", "clip", "videoID", "video_id", "id")
CAPTION_COLUMNS = ("caption", "text", "name", "prompt", "description")
PLACES = ("", "videos", "video", "clips", "videos/all", "all", "TrainValVideo", "TestVideo", "train", "val", "test")
SPLITS = ("train", "validation", "test")

csv.field_size_limit(2**24)  # a long film has its captions in one field


@dataclass(frozen=True)
class Entry:
    """One clip of a data set, before anything opened it.

    name      file within the data set
    captions  what people or models wrote about it; empty where nobody did
    begin     seconds of the file where the clip begins; it ends at `end`, or with the file
    """

    name: str
    path: Path
    captions: tuple[str, ...]
    split: str
    begin: float = 0.0
    end: float | None = None


def entries(folder: Path, layout: str = "auto", split: str | None = None) -> Iterator[Entry]:
    """The clips of a data set in a fixed order, of one split or of all; ValueError where the folder is not one."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: wanted the folder of a data set, found none there; check the path")
    if split not in (None, *SPLITS):
        raise ValueError(f"unknown split {split!r}; choose {', '.join(SPLITS)}")
    layout = layout_of(folder) if layout == "auto" else layout
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; choose auto, {', '.join(LAYOUTS)}")
    return (entry for entry in LAYOUTS[layout](folder) if split is None or entry.split == split)


def layout_of(folder: Path) -> str:
    """How a data set lies on disk, by the lists that it has."""
    if any(_is_msrvtt(path) for path in sorted(folder.glob("*.json"))):
        return "msrvtt"
    headers = [_header(path) for path in _tables(folder)]
    if any({"videoid", "name"} <= header for header in headers):
        return "webvid"
    if any(set(FILE_COLUMNS) & header and set(CAPTION_COLUMNS) & header for header in headers):
        return "table"
    if any(path.is_dir() for path in (*folder.glob("TRAIN"), *folder.glob("*/TRAIN"))):
        return "dtdb"
    return "folder"


def _webvid(folder: Path) -> Iterator[Entry]:
    find = _Finder(folder)
    for table in _tables(folder):
        split = _split_in(table.stem) or "train"
        for row in _rows(table):
            if not row.get("videoid"):
                raise ValueError(f"{table.name}: wanted the columns videoid and name, got {', '.join(map(str, row))}; correct it")
            name = "/".join(filter(None, (row.get("page_dir"), f"{row['videoid']}.mp4")))
            yield Entry(name, find(name, f"{row['videoid']}.mp4"), _captions(row.get("name")), split)


def _msrvtt(folder: Path) -> Iterator[Entry]:
    find, seen = _Finder(folder), set()
    for path in filter(_is_msrvtt, sorted(folder.glob("*.json"))):
        told = _json(path)
        sentences = defaultdict(list)
        for sentence in told["sentences"]:
            sentences[sentence["video_id"]].append(sentence["caption"])
        for video in told["videos"]:
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


def _table(folder: Path) -> Iterator[Entry]:
    find = _Finder(folder)
    for table in _tables(folder):
        header = _header(table)
        file_column = next((column for column in FILE_COLUMNS if column in header), None)
        caption_column = next((column for column in CAPTION_COLUMNS if column in header), None)
        if not file_column or not caption_column:
            continue
        for row in _rows(table):
            name = (row[file_column] or "").removeprefix("./")
            name = name if Path(name).suffix.lower() in CLIP_SUFFIXES else f"{name}.mp4"
            path, split = find(name), _split_in(table.stem) or _split_by_name(name)
            for (begin, end), captions in _spans(row, caption_column):
                yield Entry(name, path, captions, split, begin, end)


def _folder(folder: Path) -> Iterator[Entry]:
    captions = listed(folder)
    for path in _clips_below(folder):
        name = path.relative_to(folder).as_posix()
        caption, source = captions.get(name) or captions.get(path.name) or ("", "")
        yield Entry(name, path, _captions(caption or sidecar(path)), _split_by_name(source or path.name))


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


def _spans(row: dict[str, str], caption_column: str) -> Iterator[tuple[tuple[float, float | None], tuple[str, ...]]]:
    """Parts of a row's file with their captions: Panda-70M lists several, one caption each."""
    timestamps = row.get("timestamp") or ""
    if not timestamps.startswith("["):
        yield (0.0, None), _captions(row[caption_column])
        return
    spans, captions = ast.literal_eval(timestamps), ast.literal_eval(row[caption_column])
    for (begin, end), caption in zip(spans, captions, strict=True):
        yield (_seconds(begin), _seconds(end)), _captions(caption)


def _seconds(clock: str) -> float:
    """0:01:02.5 -> 62.5"""
    total = 0.0
    for part in clock.split(":"):
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
    return sorted(folder.glob("*.csv"))


def _header(table: Path) -> set[str]:
    with table.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
        return set(next(csv.reader(lines), []))


def _rows(table: Path) -> Iterator[dict[str, str]]:
    with table.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
        try:
            yield from csv.DictReader(lines)
        except csv.Error as error:
            raise ValueError(f"{table}: wanted a table of comma-separated values ({error}); save it again as CSV") from error


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: wanted one JSON object ({error}); copy or download it again") from error


def _is_msrvtt(path: Path) -> bool:
    """Whether a json lists videos and sentences; only the beginning and the end are looked at, some are large."""
    with path.open("rb") as file:
        head = file.read(4096)
        file.seek(max(0, path.stat().st_size - 4096))
        around = head + file.read()
    return b'"video_id"' in around and (b'"sen_id"' in around or b'"caption"' in around)
