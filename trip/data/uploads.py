"""Clips taken out of an upload. Nothing of an archive is trusted: not its sizes, not its names."""

import shutil
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from trip.data.clips import CLIP_SUFFIXES

MOST_CLIPS = 500  # in an archive
MOST_BYTES = 4 * 2**30  # unpacked
MOST_RATIO = 200  # unpacked to packed: films hardly shrink


def take_in(uploads: Sequence[str | Path], folder: Path) -> list[Path]:
    """Copies clips, their .txt and .csv, and what is inside .zip files, into a folder, flat; names that collide get a number.

    Raises ValueError, in one line, where an archive is broken, would leave the folder, holds a link or unpacks to too much.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken: list[Path] = []
    for upload in map(Path, uploads):
        if upload.suffix.lower() == ".zip":
            taken += _unpacked(upload, folder)
        elif upload.suffix.lower() in CLIP_SUFFIXES | {".txt", ".csv", ".jsonl"}:
            taken.append(Path(shutil.copyfile(upload, free_path(folder / upload.name))))
        else:
            raise ValueError(f"{upload.name}: wanted clips ({', '.join(sorted(CLIP_SUFFIXES))}) or a .zip of them; choose others")
    clips = [path for path in taken if path.suffix.lower() in CLIP_SUFFIXES]
    if not clips:
        raise ValueError("wanted at least one clip, got none; choose clips or a .zip of them")
    return clips


def _unpacked(path: Path, folder: Path) -> list[Path]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if _is_wanted(path.name, member)]
            _check_bounds(path, members)
            taken, left = [], MOST_BYTES
            for member in members:
                target = free_path(folder / PurePosixPath(member.filename).name)
                left -= _copied(archive, member, target, left)
                taken.append(target)
            return taken
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:  # damaged, with a password, unknown method
        raise ValueError(f"{path.name}: wanted a .zip that opens, got one that does not ({error}); pack it again") from error


def _is_wanted(archive: str, member: zipfile.ZipInfo) -> bool:
    """Whether a member is a clip or a caption; ValueError where no honest packer would have written it."""
    place = PurePosixPath(member.filename.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or ":" in place.parts[0]:
        raise ValueError(f"{archive}: holds {member.filename[:60]!r}, which points outside of it; pack it again")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ValueError(f"{archive}: holds a link, {member.filename[:60]!r}; pack the files themselves")
    hidden = place.name.startswith(".") or "__MACOSX" in place.parts
    return not member.is_dir() and not hidden and place.suffix.lower() in CLIP_SUFFIXES | {".txt", ".csv", ".jsonl"}


def _check_bounds(path: Path, members: list[zipfile.ZipInfo]) -> None:
    total = sum(member.file_size for member in members)
    if len(members) > 2 * MOST_CLIPS:
        raise ValueError(f"{path.name}: wanted at most {MOST_CLIPS} clips, got {len(members)} files; pack fewer")
    if total > MOST_BYTES or total > MOST_RATIO * max(path.stat().st_size, 2**16):
        raise ValueError(f"{path.name}: would unpack to {total >> 20} MB, far more than clips do; pack fewer or other files")


def _copied(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, most: int) -> int:
    """Unpacks one file, and stops where it is longer than the archive says."""
    count, most = 0, min(most, member.file_size)
    with archive.open(member) as source, target.open("wb") as copy:
        while block := source.read(2**20):
            count += len(block)
            if count > most:
                target.unlink()
                raise ValueError(f"{archive.filename and Path(archive.filename).name}: unpacks to more than it says; pack it again")
            copy.write(block)
    return count


def free_path(path: Path) -> Path:
    """The path, with a number where the name is taken."""
    name, number = path, 2
    while name.exists():
        name, number = path.with_stem(f"{path.stem}-{number}"), number + 1
    return name
