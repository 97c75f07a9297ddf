"""Which folders are the app's own: those with a mark. Nothing else is ever deleted.

OUTPUT/jobs/ID        a folder
OUTPUT/.jobs-own/ID   its mark, an empty file: made before the folder, and gone after it
"""

import re
import shutil
from collections.abc import Container
from contextlib import suppress
from pathlib import Path

UPLOADS = "uploads"
JOB_FILE = "job.json"  # of a finished job
_ID = re.compile(r"[\w-]{16}")  # what `secrets.token_urlsafe(12)` gives


def is_id(name: object) -> bool:
    """Whether a name can be that of a job's folder, and leads nowhere else."""
    return isinstance(name, str) and bool(re.fullmatch(r"[\w-]+", name))


def create_owned(folder: Path) -> None:
    """Makes a folder and its mark, where they are not there."""
    mark = _mark(folder)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    folder.mkdir(parents=True, exist_ok=True)


def is_owned(folder: Path) -> bool:
    """Whether a folder has its mark."""
    return folder.is_dir() and not folder.is_symlink() and _mark(folder).is_file()


def uploads_folder(outputs: Path) -> Path | None:
    """Where what visitors upload is kept below the output folder, so that it has an age also after a kill; none where that place is
    somebody else's, or cannot be written.
    """
    jobs, folder = outputs / "jobs", outputs / UPLOADS / "gradio"
    try:
        is_refused = jobs.is_dir() and not (outputs / "jobs.sqlite").exists() and foreign_files(jobs, ())
        if not folder.exists() and not is_refused:
            create_owned(folder)
    except OSError:
        return None
    return folder if is_owned(folder) else None


def is_orphaned(folder: Path) -> bool:
    """Whether a folder that no row names can go: it has its mark, or nothing is in it."""
    return is_owned(folder) or not (_is_system_file(folder) or folder.is_symlink() or any(folder.iterdir()))


def drop(folder: Path) -> None:
    """Deletes a folder and its mark; what cannot be deleted keeps it."""
    if folder.is_symlink():
        return
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        with suppress(OSError):
            _mark(folder).unlink(missing_ok=True)


def _mark(folder: Path) -> Path:
    return folder.parent.with_name(f".{folder.parent.name}-own") / folder.name


def foreign_files(folder: Path, known: Container[str]) -> list[str]:
    """What lies in the folder of all jobs and is neither the app's nor nothing: names, sorted.

    Hidden files, empty folders, and folders that may be of an app from before there were marks are passed by.
    """
    return sorted(path.name for path in folder.iterdir() if path.name not in known and _is_foreign(path))


def _is_system_file(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "lost+found"


def _is_foreign(path: Path) -> bool:
    if _is_system_file(path):
        return False
    if path.is_symlink() or not path.is_dir():
        return True
    try:
        return not (is_owned(path) or (path / JOB_FILE).exists() or _ID.fullmatch(path.name) or not any(path.iterdir()))
    except OSError:  # not ours to look into
        return True
