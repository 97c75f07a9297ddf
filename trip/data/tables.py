"""Tables that say what happens in which file, as people and programs write them. One reader for all of them: with commas, semicolons or
tabs, or a JSON object a line; in UTF-8, UTF-16 or what Windows calls ANSI. A bad row is told, and costs nothing but itself.
"""

import csv
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TextIO

from trip.media import PHOTO_SUFFIXES
from trip.system.files import ANSI_IN_UTF8, encoding_of

logger = logging.getLogger(__name__)

CLIP_SUFFIXES = {".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif"}
TABLE_SUFFIXES = {".csv", ".tsv", ".jsonl"}
# Names of columns, the likeliest first; capitals do not matter.
FILE_COLUMNS = ("file", "file_name", "video", "path", "filename", "video_path", "clip", "videoid", "video_id", "id")
CAPTION_COLUMNS = ("caption", "text", "name", "prompt", "description")
SOURCE_COLUMN, KIND_COLUMN = "source_path", "category"
DELIMITERS = ",;\t|"
Tell = Callable[[str], Any]  # what a person should know goes there
MAX_NAMED = 5  # rows that a warning names
MOST_FIELD = 2**24  # characters: a long film has its captions in one field


@dataclass(frozen=True)
class Row:
    """A row of a table.

    place   table and row, in words
    values  what it says by column, in small letters
    fault   why it says nothing, in words; empty for a good one
    """

    place: str
    values: dict[str, Any]
    fault: str = ""

    def first_of(self, columns: Sequence[str]) -> str:
        """What stands in the first of some columns that has something; empty where none does."""
        found = next((value for column in columns if isinstance(value := self.values.get(column), str) and value.strip()), "")
        return found.encode(errors="replace").decode()  # JSON may hold half a surrogate pair

    @property
    def file(self) -> str:
        """The file that it speaks of."""
        return self.first_of(FILE_COLUMNS)

    @property
    def caption(self) -> str:
        """What happens there, on one line."""
        return " ".join(self.first_of(CAPTION_COLUMNS).split())


def read_table(path: Path, name: str | None = None) -> Iterator[Row]:
    """The rows of a .csv, .tsv or .jsonl, bad ones included, as they are read.

    name  what people know the table by, where that is not the file's name
    """
    with opened_text(path) as lines:
        yield from (_json_rows if path.suffix.lower() == ".jsonl" else _csv_rows)(lines, name or path.name)


def header_of(path: Path) -> set[str]:
    """The columns of a .csv or .tsv, in small letters."""
    with opened_text(path) as lines:
        head, delimiter = _head(lines)
        return set(_columns(head, delimiter))


def opened_text(path: Path) -> TextIO:
    """A text open for reading, whoever wrote it."""
    with path.open("rb") as file:
        encoding = encoding_of(file.read(4096))
    return path.open(newline="", encoding=encoding, errors=ANSI_IN_UTF8 if encoding.startswith("utf-8") else "replace")


def _head(lines: TextIO) -> tuple[str, str]:
    """The first line, and what divides its columns."""
    head = lines.readline(MOST_FIELD)
    bare = "".join(head.split('"')[::2])  # what is not between quotes
    return head, max(DELIMITERS, key=bare.count) if any(map(bare.count, DELIMITERS)) else DELIMITERS[0]


def _columns(head: str, delimiter: str) -> list[str]:
    return [name.strip("\ufeff \t").lower() for name in next(csv.reader([head.rstrip("\r\n")], delimiter=delimiter), [])]


def _csv_rows(lines: TextIO, table: str) -> Iterator[Row]:
    head, delimiter = _head(lines)
    csv.field_size_limit(MOST_FIELD)
    columns, reader = _columns(head, delimiter), csv.reader(lines, delimiter=delimiter)
    number = 1
    while True:
        number += 1
        place = f"{table} row {number}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, UnicodeError) as error:
            yield Row(place, {}, f"does not read as comma-separated values ({error})")
            continue
        if len(cells) > len(columns) and any(map(str.strip, cells[len(columns) :])):
            yield Row(place, {}, f"has {len(cells)} columns where the first row has {len(columns)}; put text with commas between quotes")
        elif any(map(str.strip, cells)):
            yield Row(place, dict(zip(columns, cells, strict=False)))


