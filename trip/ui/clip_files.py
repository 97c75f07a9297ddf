"""The files of visitors' clips: what a job was asked with, what came of it, and in which kinds it is given away."""

import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trip.jobs.handlers.animate import INSIDE, WATCHED, clip_psnr
from trip.jobs.sound import SOUND, heard_clip, put_sound, remove_sound
from trip.jobs.store import LAST_PHOTO, Job, JobStore, State
from trip.media import (
    GIF_SHORT,
    Clip,
    boomerang,
    embedded_photo,
    parts,
    read_clip,
    read_metadata,
    smaller,
    write_clip,
    write_png_zip,
)
from trip.settings import AnimateSettings
from trip.system.files import atomic_write, check_room

if TYPE_CHECKING:
    from PIL import Image

    from trip.inside import Inside

FORMATS = {"MP4": ".mp4", "GIF": ".gif", "WebP": ".webp", "PNG frames": ".zip", "There and back": ".boomerang.mp4"}
ALL_CLIPS = "clips.zip"


class ClipFiles:
    """Those of the jobs in a store."""

    def __init__(self, store: JobStore):
        self.store = store
        self._converting = threading.Lock()  # whole clips are in memory, or on the disk once more, one visitor's at a time

    def clips(self, visitor: str, text: str = "") -> list[Job]:
        """A visitor's jobs that gave a clip, newest first; with these words in their prompt."""
        return [job for job in self.store.jobs(visitor, State.DONE, text=text) if "clip" in job.result]

    def _done(self, job_id: str, visitor: str) -> Job:
        job = self.store.get(job_id, visitor)
        if job.state != State.DONE:
            raise ValueError(f"this clip is {job.state}; wait until it is done")
        if "clip" not in job.result:
            raise ValueError("this job made no clip; choose one that did")
        return job

    def photo_of(self, job: Job) -> str:
        """The photo that a job was asked for with."""
        return str(self.store.folder_of(job) / "photo.png")

    def last_photo_of(self, job: Job) -> str | None:
        """The photo that a job's clip was to arrive at, where there was one."""
        path = self.store.folder_of(job) / LAST_PHOTO
        return str(path) if path.exists() else None

    def clip_of(self, job: Job) -> Path:
        """A done job's clip, with its sound where it was given one."""
        return heard_clip(self.store.folder_of(job) / job.result["clip"])

    def drawn_of(self, job: Job) -> Path:
        """A done job's clip as the network drew it; of an older job the clip itself."""
        return self.store.folder_of(job) / job.result.get("drawn", job.result["clip"])

    def last_frame(self, job_id: str, visitor: str) -> str:
        """The last frame of a done clip, as a photo."""
        return str(self.store.folder_of(self._done(job_id, visitor)) / "last.png")

    def preview_of(self, job: Job) -> Path | None:
        """A strip of frames as they look by now; none before the first step."""
        path = self.store.folder_of(job) / "preview.jpg"
        return path if path.exists() else None

    def sound_of(self, job: Job) -> Path | None:
        """What a job's clip is heard with, where a person gave it a sound."""
        path = self.store.folder_of(job) / SOUND
        return path if path.exists() else None

    def put_sound(self, job_id: str, visitor: str, source: str | None) -> Job:
        """Gives a done clip the sound of a file, which clips that are made of it keep, or none; ValueError where the file has none."""
        job = self._done(job_id, visitor)
        clip = self.store.folder_of(job) / job.result["clip"]
        with self._converting:
            check_room(clip.parent, clip.stat().st_size)
            put_sound(clip, source) if source else remove_sound(clip)
        self._drop_zips(visitor)
        return job

    def download(self, job_id: str, visitor: str, name: str) -> Path:
        """A done job's clip in one of FORMATS, made once."""
        clip = self.clip_of(self._done(job_id, visitor))
        if name not in FORMATS:
            raise ValueError(f"unknown format {name!r}; choose {', '.join(FORMATS)}")
        target = clip.with_suffix(FORMATS[name])
        if not target.exists():
            with self._converting:
                if not target.exists():  # somebody else may have asked for the same
                    check_room(target.parent, 0)
                    self._convert(clip, name, target)
        return target

    @staticmethod
    def _convert(clip: Path, name: str, target: Path) -> None:
        converted = read_clip(clip)
        if name == "There and back":
            converted = boomerang(converted)
        elif name == "GIF":
            converted = smaller(converted, GIF_SHORT)
        if name not in ("MP4", "There and back"):  # the photo travels in the MP4 alone
            metadata = {key: value for key, value in converted.metadata.items() if key != "photo"}
            converted = Clip(converted.frames, converted.fps, metadata)
        (write_png_zip if name == "PNG frames" else write_clip)(converted, target)

    def download_all(self, visitor: str) -> Path:
        """All of a visitor's clips in one .zip."""
        done = self.clips(visitor)
        if not done:
            raise ValueError("there are no clips of yours yet")
        target = self.store.folder_of(done[0]) / ALL_CLIPS
        with self._converting:
            self._drop_zips(visitor)
            clips = [(job, self.clip_of(job)) for job in done if self.clip_of(job).exists()]  # else deleted meanwhile
            check_room(target.parent, sum(clip.stat().st_size for _, clip in clips))
            with atomic_write(target) as partial, zipfile.ZipFile(partial, "w") as archive:
                for job, clip in clips:
                    archive.write(clip, f"{job.id}-{clip.name}")
        return target

    def _drop_zips(self, visitor: str) -> None:
        for job in self.store.jobs(visitor, State.DONE):
            (self.store.folder_of(job) / ALL_CLIPS).unlink(missing_ok=True)

    def compare(self, first: str, second: str, visitor: str) -> dict[str, Any]:
        """How alike two done clips are, and the figures of each."""
        one, other = (self._done(job_id, visitor) for job_id in (first, second))
        with self._converting:
            similarity_db = clip_psnr(read_clip(self.clip_of(one)).frames, read_clip(self.clip_of(other)).frames)
        return {
            "psnr_db": similarity_db,
            "figures": [{label: value for label, value, _ in job.result["figures"]} for job in (one, other)],
        }

    def inside(self, job_id: str, visitor: str) -> "Inside":
        """What both paths said while a clip was made; of a clip that is being made, so far. ValueError before anything is there."""
        from trip.inside import Inside

        job = self.store.get(job_id, visitor)
        if job.state != State.RUNNING:
            job = self._done(job_id, visitor)
        path = self.store.folder_of(job) / INSIDE
        if job.state == State.RUNNING and not path.exists():
            path.with_name(WATCHED).touch()
            raise ValueError("the next steps of this clip will show here")
        return Inside.load(path)

    def restore(self, path: str) -> tuple[AnimateSettings, "Image.Image | None"]:
        """Settings and photo out of a clip that was made here; ValueError, in one line, for any other file."""
        metadata = read_metadata(path)
        last = parts(metadata)[-1:] or [{}]  # of a clip that was continued: its photo is the last part's
        known = {name: value for name, value in last[0].items() if name in AnimateSettings.model_fields}
        if not known:
            raise ValueError("this clip does not say how it was made; choose an MP4 that was made here")
        return AnimateSettings.checked(**known), embedded_photo(metadata)
