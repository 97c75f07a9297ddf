"""Clips on their way to a fine-tune: brought, looked at, mended, captioned, and handed over as a job's folder."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from trip.data.clips import CLIP_SUFFIXES, find_clips
from trip.data.intake import MENDS, Look, caption_from_name, look_at, mark_duplicates, trim
from trip.data.uploads import take_in, write_captions
from trip.jobs.folders import drop, make_own
from trip.media import Budget
from trip.system.files import check_room

HELD_OUT_SHARE = 5  # one in so many clips is proposed to be held out
MOST_ROUNDS = 4  # of mending
MOST_PIXELS = 200 * 10**9  # that one look at a draft decodes, of all its clips: 100 of ten seconds in 1080p, at 30 frames a second, have 62
MOST_SECONDS = 300.0  # that it takes


@dataclass(frozen=True)
class Row:
    """One clip of a draft: what was seen of it, what happens in it, and whether it is only measured."""

    look: Look
    caption: str
    is_held_out: bool = False


class ClipsDraft:
    """The clips of one visitor before a fine-tune, in a folder of their own; a new upload begins anew."""

    def __init__(self, folder: Path, min_frames: int):
        self.folder, self.min_frames = folder, min_frames
        self.notes: list[str] = []  # what a person should know of the upload

    def take_in(self, uploads: list[str]) -> list[Row]:
        """The clips of an upload; ValueError, in one line, where there are none or an archive cannot be trusted."""
        drop(self.folder)
        try:
            make_own(self.folder)
            take_in(uploads, self.folder, self.notes.append)
        except OSError as error:
            drop(self.folder)
            raise ValueError(f"the clips could not be stored ({error.strerror}); free some space and try again") from error
        except ValueError:
            drop(self.folder)
            raise
        return self.rows([])

    def rows(self, known: list[Row]) -> list[Row]:
        """The clips as they are now; captions and choices of `known` ones stay, also with what was made of them."""
        os.utime(self.folder) if self.folder.is_dir() else None  # it is in use: the janitor goes by that
        budget = Budget(pixels=MOST_PIXELS, seconds=MOST_SECONDS)
        looks = mark_duplicates([look_at(path, min_frames=self.min_frames, budget=budget) for path in self._paths()])
        captions = self._captions()
        rows = []
        for look in looks:
            of = (row for row in known if look.name.startswith(Path(row.look.name).stem))  # of several, the one with the longest name
            old = max(of, key=lambda row: len(Path(row.look.name).stem), default=None)
            caption = old.caption if old else captions.get(look.name) or caption_from_name(Path(look.name))
            rows.append(Row(replace(look, greys=None), caption, bool(old and old.is_held_out)))
        return rows if known else _with_some_held_out(rows)

    def mend_all(self, rows: list[Row]) -> list[Row]:
        """Splits at cuts, crops bars, and drops what cannot be learnt from: too short, still, twice."""
        for _ in range(MOST_ROUNDS):  # what one mend leaves is seen at the next look
            for row in rows:
                path = self._path(row.look.name)
                if row.look.mends:
                    MENDS[row.look.mends[0]](path, row.look)
                elif row.look.faults:
                    path.unlink()
            rows = self.rows(rows)
            if not any(row.look.faults for row in rows):
                break
        return rows if any(row.is_held_out for row in rows) else _with_some_held_out(rows)

    def drop(self, rows: list[Row], name: str) -> list[Row]:
        """Without one clip."""
        self._path(name).unlink()
        return self.rows([row for row in rows if row.look.name != name])

    def trim(self, rows: list[Row], name: str, start: float, end: float) -> list[Row]:
        """With one clip from one second to another."""
        trim(self._path(name), start, end)
        return self.rows(rows)

    def hand_over(self, rows: list[Row]) -> Path:
        """The folder that a job begins with: `train` and `held-out`, with captions. ValueError where there is nothing to learn."""
        usable = [row for row in rows if row.look.usable]
        if not any(not row.is_held_out for row in usable):
            raise ValueError("there is no clip to learn from: add some, or hold fewer of them out")
        target = self.folder / "job"
        shutil.rmtree(target, ignore_errors=True)
        check_room(self.folder, 2 * sum(self._path(row.look.name).stat().st_size for row in usable))  # once here, once in the job
        for name, chosen in (("train", False), ("held-out", True)):
            part = [row for row in usable if row.is_held_out == chosen]
            if part:
                (target / name).mkdir(parents=True)
                for row in part:
                    shutil.copyfile(self._path(row.look.name), target / name / row.look.name)
                write_captions(target / name, {row.look.name: row.caption for row in part})
        return target

    def _paths(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*") if path.suffix.lower() in CLIP_SUFFIXES)

    def _path(self, name: str) -> Path:
        path = self.folder / Path(name).name
        if not path.is_file():
            raise ValueError(f"{name}: there is no such clip; choose one of the table")
        return path

    def _captions(self) -> dict[str, str]:
        """What is written beside the clips."""
        try:
            return {clip.path.name: clip.caption for clip in find_clips(self.folder, held_out=None)}
        except ValueError:  # none decodes, which each one's look says
            return {}


def _with_some_held_out(rows: list[Row]) -> list[Row]:
    """The rows, the last usable ones proposed to be held out: one in HELD_OUT_SHARE, from three on."""
    usable = [row.look.name for row in rows if row.look.usable and not row.look.faults]
    count = max(1, len(usable) // HELD_OUT_SHARE) if len(usable) > 2 else 0
    chosen = set(usable[len(usable) - count :])
    return [replace(row, is_held_out=row.look.name in chosen) for row in rows]
