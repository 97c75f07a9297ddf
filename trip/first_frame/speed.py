"""What each way to a first frame costs on this machine, with whatever models are here: seconds to open, a step, memory, a switch."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from trip.first_frame.catalogue import cards
from trip.first_frame.drawing import Step
from trip.first_frame.making import Makery
from trip.first_frame.whereabouts import is_here
from trip.model_cache import lent_pipeline, shelf
from trip.settings import AnimateSettings, ControlSettings, EditSettings, PaintSettings, PictureSettings
from trip.system.memory import memory_in_use


def time_pictures(
    photo: Image.Image, models: Path | None, num_steps: int = 4, size: int | None = None, trip: str | None = None
) -> list[dict[str, Any]]:
    """A row for each model that is here, and one for the TRIP checkpoint that makes clips of their pictures.

    Each is made twice, the second time without opening it, and once more after all the others had their turn, which is a switch.

    num_steps  of each picture; of a model that is made for fewer, that many
    size       pixels of a side; none: what each model was made for
    trip       checkpoint; none: the embedded one
    """
    work = {name: partial(_picture, settings, photo, models) for name, settings in _tasks(models, num_steps, size)}
    work["trip"] = partial(_clip, photo, trip)
    rows = [_timed(name, make) for name, make in work.items()]
    for row in rows:
        row["switch_seconds"] = work[row["model"]]().seconds["open"]
    return rows


def _tasks(models: Path | None, num_steps: int, size: int | None) -> list[tuple[str, PictureSettings]]:
    here = {name: card for name, card in cards().items() if all(is_here(one, models) for one in (*card.needs, name))}
    tasks: list[tuple[str, PictureSettings]] = []
    for name, card in here.items():
        shared = {"size": size, "num_steps": min(num_steps, card.num_steps), "seed": 0}
        if card.task == "paint":
            tasks.append((name, PaintSettings.checked(prompt="a house by a lake", picture_model=name, **shared)))
        elif card.task == "edit":
            tasks.append((name, EditSettings.checked(instruction="make it winter", picture_model=name, **shared)))
        elif card.task == "control" and card.annotator == "canny":
            base = card.needs[0]
            tasks.append((name, ControlSettings.checked(prompt="a house by a lake", picture_model=base, controlnet=name, **shared)))
    return tasks


@dataclass
class Taken:
    """What making one thing took: seconds and bytes in use of each stage by its name, and the most bytes at any step."""

    seconds: dict[str, float]
    num_bytes: dict[str, int]
    most_bytes: int


def _picture(settings: PictureSettings, photo: Image.Image, models: Path | None) -> Taken:
    peak = 0

    def look(step: Step) -> None:
        nonlocal peak
        peak = max(peak, memory_in_use())

    made = Makery(models, look).make(settings, photo)
    return Taken(made.seconds, made.num_bytes, max(peak, *made.num_bytes.values()))


def _clip(photo: Image.Image, trip: str | None) -> Taken:
    begun = time.monotonic()
    with lent_pipeline(trip) as pipe:
        opened, after_opening = time.monotonic(), memory_in_use()
        peak = after_opening

        def look(*_: Any) -> None:
            nonlocal peak
            peak = max(peak, memory_in_use())

        pipe.animate(photo, pipe.resolve(AnimateSettings(seed=0)), callback_on_step_end=look)
    seconds = {"open": round(opened - begun, 3), "animate": round(time.monotonic() - opened, 3)}
    num_bytes = {"open": after_opening, "animate": memory_in_use()}
    return Taken(seconds, num_bytes, max(peak, *num_bytes.values()))


def _timed(name: str, make: Callable[[], Taken]) -> dict[str, Any]:
    open_before = set(shelf())
    first = make()
    again = make()
    return {
        "model": name,
        "seconds": first.seconds,
        "again_seconds": round(sum(again.seconds.values()), 2),
        "bytes": first.num_bytes,
        "most_bytes": max(first.most_bytes, again.most_bytes),
        "put_away": len(open_before - set(shelf())),
    }
