"""The store of jobs: states, fair order, quotas, visitors, and what is left after a kill, a damaged table or a full disk."""

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trip.jobs import quotas
from trip.jobs import store as stores
from trip.jobs.fair_queue import queue_order
from trip.jobs.folders import create_owned
from trip.jobs.janitor import Limits, tidy
from trip.jobs.store import JobStore, State
from trip.jobs.worker import Worker

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(tmp_path / "outputs")
    yield store
    store.close()


def reopened(store: JobStore) -> JobStore:
    """The store as the next app sees it."""
    store.close()
    return JobStore(store.folder)


def ask(store: JobStore, visitor: str = "me", prompt: str = "", photo=None):
    return store.submit(visitor, "animate", {"prompt": prompt}, photo)


def make(store: JobStore, visitor: str = "me"):
    """A finished job."""
    ask(store, visitor)
    job = store.take()
    (store.folder_of(job) / "clip.mp4").write_bytes(b"frames")
    assert store.finish(job.id, {"clip": "clip.mp4"})
    return store.get(job.id)


def states(store: JobStore) -> dict[str, str]:
    return {job.id: job.state for job in store.jobs()}


# one job


def test_a_job_waits_runs_and_is_done(store, photo):
    job = ask(store, prompt="the camera pans right", photo=photo)
    assert (job.state, job.settings, job.words) == (State.QUEUED, {"prompt": "the camera pans right"}, "Waiting")
    assert (store.folder_of(job) / "photo.png").is_file()
    assert store.take().id == job.id
    assert store.report(job.id, 0.5, "Step 1 of 2")
    running = store.get(job.id)
    assert (running.state, running.fraction, running.words, running.attempts) == (State.RUNNING, 0.5, "Step 1 of 2", 1)
    assert store.finish(job.id, {"seed": 7})
    done = store.get(job.id)
    assert (done.state, done.result, done.fraction) == (State.DONE, {"seed": 7}, 1.0)
    assert done.created <= done.started <= done.ended


def test_nothing_is_taken_where_nothing_waits(store):
    assert store.take() is None


def test_a_failed_job_says_why(store):
    job = ask(store)
    store.take()
    store.fail(job.id, "there is not enough memory")
    assert (store.get(job.id).state, store.get(job.id).error) == (State.FAILED, "there is not enough memory")


def test_what_has_ended_stays_as_it_is(store):
    job = make(store)
    store.fail(job.id, "too late")
    store.requeue(job.id)
    assert not store.report(job.id, 0.1, "too late")
    assert not store.finish(job.id, {"seed": 8})
    for change in (store.cancel, store.pause, store.resume):
        change(job.id)
    assert store.get(job.id) == job


def test_a_paused_job_is_not_taken_until_it_goes_on(store):
    job = ask(store)
    assert store.pause(job.id).state == State.PAUSED
    assert store.take() is None
    assert store.resume(job.id).state == State.QUEUED
    assert store.take().id == job.id


def test_a_waiting_and_a_paused_job_can_be_cancelled(store):
    waiting, paused = ask(store), ask(store)
    store.pause(paused.id)
    assert store.cancel(waiting.id).state == store.cancel(paused.id).state == State.CANCELLED
    assert store.take() is None


def test_a_cancelled_running_job_is_told_to_stop_and_cannot_be_finished(store):
    job = ask(store)
    store.take()
    assert store.is_wanted(job.id)
    store.cancel(job.id)
    assert not store.is_wanted(job.id)
    assert not store.report(job.id, 0.5, "Step 1")
    assert not store.finish(job.id, {})
    assert store.get(job.id).state == State.CANCELLED


@pytest.mark.parametrize("runs", [False, True])
def test_delete_forgets_job_and_files(store, photo, runs):
    job = ask(store, photo=photo)
    if runs:
        store.take()
    store.delete(job.id)
    assert not store.folder_of(job).exists()
    assert store.jobs() == []
    assert not store.finish(job.id, {})
    with pytest.raises(ValueError, match="no such job"):
        store.get(job.id)


