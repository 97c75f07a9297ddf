"""The SQLite table of jobs: what its columns are, and how it is opened also where the file is damaged or of an earlier form."""

import json
import secrets
import sqlite3
import time
from pathlib import Path

from trip.jobs.job import Job
from trip.jobs.visitor import id_of_secret

SCHEMA_VERSION = 1  # of the table, kept as its user_version; form 0 had visitors' secret words in place of their ids, and no addresses
_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, visitor TEXT NOT NULL, kind TEXT NOT NULL, settings TEXT NOT NULL, state TEXT NOT NULL,
    place REAL NOT NULL, created REAL NOT NULL, started REAL, ended REAL, attempts INTEGER NOT NULL DEFAULT 0,
    fraction REAL NOT NULL DEFAULT 0, words TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '', result TEXT NOT NULL DEFAULT '{}',
    address TEXT NOT NULL DEFAULT ''
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


def insert(table: sqlite3.Connection, job: Job) -> None:
    """Adds a job's row."""
    values = vars(job) | {"settings": json.dumps(job.settings), "result": json.dumps(job.result)}
    table.execute(f"INSERT INTO jobs ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", tuple(values.values()))


def _connected(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    path.chmod(0o600)  # also one of an earlier form; SQLite gives its companions the same mode
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda text: text.decode(errors="replace")  # one broken text must not stop the reading of all rows
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if (verdict := connection.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(str(verdict).splitlines()[0])
        _migrate(connection)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    """Makes the table, or gives one of an earlier form ids in place of secret words, of which nothing stays in the file."""
    is_old = connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION
    if is_old and connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'jobs'").fetchone():
        connection.create_function("id_of_secret", 1, id_of_secret, deterministic=True)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ALTER TABLE jobs ADD COLUMN address TEXT NOT NULL DEFAULT ''")
        connection.execute("UPDATE jobs SET visitor = id_of_secret(visitor)")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.executescript(_TABLE)
    if is_old:  # what is right already is not written: the disk may be full
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
