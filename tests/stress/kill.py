"""Kills the app again and again while clients ask for clips, and counts what is left: python tests/stress/kill.py [--times 20].

Whatever the app dies over, nothing may be lost or doubled. Exit code 1 and a line for each violation.
"""

import argparse
import hashlib
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from app_process import PHOTO, free_port, running, tiny_model
from gradio_client import Client, handle_file

from trip.jobs.job import job_from_row
from trip.jobs.recovery import MOST_ATTEMPTS
from trip.jobs.store import Job, State
from trip.media import read_clip

AT_ONCE = 2  # jobs that a client asks for together
SETTINGS = {"num_frames": 4, "num_steps": 6}


@dataclass
class Seen:
    """What clients have seen of their jobs, id -> prompt, and which clips they were given."""

    jobs: dict[str, str] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)


def client(url: str, numbers: count, seen: Seen, stop: threading.Event) -> None:
    """Asks for clips until it is told to stop; whatever goes wrong while the app is down is tried again with a new session."""
    while not stop.is_set():
        try:
            _ask(Client(url, verbose=False), numbers, seen, stop)
        except Exception:  # noqa: BLE001  the app was killed: expected
            stop.wait(1)


def _ask(session: Client, numbers: count, seen: Seen, stop: threading.Event) -> None:
    while not stop.is_set():
        prompts = [f"job {next(numbers)}" for _ in range(AT_ONCE)]
        calls = [session.submit(handle_file(PHOTO), prompt=prompt, api_name="/animate", **SETTINGS) for prompt in prompts]
        end = time.monotonic() + 60
        while not all(call.done() for call in calls) and not stop.is_set() and time.monotonic() < end:
            seen.jobs.update({job["id"]: job["settings"]["prompt"] for job in session.predict(api_name="/jobs")})
            time.sleep(0.2)
        for call in calls:
            seen.given.add(call.result(timeout=1)[2]["job"])


