"""Clips taken out of an upload. Nothing of an archive is trusted: not its sizes, not its names."""

import json
import logging
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from trip.data.clips import LISTS, MOST_CAPTION_BYTES
from trip.data.tables import CLIP_SUFFIXES, SOURCE_COLUMN, TABLE_SUFFIXES, Row, Tell, captions_in, matched
from trip.system.files import check_room, is_full

logger = logging.getLogger(__name__)

MOST_CLIPS = 500  # in all
MOST_BYTES = 2 * 2**30  # in all, unpacked
MOST_RATIO = 50  # unpacked to packed: films hardly shrink
MOST_TEXT_BYTES = {".txt": MOST_CAPTION_BYTES, ".csv": 4 * 2**20, ".tsv": 4 * 2**20, ".jsonl": 4 * 2**20}  # of one file of captions
KINDS = CLIP_SUFFIXES | MOST_TEXT_BYTES.keys()
PACKED_BY = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2}  # an LZMA member says itself how much memory it takes
_BROKEN = (
    zipfile.BadZipFile,
    RuntimeError,
    NotImplementedError,
    EOFError,
    zlib.error,
    struct.error,
    LookupError,
    OverflowError,
    MemoryError,
)
MOST_MEMBERS = 20_000  # of an archive, wanted or not


@dataclass(frozen=True)
class _Taken:
    """A file of an upload: where it lay there, and where it lies now."""

    place: PurePosixPath
    path: Path


def take_in(uploads: Sequence[str | Path], folder: Path, tell: Tell = logger.warning) -> list[Path]:
    """Copies clips, and what is inside .zip files, into a folder, flat; names that collide get a number. Captions stay with their clips:
    a .txt goes beside the one that it lay beside, and what tables say is written to `metadata.jsonl`; of rows that speak of no clip
    `tell` gets a line.

    Raises ValueError, in one line, where an archive is broken, would leave the folder, holds a link or unpacks to too much, where
    there are too many clips, a caption is too long, a table of captions speaks of none of the clips, or the disk would be full. OSError
    where it is full all the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = KINDS | {".zip"}
    if strange := [upload for upload in map(Path, uploads) if upload.suffix.lower() not in known]:
        raise ValueError(f"{strange[0].name}: wanted clips ({', '.join(sorted(CLIP_SUFFIXES))}) or a .zip of them; choose others")
    sources = [_Loose([Path(upload) for upload in uploads if Path(upload).suffix.lower() != ".zip"])]
    sources += [_Archive(Path(upload)) for upload in uploads if Path(upload).suffix.lower() == ".zip"]
    clips: list[Path] = []
    captions: dict[str, Row] = {}
    left = MOST_BYTES
    for source in sources:
        taken = source.copied(folder, left)
        left -= sum(one.path.stat().st_size for one in taken)
        own = [one for one in taken if one.path.suffix.lower() in CLIP_SUFFIXES]
        clips += [one.path for one in own]
        _check_count(path.suffix for path in clips)
        if left < 0:
            raise ValueError(f"wanted at most {MOST_BYTES >> 20} MB of clips, got more; bring fewer")
        captions |= _told(taken, own, tell)
    if not clips:
        raise ValueError("wanted at least one clip, got none; choose clips or a .zip of them")
    if captions:
        write_captions(folder, captions)
    return clips


def _told(taken: list[_Taken], clips: list[_Taken], tell: Tell) -> dict[str, Row]:
    """What tables say of clips, by their new names; the tables themselves, and texts beside no clip, are dropped."""
    captions: dict[str, Row] = {}
    beside = {clip.path.with_suffix(".txt") for clip in clips}
    by_place = {clip.place: clip.path for clip in clips}
    for one in taken:
        if one.path.suffix.lower() in TABLE_SUFFIXES:
            top = one.place.parent
            below = {place.relative_to(top): path for place, path in by_place.items() if place.is_relative_to(top)}
            rows = captions_in(one.path, one.place.name, tell)
            found = matched(rows, list(below), top, tell)
            if rows and not found:
                raise ValueError(
                    f"{rows[0].place} speaks of {rows[0].file[:60]!r}, and no row of a clip of this upload; correct its file names"
                )
            captions |= {below[place].name: row for place, row in found.items()}
            one.path.unlink()
        elif one.path.suffix.lower() == ".txt" and one.path not in beside:
            one.path.unlink()
    return captions


def write_captions(folder: Path, captions: Mapping[str, "Row | str"]) -> None:
    """Writes what happens in each clip beside the clips, as `trip.data.clips` reads it first."""
    lines = []
    for name, told in sorted(captions.items()):
        source = told.first_of([SOURCE_COLUMN]) if isinstance(told, Row) else ""
        caption = told.caption if isinstance(told, Row) else " ".join(told.split())
        lines.append(json.dumps({"file": name, "caption": caption} | ({SOURCE_COLUMN: source} if source else {})))
    for old in LISTS:
        (folder / old).unlink(missing_ok=True)
    (folder / "metadata.jsonl").write_text("".join(f"{line}\n" for line in lines))


class _Names:
    """New names in a flat folder: files that lay beside each other and shared a name but for the suffix still do, and no others."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.taken = {path.stem.lower() for path in folder.iterdir()}
        self.given: dict[tuple[PurePosixPath, str, int], str] = {}

    def path(self, place: PurePosixPath, number: int = 0) -> Path:
        """Where a file goes; `number` tells files of one place apart."""
        key = place.parent, place.stem, number
        if key not in self.given:
            stem, count = place.stem, 1
            while stem.lower() in self.taken:
                count += 1
                stem = f"{place.stem}-{count}"
            self.given[key] = stem
            self.taken.add(stem.lower())
        return self.folder / f"{self.given[key]}{place.suffix}"


