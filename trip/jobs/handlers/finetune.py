"""The job "finetune": clips in the job's folder teach a model a motion, in a process of its own.

JOB/clips/train, held-out   what the person brought, checked and captioned
JOB/run                     the run folder of `trip.training.finetune`; the job goes on from it after a pause, a kill or a restart

The worker's lease is held as long as the process runs; where others wait it saves and gives way after TURN_SECONDS, and goes on at its
next turn. On a Space whose GPU is lent to a call alone, the training runs inside the
calls instead, in slices that fit into what is allowed.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trip.jobs.worker import Cancelled, Desk
from trip.settings import FinetuneSettings
from trip.system.environment import on_spaces_gpu
from trip.training.requests import ask, forget_requests

if TYPE_CHECKING:
    from trip.training.finetune.run import FinetuneRun

ROOT = Path(__file__).parents[3]
LOOK_SECONDS = 1.0  # between two looks at the metrics
LEAVE_SECONDS = 8.0  # that a process gets to save when it is not wanted any more; the worker waits ten
SLICE_MINUTES = 1.5  # of training in one call, where a GPU is lent to each
SLICE_LEASE = 180  # seconds asked for: a slice, and loading and measuring around it
TURN_SECONDS = 300.0  # of training, while others wait
MOST_MINUTES = 360.0  # of training in all its turns, where fewer were not asked for
CURVE_POINTS = 200  # of each line of a plot


@dataclass(frozen=True)
class Progress:
    """Where a run stands, from its metrics.

    step              steps done
    seconds_per_step  median of the last 20
    smoothed          loss of late; none before the first step
    held_out          last loss on held-out clips, on those seen where none are held out
    base              the base model's
    """

    step: int
    max_steps: int
    seconds_per_step: float
    smoothed: float | None
    held_out: float | None
    base: float | None

    @property
    def seconds_left(self) -> float:
        """Of the steps to come, without the samples between them."""
        return (self.max_steps - self.step) * self.seconds_per_step

    @property
    def words(self) -> str:
        """The same for people."""
        if not self.step:
            return "Preparing the clips and measuring the base"
        left = f"{self.seconds_left / 60:.0f} min" if self.seconds_left > 90 else f"{self.seconds_left:.0f} s"
        words = f"Step {self.step} of {self.max_steps}, {self.seconds_per_step:.2f} s a step, about {left} left"
        if self.held_out is None or not self.base:
            return words
        return f"{words}; held-out loss {self.held_out:.3f}, {change(self.held_out, self.base)}"


def change(loss: float, base: float) -> str:
    """How far a loss lies below the base's, in words."""
    return f"{abs(1 - loss / base):.0%} {'below' if loss < base else 'above'} the base's"


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run so far, whole ones only: it may be writing."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def progress_of(run: Path, max_steps: int) -> Progress:
    """Where a run stands."""
    records = read_metrics(run)
    steps = [record for record in records if "loss" in record]
    base = json.loads(path.read_text()) if (path := run / "base.json").exists() else {}
    measured = [_measured(record) for record in records if _measured(record) is not None]
    return Progress(
        step=steps[-1]["step"] + 1 if steps else 0,
        max_steps=max_steps,
        seconds_per_step=statistics.median(record["seconds"] for record in steps[-20:]) if steps else 0.0,
        smoothed=steps[-1].get("smoothed") if steps else None,
        held_out=measured[-1] if measured else None,
        base=_measured(base),
    )


def _measured(record: dict[str, Any]) -> float | None:
    return record.get("held_out_loss", record.get("seen_loss"))