def test_a_job_handed_back_waits_as_if_it_had_not_been_taken(store):
    first, _ = ask(store), ask(store, "other")
    store.take()
    store.requeue(first.id)
    assert (store.get(first.id).state, store.get(first.id).attempts) == (State.QUEUED, 0)
    assert store.take().id == first.id


def test_a_new_attempt_begins_without_what_the_last_one_left(store, photo):
    job = ask(store, photo=photo)
    store.take()
    for name in ("trip-1.mp4", "preview.jpg", ".half.partial", "running", "log.txt"):
        (store.folder_of(job) / name).write_text("left")
    store.requeue(job.id)
    store.take()
    assert {path.name for path in store.folder_of(job).iterdir()} == {"photo.png", "log.txt"}


# order


def drained(store: JobStore) -> list[str]:
    """Ids in the order in which they are taken; each ends before the next."""
    order = []
    while job := store.take():
        order.append(job.id)
        store.finish(job.id, {})
    return order


def test_visitors_take_turns_and_each_ones_jobs_keep_their_order(store):
    many = [ask(store, "many") for _ in range(4)]
    few = [ask(store, "few") for _ in range(2)]
    late = ask(store, "late")
    assert drained(store) == [job.id for job in (many[0], few[0], late, many[1], few[1], many[2], many[3])]


def test_first_of_ones_own_does_not_jump_another_visitors_turn(store):
    mine, theirs = [ask(store, "me") for _ in range(3)], ask(store, "they")
    assert store.take().id == mine[0].id
    store.put_first(mine[2].id)
    store.finish(mine[0].id, {})
    assert drained(store) == [theirs.id, mine[2].id, mine[1].id]


def test_the_number_of_jobs_before_one_comes_true(store):
    jobs = [ask(store, visitor) for visitor in "aaabacbbc"]
    store.put_first(jobs[4].id)
    expected = {job.id: store.jobs_before(store.get(job.id)) for job in jobs}
    assert {job_id: place for place, job_id in enumerate(drained(store))} == expected


def test_somebody_who_comes_while_the_line_is_read_disturbs_nobody(store):
    waiting = ask(store, "me")

    class Busy:
        """A table to which a visitor comes between any two readings."""

        def execute(self, *query):
            rows = store._connection.execute(*query).fetchall()
            ask(store, f"number {len(store.known())}")
            return rows

    line = queue_order(Busy())
    assert line[0] == waiting.id
    assert len(line) == len(set(line)) == 2


def test_the_running_job_counts_among_those_before(store):
    running, waiting = ask(store), ask(store)
    store.take()
    assert store.jobs_before(store.get(waiting.id)) == 1
    assert store.jobs_before(store.get(running.id)) == 0


def test_jobs_are_listed_waiting_first_then_newest_and_by_prompt(store):
    done = [make(store), make(store)]
    waiting = [ask(store, prompt="The Clouds"), ask(store, prompt="the sea")]
    assert [job.id for job in store.jobs("me")] == [job.id for job in (*waiting, done[1], done[0])]
    assert [job.id for job in store.jobs("me", State.DONE)] == [done[1].id, done[0].id]
    assert [job.id for job in store.jobs("me", text="clouds")] == [waiting[0].id]


# quotas and visitors


def test_one_visitor_can_only_have_so_many_waiting(store, photo, monkeypatch):
    monkeypatch.setattr(quotas, "MOST_QUEUED_EACH", 2)
    first, _ = ask(store), ask(store)
    store.pause(first.id)  # still counts
    with pytest.raises(ValueError, match="you have 2 jobs waiting already"):
        ask(store, photo=photo)
    ask(store, "other")
    assert len(list((store.folder / "jobs").iterdir())) == 3
    store.cancel(first.id)
    ask(store)


