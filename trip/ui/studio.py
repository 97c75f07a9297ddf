"""The one object that tabs call: the model, the jobs that visitors ask for, and by `ClipFiles` their files.

Nothing here imports torch before the first clip or `load`, so that the page answers at once.
"""

import logging
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trip.backbones.kinds import class_of
from trip.backbones.local import BASE, VideoModel, find_video_model, video_models_here
from trip.first_frame.catalogue import cards
from trip.first_frame.local_models import MissingModel
from trip.jobs import batch, recycle_bin
from trip.jobs.folders import UPLOADS
from trip.jobs.handlers import figure
from trip.jobs.handlers.animate import VIDEO_MODEL, AnimateHandler
from trip.jobs.handlers.estimate import Estimate, Timings
from trip.jobs.handlers.fetch import FetchHandler
from trip.jobs.handlers.finetune import FinetuneHandler
from trip.jobs.handlers.pictures import SCHEMAS, PictureHandler
from trip.jobs.janitor import DRAFTS, Limits, tidy
from trip.jobs.store import Job, JobStore, State
from trip.jobs.worker import Worker
from trip.media import read_photo, shown_part
from trip.settings import AnimateSettings
from trip.settings.base import shortened
from trip.system.environment import on_spaces_gpu
from trip.system.files import LEAST_FREE_BYTES, has_room
from trip.training.requests import ask
from trip.ui.chips import CHIPS, telling_words
from trip.ui.clip_files import ClipFiles
from trip.ui.security.visitors import KEY

if TYPE_CHECKING:
    from PIL import Image

    from trip.pipeline import TripPipeline

logger = logging.getLogger(__name__)

BEST_OF = 4  # seeds
LARGEST_PHOTO = 2048  # pixels of a side that a job keeps
FINAL_STEPS = 3  # times as many as a draft