def curve(run: Path) -> list[dict[str, Any]]:
    """Points for a plot, rows of step, loss and line: each step's loss, the smoothed one, and the held-out loss with the base's at 0."""
    records = read_metrics(run)
    steps = [record for record in records if "loss" in record]
    steps = steps[:: max(1, len(steps) // CURVE_POINTS)]
    rows = [{"step": record["step"], "loss": record["loss"], "line": "each step"} for record in steps]
    rows += [{"step": record["step"], "loss": record["smoothed"], "line": "smoothed"} for record in steps]
    base = json.loads(path.read_text()) if (path := run / "base.json").exists() else {}
    for record in [{"step": 0, **base}, *records]:
        if (loss := _measured(record)) is not None:
            rows.append({"step": record["step"], "loss": loss, "line": "held-out" if "held_out_loss" in record else "fixed noise"})
    return rows


def with_minutes_left(settings: FinetuneSettings, run: Path) -> FinetuneSettings:
    """The settings of the next turn: its minutes are what earlier turns have left."""
    used = sum(record["seconds"] for record in read_metrics(run) if "loss" in record) / 60
    most = min(settings.max_minutes or MOST_MINUTES, MOST_MINUTES)
    return settings.model_copy(update={"max_minutes": max(0.01, most - used)})


def samples_of(run: Path) -> list[Path]:
    """Clips that show the base (left) beside the model (right), the newest measurement's last."""
    return sorted((run / "finetune" / "samples").glob("*.mp4"))


def command(model: str | None, clips: Path, run: Path, settings: FinetuneSettings) -> list[str]:
    """The command that trains on a folder's `train` and `held-out` clips in a process of its own."""
    words = [sys.executable, "-m", "trip", "finetune", "--clips", clips / "train", "--output", run]
    words += ["--held-out", clips / "held-out"] if (clips / "held-out").is_dir() else []
    words += ["--model", model] if model else []
    return [*map(str, words), *settings.as_flags()]


def in_slices(model: str | None, clips: Path, run: Path, settings: FinetuneSettings) -> Iterator[dict[str, Any]]:
    """One slice of a training in this process, a record a step; the next call goes on from the run folder.

    The last record says with `stopped` whether somebody asked for the end.
    """
    minutes = min(settings.max_minutes or SLICE_MINUTES, SLICE_MINUTES)
    training = _run_here(model, clips, run, settings.model_copy(update={"max_minutes": minutes}))
    yield from training.steps()
    yield {"stopped": training.is_stopped}


def plan_here(model: str | None, clips: Path, run: Path, settings: FinetuneSettings) -> dict[str, Any]:
    """The plan of a training, measured in this process."""
    return vars(_run_here(model, clips, run, settings).plan())


def _run_here(model: str | None, clips: Path, run: Path, settings: FinetuneSettings) -> "FinetuneRun":
    from trip.data.intake import clips_to_learn
    from trip.model_cache import load_pipeline
    from trip.training.finetune.run import FinetuneRun

    pipe, held_out = load_pipeline(model), clips / "held-out"
    files = clips_to_learn(clips / "train", held_out if held_out.is_dir() else None, min_frames=pipe.config.num_frames)
    return FinetuneRun(pipe, *files, run, settings)


class FinetuneMaker:
    """Makes "finetune" jobs: settings are those of `FinetuneSettings`; the result is what `_result` says."""

    def __init__(self, model: str | None):
        self.model = model

    @cached_property
    def slicing(self) -> Callable[..., Iterator[dict[str, Any]]]:
        """`in_slices`, with a Spaces GPU around each slice where the app runs on one."""
        from trip.system.accelerator import gpu

        return gpu(in_slices, lambda *_: SLICE_LEASE)

    @cached_property
    def planning(self) -> Callable[..., dict[str, Any]]:
        """`plan_here`, likewise."""
        from trip.system.accelerator import gpu

        return gpu(plan_here, lambda *_: SLICE_LEASE)

    def __call__(self, desk: Desk) -> dict[str, Any]:
        """The result of a job; ValueError, in one line, for people."""
        settings, begun = FinetuneSettings.checked(**desk.job.settings), time.monotonic()
        if not (desk.folder / "clips" / "train").is_dir():
            raise ValueError("the clips of this job are not there any more; choose them again")
        desk.report(0.0, "Loading the model")
        how = self._train_in_slices if on_spaces_gpu() else self._train_apart
        how(desk, settings)
        return self._result(desk, settings, time.monotonic() - begun)

    def _train_apart(self, desk: Desk, settings: FinetuneSettings) -> None:
        """In a process of its own, which stops and saves as soon as the job is not wanted, its turn is over, or this process is gone."""
        run, begun = desk.folder / "run", time.monotonic()
        reached = progress_of(run, settings.max_steps).step
        words = [*command(self.model, desk.folder / "clips", run, with_minutes_left(settings, run)), "--while-stdin"]
        with (desk.folder / "output.txt").open("wb") as output:
            process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=output, stderr=output)
            try:
                while process.poll() is None:
                    self._tell(desk, settings)
                    if time.monotonic() - begun > TURN_SECONDS and progress_of(run, settings.max_steps).step > reached:
                        self._give_way(desk)
                    time.sleep(LOOK_SECONDS)
            finally:
                _leave(process, run)
        if process.returncode:
            raise ValueError(_last_words(desk.folder / "output.txt", process.returncode))

    def _train_in_slices(self, desk: Desk, settings: FinetuneSettings) -> None:
        """Inside calls that hold a GPU, one after the other, until all steps are done, the minutes are over or somebody asks to stop."""
        clips, run, begun, reached = desk.folder / "clips", desk.folder / "run", time.monotonic(), -1
        forget_requests(run)
        while (step := progress_of(run, settings.max_steps).step) < settings.max_steps and step > reached:
            reached = step
            with closing(self.slicing(self.model, clips, run, settings)) as records:
                try:
                    for record in records:
                        self._tell(desk, settings)
                        is_stopped = record.get("stopped", False)
                except Cancelled:
                    ask(run, "stop")
                    list(records)  # it saves
                    raise
            if is_stopped or (settings.max_minutes and time.monotonic() - begun > 60 * settings.max_minutes):
                return
            if time.monotonic() - begun > TURN_SECONDS:
                self._give_way(desk)

    @staticmethod
    def _give_way(desk: Desk) -> None:
        """Ends this turn where somebody else's job waits."""
        if desk.store.others_wait(desk.job) and desk.store.give_way(desk.job.id):
            raise Cancelled

    @staticmethod
    def _tell(desk: Desk, settings: FinetuneSettings) -> None:
        progress = progress_of(desk.folder / "run", settings.max_steps)
        desk.report(0.99 * progress.step / settings.max_steps, progress.words)

    @staticmethod
    def _result(desk: Desk, settings: FinetuneSettings, seconds: float) -> dict[str, Any]:
        """`file` and `samples` by their names in the job's folder, `num_steps`, losses before and after, `settings` and `seconds`."""
        run = desk.folder / "run"
        progress = progress_of(run, settings.max_steps)
        made = run / ("lora.safetensors" if settings.what == "lora" else "model")
        if not made.exists():
            raise ValueError("it was stopped before there was a result; start it again")
        return {
            "file": made.relative_to(desk.folder).as_posix(),
            "samples": [path.relative_to(desk.folder).as_posix() for path in samples_of(run)],
            "num_steps": progress.step,
            "held_out_loss": progress.held_out,
            "base_loss": progress.base,
            "num_bytes": sum(path.stat().st_size for path in ([made] if made.is_file() else made.rglob("*")) if path.is_file()),
            "settings": settings.model_dump(),
            "seconds": round(seconds, 1),
        }


def _leave(process: subprocess.Popen, run: Path) -> None:
    """Ends the process where it has not ended: it is asked to save first."""
    if process.poll() is None:
        try:
            ask(run, "stop")
        except OSError:  # a full disk
            process.terminate()
        try:
            process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()  # the last checkpoint is whole
            process.wait()
    process.stdin.close()


def _last_words(output: Path, code: int) -> str:
    """Why a process ended, in a line."""
    lines = [line for line in output.read_text(errors="replace").replace("\r", "\n").splitlines() if line.strip()]
    last = lines[-1].removeprefix("trip: ").strip() if lines else "it said nothing"
    return last[:300] if code == 2 else f"the training ended with code {code}: {last[:200]}"
