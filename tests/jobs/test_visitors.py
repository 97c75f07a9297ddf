"""What the store keeps of visitors and addresses: ids and no secrets, turns, shares, and stores of an earlier form."""

import json
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from trip.jobs import quotas
from trip.jobs import store as stores
from trip.jobs.store import Job, JobStore, State
from trip.jobs.visitor import Visitor, id_of_secret

WORD = "Vp2lC1u5cT3kq9XxJmZ0Aw"  # as browsers kept it in the earlier form
EARLIER = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, visitor TEXT NOT NULL, kind TEXT NOT NULL, settings TEXT NOT NULL, state TEXT NOT NULL,
    place REAL NOT NULL, created REAL NOT NULL, started REAL, ended REAL, attempts INTEGER NOT NULL DEFAULT 0,
    fraction REAL NOT NULL DEFAULT 0, words TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '', result TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX by_visitor ON jobs (visitor, created);
CREATE INDEX by_state ON jobs (state);
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(tmp_path / "outputs")
    yield store
    store.close()


def ask(store: JobStore, visitor: str, address: str = "") -> Job:
    return store.submit(Visitor(visitor, address), "animate", {"prompt": ""})


def order(store: JobStore) -> list[str]:
    """The ids of all that waits, as they are taken."""
    taken = []
    while job := store.take():
        taken.append(job.id)
        store.finish(job.id, {})
    return taken


