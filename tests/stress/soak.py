"""Hostile files and many clients at once for minutes: python tests/stress/soak.py [--minutes 10] [--clients 50] [--files 200] [--seed 0].

Each client asks for small clips, looks at its jobs, uploads files of every kind that are whole or spoilt (`hostile.py`), makes calls that
do not fit, and tries to get at what is others'; one more asks for a long clip alone. In the end nothing may be lost: every job has
ended, its clip is fetched by its owner and by nobody else. Memory of the app and its processes stays below a bound, nobody's job was passed
over by another visitor's second one, every refusal was one line, and no traceback was told or logged. Exit code 1 and a line for
each violation.
"""

import argparse
import json
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from app_process import free_port, running, tiny_model
from crowd import own_photo
from hostile import made_file

from trip.jobs.job import job_from_row
from trip.jobs.store import Job, State

PATIENCE = 400  # seconds for all jobs to end, once nobody asks any more
LONG = {"num_frames": 64, "num_steps": 200}  # of the one long clip: more than a turn
MOST_STEPS = 4  # of the others
SHARES = ("wait", "too many", "at once", "are waiting already", "Queue is full", "jobs waiting")  # of refusals for having a share already
Turn = tuple[float, str, str]  # when it began, seconds of `time.time`; whose; id of the job
ODD = [None, -1, 10**30, 1.5, True, "", "x" * 20_000, "\ud800", "../../etc/passwd", "<img src=x onerror=alert(1)>", [], {}, [[[]]]]
ODD += [{"path": path} for path in ("/etc/hostname", "app.py", "outputs/jobs.sqlite", "http://127.0.0.1:9/x.png", "\0", "")]


@dataclass
class Told:
    """What all clients have seen, together."""

    answers: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    page: list[float] = field(default_factory=list)
    known: dict[str, "Client"] = field(default_factory=dict)  # id of a job -> whose it is

    def violation(self, line: str) -> None:
        """Notes what must not be; once each."""
        if line not in self.wrong:
            self.wrong.append(line)


