"""Files written all at once, so that a kill leaves the old one or the new one, never half of one; and what is asked before: is there
room, is a file not longer than what it is to be read for.
"""

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
    where writing failed.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


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
    """A file's text, as UTF-8; ValueError, in one line, where it is longer than asked for, before more of it is read."""
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"{path.name}: wanted {wanted} of at most {most_bytes >> 10} KB, got more; shorten it")
    return data.decode("utf-8-sig", errors="replace")