def test_all_visitors_together_can_only_have_so_many_waiting(store, monkeypatch):
    monkeypatch.setattr(quotas, "MOST_QUEUED", 2)
    monkeypatch.setattr(quotas, "MOST_STORED", 3)
    ask(store, "a"), ask(store, "b")
    with pytest.raises(ValueError, match="2 jobs are waiting already"):
        ask(store, "a")
    ask(store, "c")  # a first job is taken in all the same, up to another bound
    with pytest.raises(ValueError, match="3 jobs are waiting already"):
        ask(store, "d")
    assert len(list((store.folder / "jobs").iterdir())) == 3


@pytest.mark.parametrize("action", ["get", "cancel", "pause", "resume", "put_first", "delete"])
@pytest.mark.parametrize("visitor", ["they", "", None])
def test_other_visitors_see_and_change_nothing(store, action, visitor):
    job = ask(store)
    with pytest.raises(ValueError, match="there is no such job of yours"):
        getattr(store, action)(job.id, visitor)
    assert store.jobs(visitor) == []
    assert store.get(job.id) == job


@pytest.mark.parametrize("job_id", ["", "nothing", None, 7, ["a"], "' OR 1=1 --", "../..", "x" * 10**5])
def test_an_id_that_is_none_is_refused_in_one_line(store, job_id):
    ask(store)
    with pytest.raises(ValueError) as refusal:
        store.get(job_id, "me")
    assert "\n" not in str(refusal.value)


def test_ids_cannot_be_guessed(store):
    ids = {ask(store, str(number)).id for number in range(20)}
    assert len(ids) == 20
    assert min(map(len, ids)) >= 16


