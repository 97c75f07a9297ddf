"""The SQLite table of jobs: what its columns are, and how it is opened also where the file is damaged."""

import secrets
import sqlite3
import time
from pathlib import Path

_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, visitor TEXT NOT NULL, kind TEXT NOT NULL, settings TEXT NOT NULL, state TEXT NOT NULL,
    place REAL NOT NULL, created REAL NOT NULL, started REAL, ended REAL, attempts INTEGER NOT NULL DEFAULT 0,
    fraction REAL NOT NULL DEFAULT 0, words TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '', result TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS by_visitor ON jobs (visitor, created);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state);
"""


def open_table(path: Path) -> tuple[sqlite3.Connection, str]:
    """The table in WAL mode, made where there is none, and what people should know of it: a damaged one lies aside, else nothing.

    Raises sqlite3.OperationalError where a sound one cannot be opened: locked, on a full disk, not permitted.
    """
    try:
        return _connected(path), ""
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        aside = path.with_name(f"{path.stem}-damaged-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}.sqlite")
        path.rename(aside)
        for companion in ("-wal", "-shm"):
            path.with_name(path.name + companion).unlink(missing_ok=True)
        return _connected(path), f"The list of jobs was damaged ({error}) and lies aside as {aside.name}."


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda text: text.decode(errors="replace")  # one broken text must not stop the reading of all rows
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if (verdict := connection.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(str(verdict).splitlines()[0])
        connection.executescript(_TABLE)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection
