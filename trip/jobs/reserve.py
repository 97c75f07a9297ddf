"""Room on the disk that is kept for what must work also when it is full: stopping, deleting, writing down how a job ended."""

import logging
import os
import sqlite3
from pathlib import Path

from trip.system import files

logger = logging.getLogger(__name__)

NUM_BYTES = 2 * 2**20


def is_full(error: BaseException | None) -> bool:
    """Whether an error means that a disk is full, as the system or SQLite says it."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
    return files.is_full(error)


class Reserve:
    """A file that takes up room, until the room is needed."""

    def __init__(self, path: Path, num_bytes: int = NUM_BYTES):
        self.path, self.num_bytes = path, num_bytes

    def fill(self) -> None:
        """Takes the room where it is not taken; on a full disk later."""
        try:
            if self.path.exists() and self.path.stat().st_size == self.num_bytes:
                return
            self.path.write_bytes(os.urandom(self.num_bytes))  # zeros take no room on some disks
        except OSError as error:
            logger.warning("%s: nothing could be kept for a full disk (%s)", self.path, error.strerror)
            self.release()

    def release(self) -> None:
        """Lets others have it."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s: %s", self.path, error.strerror)
