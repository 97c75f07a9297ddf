"""What photos and clips share: the error, the checks of a file before anything reads it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from trip.system.files import target_fault

MAX_PIXELS = 64_000_000
MAX_SIDE = 16384


class MediaError(ValueError):
    """A photo or a clip that cannot be read or written: one line for a person, whatever the file's name holds."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.encode(errors="replace").decode().split()))


def check_size(name: str, wanted: str, width: int, height: int, most: int = MAX_PIXELS) -> None:
    """Raises MediaError where a picture is larger than we decode: `most` pixels."""
    if max(width, height) > MAX_SIDE or width * height > most:
        bounds = f"at most {most // 10**6} megapixels and {MAX_SIDE} pixels a side"
        raise MediaError(f"{name}: wanted a {wanted} of {bounds}, got {width} x {height}; shrink it")


def check_target(path: str | Path, suffixes: tuple[str, ...]) -> Path:
    """The path, where a file with one of the suffixes could be written to it now; else MediaError. Worth asking before a long run."""
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise MediaError(f"cannot write {path}: unknown kind '{path.suffix}'; choose {', '.join(suffixes)}")
    if fault := target_fault(path):
        raise MediaError(f"cannot write {path}: {fault}")
    return path


@contextmanager
def opened(path: Path, wanted: str) -> Iterator[BinaryIO]:
    """A file with something in it, open for reading."""
    try:
        if not path.is_file():  # a pipe or a device would never end
            raise MediaError(f"{path}: wanted a {wanted}, found no file there; check the path")
        file = path.open("rb")
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    with file:
        if not os.stat(file.fileno()).st_size:
            raise MediaError(f"{path.name}: wanted a {wanted}, got an empty file; choose another")
        yield file