class Client:
    """One visitor: a cookie jar, a photo of its own, and what it does by chance."""

    def __init__(self, url: str, number: int, photo: Path, files: list[Path], told: Told, seed: int):
        self.number, self.photo, self.files, self.told, self.url = number, photo, files, told, url
        self.chance = random.Random(f"{seed} client {number}")
        self.http = httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False)
        self.jobs: set[str] = set()
        self.deeds: list[tuple[float, Callable[[], None]]] = [
            (5, self.clip),
            (4, self.hostile_photo),
            (2, self.hostile_archive),
            (2, self.hostile_map),
            (4, self.odd_call),
            (3, self.odd_event),
            (3, self.estimate),
            (3, self.look),
            (3, self.of_another),
            (1, self.cancelled),
            (1, self.resume),
        ]

    # calls

    def answer(self, what: str, response: httpx.Response) -> Any:
        """What an answer says, as JSON; none for a refusal, which must be one line. Everything is looked through for what must not be."""
        text = response.text
        if "Traceback (most recent call last)" in text or '.py", line ' in text:
            self.told.violation(f"{what}: a traceback was told: {text[:300]}")
        if response.status_code == 200:
            self.told.answers["done"] += 1
            return response.json()
        try:
            line = response.json().get("error") or response.json().get("detail")
        except ValueError:
            line = None
        if not isinstance(line, str | list) or "\n" in str(line) or len(str(line)) > 1000:
            self.told.violation(f"{what}: {response.status_code} is not told in a line: {text[:300]!r}")
        if "went wrong" in str(line):
            self.told.violation(f"{what}: {line}")
        is_share = response.status_code == 429 or any(word in str(line) for word in SHARES)
        self.told.answers["over a share" if is_share else "refused"] += 1
        return None

    def run(self, endpoint: str, *values: Any) -> Any:
        """What an endpoint gives; none where it refuses."""
        body = json.dumps({"data": values}).encode()  # lone surrogates included
        headers = {"content-type": "application/json"}
        made = self.answer(f"/{endpoint}", self.http.post(f"/gradio_api/run/{endpoint}", content=body, headers=headers))
        return made and made["data"]

    def upload(self, path: Path) -> dict[str, Any] | None:
        """A file as a call hands it over; none where the upload was refused."""
        with path.open("rb") as file:
            made = self.answer("upload", self.http.post("/gradio_api/upload", files={"files": (path.name, file)}))
        return made and {"path": made[0], "meta": {"_type": "gradio.FileData"}}

    # deeds

    def act(self, end: float) -> None:
        """One deed after the other until the time is up."""
        while time.monotonic() < end:
            deed = self.chance.choices([one for _, one in self.deeds], [weight for weight, _ in self.deeds])[0]
            try:
                deed()
            except httpx.HTTPError as error:
                self.told.violation(f"client {self.number}, {deed.__name__}: {type(error).__name__}: {error}")
            time.sleep(self.chance.uniform(0, 1))

    def clip(self, photo: Path | None = None, **more: Any) -> None:
        """A small clip, which must be this client's own."""
        if (file := self.upload(photo or self.photo)) is None:
            return
        values = {"num_frames": self.chance.randint(2, 6), "num_steps": self.chance.randint(1, MOST_STEPS)} | more
        prompt = f"client {self.number} {self.chance.random()}"
        size = self.chance.choice([None, "model"])
        made = self.run(
            "animate", file, prompt, "", 1.0, values["num_frames"], None, values["num_steps"], None, "ddim", None, "1:1", None, False,
            "trained", None, False, size,
        )  # fmt: skip
        if made is not None:
            self._own(made[2]["job"])
            if made[2]["prompt"] != prompt:
                self.told.violation(f"client {self.number}: was given the clip of {made[2]['prompt']!r}")

    def long(self) -> None:
        """The long clip. Its answer may come after all patience, and is not waited for."""
        with suppress(httpx.TimeoutException):
            self.clip(**LONG)

    def hostile_photo(self) -> None:
        self.clip(self.chance.choice(self.files))

    def hostile_archive(self) -> None:
        """Clips to learn from; where there are any to learn from, the training is stopped at once or soon."""
        if (file := self.upload(self.chance.choice(self.files))) is None:
            return
        made = self.run("fine_tune", file, "lora", "motion", 1, 1, None, 1, 1, 1)
        if made is not None:
            self._own(made[0]["id"])
            time.sleep(self.chance.choice([0, 0, 5]))
            self.run("cancel", made[0]["id"])

    def hostile_map(self) -> None:
        if file := self.upload(self.chance.choice(self.files)):
            self.run("control_map", file, "canny", 100, 200, self.chance.choice([None, 64, 256]))

    def odd_call(self) -> None:
        """Values that fit nothing, to an endpoint."""
        names = ["animate", "continue_clip", "jobs", "job", "cancel", "estimate", "compare", "text_to_video", "edit_and_animate"]
        name = self.chance.choice([*names, "control_map", "fine_tune", "no_such_endpoint"])
        self.run(name, *(self.chance.choice(ODD) for _ in range(self.chance.randint(0, 6))))

    def odd_event(self) -> None:
        """The same to an event of the page, or a path that leads elsewhere."""
        if self.chance.random() < 0.3:
            path = self.chance.choice(["/etc/hostname", "app.py", "../outputs/jobs.sqlite", "%00", "outputs/visitors.key"])
            response = self.http.get(f"/gradio_api/file={path}")
            if response.status_code == 200:
                self.told.violation(f"file={path} was served")
            return
        body = {"data": [self.chance.choice(ODD) for _ in range(self.chance.randint(0, 20))], "fn_index": self.chance.randint(-1, 150)}
        body["session_hash"] = f"soak {self.number}"
        headers = {"content-type": "application/json"}
        self.answer("queue/join", self.http.post("/gradio_api/queue/join", content=json.dumps(body).encode(), headers=headers))

    def estimate(self) -> None:
        self.run("estimate", self.chance.choice([None, 4, 64]), self.chance.choice([None, 1, 1000]))

    def look(self) -> None:
        """The page, and all jobs of its own, which are its own."""
        begun = time.monotonic()
        self.http.get("/").raise_for_status()
        self.told.page.append(time.monotonic() - begun)
        for job in (self.run("jobs") or [[]])[0]:
            prompt = job["settings"].get("prompt") or ""
            self._own(job["id"])
            if prompt.startswith("client ") and prompt.split()[1] != str(self.number):
                self.told.violation(f"client {self.number}: sees a job of {prompt!r}")

    def of_another(self) -> None:
        """What is another's is neither told nor touched."""
        theirs = [job_id for job_id, owner in list(self.told.known.items()) if owner is not self]
        if not theirs:
            return
        job_id = self.chance.choice(theirs)
        endpoint, values = self.chance.choice(
            [("job", [job_id]), ("cancel", [job_id]), ("continue_clip", [job_id]), ("compare", [job_id, job_id])]
        )
        if self.run(endpoint, *values) is not None:
            self.told.violation(f"client {self.number}: /{endpoint} of another's job was answered")

    def cancelled(self) -> None:
        """A clip that is asked for on the side and cancelled."""
        asking = threading.Thread(target=self.clip)
        asking.start()
        time.sleep(self.chance.uniform(0, 2))
        for job in (self.run("jobs") or [[]])[0]:
            if job["state"] in ("queued", "running") and job["settings"].get("num_steps") != LONG["num_steps"]:
                self.run("cancel", job["id"])
        asking.join()

    def resume(self) -> None:
        done = [job["id"] for job in (self.run("jobs") or [[]])[0] if job["state"] == "done" and job["figures"]]
        if done and (made := self.run("continue_clip", self.chance.choice(done))):
            self._own(made[2]["job"])

    def _own(self, job_id: str) -> None:
        self.jobs.add(job_id)
        self.told.known[job_id] = self


