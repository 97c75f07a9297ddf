"""The jobs "paint", "edit", "control" and "map": settings, and a photo where one is asked for, become pictures in the job's folder."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from trip.jobs.handlers.stream import streamed
from trip.jobs.worker import Cancelled, Desk
from trip.media import read_photo, write_picture
from trip.settings import AnimateSettings, ControlSettings, EditSettings, PaintSettings, PictureSettings
from trip.system.environment import on_spaces_gpu

if TYPE_CHECKING:
    from trip.first_frame.control import ControlMap
    from trip.first_frame.drawing import Step
    from trip.first_frame.making import Made

SCHEMAS: dict[str, type[PictureSettings]] = {
    "paint": PaintSettings,
    "edit": EditSettings,
    "control": ControlSettings,
    "map": ControlSettings,  # the control map alone
}
LEASE_SECONDS, LEASE_A_PICTURE = 30, 15  # asked for on a shared GPU: to move the models in, and for each picture
Pictured = "Step | Made | ControlMap"


def pictures(
    kind: str, models: Path | None, settings: PictureSettings, photo: Image.Image | None, found: Image.Image | None, ticket: str
) -> Iterator[Pictured]:
    """Where the pictures stand after each denoising step, and what was made last.

    found   a control map that was made before
    ticket  as in `trip.jobs.handlers.stream.streamed`; once it is gone, this raises `trip.pipeline.Interrupted`
    """

    def work(tell: Callable[["Step"], None]) -> "Made | ControlMap":
        from trip.first_frame.making import Makery
        from trip.pipeline import Interrupted

        def tell_if_wanted(step: "Step") -> None:
            if not Path(ticket).exists():
                raise Interrupted(f"stopped at {step.words}")
            tell(step)

        makery = Makery(models, tell_if_wanted)
        return makery.map(photo, settings) if kind == "map" else makery.make(settings, photo, found)

    yield from streamed(work, ticket)


class PictureMaker:
    """Makes the jobs of SCHEMAS.

    A job's settings are those of its schema, and may have `then`: settings of a clip, which is asked for with the first picture.
    Its result: `pictures` (file name and seed of each), `map` (file name, where there is one), `settings` as they were used, `notes`
    for people, `stages` (seconds of each), `seconds`, and `next`, the id of the clip's job.
    models  the models folder; none: the hub's cache alone
    """

    def __init__(self, models: Path | None):
        self.models = models
        self._drawing: Callable[..., Iterator[Pictured]] | None = None

    @property
    def drawing(self) -> Callable[..., Iterator[Pictured]]:
        """`pictures`, with a Spaces GPU around it where the app runs on one."""
        if self._drawing is None:
            from trip.system.accelerator import gpu

            self._drawing = gpu(pictures, lambda kind, models, settings, *_: LEASE_SECONDS + LEASE_A_PICTURE * settings.num_pictures)
        return self._drawing

    def __call__(self, desk: Desk) -> dict[str, Any]:
        """The result of a job; ValueError, in one line, for people."""
        from trip.system.memory import free_memory, is_out_of_memory

        begun, made, asked = time.monotonic(), None, dict(desk.job.settings)
        then = asked.pop("then", None)
        try:
            made = self._made(desk, SCHEMAS[desk.job.kind].checked(**asked))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if made is None:  # here: inside the except block the traceback would still hold what is to be freed
            free_memory()
            raise ValueError("there is not enough memory for this; choose a smaller size or a smaller model")
        result = self._written(desk, made, begun)
        if then is not None and desk.is_wanted:
            first = made.pictures.pictures[0].image
            result["next"] = desk.store.submit(desk.job.asker, "animate", AnimateSettings.checked(**then).model_dump(), first).id
        return result

    def _made(self, desk: Desk, settings: PictureSettings) -> "Made | ControlMap":
        from trip.pipeline import Interrupted

        desk.report(0.0, "Looking for the models")
        photo, found = self._picture(desk, "photo.png"), self._picture(desk, "map.png")
        if on_spaces_gpu() and desk.job.kind != "map":  # opened here, the models stay for the next call
            self._makery(desk).prepare(settings)
        ticket = desk.folder / "running"
        ticket.touch()
        try:
            with closing(self.drawing(desk.job.kind, self.models, settings, photo, found, str(ticket))) as steps:
                return self._last(desk, steps)
        except Interrupted as error:
            raise Cancelled from error
        finally:
            ticket.unlink(missing_ok=True)

    def _makery(self, desk: Desk) -> Any:
        from trip.first_frame.making import Makery

        return Makery(self.models, lambda step: desk.report(step.fraction, step.words))

    @staticmethod
    def _last(desk: Desk, steps: Iterator[Pictured]) -> "Made | ControlMap":
        from trip.first_frame.drawing import Step

        begun = time.monotonic()
        for step in steps:
            if not isinstance(step, Step):
                return step
            desk.hold_to(begun, "fewer pictures, fewer steps or a smaller size")
            desk.report(0.95 * step.fraction, step.words, None if step.preview is None else step.preview[None])
        raise AssertionError("the stream ended without a result")

    @staticmethod
    def _picture(desk: Desk, name: str) -> Image.Image | None:
        path = desk.folder / name
        if not path.exists():
            return None
        try:
            return read_photo(path)
        except ValueError as error:
            raise ValueError("the photo of this job cannot be read any more; choose it again") from error

    @staticmethod
    def _written(desk: Desk, made: "Made | ControlMap", begun: float) -> dict[str, Any]:
        desk.report(0.97, "Writing the pictures")
        result: dict[str, Any] = {"pictures": [], "map": None, "stages": {}, "settings": desk.job.settings}
        if desk.job.kind == "map":
            found, result["notes"] = made.image, made.notes
        else:
            found, result["notes"] = made.pictures.map, made.pictures.notes
            result |= {"stages": made.seconds, "settings": made.settings.model_dump()}
            for picture in made.pictures.pictures:
                path = desk.folder / f"picture-{picture.seed}.png"
                write_picture(picture.image, path, result["settings"] | {"seed": picture.seed, "num_pictures": 1})
                result["pictures"].append({"file": path.name, "seed": picture.seed})
        if found is not None:
            found.save(desk.folder / "control.png")
            result["map"] = "control.png"
        return result | {"seconds": round(time.monotonic() - begun, 2)}