def test_many_threads_lose_and_double_nothing(store, monkeypatch):
    monkeypatch.setattr(quotas, "MOST_QUEUED", 10_000)
    taken, errors = [], []

    def visit(visitor: str) -> None:
        try:
            for _ in range(15):
                job = ask(store, visitor)
                store.jobs(visitor), store.jobs_before(job), store.get(job.id, visitor)
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    def work() -> None:
        end = time.monotonic() + 20
        while len(taken) < 90 and time.monotonic() < end and not errors:
            if job := store.take():
                taken.append(job.id)
                store.report(job.id, 0.5, "half")
                store.finish(job.id, {})

    threads = [threading.Thread(target=visit, args=(str(number),)) for number in range(6)] + [threading.Thread(target=work)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert len(taken) == len(set(taken)) == 90
    assert set(states(store).values()) == {State.DONE}


# one app a folder


def test_a_second_store_on_the_folder_is_refused_in_one_line(store):
    with pytest.raises(ValueError, match="another app serves this folder") as refusal:
        JobStore(store.folder)
    assert "\n" not in str(refusal.value)
    reopened(store).close()


def _python(code: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def test_a_second_process_on_the_folder_is_refused(store):
    process = _python("import sys; from trip.jobs.store import JobStore; JobStore(sys.argv[1])", store.folder)
    assert process.stderr.splitlines()[-1].startswith(f"ValueError: {store.folder}: another app serves this folder")


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="choose another --output-dir"):
        JobStore(tmp_path / "file" / "outputs")


# after a kill


def test_a_job_left_running_waits_again_in_its_old_place(store):
    first, second = ask(store, "a"), ask(store, "b")
    store.take()
    store = reopened(store)
    job = store.get(first.id)
    assert (job.state, job.fraction, job.words) == (State.QUEUED, 0.0, "Taken up again after a restart")
    assert drained(store) == [first.id, second.id]
    store.close()


def test_a_job_over_which_the_app_died_three_times_has_failed(store):
    job = ask(store)
    for attempt in range(1, 4):
        assert store.take().attempts == attempt
        store = reopened(store)
    assert store.get(job.id).state == State.FAILED
    assert "the app stopped 3 times" in store.get(job.id).error
    assert store.take() is None
    store.close()


_KILLED = """
import os, signal, sys
from trip.jobs.store import JobStore
store = JobStore(sys.argv[1])
for number in range(5):
    store.submit(f"visitor {number % 2}", "animate", {"number": number})
done = store.take()
(store.folder_of(done) / "clip.mp4").write_bytes(b"frames")
store.finish(done.id, {"clip": "clip.mp4"})
store.report(store.take().id, 0.5, "half")
(store.folder / "jobs" / "half-submitted").mkdir()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_and_doubles_nothing(tmp_path):
    assert _python(_KILLED, tmp_path).returncode == -9
    store = JobStore(tmp_path)
    assert sorted(job.settings["number"] for job in store.jobs()) == [0, 1, 2, 3, 4]
    (done,) = store.jobs("visitor 0", State.DONE)
    assert (store.folder_of(done) / done.result["clip"]).read_bytes() == b"frames"
    assert len(drained(store)) == 4
    assert {path.name for path in (tmp_path / "jobs").iterdir()} == set(states(store))  # the orphan is gone
    assert store.notices == []
    store.close()


def test_the_apps_own_orphans_are_removed_at_the_start_and_nothing_else(store):
    job = make(store)
    orphan, old, empty = (store.files / name for name in ("orphan", "0123456789abcdef", "empty"))
    create_owned(orphan)
    old.mkdir()  # of an app from before there were marks: may be its own, may be a person's
    for folder in (orphan, old):
        (folder / "photo.png").touch()
    empty.mkdir()
    (store.folder / "mine").mkdir()
    store = reopened(store)
    assert {path.name for path in store.files.iterdir()} == {job.id, old.name}
    assert (store.folder / "mine").is_dir()
    store.close()


def _thesis(files: Path) -> Path:
    (files / "thesis").mkdir(parents=True)
    (files / "thesis" / "chapter1.tex").write_text("precious")
    return files / "thesis" / "chapter1.tex"


def _letter(files: Path) -> Path:
    files.mkdir(parents=True, exist_ok=True)
    (files / "letter.txt").write_text("precious")
    return files / "letter.txt"


def _link(files: Path) -> Path:
    elsewhere = _thesis(files.parent / "elsewhere").parent
    files.mkdir(parents=True, exist_ok=True)
    (files / "link").symlink_to(elsewhere)
    return elsewhere / "chapter1.tex"


@pytest.mark.parametrize("lay", [_thesis, _letter, _link])
def test_a_folder_of_jobs_that_holds_other_things_is_refused_and_stays_as_it_is(tmp_path, lay):
    precious = lay(tmp_path / "jobs")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="wanted a folder for jobs alone.*choose another --output-dir") as refusal:
        JobStore(tmp_path)
    assert "\n" not in str(refusal.value)
    assert precious.read_text() == "precious" and sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("lay", [_thesis, _letter, _link])
def test_other_things_that_came_later_are_refused_and_the_jobs_stay(store, lay):
    job = make(store)
    store.close()
    precious = lay(store.files)
    with pytest.raises(ValueError, match="which this app did not make"):
        JobStore(store.folder)
    assert precious.read_text() == "precious" and (store.folder_of(job) / "clip.mp4").is_file()
    shutil.move(
        store.files / precious.relative_to(store.files).parts[0] if lay is not _link else store.files / "link", store.folder / "aside"
    )
    store = JobStore(store.folder)
    assert store.get(job.id) == job
    store.close()


def test_hidden_files_of_the_system_are_no_reason_to_refuse(store):
    (store.files / ".DS_Store").touch()
    (store.files / "lost+found").mkdir()
    store = reopened(store)
    assert (store.files / ".DS_Store").exists() and (store.files / "lost+found").exists()
    store.close()


@pytest.mark.parametrize("job_id", ["..", ".", "../mine", "/etc", ""])
def test_a_row_with_an_odd_id_deletes_nothing_but_itself(store, job_id):
    job = make(store)
    precious = store.folder / "mine" / "thesis.tex"
    precious.parent.mkdir()
    precious.write_text("precious")
    with store.changing() as table:
        table.execute("UPDATE jobs SET id = ? WHERE id = ?", (job_id, job.id))
    store.delete(job_id)
    assert store.known() == set()
    assert precious.read_text() == "precious" and (store.files / job.id / "clip.mp4").exists()


ODD = {
    "settings": ["[]", "null", "{", "[" * 100_000, "7", b"\xff\xfe"],
    "result": ["", "[1]", "null"],
    "state": ["thinking", "", "DONE"],
    "place": ["first", b"x"],
    "created": ["yesterday", float("inf")],
    "ended": ["never"],
    "attempts": ["many", -1, 2**62],
    "visitor": [b"me"],
    "id": ["../x"],
}


@pytest.mark.parametrize("column, value", [(column, value) for column, values in ODD.items() for value in values])
@pytest.mark.parametrize("state", ["queued", "done"])
def test_one_odd_row_stops_nobody(store, column, value, state):
    odd = ask(store, "odd") if state == "queued" else make(store, "odd")
    mine = ask(store, "me")
    with store.changing() as table:
        table.execute(f"UPDATE jobs SET {column} = ? WHERE id = ?", (value, odd.id))
    store = reopened(store)
    assert mine.id in [job.id for job in store.jobs()]
    assert store.jobs_before(store.get(mine.id)) in (0, 1)
    worker = Worker(store, {"animate": lambda context: {}}, before=lambda: tidy(store, Limits()))
    while worker._run_next():
        pass
    assert store.get(mine.id).state == State.DONE
    for row_id in store.unreadable():
        with pytest.raises(ValueError, match="cannot be read"):
            store.get(row_id)
    for row_id in store.known() - {mine.id}:
        store.delete(row_id)
    assert store.known() == {mine.id}
    store.close()


RECORD = {
    "id": "strange", "visitor": "me", "kind": "animate", "settings": {}, "state": "done", "place": 1.0, "created": 1.0,
    "started": 1.0, "ended": 1.0, "attempts": 1, "fraction": 1.0, "words": "", "error": "", "result": {},
}  # fmt: skip
CHANGES = [
    {"place": {}}, {"visitor": None}, {"visitor": ["me"]}, {"settings": []}, {"result": 7}, {"created": "x"}, {"attempts": 2**70},
    {"ended": [1]}, {"kind": None}, {"place": 1e400}, {"words": "\ud800"}, {"state": "thinking"}, {"id": "other"},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_one_odd_job_json_stops_nobody_and_costs_nothing(store, change):
    (store.files / "strange").mkdir()
    (store.files / "strange" / "job.json").write_text(json.dumps(RECORD | change))
    (store.files / "strange" / "clip.mp4").write_bytes(b"frames")
    mine = ask(store)
    store = reopened(store)
    assert [job.id for job in store.jobs()] == [mine.id]
    assert store.take().id == mine.id
    assert (store.files / "strange" / "clip.mp4").read_bytes() == b"frames"
    store.close()


# damage


def _garbage(table: Path) -> None:
    table.write_bytes(b"this is no database " * 500)


def _truncated(table: Path) -> None:
    table.write_bytes(table.read_bytes()[:5000])


def _overwritten(table: Path) -> None:
    pages = bytearray(table.read_bytes())
    pages[4096:] = b"\xa5" * (len(pages) - 4096)
    table.write_bytes(pages)


def _emptied(table: Path) -> None:
    table.write_bytes(b"")


def _removed(table: Path) -> None:
    table.unlink()


@pytest.mark.parametrize("spoil", [_garbage, _truncated, _overwritten, _emptied, _removed])
def test_a_damaged_table_costs_no_finished_result(store, spoil):
    done, waiting = [make(store), make(store, "other")], ask(store)
    store.close()  # which puts all of the journal into the table
    spoil(store.folder / "jobs.sqlite")
    store = JobStore(store.folder)
    assert {job.id: job for job in store.jobs()} == {job.id: job for job in done}
    assert all((store.folder_of(job) / "clip.mp4").read_bytes() == b"frames" for job in done)
    assert not store.folder_of(waiting).exists()
    (notice,) = store.notices
    assert "2 finished results were kept" in notice
    if spoil not in (_emptied, _removed):
        (aside,) = store.folder.glob("jobs-damaged-*.sqlite")
        assert aside.name in notice
    store = reopened(store)
    assert store.notices == [] and len(store.jobs()) == 2
    store.close()


def test_what_was_deleted_does_not_come_back_with_a_damaged_table(store):
    kept, gone = make(store), make(store)
    store.delete(gone.id)
    store.close()
    _garbage(store.folder / "jobs.sqlite")
    store = JobStore(store.folder)
    assert [job.id for job in store.jobs()] == [kept.id]
    store.close()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"id": 1}', "null", '{"id": "../../x", "state": "done"}'])
def test_a_folder_that_tells_nonsense_is_no_result(store, content):
    (store.folder / "jobs" / "strange").mkdir()
    (store.folder / "jobs" / "strange" / "job.json").write_text(content)
    store = reopened(store)
    assert store.jobs() == []
    store.close()


def test_a_sound_table_that_cannot_be_opened_is_not_put_aside(store, monkeypatch):
    make(store)
    store.close()
    connect = sqlite3.connect
    monkeypatch.setattr(stores.sqlite3, "connect", lambda *paths, **more: connect(*paths, **more | {"timeout": 0.1}))
    with connect(store.folder / "jobs.sqlite", isolation_level=None) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ValueError, match="cannot be opened") as refusal:
            JobStore(store.folder)
        other.execute("ROLLBACK")
    other.close()
    assert "\n" not in str(refusal.value)
    store = JobStore(store.folder)
    assert len(store.jobs()) == 1 and store.notices == []
    store.close()


# disk


def test_a_full_disk_is_told_and_nothing_is_left(store, photo, monkeypatch):
    monkeypatch.setattr(stores, "LEAST_FREE_BYTES", 2**62)
    with pytest.raises(ValueError, match="the disk is almost full"):
        ask(store, photo=photo)
    assert store.jobs() == [] and list((store.folder / "jobs").iterdir()) == []


def test_a_table_that_cannot_grow_refuses_and_goes_on_later(store, photo):
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(ValueError, match="could not be stored"):
        store.submit("me", "animate", {"prompt": "x" * 50_000}, photo)
    assert list((store.folder / "jobs").iterdir()) == []
    store._connection.execute("PRAGMA max_page_count = 100000")
    assert make(store).state == State.DONE


def test_a_disk_that_is_really_full_still_stops_deletes_and_opens_again():
    """A small tmpfs, in a namespace of its own; see the script."""
    allowed = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "true"], capture_output=True)
    if allowed.returncode:
        pytest.skip("this system lets nobody mount a disk of their own")
    process = subprocess.run(
        [sys.executable, ROOT / "tests" / "stress" / "full_disk.py"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert "Traceback" not in process.stderr
    said = json.loads(process.stdout)
    assert "free some space" in said["asking"] and said["stopped"] == "Stopped" and said["later"] == "Done"


def test_a_table_that_cannot_grow_still_stops_and_deletes(store):
    done, running = make(store), ask(store, prompt="y" * 20_000)
    store.take()
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    assert store.cancel(running.id).state == State.CANCELLED
    store.delete(done.id)
    assert [job.id for job in store.jobs()] == [running.id] and not store.folder_of(done).exists()


def test_a_photo_that_cannot_be_written_is_told_and_nothing_is_left(store, photo, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(photo), "save", full)
    with pytest.raises(ValueError, match="No space left on device"):
        ask(store, photo=photo)
    assert store.jobs() == [] and list((store.folder / "jobs").iterdir()) == []


def test_a_finished_job_is_written_down_beside_its_result(store):
    job = make(store)
    assert json.loads((store.folder_of(job) / "job.json").read_text())["result"] == {"clip": "clip.mp4"}