# an earlier form


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A folder as the earlier form left it: a finished and a waiting job under a secret word."""
    folder = tmp_path / "outputs"
    for name in ("done", "waiting"):
        (folder / "jobs" / name).mkdir(parents=True)
    (folder / "jobs" / "done" / "clip.mp4").write_bytes(b"frames")
    columns = {"visitor": WORD, "kind": "animate", "settings": {"prompt": "a"}, "place": 1.0, "created": 1.0, "started": 2.0, "ended": 3.0}
    done = {
        "id": "done",
        **columns,
        "state": "done",
        "attempts": 1,
        "fraction": 1.0,
        "words": "Done",
        "error": "",
        "result": {"clip": "clip.mp4"},
    }
    (folder / "jobs" / "done" / "job.json").write_text(json.dumps(done))
    table = sqlite3.connect(folder / "jobs.sqlite")
    table.execute("PRAGMA journal_mode = WAL")
    table.executescript(EARLIER)
    for row in (done, {**done, "id": "waiting", "state": "queued", "started": None, "ended": None, "result": {}}):
        values = [json.dumps(value) if isinstance(value, dict) else value for value in row.values()]
        table.execute(f"INSERT INTO jobs ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", values)
    table.commit()
    table.close()
    (folder / "jobs.sqlite").chmod(0o644)
    return folder


def test_an_earlier_store_opens_and_holds_no_secret_word(earlier):
    store = JobStore(earlier)
    try:
        assert {job.id: job.state for job in store.jobs()} == {"done": State.DONE, "waiting": State.QUEUED}
        assert {job.visitor for job in store.jobs()} == {id_of_secret(WORD)}
        assert not [path.name for path in earlier.rglob("*") if path.is_file() and WORD.encode() in path.read_bytes()]
        assert store.take().id == "waiting"
    finally:
        store.close()
    again = JobStore(earlier)
    assert {job.visitor for job in again.jobs()} == {id_of_secret(WORD)}  # and not the id of an id
    again.close()


def test_who_still_has_the_word_gets_their_jobs(earlier):
    store = JobStore(earlier)
    store.transfer("another word", "me")
    assert store.jobs("me") == []
    store.transfer(WORD, "me")
    assert {job.id for job in store.jobs("me")} == {"done", "waiting"}
    store.close()


def test_results_of_an_earlier_form_are_kept_with_a_damaged_table(earlier):
    (earlier / "jobs.sqlite").write_bytes(b"nonsense" * 1000)
    store = JobStore(earlier)
    assert [(job.id, job.visitor) for job in store.jobs()] == [("done", id_of_secret(WORD))]
    assert WORD not in (earlier / "jobs" / "done" / "job.json").read_text()
    store.close()


# who may look


def test_nobody_else_on_the_machine_reads_the_table(store):
    ask(store, "me")
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    for path in store.folder.glob("jobs.sqlite*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


def test_results_are_served_to_their_owner_and_nothing_else_is(store):
    folder = store.folder_of(ask(store, "me")).resolve()
    assert store.is_served(folder / "clip.mp4", "me") and store.is_served(folder / "run" / "lora.safetensors", "me")
    assert not store.is_served(folder / "clip.mp4", "they")
    for name in ("job.json", "log.txt", "inside.npz", "output.txt", "clip.mp4.partial", "running"):
        assert not store.is_served(folder / name, "me"), name
    for path in (store.folder / "jobs.sqlite", store.folder / "clip.mp4", Path("/etc/hostname"), folder.parent / "nothing" / "clip.mp4"):
        assert not store.is_served(path, "me"), path


# turns and shares


def test_a_person_under_many_names_gets_the_turns_of_one(store):
    crowd = [ask(store, f"name {number}", "one address") for number in range(4)]
    honest = [ask(store, "me", "another") for _ in range(2)]
    expected = sorted([*crowd, *honest], key=store.jobs_before)
    assert [job.id for job in expected] == [job.id for job in (crowd[0], honest[0], crowd[1], honest[1], crowd[2], crowd[3])]
    assert order(store) == [job.id for job in expected]


def test_what_was_foretold_comes_true_among_addresses_and_visitors(store):
    for visitor, address in (("a", "x"), ("b", "x"), ("c", "y")):
        ask(store, visitor, address)
    first = store.take()
    store.finish(first.id, {})
    for visitor, address in (("a", "x"), ("a", "x"), ("c", "y"), ("d", "z"), ("b", "x")):
        ask(store, visitor, address)
    expected = [job.id for job in sorted(store.jobs(stores.ANY_VISITOR, State.QUEUED), key=store.jobs_before)]
    assert order(store) == expected


def test_an_address_can_only_have_so_many_waiting(store, monkeypatch):
    monkeypatch.setattr(quotas, "MOST_QUEUED_ADDRESS", 3)
    ask(store, "a", "x"), ask(store, "a", "x"), ask(store, "b", "x")
    with pytest.raises(ValueError, match="3 jobs of your address"):
        ask(store, "b", "x")
    ask(store, "c", "x")  # who has none yet
    ask(store, "d", "y"), ask(store, "d", "y")


def test_paused_jobs_keep_nobody_out_also_after_a_restart(store, monkeypatch):
    monkeypatch.setattr(quotas, "MOST_QUEUED", 4)
    for number in range(10):
        store.pause(ask(store, f"made up {number}", "x").id)
    ask(store, "me", "x"), ask(store, "me", "x")
    store.close()
    again = JobStore(store.folder)
    ask(again, "me", "x"), ask(again, "they", "y")
    again.close()


def test_an_address_can_only_hold_so_many_back(store, monkeypatch):
    monkeypatch.setattr(quotas, "MOST_PAUSED_ADDRESS", 1)
    store.pause(ask(store, "a", "x").id)
    with pytest.raises(ValueError, match="1 jobs of your address are paused"):
        store.pause(ask(store, "b", "x").id)
    store.pause(ask(store, "c", "y").id)


def test_what_gives_way_goes_on_after_the_others(store):
    long = ask(store, "me")
    store.take()
    assert not store.others_wait(long)
    ask(store, "me")
    assert not store.others_wait(long)
    other = ask(store, "they")
    assert store.others_wait(long) and store.preempt(long.id)
    assert store.get(long.id).state == State.QUEUED
    assert order(store)[:2] == [other.id, long.id]
    assert not store.preempt(long.id)


def test_a_job_that_follows_from_another_is_the_same_visitors_at_the_same_address(store):
    job = ask(store, "me", "x")
    assert (job.requester, job.requester.address) == ("me", "x")
    following = store.submit(job.requester, "animate", {})
    assert (following.visitor, following.address) == ("me", "x")
    assert store.get(following.id) == replace(following)
