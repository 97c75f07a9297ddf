"""From settings to pictures: finds the models, opens them on the one shelf, and has them work one after the other."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from diffusers import DiffusionPipeline
from PIL import Image

from trip.first_frame.annotators import ANNOTATORS, Detector, open_detector
from trip.first_frame.catalogue import CARDS, size_of
from trip.first_frame.control import ControlMap, control_map, draw_over
from trip.first_frame.drawing import Pictures, Step, Tell, resolved
from trip.first_frame.edit import edit
from trip.first_frame.extras import added
from trip.first_frame.opening import num_bytes_on_disk, open_pipeline
from trip.first_frame.text_to_image import REFINE_FROM, paint, paint_unfinished, refine
from trip.first_frame.whereabouts import Model, how_to_get, models_for, where
from trip.model_cache import shelf
from trip.settings import ControlSettings, EditSettings, PaintSettings, PictureSettings
from trip.system.memory import memory_in_use


@dataclass(frozen=True)
class Made:
    """Pictures, the settings as they were used, and of each stage by its name the seconds and the bytes in use as it ended."""

    pictures: Pictures
    settings: PictureSettings
    seconds: dict[str, float]
    num_bytes: dict[str, int]


@dataclass
class Makery:
    """What makes pictures from settings.

    models    the models folder, beside the hub's cache; none: the cache alone
    tell      told of every step; may raise `trip.pipeline.Interrupted`
    anywhere  models and extras may also be named by a path: for the person at the machine, not for visitors of the page
    """

    models: Path | None
    tell: Tell
    anywhere: bool = False
    _seconds: dict[str, float] = field(default_factory=dict)
    _num_bytes: dict[str, int] = field(default_factory=dict)

    def make(self, settings: PictureSettings, photo: Image.Image | None = None, found: Image.Image | None = None) -> Made:
        """Pictures as the settings ask: painted, edited from a photo, or drawn over a photo's map.

        found  the map, where it has been made or edited already
        Raises ValueError, in one line, where a model is not here or does not fit.
        """
        self._seconds, self._num_bytes = {}, {}
        if isinstance(settings, PaintSettings):
            return self._paint(settings)
        if photo is None and found is None:
            raise ValueError("there is no photo yet: choose one first")
        if isinstance(settings, ControlSettings):
            return self._draw_over(settings, photo, found)
        if not settings.instruction.strip():
            raise ValueError("there is no instruction yet: say what to change, such as 'make it winter'")
        return self._edit(settings, photo)

    def map(self, photo: Image.Image, settings: ControlSettings) -> ControlMap:
        """The control map of a photo alone."""
        card = "" if settings.is_map else ANNOTATORS[settings.annotator].card
        with ExitStack() as stack:
            detector = stack.enter_context(self._detector(settings.annotator, card)) if card else None
            with self._timed("map"):
                return control_map(photo, settings, detector, **({"side": settings.size} if settings.size else {}))

    def prepare(self, settings: PictureSettings) -> None:
        """Finds and opens what the settings ask for, in memory: where a GPU is lent to each call, before the call."""
        model, other = self._models(settings)
        shelf().open(*self._entry(model, other if isinstance(settings, ControlSettings) else None))

    def _paint(self, settings: PaintSettings) -> Made:
        model, refiner = self._models(settings)
        settings = resolved(settings, model)
        if refiner is None:
            with self._pipeline(settings, model) as pipe, self._timed("paint"):
                pictures = paint(pipe, settings, self.tell)
            return self._made(pictures, settings)
        with self._pipeline(settings, model) as pipe, self._timed("paint"):
            latents = paint_unfinished(pipe, settings, self.tell)
        with self._opened(refiner) as pipe, self._timed("refine"):
            pictures = refine(pipe, latents, settings, self.tell)
        return self._made(pictures, settings)

    def _edit(self, settings: EditSettings, photo: Image.Image) -> Made:
        model, _ = self._models(settings)
        settings = resolved(settings, model)
        with self._pipeline(settings, model) as pipe, self._timed("edit"):
            pictures = edit(pipe, photo, settings, self.tell, detail=model.card.gives_detail_back)
        return self._made(pictures, settings)

    def _draw_over(self, settings: ControlSettings, photo: Image.Image | None, found: Image.Image | None) -> Made:
        model, controlnet = self._models(settings)
        settings = resolved(settings, model)
        fresh = ControlMap(found) if found else self.map(photo, settings)
        with self._pipeline(settings, model, controlnet) as pipe, self._timed("draw"):
            drawn = draw_over(pipe, fresh.image, settings, self.tell, photo)
        notes = fresh.notes + [note for note in drawn.notes if not fresh.notes or "empty" not in note]
        return self._made(Pictures(drawn.pictures, notes, drawn.map), settings)

    def _made(self, pictures: Pictures, settings: PictureSettings) -> Made:
        return Made(pictures, settings, self._seconds, self._num_bytes)

    # models

    def _models(self, settings: PictureSettings) -> tuple[Model, Model | None]:
        return models_for(settings, self.models, anywhere=self.anywhere)

    @contextmanager
    def _pipeline(self, settings: PictureSettings, model: Model, controlnet: Model | None = None) -> Iterator[DiffusionPipeline]:
        """The pipeline at work, with the extras that the settings name."""
        with self._opened(model, controlnet) as pipe, added(pipe, settings, self.models, anywhere=self.anywhere):
            yield pipe

    @contextmanager
    def _opened(self, model: Model, controlnet: Model | None = None) -> Iterator[DiffusionPipeline]:
        key, opener, num_bytes = self._entry(model, controlnet)
        if key not in shelf():
            self.tell(Step(REFINE_FROM if model.card.task == "refine" else 0.0, f"Opening {model.card.title}, {size_of(num_bytes)}"))
        with ExitStack() as stack:
            with self._timed("open"):
                pipe = stack.enter_context(shelf().lent(key, opener, num_bytes))
            yield pipe

    def _entry(self, model: Model, controlnet: Model | None) -> tuple:
        key = (model.card.task, model.folder, model.card.files, controlnet and controlnet.folder)
        return key, lambda: open_pipeline(model, self.models, controlnet), num_bytes_on_disk(model, self.models, controlnet)

    @contextmanager
    def _detector(self, annotator: str, card: str) -> Iterator[Detector]:
        folder = where(CARDS[card], self.models)
        if folder is None:
            raise ValueError(f"{how_to_get(card, self.models)}; canny works without")
        self.tell(Step(0.0, f"Opening {CARDS[card].title}"))
        with shelf().lent((annotator, folder), lambda: open_detector(annotator, folder), CARDS[card].about_bytes) as detector:
            yield detector

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self._seconds[stage] = round(self._seconds.get(stage, 0) + time.monotonic() - begun, 3)
            self._num_bytes[stage] = memory_in_use()
