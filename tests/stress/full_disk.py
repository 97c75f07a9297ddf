"""A disk that is really full: a tmpfs of some megabytes, on which jobs are stopped, deleted, refused, taken up again and made.

python tests/stress/full_disk.py [--megabytes 12]

Mounts it in a namespace of its own (unshare), so that no rights are needed where the system allows that.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from trip.jobs import store as stores  # noqa: E402
from trip.jobs.janitor import Limits, tidy  # noqa: E402
from trip.jobs.store import Job, JobStore, State  # noqa: E402
from trip.jobs.worker import Cancelled, JobContext, Worker  # noqa: E402

CLIP = bytes(2**20)


def quick(context: JobContext) -> dict[str, Any]:
    (context.folder / "clip.mp4").write_bytes(CLIP)
    return {"clip": "clip.mp4"}


def endless(context: JobContext) -> dict[str, Any]:
    while context.is_wanted:
        time.sleep(0.01)
    raise Cancelled


def fill(place: Path) -> None:
    """Writes until not a byte more goes in."""
    with (place / "filler").open("ab", buffering=0) as filler:
        for block in (bytes(2**16), b"\0"):
            try:
                while True:
                    filler.write(block)
            except OSError as error:
                assert error.errno == 28, error


def free(place: Path) -> int:
    return shutil.disk_usage(place).free


def ended(store: JobStore, job: Job, *states: State, seconds: float = 10) -> Job:
    end = time.monotonic() + seconds
    while (now := store.get(job.id)).state not in states:
        assert time.monotonic() < end, now
        time.sleep(0.02)
    return now


def refusal(act: Any, *arguments: Any) -> str:
    try:
        act(*arguments)
    except ValueError as error:
        assert "\n" not in str(error)
        return str(error)
    raise AssertionError("it was not refused")


def run(place: Path) -> dict[str, Any]:
    stores.LEAST_FREE_BYTES = 0
    handlers, told = {"quick": quick, "endless": endless}, {}
    store = JobStore(place / "outputs")
    worker = Worker(store, handlers, before=lambda: tidy(store, Limits()))
    worker.start()
    done = [ended(store, store.submit("me", "quick", {}), State.DONE) for _ in range(3)]
    running = ended(store, store.submit("me", "endless", {}), State.RUNNING)
    waiting = store.submit("me", "quick", {})
    fill(place)
    assert free(place) == 0
    told["asking"] = refusal(store.submit, "me", "quick", {"prompt": "x" * 100_000})
    assert store.cancel(running.id).state == State.CANCELLED
    told["stopped"] = ended(store, running, State.CANCELLED).words
    time.sleep(1)  # the worker tries what waits
    told["waiting"] = [store.get(waiting.id).state, store.get(waiting.id).error]
    fill(place)
    store.delete(done[0].id)
    assert not store.folder_of(done[0]).exists() and done[0].id not in store.known()
    told["freed"] = free(place)
    assert told["freed"] >= len(CLIP) - store.reserve.num_bytes or store.reserve.path.exists()
    fill(place)
    worker.stop()
    store.close()

    store = JobStore(place / "outputs")  # the next app, on the full disk
    assert {done[1].id, done[2].id} <= store.known()
    store.delete(done[1].id)
    assert not store.folder_of(done[1]).exists()
    (place / "filler").unlink()
    worker = Worker(store, handlers, before=lambda: tidy(store, Limits()))
    worker.start()
    told["later"] = ended(store, store.submit("me", "quick", {}), State.DONE).words
    assert store.reserve.path.stat().st_size == store.reserve.num_bytes
    assert (store.folder_of(done[2]) / "clip.mp4").read_bytes() == CLIP
    worker.stop()
    store.close()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=12)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        words = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, __file__, "--inside", "--megabytes", options.megabytes]
        sys.exit(subprocess.run([*map(str, words)], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}).returncode)
    with TemporaryDirectory() as place:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={options.megabytes}m", "tmpfs", place], check=True)
        try:
            print(json.dumps(run(Path(place))))
        finally:
            subprocess.run(["umount", "--lazy", place], check=True)


if __name__ == "__main__":
    main()