def descendants(pid: int) -> set[int]:
    """Ids of the processes below one."""
    parents = defaultdict(set)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.read_text().rpartition(")")[2].split()[1])].add(int(path.parent.name))
        except OSError:  # ended meanwhile
            continue
    found, waiting = set(), {pid}
    while waiting:
        below = parents[waiting.pop()] - found
        found, waiting = found | below, waiting | below
    return found


def resident(pids: set[int]) -> int:
    """Bytes that processes hold in memory; what they share counts once (PSS)."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
        except (OSError, StopIteration):
            continue
    return total


def watch(outputs: Path, is_over: threading.Event, sizes: list[int], turns: set[Turn]) -> None:
    """Measures the app, which is this process's child, and notes who has a turn, until told to stop."""
    while not is_over.wait(0.5):
        sizes.append(resident(descendants(os.getpid())))
        turns |= {(job.started, job.visitor, job.id) for job in recorded(outputs).values() if job.started}


def recorded(outputs: Path) -> dict[str, Job]:
    """Jobs as the table has them, while the app runs."""
    with closing(sqlite3.connect(f"file:{outputs / 'jobs.sqlite'}?mode=ro", uri=True, timeout=30)) as table:
        table.row_factory = sqlite3.Row
        return {row["id"]: job_from_row(row) for row in table.execute("SELECT * FROM jobs")}


def passed_over(jobs: dict[str, Job], turns: set[Turn]) -> list[str]:
    """Jobs that waited while somebody else had more than one turn, a line each. A job was first of its visitor's from the moment that it
    was asked for, or that visitor's turn before it was begun.
    """
    line, found = sorted(turns), []
    for place, (_, visitor, job_id) in enumerate(line):
        own = [started for started, whose, _ in line[:place] if whose == visitor]
        since = max([jobs[job_id].created, *own])
        others = Counter(whose for started, whose, _ in line[:place] if started > since and whose != visitor)
        if others and max(others.values()) > 1:
            found.append(f"job {job_id} was passed over: another visitor had {max(others.values())} turns while it waited")
    return found


def settled(outputs: Path) -> dict[str, Job]:
    """All jobs, once none waits or is made; or as they are when patience is over."""
    end = time.monotonic() + PATIENCE
    while any(not job.state.is_final for job in recorded(outputs).values()) and time.monotonic() < end:
        time.sleep(1)
    return recorded(outputs)


def accounts(jobs: dict[str, Job], clients: list[Client], told: Told, outputs: Path) -> list[str]:
    """What is lost or open, a line each: every job that anybody knew of has ended, and its owner alone has its clip."""
    found = [f"job {job_id} is lost" for job_id in set(told.known) - set(jobs)]
    stranger = httpx.Client(base_url=clients[0].url, timeout=30, trust_env=False)
    for job in jobs.values():
        if not job.state.is_final:
            found.append(f"job {job.id}: {job.state} in the end: {job.words}")
        if job.state == State.FAILED and ("went wrong" in job.error or "\n" in job.error or not job.error):
            found.append(f"job {job.id}, {job.kind}: {job.error!r}")
        if job.state != State.DONE or "clip" not in job.result:
            continue
        address = f"/gradio_api/file={outputs / 'jobs' / job.id / job.result['clip']}"
        if (owner := told.known.get(job.id)) is None:
            found.append(f"job {job.id} is nobody's: {job.settings.get('prompt')!r}")
            continue
        response = owner.http.get(address)
        if response.status_code != 200 or response.content[4:8] != b"ftyp":
            found.append(f"job {job.id}: its owner gets {response.status_code}")
        others = [stranger, clients[(owner.number + 1) % len(clients)].http]
        found += [f"job {job.id}: others get its clip" for other in others if other.get(address).status_code == 200]
    return found


