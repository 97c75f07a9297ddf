"""Clips taken out of an upload. Nothing of an archive is trusted: not its sizes, not its names."""

import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from trip.data.clips import CLIP_SUFFIXES, MOST_CAPTION_BYTES
from trip.files import check_room, is_full

MOST_CLIPS = 500  # in all
MOST_BYTES = 2 * 2**30  # in all, unpacked
MOST_RATIO = 50  # unpacked to packed: films hardly shrink
MOST_TEXT_BYTES = {".txt": MOST_CAPTION_BYTES, ".csv": 4 * 2**20, ".jsonl": 4 * 2**20}  # of one file of captions
MOST_MEMBERS = 20_000  # of an archive, wanted or not


def take_in(uploads: Sequence[str | Path], folder: Path) -> list[Path]:
    """Copies clips, their .txt and .csv, and what is inside .zip files, into a folder, flat; names that collide get a number.

    Raises ValueError, in one line, where an archive is broken, would leave the folder, holds a link or unpacks to too much, where
    there are too many clips, a caption is too long, or the disk would be full. OSError where it is full all the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken: list[Path] = []
    left = MOST_BYTES
    for upload in map(Path, uploads):
        if upload.suffix.lower() == ".zip":
            new = _unpacked(upload, folder, left)
        elif upload.suffix.lower() in CLIP_SUFFIXES | MOST_TEXT_BYTES.keys():
            check_room(folder, upload.stat().st_size)
            with upload.open("rb") as source:
                new = [_copied(source, free_path(folder / upload.name), upload.name, upload.stat().st_size)]
        else:
            raise ValueError(f"{upload.name}: wanted clips ({', '.join(sorted(CLIP_SUFFIXES))}) or a .zip of them; choose others")
        taken += new
        left -= sum(path.stat().st_size for path in new)
        _check_count(path.suffix for path in taken)
        if left < 0:
            raise ValueError(f"wanted at most {MOST_BYTES >> 20} MB of clips, got more; bring fewer")
    clips = [path for path in taken if path.suffix.lower() in CLIP_SUFFIXES]
    if not clips:
        raise ValueError("wanted at least one clip, got none; choose clips or a .zip of them")
    return clips


def _check_count(suffixes: Iterable[str]) -> None:
    count = sum(suffix.lower() in CLIP_SUFFIXES for suffix in suffixes)
    if count > MOST_CLIPS:
        raise ValueError(f"wanted at most {MOST_CLIPS} clips, got {count}; bring fewer")


def _unpacked(path: Path, folder: Path, left: int) -> list[Path]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if _is_wanted(path.name, member)]
            _check_bounds(path, archive, members, left)
            check_room(folder, sum(member.file_size for member in members))
            taken = []
            for member in members:
                target = free_path(folder / PurePosixPath(member.filename).name)
                with archive.open(member) as source:
                    taken.append(_copied(source, target, f"{path.name}: {target.name}", member.file_size))
            return taken
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path.name}: wanted a .zip that opens, got one that does not ({error}); pack it again") from error
    except OSError as error:
        if is_full(error):
            raise
        raise ValueError(f"{path.name}: wanted a .zip that opens, got one that does not ({error}); pack it again") from error


def _is_wanted(archive: str, member: zipfile.ZipInfo) -> bool:
    """Whether a member is a clip or a caption; ValueError where no honest packer would have written it."""
    place = PurePosixPath(member.filename.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or ":" in place.parts[0]:
        raise ValueError(f"{archive}: holds {member.filename[:60]!r}, which points outside of it; pack it again")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ValueError(f"{archive}: holds a link, {member.filename[:60]!r}; pack the files themselves")
    hidden = place.name.startswith(".") or "__MACOSX" in place.parts
    return not member.is_dir() and not hidden and place.suffix.lower() in CLIP_SUFFIXES | MOST_TEXT_BYTES.keys()


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