class Studio(ClipFiles):
    """The model behind the page, and the jobs of its visitors.

    model    folder or hub id of a checkpoint; none: the embedded one. The folder of a video model by others is the first choice beside it
    outputs  folder of the jobs and their results
    limits   what may stay in it
    models   folder of the models that make first frames, beside the hub's cache
    fetches  whether visitors may have such models downloaded
    Raises ValueError, in one line, where another app serves that folder.
    """

    def __init__(
        self, model: str | None, outputs: Path, limits: Limits | None = None, *, models: Path | None = None, fetches: bool = False
    ):
        is_by_others = bool(model) and (class_of(Path(model)) != "" or model.partition(BASE)[0] in cards("video"))
        self.model, self._by_others = (None, model) if is_by_others else (model, None)
        self.first_choice = Path(model).absolute().name if is_by_others else ""  # visitors read no path
        self.outputs, self.models, self.fetches = Path(outputs), models, fetches
        super().__init__(JobStore(self.outputs))
        self._loading = threading.Thread(target=self._begin, name="load", daemon=True)
        self.timings = Timings(self.outputs / "timings.jsonl", self._shape_of)
        limits = limits or Limits()
        handlers = {"animate": AnimateHandler(self.model, self.timings, self.video_model), "finetune": FinetuneHandler(self.model)}
        handlers |= dict.fromkeys(SCHEMAS, PictureHandler(models))
        if fetches:
            handlers["fetch"] = FetchHandler(models)
        self.worker = Worker(self.store, handlers, before=lambda: tidy(self.store, limits))

    # the model

    def pipeline(self) -> "TripPipeline":
        """The loaded model; loads it on the first call. Raises ValueError where the checkpoint cannot be opened."""
        from trip.model_cache import load_pipeline

        return load_pipeline(self.model)

    def load(self) -> None:
        """Get ready for the first clip; a failure is logged, and told again with that clip."""
        clips = self.worker.handlers["animate"]
        try:
            self.pipeline()
            if not on_spaces_gpu():
                with self.worker.lease:
                    clips.calibrate()
        except ValueError as error:
            logger.error("%s", error)
        trainings = self.worker.handlers["finetune"]
        _ = clips.sampling, self.worker.handlers["paint"].drawing, trainings.slicing, trainings.planning

    def start(self) -> None:
        """Loads the model in the background and then works on the jobs, where the accelerator is this app's own."""
        self._loading.start()

    def _begin(self) -> None:
        try:
            self.load()
        finally:  # not before: an app that is killed while it loads has not made an attempt at any job
            if not on_spaces_gpu():
                self.worker.start()

    def work_until(self, job_id: str) -> None:
        """Where a GPU is lent to each event alone (Spaces), makes jobs inside the caller's until this one has ended."""
        if on_spaces_gpu() and job_id:
            self.worker.work_until(job_id)

    def close(self) -> None:
        """Ends within a step; what was being made is taken up at the next start."""
        self.worker.stop()
        self.store.close()

    def card(self) -> str:
        """Which weights are loaded, in words; waits until they are."""
        try:
            return self.pipeline().weights_card
        except ValueError as error:
            return f"No model: {error}"

    def defaults(self) -> dict[str, float]:
        """What the loaded checkpoint takes where a number is left empty; nothing where none is loaded. Waits for what `start` began."""
        if self._loading.is_alive():
            self._loading.join()
        try:
            resolved = self.pipeline().resolve(AnimateSettings())
        except ValueError:
            return {}
        return {name: getattr(resolved, name) for name in ("num_frames", "fps", "num_steps", "guidance_scale")}

    def words(self) -> tuple[tuple[str, ...], bool]:
        """Motions that the loaded weights know by the words of their chips, and whether they know no other words; nothing is known of
        weights that are not loaded yet."""
        if self._loading.is_alive():
            return (), False
        try:
            pipe = self.pipeline()
        except ValueError:
            return (), False
        return tuple(name for name in CHIPS if any(map(pipe.reads_whole, telling_words(name)))), pipe.spells_other_words

    def video_models(self) -> list[VideoModel]:
        """The video models by others that are on this machine, the one the app was started with first."""
        first = [self.video_model(self.first_choice)] if self.first_choice else []
        return first + [model for model in video_models_here(self.models) if model.folder not in [one.folder for one in first]]

    def video_model(self, name: Any) -> VideoModel:
        """The one of that name; ValueError, in one line, where there is none: visitors name no folders."""
        try:
            if name and name == self.first_choice:
                return replace(find_video_model(self._by_others, self.models, anywhere=True), name=self.first_choice)
            model = find_video_model(name, self.models) if isinstance(name, str) and name else None
        except MissingModel as error:
            raise ValueError(error.words) from error
        if model is None:
            names = ", ".join(one.name for one in self.video_models())
            raise ValueError(f"there is no video model {shortened(name)!r} here; choose {names or 'TRIP, which is all there is'}")
        return model

    def _shape_of(self, settings: AnimateSettings) -> tuple[str, str, int, int]:
        from trip.system.accelerator import device

        pipe = self.pipeline()
        settings = pipe.resolve(settings)
        height, width = pipe.frame_shape(settings.aspect)
        passes = settings.num_steps * (2 if settings.guidance_scale > 1 else 1)
        return pipe.model_name, str(device()), height * width * settings.num_frames, passes

    def estimate(self, settings: AnimateSettings) -> Estimate:
        """Seconds and memory that a clip should take on this machine, from the clips before it."""
        return self.timings.estimate(settings)

    # jobs

    def animate(
        self,
        visitor: str,
        photo: "str | Image.Image | None",
        settings: AnimateSettings,
        *,
        last_photo: str | None = None,
        sound: Path | None = None,
        only_shown: bool = False,
        **more: Any,
    ) -> Job:
        """Asks for a clip. ValueError, in one line, where there is no photo to use or no room for the job.

        last_photo  where the clip arrives; none: it goes where the motion takes it
        sound       of an earlier clip, that this one keeps
        only_shown  keep the part of the photo that is animated alone; else the job and its MP4 have the whole photo
        """
        if photo is None:
            raise ValueError("there is no photo yet: choose one first")
        if VIDEO_MODEL in more:
            self._check_by_others(settings, last_photo, only_shown, more)
        image, last = read_photo(photo, LARGEST_PHOTO), None
        if last_photo is not None:
            settings.check_arrival()
            last = read_photo(last_photo, LARGEST_PHOTO)
        if only_shown:
            image = shown_part(image, *self.pipeline().frame_shape(settings.aspect, image.size, settings.crop), settings.crop)
            settings = settings.model_copy(update={"crop": None})
        job = self.store.submit(visitor, "animate", {**settings.model_dump(), **more}, image, last_photo=last, sound=sound)
        self.worker.wake()
        return job

    def _check_by_others(self, settings: AnimateSettings, last_photo: str | None, only_shown: bool, more: dict[str, Any]) -> None:
        title = self.video_model(more[VIDEO_MODEL]).title
        wanted = {
            "Close the loop": settings.loop,
            "a last photo": last_photo is not None,
            "Keep only what is shown": only_shown,
            "a fine-tune": "lora" in more,
        }
        if names := [name for name, value in wanted.items() if value]:
            raise ValueError(f"{title} cannot do with {' and '.join(names)}; leave that off, or choose TRIP")

    def draft(self, visitor: str, photo: "str | Image.Image | None", settings: AnimateSettings, **more: Any) -> Job:
        """Asks for a clip of few steps, which `finish_draft` makes whole."""
        kind = self.video_model(more[VIDEO_MODEL]).kind if VIDEO_MODEL in more else None
        steps = settings.num_steps or (kind.num_steps if kind else self.defaults().get("num_steps", 1))
        fewer = max(kind.least_steps if kind else 1, round(steps / FINAL_STEPS))
        return self.animate(visitor, photo, settings.model_copy(update={"num_steps": fewer}), **more)

    def rerun(self, job_id: str, visitor: str, *, group: dict[str, str] | None = None, **changes: Any) -> Job:
        """The same photo and settings once more, with these changed; in a batch, where one is given."""
        job = self.store.get(job_id, visitor)
        settings = AnimateSettings.checked(**self.settings_of(job).model_dump() | changes)
        more = {batch.BATCH: group} if group else {}
        more |= {"last_photo": self.last_photo_of(job), **self._kept(job)}
        return self.animate(visitor, self.photo_of(job), settings, **more)

    def best_of(self, job_id: str, visitor: str) -> list[Job]:
        """The same photo and settings with BEST_OF seeds more, a batch to choose from; fewer where no more may wait, ValueError where
        none may."""
        jobs: list[Job] = []
        group = {"name": batch.new_batch(), "label": ""}
        for _ in range(BEST_OF):
            try:
                jobs.append(self.rerun(job_id, visitor, seed=None, group=group))
            except ValueError:
                if not jobs:
                    raise
                break
        return jobs

    def compare_models(self, job_id: str, visitor: str) -> Job:
        """The same photo, prompt and seed by every video model that is here, TRIP's own first, shown on one clock; gives the last job.

        What a clip's own settings ask of TRIP alone is left to each model: frames, rate, steps, guidance, sampler, size.
        """
        job, others = self._done(job_id, visitor), self.video_models()
        if not others:
            raise ValueError("there is no other video model on this machine yet; see Models for how to get one")
        settings = self.settings_of(job).model_copy(update=dict.fromkeys(("num_frames", "fps", "num_steps", "guidance_scale")))
        settings = settings.model_copy(update={"scheduler": "ddim", "fusion": "trained", "size": "auto", "loop": False})
        asked = {"TRIP": {}}
        for model in others:
            asked[model.title if model.title not in asked else f"{model.title} ({model.name})"] = {VIDEO_MODEL: model.name}
        photo = self.photo_of(job)
        return figure.ask(asked, [], lambda more, **joined: self.animate(visitor, photo, settings, **more, **joined))

    def finish_draft(self, job_id: str, visitor: str) -> Job:
        """A draft's clip with the same seed and more steps."""
        job = self._done(job_id, visitor)
        used = self.settings_of(job)
        settings = used.model_copy(update={"num_steps": min(1000, FINAL_STEPS * used.num_steps)})
        more = {"last_photo": self.last_photo_of(job), "draft": job.id}
        return self.animate(visitor, self.photo_of(job), settings, **more, **self._kept(job))

    def continue_clip(self, job_id: str, visitor: str, prompt: str | None = None) -> Job:
        """A clip that goes on from the last frame of another one, and shows both."""
        job = self._done(job_id, visitor)
        used = self.settings_of(job)
        settings = used.model_copy(update={"seed": None, "crop": None, "loop": False, "prompt": used.prompt if prompt is None else prompt})
        return self.animate(visitor, self.last_frame(job_id, visitor), settings, **{**self._kept(job), "after": job.id})

    def _kept(self, job: Job) -> dict[str, Any]:
        """What a job went on from, the fine-tune or model it was made with and its sound, as a job of the same kind is told; the draft is
        another seed's.
        """
        return {name: job.settings[name] for name in ("after", "lora", VIDEO_MODEL) if name in job.settings} | {"sound": self.sound_of(job)}

    def fetch(self, visitor: str, name: str | None) -> Job:
        """Asks for the download of a model of the catalogue. ValueError, in one line, where none is named or the page downloads none."""
        if not self.fetches:
            raise ValueError("this page downloads no models")
        if not name:
            raise ValueError("choose a model first")
        job = self.store.submit(visitor, "fetch", {"name": name})
        self.worker.wake()
        return job

    def finetune(self, job_id: str, visitor: str) -> Job:
        """A visitor's fine-tune that is done; ValueError where it is not, or is none."""
        job = self.store.get(job_id, visitor)
        if job.kind != "finetune" or job.state != State.DONE:
            raise ValueError("there is no finished fine-tune yet; let one end first")
        return job

    def keep(self, job_id: str, visitor: str) -> int:
        """Deletes the others of a clip's batch, also those that are still to come, and says how many."""
        name = batch.name_of(self._done(job_id, visitor))
        others = [job.id for job in batch.parts_of(self.store, visitor, name) if job.id != job_id]
        self.delete(visitor, *others)
        return len(others)

    def stop(self, visitor: str, *job_ids: str) -> None:
        """Ends jobs within a step; a fine-tune that runs saves and is done with what it has."""
        for job in _running_last([self.store.get(job_id, visitor) for job_id in job_ids]):
            self._stop(job)

    def _stop(self, job: Job) -> None:
        if job.kind == "finetune" and job.state == State.RUNNING:
            with suppress(OSError):  # on a full disk it cannot be asked, and is cancelled
                ask(self.store.folder_of(job) / "run", "stop")
                return
        self.store.cancel(job.id)

    def delete(self, visitor: str, *job_ids: str) -> bool:
        """Deletes jobs, also out of the .zip of all; whether `undo_delete` can bring them back: on a full disk, room is needed at once."""
        jobs = _running_last([self.store.get(job_id, visitor) for job_id in job_ids])
        can_wait = has_room(self.outputs, LEAST_FREE_BYTES)
        if can_wait:
            recycle_bin.put(self.store, jobs)
        else:
            for job in jobs:
                self.store.delete(job.id, visitor)
        self._drop_zips(visitor)
        return can_wait

    def undo_delete(self, visitor: str) -> list[Job]:
        """Brings back what a visitor deleted last; ValueError where that was too long ago."""
        jobs = recycle_bin.take(self.store, visitor)
        if not jobs:
            raise ValueError(f"there is nothing to bring back; that goes for {recycle_bin.UNDO_SECONDS / 60:.0f} minutes")
        return jobs

    def can_undo_delete(self, visitor: str) -> bool:
        """Whether there is something to bring back."""
        return bool(recycle_bin.last(self.store, visitor))

    @staticmethod
    def settings_of(job: Job) -> AnimateSettings:
        """What a job asked, or once it is done, what was used."""
        known = {**job.settings, **job.result.get("settings", {})}
        return AnimateSettings.checked(**{name: known.get(name) for name in AnimateSettings.model_fields})

    # files

    @property
    def private(self) -> list[Path]:
        """What of the output folder is never served, whether it is there by now or not: all but the jobs' folders and uploads."""
        names = {"jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm", "lock", "timings.jsonl", KEY, DRAFTS}
        there = {path.name for path in self.outputs.iterdir()} - {self.store.files.name, UPLOADS}
        return [self.outputs / name for name in sorted(names | there)]


def _running_last(jobs: list[Job]) -> list[Job]:
    """Jobs in an order in which they can be ended without the next one being begun meanwhile."""
    return sorted(jobs, key=lambda job: job.state == State.RUNNING)
