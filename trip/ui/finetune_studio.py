"""What the fine-tune tab calls: a visitor's clips before a training, the training's job, and what comes of it."""

import hashlib
import json
import re
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trip.jobs.folders import create_owned, drop
from trip.jobs.handlers.draft import ClipsDraft, Row
from trip.jobs.handlers.finetune import ROOT, command
from trip.jobs.janitor import DRAFTS
from trip.jobs.store import ANY_VISITOR, Job, State
from trip.media import read_clip, write_picture
from trip.settings import AnimateSettings, FinetuneSettings
from trip.system.environment import on_spaces_gpu
from trip.system.files import atomic_write_text
from trip.training.requests import ask
from trip.ui.studio import Studio

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

MIN_FRAMES = 16  # where no model is loaded that says
COMPARED_SEED = 1
FREE = "The accelerator is free"
PLAN_SECONDS = 600  # that the measuring of a plan may hold the accelerator
LOOK_SECONDS = 0.3  # between two looks at how far it is
STOPPED = -signal.SIGTERM  # code with which it ends when it is told to
MOST_STEPS = 20_000  # of one fine-tune that a visitor asks for
PAIR = "pair.json"  # in a fine-tune's folder: the clips that compare it with the base


class FinetuneStudio:
    """Fine-tunes of the visitors of a studio."""

    def __init__(self, studio: Studio):
        self.studio, self.store = studio, studio.store
        self._plans: dict[str, subprocess.Popen] = {}  # by visitor
        self._exporting = threading.Lock()  # of a draft: a plan and a training may be asked for at once

    # before

    def draft(self, visitor: str) -> ClipsDraft:
        """The clips of a visitor's open page before a training; another page of theirs has others."""
        return self._draft(f"{visitor} {getattr(visitor, 'session', '')}")

    def _draft(self, name: str) -> ClipsDraft:
        folder = self.studio.outputs / DRAFTS / hashlib.sha256(name.encode()).hexdigest()[:24]
        return ClipsDraft(folder, int(self.studio.defaults().get("num_frames", MIN_FRAMES)))

    def start_now(self, visitor: str, uploads: list[str], settings: FinetuneSettings) -> Job:
        """Asks for a training on what was just uploaded, mended as far as it can be; calls at the same time know nothing of each other."""
        draft = self._draft(secrets.token_urlsafe(16))
        try:
            return self._submit(visitor, draft.export(draft.fix_all(draft.take_in(uploads))), settings)
        finally:
            drop(draft.folder)

    def describe(self, visitor: str, rows: list[Row]) -> list[str]:
        """A caption for each clip by a captioning model; ValueError where its weights are not on this machine."""
        from trip.data.captions import describe_clips

        folder = self.draft(visitor).folder
        return describe_clips([folder / row.inspection.name for row in rows])

    def plan(self, visitor: str, rows: list[Row], settings: FinetuneSettings) -> Iterator[tuple[float, str] | dict[str, Any]]:
        """What the training would take here, measured on some steps of it: how far that is, and what comes next; last the plan itself.

        Ends without one after `stop_plan`. ValueError while something else computes.
        """
        if not self.studio.worker.lease.acquire(blocking=False):
            raise ValueError(f"{self.accelerator_status()}; measure the plan when that has ended")
        draft = self.draft(visitor)
        aside = self.studio.outputs / DRAFTS / f"plan-{secrets.token_hex(8)}"
        try:
            create_owned(aside)
            with self._exporting:
                clips = draft.export(rows).rename(aside / "clips")
            yield from self._measured(visitor, clips, aside / "run", settings)
        finally:
            drop(aside)
            self.studio.worker.lease.release()

    def _measured(self, visitor: str, clips: Path, run: Path, settings: FinetuneSettings) -> Iterator[tuple[float, str] | dict[str, Any]]:
        if on_spaces_gpu():
            yield self.studio.worker.handlers["finetune"].planning(self.studio.model, clips, run, settings)
            return
        words, end = [*command(self.studio.model, clips, run, settings), "--dry-run"], time.monotonic() + PLAN_SECONDS
        plan, told = run.with_name("plan.json"), run.with_name("told.txt")
        with plan.open("wb") as output, told.open("wb") as errors:
            process = self._plans[str(visitor)] = subprocess.Popen(words, cwd=ROOT, stdout=output, stderr=errors)
        try:
            while process.poll() is None:
                if time.monotonic() > end:
                    raise ValueError(f"the measurement took more than {PLAN_SECONDS // 60} minutes; take a lighter preset")
                yield _how_far(told.read_text(errors="replace"))
                time.sleep(LOOK_SECONDS)
        finally:
            process.kill()
            process.wait()
            self._plans.pop(str(visitor), None)
        if process.returncode == 2:
            raise ValueError(told.read_text(errors="replace").strip().splitlines()[-1].removeprefix("trip: "))
        if process.returncode not in (0, STOPPED):
            raise ValueError(f"the measurement ended with code {process.returncode}, maybe for want of memory; take a lighter preset")
        if process.returncode == 0:
            yield json.loads(plan.read_text())

    def stop_plan(self, visitor: str) -> None:
        """Ends the measuring of a visitor's plan, if there is one."""
        if process := self._plans.get(str(visitor)):
            process.terminate()

    def accelerator_status(self) -> str:
        """Who has the accelerator, in words."""
        running = self.store.jobs(ANY_VISITOR, State.RUNNING)
        if not running:
            return "The accelerator is busy with a measurement" if self.studio.worker.lease.locked() else FREE
        what = {"finetune": "A fine-tune", "animate": "A clip"}.get(running[0].kind, "Another job")
        return f"{what} has the accelerator: {running[0].words}"

    def start(self, visitor: str, rows: list[Row], settings: FinetuneSettings) -> Job:
        """Asks for a training on the clips of the draft; ValueError, in one line, where there is nothing to learn from."""
        with self._exporting:
            return self._submit(visitor, self.draft(visitor).export(rows), settings)

    def _submit(self, visitor: str, clips: Path, settings: FinetuneSettings) -> Job:
        if settings.max_steps > MOST_STEPS:
            raise ValueError(f"wanted at most {MOST_STEPS:,} steps of one fine-tune here, got {settings.max_steps:,}; ask for fewer")
        job = self.store.submit(visitor, "finetune", settings.model_dump(), clips=clips)
        self.studio.worker.wake()
        return job

    # meanwhile

    def ask(self, job_id: str, visitor: str, request: str) -> None:
        """Asks a running training to sample or save now."""
        job = self.store.get(job_id, visitor)
        if job.state != State.RUNNING:
            raise ValueError(f"this fine-tune is {job.state}; it can be asked for that while it runs")
        ask(self.run_of(job), request)

    def pause(self, job_id: str, visitor: str) -> None:
        """Saves, and lets others have the accelerator."""
        self.store.suspend(job_id, visitor)

    def resume(self, job_id: str, visitor: str) -> None:
        """Lets a paused training wait for its turn again."""
        self.store.resume(job_id, visitor)
        self.studio.worker.wake()

    # afterwards

    def run_of(self, job: Job) -> Path:
        """The run folder of a fine-tune."""
        return self.store.folder_of(job) / "run"

    def done(self, visitor: str) -> list[Job]:
        """The visitor's fine-tunes that can be used, newest first."""
        return [job for job in self.store.jobs(visitor, State.DONE) if job.kind == "finetune"] if visitor else []

    def result(self, job_id: str, visitor: str) -> tuple[Job, Path]:
        """A done fine-tune and its file or folder; ValueError where it is not done."""
        job = self.studio.finetune(job_id, visitor)
        return job, self.store.folder_of(job) / job.result["file"]

    def caption_of(self, job: Job) -> str:
        """What happens in the clips that a fine-tune learnt from: the first one's caption."""
        path = self.store.folder_of(job) / "clips" / "train" / "metadata.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return json.loads(lines[0])["caption"] if lines else ""

    def compare_with_base(self, job_id: str, visitor: str) -> tuple[Job, Job]:
        """Asks for two clips of a held-out first frame and one seed: by the base, and by the fine-tune."""
        job, _ = self.result(job_id, visitor)
        samples = job.result["samples"]
        frames = read_clip(self.store.folder_of(job) / samples[-1], max_frames=1).frames  # the base's picture is the left half
        photo = self.store.folder_of(job) / "first.png"
        if not photo.exists():
            from PIL import Image

            write_picture(Image.fromarray(frames[0][:, : frames.shape[2] // 2]), photo)
        settings = AnimateSettings(prompt=self.caption_of(job), seed=COMPARED_SEED)
        pair = self.studio.animate(visitor, str(photo), settings), self.studio.animate(visitor, str(photo), settings, lora=job.id)
        atomic_write_text(self.store.folder_of(job) / PAIR, json.dumps([one.id for one in pair]))
        return pair

    def comparison_jobs(self, job: Job) -> list[Job]:
        """The two clips that `compare_with_base` asked for; none where it was not, or one was deleted."""
        path = self.store.folder_of(job) / PAIR
        try:
            return [self.store.get(job_id, job.visitor) for job_id in json.loads(path.read_text())] if path.exists() else []
        except ValueError:
            return []

    def push(self, job_id: str, visitor: str, repository: str, token: str) -> "CommitInfo":
        """Uploads the result and a card to a private repository of the hub's; ValueError, in one line, where that does not work.

        The token is the visitor's own: a login of this machine's is not for everybody who sees the page.
        """
        from httpx2 import HTTPError  # the hub's own errors are of this kind or OSErrors, its refused names ValueErrors
        from huggingface_hub import HfApi

        job, path = self.result(job_id, visitor)
        if repository.count("/") != 1:
            raise ValueError(f"wanted a repository as owner/name, got {repository!r}; correct it")
        if not token:
            raise ValueError("the hub needs a token that may write; make one at huggingface.co/settings/tokens and paste it")
        api = HfApi(token=token)
        try:
            api.create_repo(repository, private=True, exist_ok=True)
            if path.is_dir():
                return api.upload_folder(repo_id=repository, folder_path=path)
            api.upload_file(repo_id=repository, path_or_fileobj=self._card(job).encode(), path_in_repo="README.md")
            return api.upload_file(repo_id=repository, path_or_fileobj=path, path_in_repo=path.name)
        except (HTTPError, OSError, ValueError) as error:
            raise ValueError(f"could not upload to {repository!r} ({_reason(error)}") from error

    def _card(self, job: Job) -> str:
        """What the file is and how to use it, for the repository's page."""
        caption = " ".join(self.caption_of(job).split())
        return (
            "---\ntags: [image-to-video, trip, lora]\n---\n\n"
            f"A LoRA for TRIP, learnt from a few clips of one motion: {caption or 'no caption'}. "
            f"{job.result['num_steps']} steps; base, rank, data digest and settings are in the file's metadata.\n\n"
            "`python -m trip animate PHOTO --prompt TEXT --lora lora.safetensors --output clip.mp4`\n"
        )


def _how_far(told: str) -> tuple[float, str]:
    """Share done and what comes next, off the bar of the command line."""
    found = re.findall(r"([^\r\n|]+): +(\d+)%", told)
    return (int(found[-1][1]) / 100, found[-1][0].strip()) if found else (0.0, "Loading the model")


def _reason(error: Exception) -> str:
    """Why the hub did not take it, and what to do."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return "the token was refused); take one that may write there"
    if status is None and not isinstance(error, ValueError):
        return "the hub does not answer); check the network"
    return f"{' '.join(str(error).split())[:160]}); check the name"
