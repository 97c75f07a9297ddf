"""The one object that tabs call: it knows the model, runs it in a worker thread, and streams what happens.

Nothing here imports torch before the first clip or `warm_up`, so that the page answers at once.
"""

import logging
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from trip.media import Clip, read_clip, read_photo, write_clip
from trip.settings import AnimateSettings

if TYPE_CHECKING:
    from trip.pipeline import TripOutput, TripPipeline

log = logging.getLogger(__name__)

KEPT_CLIPS = 200  # results that stay on disk; older ones make room
PREFIX = "clip-"  # of the folders that are ours in the output folder
ACCELERATOR = threading.Lock()  # one clip at a time in this process, also while a stopped one ends its step


@dataclass(frozen=True)
class Result:
    """A finished clip: its file, its seed, and the settings that made it."""

    path: Path
    seed: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    fraction  share of the work that is done, 0 to 1
    preview   frames as they look by now             f h w 3, uint8
    result    the clip, in the last one of a run
    """

    fraction: float
    text: str
    preview: np.ndarray | None = None
    result: Result | None = None


def sample(model: str | None, photo: Image.Image, settings: AnimateSettings, ticket: str) -> "Iterator[Progress | TripOutput]":
    """Where the clip stands after each denoising step, and the finished clip last.

    ticket  path of a file: once it is gone, sampling ends within one step and raises `trip.pipeline.Interrupted`.
            A file, since on some hosts this function runs in another process than the page.
    """
    import torch

    from trip.runtime import load_pipeline

    pipe, news, begun = load_pipeline(model), queue.SimpleQueue(), time.monotonic()
    settings = pipe.resolve(settings)

    def after_step(pipe: "TripPipeline", step: int, timestep: int, tensors: dict) -> None:
        pipe.interrupt = not Path(ticket).exists()
        left = (time.monotonic() - begun) / (step + 1) * (settings.num_steps - step - 1)
        words = f"Step {step + 1} of {settings.num_steps}, about {left:.0f} s left"
        news.put(Progress((step + 1) / settings.num_steps, words, pipe.preview(tensors["z_0"])))

    def work() -> "TripOutput":
        with ACCELERATOR:
            try:
                return pipe(photo, settings, callback_on_step_end=after_step)
            except torch.OutOfMemoryError:
                pass  # what the traceback holds is free only below
            torch.cuda.empty_cache()
            raise ValueError(f"there is not enough memory for {settings.num_frames} frames; choose fewer")

    pool = ThreadPoolExecutor(1, thread_name_prefix="clip")
    future = pool.submit(work)
    pool.shutdown(wait=False)
    future.add_done_callback(lambda _: news.put(None))
    while (step := news.get()) is not None:
        yield step
    yield future.result()


class Studio:
    """The model behind the page, and the clips that its visitors make.

    model    folder or hub id of a checkpoint; none: the embedded one
    outputs  folder for finished clips, in a folder of its own with a random name each
    """

    def __init__(self, model: str | None, outputs: Path) -> None:
        self.model, self.outputs = model, Path(outputs)
        self.outputs.mkdir(parents=True, exist_ok=True)
        self._tickets: dict[str, Path] = {}  # session -> file that lives as long as the session's run may go on

    def pipeline(self) -> "TripPipeline":
        """The loaded model; loads it on the first call. Raises ValueError where the checkpoint cannot be opened."""
        from trip.runtime import load_pipeline

        return load_pipeline(self.model)

    @cached_property
    def _sample(self) -> "Callable[..., Iterator[Progress | TripOutput]]":
        from trip.runtime import gpu

        return gpu(sample)

    def load(self) -> None:
        """Get ready for the first clip; a failure is logged, and told again with that clip."""
        try:
            self.pipeline()
        except ValueError as error:
            log.error("%s", error)
        _ = self._sample

    def load_in_background(self) -> None:
        """`load` in a thread, so that the page can answer meanwhile."""
        threading.Thread(target=self.load, name="load", daemon=True).start()

    def card(self) -> str:
        """Which weights are loaded, in words; waits until they are."""
        try:
            return self.pipeline().weights_card
        except ValueError as error:
            return f"No model: {error}"

    def defaults(self) -> dict[str, float]:
        """What the loaded checkpoint takes where a number is left empty; nothing where none is loaded."""
        try:
            resolved = self.pipeline().resolve(AnimateSettings())
        except ValueError:
            return {}
        return {name: getattr(resolved, name) for name in ("num_frames", "fps", "num_steps", "guidance_scale")}

    def animate(self, session: str, photo: str | None, settings: AnimateSettings) -> Iterator[Progress]:
        """Make a clip, and tell after each step where it stands; a stopped run just ends.

        session  who asks: `stop` with the same word ends the run
        photo    file with the first frame
        Raises ValueError with one line for people.
        """
        if photo is None:
            raise ValueError("there is no photo yet: choose one first")
        image = read_photo(photo)
        self._make_room()
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self.outputs))
        ticket = self._tickets[session] = folder / "running"
        ticket.touch()
        try:
            yield from self._run(image, settings, ticket)
        finally:
            ticket.unlink(missing_ok=True)
            if self._tickets.get(session) == ticket:
                del self._tickets[session]
            if not any(folder.iterdir()):
                folder.rmdir()

    def _run(self, image: Image.Image, settings: AnimateSettings, ticket: Path) -> Iterator[Progress]:
        yield Progress(0.0, "Loading the model …")
        self.pipeline()
        from trip.pipeline import Interrupted

        yield Progress(0.0, "Starting …")
        begun, output = time.monotonic(), None
        try:
            with closing(self._sample(self.model, image, settings, str(ticket))) as steps:
                for step in steps:
                    if isinstance(step, Progress):
                        yield step
                    else:
                        output = step
        except Interrupted:
            return
        if ticket.exists():
            seed = output.metadata["seed"]
            path = write_clip(Clip(output.frames, output.fps, output.metadata), ticket.with_name(f"trip-{seed}.mp4"))
            result = Result(path, seed, output.metadata)
            yield Progress(1.0, f"Done in {time.monotonic() - begun:.0f} s", output.frames, result)

    def stop(self, session: str) -> None:
        """End the session's run within one step; nothing happens where none runs."""
        if ticket := self._tickets.get(session):
            ticket.unlink(missing_ok=True)

    def stop_all(self) -> None:
        """End every run."""
        for session in list(self._tickets):
            self.stop(session)

    def convert(self, clip: Path, suffix: str) -> Path:
        """The same clip in another format, .mp4, .gif or .webp, beside the first; made once."""
        target = clip.with_suffix(suffix)
        if not target.exists():
            write_clip(read_clip(clip), target)
        return target

    def _make_room(self) -> None:
        """Drop the oldest clips beyond KEPT_CLIPS."""
        folders = sorted(self.outputs.glob(f"{PREFIX}*"), key=lambda folder: folder.stat().st_mtime)
        for folder in folders[: max(0, len(folders) - KEPT_CLIPS + 1)]:
            shutil.rmtree(folder, ignore_errors=True)