def recorded(outputs: Path) -> dict[str, Job]:
    """Jobs as the table has them; read from a copy, so that a dead app's files stay as they are."""
    with tempfile.TemporaryDirectory() as folder:
        for path in outputs.glob("jobs.sqlite*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, folder)
        with closing(sqlite3.connect(f"{folder}/jobs.sqlite")) as table:
            table.row_factory = sqlite3.Row
            return {row["id"]: job_from_row(row) for row in table.execute("SELECT * FROM jobs")}


def live_states(outputs: Path) -> Counter:
    """How many jobs stand where, while the app runs."""
    with closing(sqlite3.connect(f"file:{outputs / 'jobs.sqlite'}?mode=ro", uri=True, timeout=30)) as table:
        return Counter(dict(table.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall()))


def digest(outputs: Path, job: Job) -> str | None:
    """Hash of a job's clip; none where it is gone."""
    path = outputs / "jobs" / job.id / job.result["clip"]
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def violations(outputs: Path, seen: Seen, finished: dict[str, str | None], submitted: set[str]) -> list[str]:
    """What is wrong in the end, a line each.

    finished   jobs that some killed app had written down as done, and the hash of each clip then
    submitted  jobs that any killed app had in its table
    """
    jobs, found = recorded(outputs), []
    for job_id, before in finished.items():
        now = digest(outputs, jobs[job_id]) if job_id in jobs and jobs[job_id].state == State.DONE else None
        if now is None or now != before:
            found.append(f"{job_id}: was finished before a kill, and its clip is missing or another one now")
    for job_id in (submitted | set(seen.jobs) | seen.given) - set(jobs):
        found.append(f"{job_id}: was asked for and is lost")
    for job_id in seen.given & set(jobs):
        if jobs[job_id].state != State.DONE:
            found.append(f"{job_id}: its clip was given out, and it is {jobs[job_id].state} now")
    for prompt, times in Counter(job.settings["prompt"] for job in jobs.values()).items():
        if times > 1:
            found.append(f"{prompt}: asked for once and there {times} times")
    for job in jobs.values():
        given_up = job.state == State.FAILED and job.attempts >= MOST_ATTEMPTS
        if job.state != State.DONE and not given_up:
            found.append(f"{job.id}: {job.state} in the end, after {job.attempts} attempts: {job.words} {job.error}")
        if job.state == State.DONE:
            found += _unplayable(outputs, job)
    folders = {path.name for path in (outputs / "jobs").iterdir()}
    found += [f"{name}: a folder without a job, or the other way round" for name in folders ^ set(jobs)]
    return found


def _unplayable(outputs: Path, job: Job) -> list[str]:
    folder = outputs / "jobs" / job.id
    clips, wanted = sorted(path.name for path in folder.glob("*.mp4")), [job.result["drawn"], job.result["clip"]]
    if clips != wanted:
        return [f"{job.id}: wanted {wanted}, found {clips}"]
    left = [path.name for path in folder.iterdir() if path.name == "running" or path.name.endswith(".partial")]
    if left:
        return [f"{job.id}: left behind: {left}"]
    drawn, clip = (read_clip(folder / name) for name in clips)
    lengths = (len(drawn.frames), len(clip.frames)) == (SETTINGS["num_frames"], job.result["num_frames"])
    prompts = {drawn.metadata["prompt"], clip.metadata["prompt"]} == {job.settings["prompt"]}
    return [] if lengths and prompts else [f"{job.id}: another clip than asked for"]


def main() -> None:
    """Flags, clients, kills, the last life in peace, the count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20, help="how often the app is killed")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--longest", type=float, default=8.0, help="seconds that the app lives at most once its page answers")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    threading.excepthook = lambda _: None  # of gradio_client's own threads, each time that the app dies
    with tempfile.TemporaryDirectory(prefix="trip-kill-") as name:
        figures, found = run(Path(name), args)
    print("\n".join([*found, figures]))
    sys.exit(1 if found else 0)


def run(folder: Path, args: Any) -> tuple[str, list[str]]:
    """One line of figures, and the violations."""
    model, outputs, port, chance = tiny_model(folder / "model"), folder / "outputs", free_port(), random.Random(args.seed)
    seen, stop, numbers, begun = Seen(), threading.Event(), count(), time.monotonic()
    finished: dict[str, str | None] = {}
    submitted: set[str] = set()
    cut = 0
    threads = [
        threading.Thread(target=client, args=(f"http://127.0.0.1:{port}", numbers, seen, stop), daemon=True) for _ in range(args.clients)
    ]
    for thread in threads:
        thread.start()
    for _ in range(args.times):
        with running(model, outputs, port):
            up = time.monotonic()
            time.sleep(chance.uniform(0, args.longest))
        jobs = recorded(outputs)
        submitted |= set(jobs)
        cut += sum(job.state == State.RUNNING for job in jobs.values())
        finished |= {job.id: digest(outputs, job) for job in jobs.values() if job.state == State.DONE and job.id not in finished}
        states = dict(Counter(str(job.state) for job in jobs.values()))
        print(f"killed at {time.monotonic() - begun:.0f} s, up since {up - begun:.0f} s: {states}", file=sys.stderr, flush=True)
    stop.set()
    with running(model, outputs, port):
        before, changed = live_states(outputs), time.monotonic()
        while before["queued"] + before["running"] and time.monotonic() - changed < 120:
            time.sleep(0.3)
            if (now := live_states(outputs)) != before:
                before, changed = now, time.monotonic()
    jobs = recorded(outputs).values()
    states = Counter(str(job.state) for job in jobs)
    found = violations(outputs, seen, finished, submitted)
    figures = (
        f"{args.times} kills in {time.monotonic() - begun:.0f} s, {cut} of them in the middle of a job: {len(jobs)} jobs, "
        f"{states['done']} done, {states['failed']} given up after {MOST_ATTEMPTS} kills, {len(finished)} finished before a kill; "
        f"{len(found)} violations"
    )
    return figures, found


if __name__ == "__main__":
    main()
