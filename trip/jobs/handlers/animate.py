"""The job "animate": a photo and settings become a clip in the job's folder, with its figures.

A clip of many steps holds the worker no longer than TURN_SECONDS while somebody else waits: then it is suspended between two steps
(`trip.jobs.checkpoint`), and comes out, turns later, as it would have in one.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from trip.backbones.local import VideoModel
from trip.evaluation.clip_metrics import clip_metrics
from trip.evaluation.similarity import frame_psnr
from trip.jobs.batch import BATCH
from trip.jobs.checkpoint import discard
from trip.jobs.handlers.estimate import Timings
from trip.jobs.handlers.figure import FIGURE
from trip.jobs.handlers.sampling import SUSPEND, SamplingResult, Step, sample, sample_once
from trip.jobs.handlers.stream import compute_thread
from trip.jobs.sound import join_sound
from trip.jobs.store import LAST_PHOTO, State
from trip.jobs.worker import Cancelled, JobContext
from trip.media import (
    Clip,
    check_joins,
    fit_photo,
    joined_metadata,
    loop_gap,
    open_video,
    read_clip,
    read_metadata,
    read_photo,
    smaller,
    with_photo,
    write_clip,
    write_continuation,
    write_frames,
)
from trip.settings import AnimateSettings
from trip.system.files import LEAST_FREE_BYTES, has_room

if TYPE_CHECKING:
    from trip.output import AnimatedClip
    from trip.render import Rendering

CALIBRATION_FRAMES = 8
INSIDE = "inside.npz"  # file of a job: what both paths said
THUMBNAIL, THUMBNAIL_FILE = 144, "thumbnail.webp"  # pixels of the short side; the clip, small and moving
RENDERING = 0.9  # of a job's progress: the clip is rendered from there on
WATCHED = "watched"  # file of a running job whose inside somebody looks at
TURN_SECONDS = 60.0  # of sampling, while others wait
VIDEO_MODEL = "video_model"  # setting of a job: the video model by others that makes its clip
EARLIER = ("after", "draft")  # settings of a job that name an earlier one


def clip_psnr(clip: np.ndarray, other: np.ndarray) -> float | None:
    """PSNR of a clip to another of the same shape, f h w 3, dB, over the frames after the photo; none where the shapes differ."""
    return round(float(frame_psnr(clip[1:], other[1:]).mean()), 1) if clip.shape == other.shape else None


class _ObservedFrames(Sequence[np.ndarray]):
    """Frames of a rendering from number `first` on: reports how far it is, and keeps what the figures look at.

    seen  by number, the frames nearest to those that the network drew, first and last included
    """

    def __init__(self, frames: "Rendering", first: int, on_progress: Callable[[float], None]):
        self.frames, self.first, self.on_progress = frames, first, on_progress
        num_drawn = len(frames.clip.frames)
        self.kept = {0, *(int(np.abs(frames.at - index).argmin()) for index in range(num_drawn)), len(frames) - 1}
        self.seen = {0: frames[0]}

    def __len__(self) -> int:
        return len(self.frames) - self.first

    def __getitem__(self, index: int) -> np.ndarray:
        index = range(self.first, len(self.frames))[index]
        frame = self.frames[index]
        if index in self.kept:
            self.seen[index] = frame
            self.on_progress(index / len(self.frames))
        return frame


class AnimateHandler:
    """Makes "animate" jobs with one checkpoint.

    A job's settings are those of `AnimateSettings`, and may name earlier jobs: `after`, whose clip this one goes on from with its
    last frame as the photo, `draft`, of which this is the final, and `lora`, a fine-tune to make it with. VIDEO_MODEL names one by others
    that makes it. Its result: `clip` (file name), `drawn` (the same as the network drew it), `thumbnail` (small), `seed`, `settings` as
    they were used, `figures` for people, `seconds`, and with a draft `draft_db`, how like it the final is.

    video_model  the one of that name; ValueError, in one line, where it is not here
    """

    def __init__(self, model: str | None, timings: Timings, video_model: Callable[[str], VideoModel] | None = None):
        self.model, self.timings, self.video_model = model, timings, video_model
        self._sampling: Callable[..., Iterator[Step | SamplingResult]] | None = None

    @property
    def sampling(self) -> Callable[..., Iterator[Step | SamplingResult]]:
        """`sample`, with a Spaces GPU around it where the app runs on one."""
        if self._sampling is None:
            from trip.system.accelerator import gpu

            self._sampling = gpu(sample, lambda model, photo, settings, *_: self._lease_seconds(model, settings))
        return self._sampling

    def _lease_seconds(self, model: str | VideoModel | None, settings: AnimateSettings) -> int:
        return self.timings.lease_seconds(settings, model.title if isinstance(model, VideoModel) else "")

    def calibrate(self) -> None:
        """Times a short clip, so that the first person is told something; where clips were timed already, nothing happens."""
        if self.timings.estimate(AnimateSettings()).count:
            return
        from trip.model_cache import load_pipeline

        pipe = load_pipeline(self.model)
        settings = pipe.resolve(AnimateSettings(num_steps=1, num_frames=CALIBRATION_FRAMES, guidance_scale=1))
        for _ in range(2):  # the first one also warms up
            timed = compute_thread().submit(sample_once, pipe, Image.new("RGB", (64, 64), "grey"), settings, None, lambda step: None)
        self.timings.add(timed.result().timing)

    def __call__(self, context: JobContext) -> dict[str, Any]:
        """The result of a job; ValueError, in one line, for people."""
        from trip.pipeline import Interrupted

        asked = {name: value for name, value in context.job.settings.items() if name not in (FIGURE, BATCH)}
        earlier = {name: self._file_of(context, name, asked.pop(name)) for name in EARLIER if name in asked}
        photo, last_photo = self._photo(context), self._last_photo(context)
        by_others = VIDEO_MODEL in asked
        model, lora = (self.video_model(asked.pop(VIDEO_MODEL)), None) if by_others else self._weights(context, asked.pop("lora", None))
        settings, ticket, begun = AnimateSettings.checked(**asked), context.folder / "running", time.monotonic()
        if by_others and settings.size == "auto":
            settings = settings.model_copy(update={"size": "model"})
        context.report(0.0, "Loading the model")
        expected, is_preempted = None if by_others else self.timings.estimate(settings).seconds, False
        ticket.touch()
        try:
            with closing(self.sampling(model, photo, settings, str(ticket), lora, last_photo)) as steps:
                for step in steps:
                    if isinstance(step, SamplingResult):
                        break
                    left = step.seconds * (step.num_steps - step.number)
                    words = f"Step {step.number} of {step.num_steps}, about {left:.0f} s left"
                    context.report(RENDERING * step.number / step.num_steps, words, step.preview)
                    if step.inside and (context.folder / WATCHED).exists():
                        step.inside.save(context.folder / INSIDE)
                    if by_others:  # it cannot be suspended
                        context.enforce_time_limit(begun, "fewer steps or frames")
                    can_wait = not (is_preempted or by_others) and step.number < step.num_steps
                    if can_wait and self._should_preempt(context, begun):
                        is_preempted = ticket.write_text(SUSPEND) > 0
        except Interrupted as error:
            if is_preempted:
                context.store.preempt(context.job.id)
            raise Cancelled from error
        finally:
            ticket.unlink(missing_ok=True)
        context.report(RENDERING, "Rendering the clip", step.output.frames)
        result = self._write(context, step, photo, settings, earlier, begun, expected)
        discard(context.folder)
        return result

    @staticmethod
    def _should_preempt(context: JobContext, begun: float) -> bool:
        """Whether the clip is to give way; where it could not be kept, on a full disk, it goes on."""
        is_long = time.monotonic() - begun > TURN_SECONDS
        return is_long and context.store.others_wait(context.job) and has_room(context.folder, LEAST_FREE_BYTES)

    @staticmethod
    def _photo(context: JobContext, name: str = "photo.png") -> Image.Image:
        try:
            return read_photo(context.folder / name)
        except ValueError as error:
            raise ValueError("the photo of this job is not there any more; choose it again") from error

    def _last_photo(self, context: JobContext) -> Image.Image | None:
        return self._photo(context, LAST_PHOTO) if (context.folder / LAST_PHOTO).exists() else None

    def _write(
        self,
        context: JobContext,
        sampled: SamplingResult,
        photo: Image.Image,
        settings: AnimateSettings,
        earlier: dict[str, Path],
        begun: float,
        expected: float | None,
    ) -> dict[str, Any]:
        output, seed, rendering = sampled.output, sampled.output.metadata["seed"], time.monotonic()
        if sampled.inside:
            sampled.inside.save(context.folder / INSIDE)
        (context.folder / WATCHED).unlink(missing_ok=True)
        as_drawn = with_photo(output.metadata | {"size": "model"}, photo)
        drawn = write_clip(Clip(output.frames, output.fps, as_drawn), context.folder / f"drawn-{seed}.mp4")
        frames = self._rendering(output, settings, earlier.get("after"))
        path, num_frames, shown = self._render(context, frames, photo, earlier.get("after"))
        join_sound(path)
        measured = clip_metrics(shown, fit_photo(photo, *frames.shape, settings.crop))
        self.timings.add(replace(sampled.timing, rendering=time.monotonic() - rendering))
        return {
            "clip": path.name,
            "drawn": drawn.name,
            "thumbnail": THUMBNAIL_FILE,
            "num_frames": num_frames,
            "fps": frames.fps,
            "drawn_frames": len(output.frames),
            "drawn_fps": output.fps,
            "seed": seed,
            "settings": output.metadata,
            "notes": list(output.notes),
            "figures": [*([_own_pixels(frames.photo_share)] if sampled.inside else []), *measured.rows()],
            "photo_kept_db": measured.photo_kept_db,
            "motion_pixels": measured.motion.median,
            "draft_db": clip_psnr(output.frames, _last(len(output.frames), earlier["draft"])) if "draft" in earlier else None,
            "loop_gap": round(loop_gap(shown), 2),
            "seconds": round(sampled.earlier + time.monotonic() - begun, 2),
            "expected_seconds": expected and round(expected, 2),
        }

    @staticmethod
    def _render(context: JobContext, frames: "Rendering", photo: Image.Image, after: Path | None) -> tuple[Path, int, np.ndarray]:
        """Writes the clip, a small one, first and last frame; gives its file, its number of frames, and those looked at, f h w 3."""
        metadata, num_frames = frames.clip.metadata, len(frames)
        path = context.folder / f"trip-{metadata['seed']}.mp4"
        begun = time.monotonic()

        def on_progress(share: float) -> None:
            context.enforce_time_limit(begun, "a smaller size, a lower frame rate or fewer frames")
            context.report(RENDERING + (1 - RENDERING) * share, "Rendering the clip")

        observed = _ObservedFrames(frames, 1 if after else 0, on_progress)
        if after:  # it ends with the first frame
            with open_video(after) as video:
                num_frames += video.num_frames - 1
            write_continuation(after, observed, frames.fps, with_photo(joined_metadata(read_metadata(after), metadata), photo), path)
        else:
            write_frames(observed, frames.fps, path, with_photo(metadata, photo))
        shown = np.stack([observed.seen[index] for index in sorted(observed.seen)])
        write_clip(smaller(Clip(shown, frames.clip.fps, {}), THUMBNAIL), context.folder / THUMBNAIL_FILE)
        for name, frame in (("first", shown[0]), ("last", shown[-1])):
            Image.fromarray(frame).save(context.folder / f"{name}.png", compress_level=1)
        return path, num_frames, shown

    @staticmethod
    def _rendering(output: "AnimatedClip", settings: AnimateSettings, after: Path | None) -> "Rendering":
        """The clip to keep; one that goes on from another has that one's shape and rate."""
        from trip.render import Rendering

        if after is None:
            return Rendering(output, settings.size, settings.frame_rate)
        with open_video(after) as video:
            width, height = video.size
            if settings.size == "model":
                check_joins(video, output.frames.shape[1:3], output.fps)
            return Rendering(output, settings.size, video.fps, shape=(height, width))

    def _weights(self, context: JobContext, job_id: str | None) -> tuple[str | None, str | None]:
        """Checkpoint and LoRA to sample with: this handler's own, or what an earlier fine-tune has made."""
        if job_id is None:
            return self.model, None
        tuned = context.store.get(job_id, context.job.visitor)
        if tuned.kind != "finetune" or tuned.state != State.DONE:
            raise ValueError("the fine-tune to use is not done; choose another")
        path = context.store.folder_of(tuned) / tuned.result["file"]
        return (str(path), None) if path.is_dir() else (self.model, str(path))

    @staticmethod
    def _file_of(context: JobContext, name: str, job_id: str) -> Path:
        """The clip of an earlier job; of a draft what the network drew, where it was kept."""
        earlier = context.store.get(job_id, context.job.visitor)
        if earlier.state != State.DONE:
            raise ValueError("the clip to go on from is not done; choose another")
        file = earlier.result["drawn" if name == "draft" and "drawn" in earlier.result else "clip"]
        path = context.store.folder_of(earlier) / file
        if not path.exists():
            raise ValueError("the clip to go on from is not there any more; choose another")
        return path


def _own_pixels(share: float) -> tuple[str, str, str]:
    return "Photo's pixels", f"{100 * share:.0f} %", "how much of the clip is the photo's own, moved; the rest is what the network drew"


def _last(num_frames: int, path: Path) -> np.ndarray:
    return read_clip(path).frames[-num_frames:]
