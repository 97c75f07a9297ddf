"""Files written all at once, so that a kill leaves the old one or the new one, never half of one; and what is asked before: is there
room, is a file not longer than what it is to be read for.
"""

import codecs
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST_HEADER_BYTES = 16 * 2**20  # of a safetensors file: 100,000 tensors
LEAST_FREE_BYTES = 200 * 2**20  # that stay on the disk, whatever is taken in


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, another one each time; what stands there at the end takes the place of `path`, and nothing
    where writing failed. A link stays one: what it leads to is replaced.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    partial = _beside(path)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Writes a file of text whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text)


def _beside(path: Path) -> Path:
    """A new hidden path in the same folder, whose name is short however long the other one is."""
    return path.with_name(f".{secrets.token_hex(8)}.partial")


def target_fault(path: Path) -> str:
    """Why no file could be written to a path now, and what to do; empty where one could. It is tried, with an empty file beside it."""
    try:
        path = Path(os.path.realpath(path))
        if not path.parent.is_dir():
            return f"there is no folder {path.parent}; create it or choose another"
        if path.is_dir():
            return "a folder has that name; choose another"
        if path.exists() and not path.is_file():  # a device or a pipe
            return "what has that name is no file; choose another"
        partial = _beside(path)
        partial.touch(exist_ok=False)
        partial.unlink()
    except (OSError, ValueError) as error:
        return f"{getattr(error, 'strerror', None) or error}; choose another place or name"
    return ""


def check_run(folder: Path) -> None:
    """ValueError, in one line, where a folder is not there and cannot be made, or cannot be written to. Worth asking before a long run."""
    place = Path(os.path.realpath(folder))
    try:
        while not place.exists():
            place = place.parent
        fault = target_fault(place / "settings.json") if place.is_dir() else f"{place} is a file; choose another folder"
    except OSError as error:
        fault = f"{error.strerror}; choose another folder"
    if fault:
        raise ValueError(f"cannot write to {folder}: {fault}")


def is_full(error: BaseException | None) -> bool:
    """Whether an error means that a disk is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def has_room(folder: Path, num_bytes: int) -> bool:
    """Whether so many bytes are free on a folder's disk."""
    return shutil.disk_usage(folder).free >= num_bytes


def check_room(folder: Path, num_bytes: int, spare: int = LEAST_FREE_BYTES) -> None:
    """ValueError, in one line, where so many bytes more would leave too little room on a folder's disk."""
    free = shutil.disk_usage(folder).free
    if free - num_bytes < spare:
        needed = f"{num_bytes >> 20} MB are needed and " if num_bytes >> 20 else ""
        raise ValueError(f"the disk is almost full ({needed}{free >> 20} MB left); delete some results and try again")


def check_header(path: Path, most_bytes: int = MOST_HEADER_BYTES) -> None:
    """ValueError, in one line, where the header of a safetensors file, which is read whole, is longer than ours are. What is no header
    at all is left to who reads it.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if most_bytes < length <= path.stat().st_size:
        raise ValueError(f"{path.name}: wanted a safetensors file with a header of at most {most_bytes >> 20} MB, got {length >> 20} MB")


def bounded_text(path: Path, most_bytes: int, wanted: str) -> str:
    """A file's text, whoever wrote it; ValueError, in one line, where it is longer than asked for, which is seen before it is read, or
    no text.
    """
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"{path.name}: wanted {wanted} of at most {most_bytes >> 10} KB, got more; shorten it")
    try:
        text = data.decode(encoding_of(data), errors=ANSI_IN_UTF8 if encoding_of(data) == "utf-8-sig" else "strict")
    except UnicodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError(f"{path.name}: wanted {wanted} as text, got what is none in any encoding known here; save it as UTF-8")
    return text


ANSI_IN_UTF8 = "ansi-in-utf8"  # how to decode what is no UTF-8: as Windows' Western code page, which was the rule before


def _ansi(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", errors="replace"), error.end


codecs.register_error(ANSI_IN_UTF8, _ansi)
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def encoding_of(data: bytes) -> str:
    """The encoding of a text, by the mark that it begins with, or by where its zeros are; else UTF-8."""
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return encoding
    zeros = data[1::2].count(0), data[::2].count(0)
    if max(zeros) > len(data) / 4 and min(zeros) == 0:
        return "utf-16-le" if zeros[0] else "utf-16-be"
    return "utf-8-sig"