def _json_rows(lines: TextIO, table: str) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            values = error
        if isinstance(values, dict):
            yield Row(f"{table} line {number}", {str(name).strip().lower(): value for name, value in values.items()})
        else:
            why = f" ({values})" if isinstance(values, Exception) else ""
            yield Row(f"{table} line {number}", {}, f"wanted one JSON object a line{why}")


def captions_in(path: Path, name: str | None = None, tell: Tell = logger.warning) -> list[Row]:
    """The rows of a table that name a file; of the others `tell` gets a line. Raises ValueError, in one line, where no row does."""
    good, faults = [], []
    for row in read_table(path, name):
        if row.fault or not row.file:
            columns = ", ".join(row.values) or "none"
            faults.append(f"{row.place}: {row.fault or f'wanted a file and a caption, got the columns {columns}'}")
        else:
            good.append(row)
    if faults and not good:
        raise ValueError(f"{faults[0]}; name the columns file and caption, or leave it out")
    if faults:
        tell(f"{len(faults)} of {len(faults) + len(good)} rows left out: {few(faults)}")
    return good


def matched(
    rows: Sequence[Row], paths: Sequence[PurePosixPath], above: PurePosixPath, tell: Tell = logger.warning
) -> dict[PurePosixPath, Row]:
    """The row that speaks of each file, where one does: rows name files by their path below the table, by the end of a longer path as
    other machines have it, or by their bare name. Of rows that speak of none `tell` gets a line.

    paths  below the table's folder
    above  that folder, whose name may be part of what rows say
    """
    by_stem: dict[str, list[PurePosixPath]] = defaultdict(list)
    for path in paths:
        by_stem[path.stem.lower()].append(path)
    best: dict[PurePosixPath, tuple[int, Row]] = {}
    unmatched = []
    for row in rows:
        named = _parts(row.file)
        ranked = [(_agreement(named, path, above), path) for path in by_stem.get(_stem(named[-1] if named else ""), [])]
        rank = max((rank for rank, _ in ranked), default=0)
        nearest = [path for one, path in ranked if one == rank]
        if not rank or len(nearest) > 1:
            unmatched.append(f"{row.place} ({row.file[:60]}{' names several' if rank else ''})")
        elif nearest[0] not in best or rank >= best[nearest[0]][0]:
            best[nearest[0]] = rank, row
    if unmatched:
        tell(f"{len(unmatched)} of {len(rows)} rows name no file that is here, or not which one: {few(unmatched)}")
    return {path: row for path, (_, row) in best.items()}


def rows_about(table: Path, folder: Path, paths: Sequence[Path]) -> dict[Path, Row]:
    """The row of a table that speaks of each file in a folder, where one does; see `captions_in` and `matched`."""
    below = {PurePosixPath(path.relative_to(folder)): path for path in paths}
    return {below[path]: row for path, row in matched(captions_in(table), list(below), PurePosixPath(folder.name)).items()}


def _parts(file: str) -> tuple[str, ...]:
    """Small letters of a path's parts, whichever way its slashes lean and wherever it begins."""
    parts = PureWindowsPath(file.strip().lower())
    return tuple(part for part in parts.relative_to(parts.anchor).parts if part != ".")


def _stem(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix in CLIP_SUFFIXES | PHOTO_SUFFIXES else name


def _agreement(named: tuple[str, ...], path: PurePosixPath, above: PurePosixPath) -> int:
    """How surely a row's path is that of a file: parts that agree, from the end, and far more where all do; 0 where it is not."""
    own = tuple(map(str.lower, path.parts))
    if _stem(named[-1]) == named[-1]:  # the suffix is left out
        own = (*own[:-1], _stem(own[-1]))
    if named == own:
        return 1000
    longer = (*map(str.lower, above.parts), *own)
    count = next((i for i, (a, b) in enumerate(zip(named[::-1], longer[::-1], strict=False)) if a != b), min(len(named), len(longer)))
    return count if count == len(named) or count >= len(own) else 0


def few(lines: Sequence[str]) -> str:
    """Some lines as one, and how many more there are."""
    rest = f"; and {len(lines) - MAX_NAMED} more" if len(lines) > MAX_NAMED else ""
    return " | ".join(lines[:MAX_NAMED]) + rest
