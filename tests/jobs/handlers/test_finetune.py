"""The job "finetune": its own process, pause and stop, a killed app, and slices where a GPU is lent to each call."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.test_finetune import write_moving_square
from trip.data.uploads import write_captions
from trip.jobs.handlers import finetune
from trip.jobs.handlers.draft import ClipsDraft
from trip.jobs.handlers.finetune import FinetuneHandler, curve, progress_of, samples_of
from trip.jobs.store import Job, JobStore, State
from trip.jobs.worker import Worker
from trip.model.lora import read_card
from trip.settings import FinetuneSettings
from trip.training.checkpoint import completed, step_of
from trip.training.finetune import run as training
from trip.training.requests import ask

ROOT = Path(__file__).parents[3]
SECONDS = 240  # that anything here may take at most


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """What a job begins with."""
    folder = tmp_path_factory.mktemp("clips")
    for name, phases in (("train", range(2)), ("held-out", [2])):
        (folder / name).mkdir()
        for phase in phases:
            write_moving_square(folder / name / f"square_{phase}.mp4", phase)
        write_captions(folder / name, {f"square_{phase}.mp4": "a square jumps" for phase in phases})
    return folder


@pytest.fixture
def store(tmp_path):
    opened = JobStore(tmp_path / "outputs")
    yield opened
    opened.close()


def submitted(store: JobStore, clips: Path, **settings):
    asked = FinetuneSettings(**{"max_steps": 3, "sample_every": 2, "rank": 2, "batch_size": 1, **settings})
    return store.submit("me", "finetune", asked.model_dump(), clips=clips)


def wait_for(what, seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def steps_in(run: Path) -> list[int]:
    return [record["step"] for record in finetune.read_metrics(run) if "loss" in record]


def stop_after(store: JobStore, job: Job, reached: int) -> None:
    """Lets a job make steps beyond those that it has reached, asks for its end, and waits for it."""
    run = store.folder_of(job) / "run"
    wait_for(lambda: len(steps_in(run)) > reached)
    ask(run, "stop")
    wait_for(lambda: store.get(job.id).state.is_final)


@pytest.fixture
def few_windows(monkeypatch) -> None:
    """The process of a job encodes few windows of each clip; all else is as the command has it."""
    code = (
        "import sys; from trip.cli import main; from trip.training.finetune import run;"
        "run.WINDOWS_EACH = run.HELD_OUT_WINDOWS = 2; sys.exit(main(sys.argv[1:]))"
    )
    command = finetune.command
    monkeypatch.setattr(finetune, "command", lambda *of_job: [sys.executable, "-c", code, *command(*of_job)[3:]])


def test_a_job_trains_is_paused_goes_on_gives_way_where_others_wait_and_has_its_turn_again(
    store, clips, tiny_model, monkeypatch, few_windows
):
    monkeypatch.setattr(finetune, "TURN_SECONDS", 0.5)
    monkeypatch.setattr(finetune, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(finetune, "LEAVE_SECONDS", SECONDS)  # it saves, on a machine however busy
    reached = []

    def other(context):
        reached.append(saved_steps(run))
        return {}

    worker = Worker(store, {"finetune": FinetuneHandler(str(tiny_model)), "other": other})
    job = submitted(store, clips, max_steps=400, sample_every=400)
    run = store.folder_of(job) / "run"
    worker.start()
    try:
        wait_for(lambda: len(steps_in(run)) > 2)
        wait_for(lambda: "s a step" in store.get(job.id).words)
        assert store.suspend(job.id).state == State.PAUSED
        wait_for(lambda: worker.lease.acquire(blocking=False))  # the process has ended, and others may compute
        worker.lease.release()
        reached.append(saved_steps(run))
        assert store.get(job.id).state == State.PAUSED and 0 < reached[0] < 400
        store.resume(job.id)
        wait_for(lambda: len(steps_in(run)) > reached[0])
        waiting = store.submit("they", "other", {})
        wait_for(lambda: store.get(waiting.id).state.is_final)
        assert store.get(waiting.id).state == State.DONE and reached[0] < reached[1] < 400
        wait_for(lambda: store.get(job.id).state == State.RUNNING)
    finally:
        monkeypatch.setattr(finetune, "LEAVE_SECONDS", 0)
        worker.stop()
    assert steps_in(run)[: reached[1]] == list(range(reached[1]))


def saved_steps(run: Path) -> int:
    """Steps that a run whose process has ended has made, all of them saved."""
    saved = step_of(completed(run / "finetune")[-1])
    assert saved == len(steps_in(run))
    return saved


def test_a_killed_app_takes_its_training_with_it_and_the_next_goes_on_until_it_is_done(clips, tiny_model, tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from trip.jobs.store import JobStore; from trip.jobs.worker import Worker;"
        "from trip.jobs.handlers.finetune import FinetuneHandler; store = JobStore(Path(sys.argv[1]));"
        "Worker(store, {'finetune': FinetuneHandler(sys.argv[2])}).start(); time.sleep(600)"
    )
    store = JobStore(tmp_path / "outputs")
    job = submitted(store, clips, max_steps=400, sample_every=400)
    run = store.folder_of(job) / "run"
    store.close()
    app = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "outputs"), str(tiny_model)], cwd=ROOT)
    wait_for(lambda: len(steps_in(run)) > 1)
    app.send_signal(signal.SIGKILL)
    app.wait()
    wait_for(lambda: list((run / "finetune").glob("step-*")) and _is_free(run))  # it has saved and gone
    reached = saved_steps(run)
    store = JobStore(tmp_path / "outputs")
    worker = Worker(store, {"finetune": FinetuneHandler(str(tiny_model))})
    worker.start()
    try:
        stop_after(store, job, reached)
        done = store.get(job.id)
    finally:
        worker.stop()
        store.close()
    assert done.state == State.DONE, done.error
    assert steps_in(run) == list(range(done.result["num_steps"])) and reached < done.result["num_steps"] < 400
    assert read_card(store.folder_of(job) / done.result["file"]).rank == 2
    assert done.result["samples"] and done.result["held_out_loss"] > 0 and done.result["base_loss"] > 0


def _is_free(run: Path) -> bool:
    import fcntl

    with (run / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.fixture
def lent_gpu(monkeypatch) -> None:
    """As where a GPU is lent to each call, with few windows of each clip to encode."""
    monkeypatch.setattr(finetune, "on_spaces_gpu", lambda: True)
    for name in ("WINDOWS_EACH", "HELD_OUT_WINDOWS"):
        monkeypatch.setattr(training, name, 2)


def test_where_a_gpu_is_lent_to_each_call_it_trains_in_slices(store, clips, tiny_model, monkeypatch, lent_gpu):
    monkeypatch.setattr(finetune, "SLICE_MINUTES", 0.0001)  # a step or so
    job = submitted(store, clips)
    Worker(store, {"finetune": FinetuneHandler(str(tiny_model))}).work_until(job.id)
    done = store.get(job.id)
    assert done.state == State.DONE, done.error
    assert steps_in(store.folder_of(job) / "run") == [0, 1, 2]


def test_slices_save_for_a_pause_and_end_when_asked(store, clips, tiny_model, lent_gpu):
    worker, job = Worker(store, {"finetune": FinetuneHandler(str(tiny_model))}), submitted(store, clips, max_steps=400, sample_every=400)
    run = store.folder_of(job) / "run"
    worker.start()
    try:
        wait_for(lambda: len(steps_in(run)) > 1)
        store.suspend(job.id)
        wait_for(lambda: worker.lease.acquire(blocking=False))
        worker.lease.release()
        assert store.get(job.id).state == State.PAUSED
        assert [step_of(path) for path in completed(run / "finetune")] == [len(steps_in(run))]
        reached = len(steps_in(run))
        store.resume(job.id)
        stop_after(store, job, reached)
    finally:
        worker.stop()
    done = store.get(job.id)
    assert done.state == State.DONE and reached < done.result["num_steps"] < 400, done.error
    assert steps_in(run) == list(range(done.result["num_steps"]))


def test_what_the_training_refuses_is_the_jobs_error(store, clips, tmp_path):
    job = submitted(store, clips)
    Worker(store, {"finetune": FinetuneHandler(str(tmp_path / "nowhere"))}).work_until(job.id)
    failed = store.get(job.id)
    assert failed.state == State.FAILED and "nowhere" in failed.error and "\n" not in failed.error


def test_a_run_tells_where_it_stands(tmp_path):
    assert progress_of(tmp_path, 10).words == "Preparing the clips and measuring the base"
    (tmp_path / "base.json").write_text('{"held_out_loss": 0.2}')
    records = [{"step": i, "loss": 0.3, "smoothed": 0.25, "seconds": 60.0} for i in range(4)]
    records[2]["held_out_loss"] = 0.15
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "metrics.jsonl").write_text(lines + '{"step": 4, "lo')  # it is just writing
    progress = progress_of(tmp_path, 10)
    assert (progress.step, progress.seconds_left, progress.held_out) == (4, 360.0, 0.15)
    assert progress.words == "Step 4 of 10, 60.00 s a step, about 6 min left; held-out loss 0.150, 25% below the base's"
    rows = curve(tmp_path)
    assert [row["loss"] for row in rows if row["line"] == "held-out"] == [0.2, 0.15]
    assert sum(row["line"] == "smoothed" for row in rows) == 4 and samples_of(tmp_path) == []


def test_a_draft_is_mended_captioned_and_handed_over(tmp_path):
    brought = tmp_path / "brought"
    brought.mkdir()
    for phase in range(3):
        write_moving_square(brought / f"jumping_{phase}.mp4", phase)
    shutil.copyfile(brought / "jumping_0.mp4", brought / "twin.mp4")
    write_moving_square(brought / "short.mp4", 1, num_frames=2)
    draft = ClipsDraft(tmp_path / "draft", min_frames=4)
    rows = draft.take_in([str(path) for path in brought.iterdir()])
    verdicts = {row.inspection.name: row.inspection.verdict for row in rows}
    assert verdicts["jumping_0.mp4"] == "good" and "too short" in verdicts["short.mp4"] and "the same as" in verdicts["twin.mp4"]
    rows = draft.fix_all(rows)
    assert [row.inspection.name for row in rows] == ["jumping_0.mp4", "jumping_1.mp4", "jumping_2.mp4"]
    assert {row.caption for row in rows} == {"jumping"}
    handed = draft.export(rows)
    names = sorted(path.relative_to(handed).as_posix() for path in handed.rglob("*.mp4"))
    assert names == ["held-out/jumping_2.mp4", "train/jumping_0.mp4", "train/jumping_1.mp4"]
    with pytest.raises(ValueError, match="no clip to learn from"):
        draft.export([])
    with pytest.raises(ValueError, match="no such clip"):
        draft.drop(rows, "../brought/twin.mp4")
    assert os.path.exists(brought / "twin.mp4")


def test_minutes_are_those_of_all_turns(tmp_path):
    lines = [{"step": 0, "loss": 1.0, "seconds": 90.0}, {"step": 1, "loss": 1.0, "seconds": 30.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert finetune.with_minutes_left(FinetuneSettings(max_minutes=5), tmp_path).max_minutes == pytest.approx(3)
    assert finetune.with_minutes_left(FinetuneSettings(), tmp_path).max_minutes == pytest.approx(finetune.MOST_MINUTES - 2)