class _Loose:
    """Files that were brought by themselves."""

    def __init__(self, paths: list[Path]):
        self.paths = paths

    def copied(self, folder: Path, left: int) -> list[_Taken]:
        names, seen, taken = _Names(folder), Counter(), []
        for path in sorted(self.paths, key=lambda path: path.suffix.lower() not in CLIP_SUFFIXES):
            place, size = PurePosixPath(path.name), path.stat().st_size
            check_room(folder, size)
            with path.open("rb") as source:
                taken.append(_Taken(place, _copied(source, names.path(place, seen[place]), path.name, size)))
            seen[place] += 1
        return taken


class _Archive:
    """What a .zip holds."""

    def __init__(self, path: Path):
        self.path = path

    def copied(self, folder: Path, left: int) -> list[_Taken]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                members = [member for member in archive.infolist() if _is_wanted(self.path.name, member)]
                _check_bounds(self.path, archive, members, left)
                check_room(folder, sum(member.file_size for member in members))
                names, seen, taken = _Names(folder), Counter(), []
                for member in sorted(members, key=lambda member: _place(member).suffix.lower() not in CLIP_SUFFIXES):
                    place = _place(member)
                    target = names.path(place, seen[place])
                    seen[place] += 1
                    with archive.open(member) as source:
                        taken.append(_Taken(place, _copied(source, target, f"{self.path.name}: {place.name}", member.file_size)))
                return taken
        except _BROKEN as error:
            raise ValueError(f"{self.path.name}: wanted a .zip that opens, got one that does not ({error}); pack it again") from error
        except OSError as error:
            if is_full(error):
                raise
            raise ValueError(f"{self.path.name}: wanted a .zip that opens, got one that does not ({error}); pack it again") from error


def _check_count(suffixes: Iterable[str]) -> None:
    count = sum(suffix.lower() in CLIP_SUFFIXES for suffix in suffixes)
    if count > MOST_CLIPS:
        raise ValueError(f"wanted at most {MOST_CLIPS} clips, got {count}; bring fewer")


def _is_wanted(archive: str, member: zipfile.ZipInfo) -> bool:
    """Whether a member is a clip or a caption; ValueError where no honest packer would have written it."""
    place = _place(member)
    if place.is_absolute() or ".." in place.parts or ":" in place.parts[0]:
        raise ValueError(f"{archive}: holds {member.filename[:60]!r}, which points outside of it; pack it again")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ValueError(f"{archive}: holds a link, {member.filename[:60]!r}; pack the files themselves")
    if member.compress_type not in PACKED_BY and not member.is_dir():
        raise ValueError(f"{archive}: holds {member.filename[:60]!r}, packed in an unusual way; pack it again as a plain .zip")
    hidden = place.name.startswith(".") or "__MACOSX" in place.parts
    return not member.is_dir() and not hidden and place.suffix.lower() in KINDS


def _place(member: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(member.filename.replace("\\", "/"))


def _check_bounds(path: Path, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], left: int) -> None:
    total = sum(member.file_size for member in members)
    if len(members) > 2 * MOST_CLIPS or len(archive.infolist()) > MOST_MEMBERS:
        raise ValueError(f"{path.name}: wanted at most {MOST_CLIPS} clips, got {len(archive.infolist())} files; pack fewer")
    if total > left or total > MOST_RATIO * max(path.stat().st_size, 2**16):
        raise ValueError(f"{path.name}: would unpack to {total >> 20} MB, far more than clips do; pack fewer or other files")


def _copied(source: BinaryIO, target: Path, name: str, most: int) -> Path:
    """Copies one file, and stops where it is longer than it was said to be, or than captions are."""
    if (limit := MOST_TEXT_BYTES.get(target.suffix.lower(), most)) < most:
        raise ValueError(f"{name}: wanted captions of at most {limit >> 10} KB, got {most >> 10} KB; shorten them")
    count = 0
    with target.open("wb") as copy:
        while block := source.read(2**20):
            count += len(block)
            if count > most:
                target.unlink()
                raise ValueError(f"{name}: unpacks to more than it says; pack it again")
            copy.write(block)
    return target


def free_path(path: Path) -> Path:
    """The path, with a number where the name is taken."""
    name, number = path, 2
    while name.exists():
        name, number = path.with_stem(f"{path.stem}-{number}"), number + 1
    return name