def main() -> None:
    """Flags, files, app, clients, the count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = (("minutes", float, 10.0), ("clients", int, 50), ("files", int, 200), ("seed", int, 0), ("most-gib", float, 4.0))
    for name, kind, usual in kinds:
        parser.add_argument(f"--{name}", type=kind, default=usual)
    parser.add_argument("--port", type=int, help="of the app (default: a free one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trip-soak-") as name:
        folder = Path(name)
        (folder / "files").mkdir()
        files = [made_file(folder / "files", args.seed, number) for number in range(args.files)]
        photos = [own_photo(folder, number) for number in range(args.clients)]
        with running(tiny_model(folder / "model"), folder / "outputs", args.port or free_port()) as url:
            figures, found = soak(url, folder / "outputs", photos, files, args)
        log = (folder / "log.txt").read_text(errors="replace")
        found += [f"in the log: {log[at : at + 1500]}" for at in [log.find("Traceback (most recent call last)")] if at >= 0]
    print("\n".join([*found, figures]))
    sys.exit(1 if found else 0)


def soak(url: str, outputs: Path, photos: list[Path], files: list[Path], args: Any) -> tuple[str, list[str]]:
    """One line of figures, and the violations."""
    told, sizes, turns, is_over = Told(), [], set(), threading.Event()
    clients = [Client(url, number, photo, files, told, args.seed) for number, photo in enumerate(photos)]
    begun = time.monotonic()
    threads = [threading.Thread(target=one.act, args=(begun + 60 * args.minutes,), daemon=True) for one in clients]
    patient = Client(url, len(clients), photos[0], files, told, args.seed)  # whose own jobs would wait behind the long one
    threads += [
        threading.Thread(target=patient.long, daemon=True),
        threading.Thread(target=watch, args=(outputs, is_over, sizes, turns), daemon=True),
    ]
    for thread in threads:
        thread.start()
    for thread in threads[:-1]:
        thread.join(max(1.0, begun + 60 * args.minutes + PATIENCE - time.monotonic()))
    stuck = sum(thread.is_alive() for thread in threads[:-1])
    jobs = settled(outputs)
    is_over.set()
    threads[-1].join()
    for client in (*clients, patient):
        client.look()
    found = [*told.wrong, *([f"{stuck} clients still wait for an answer"] if stuck else [])]
    found += accounts(jobs, clients, told, outputs) + passed_over(jobs, turns)
    if max(sizes) > args.most_gib * 2**30:
        found.append(f"memory of the app rose to {max(sizes) / 2**30:.2f} GiB, wanted at most {args.most_gib:g}")
    long = [job for job in jobs.values() if job.settings.get("num_steps") == LONG["num_steps"]]
    waits = sorted(job.started - job.created for job in jobs.values() if job.started and job not in long)
    num_turns = sum(job_id == job.id for job in long for *_, job_id in turns)
    states = ", ".join(f"{count} {state}" for state, count in Counter(str(job.state) for job in jobs.values()).items())
    figures = [
        f"{args.minutes:g} minutes, {len(clients)} clients, {len(files)} files, load {os.getloadavg()[0]:.1f}",
        f"{len(jobs)} jobs ({states}), begun after {statistics.median(waits):.1f} s in the middle, {waits[-1]:.0f} s at most",
        f"the long clip {', '.join(job.state for job in long) or 'refused'} after {num_turns} turns; answers {dict(told.answers)}",
        f"page {statistics.median(told.page):.2f} s in the middle, {max(told.page):.2f} s at most",
        f"memory {max(sizes) / 2**30:.2f} GiB; {len(found)} violations",
    ]
    return "; ".join(figures), found


if __name__ == "__main__":
    main()
