"""What each way to a first frame costs on this machine, with whatever models are here: seconds to open, a step, memory, a switch."""

import time
from pathlib import Path
from typing import Any

from PIL import Image

from trip.first_frame.catalogue import cards
from trip.first_frame.drawing import Step
from trip.first_frame.making import Makery
from trip.first_frame.whereabouts import is_here
from trip.runtime import memory_in_use, shelf
from trip.settings import ControlSettings, EditSettings, PaintSettings, PictureSettings


def time_pictures(photo: Image.Image, models: Path | None, num_steps: int = 4, size: int | None = None) -> list[dict[str, Any]]:
    """A row for each model that is here: made twice, so that the second time is without opening it.

    num_steps  of each picture; of a model that is made for fewer, that many
    size       pixels of a side; none: what each model was made for
    """
    return [_timed(name, settings, photo, models) for name, settings in _tasks(models, num_steps, size)]


def _tasks(models: Path | None, num_steps: int, size: int | None) -> list[tuple[str, PictureSettings]]:
    shared, tasks = {"size": size, "num_steps": num_steps, "seed": 0}, []
    here = {name: card for name, card in cards().items() if all(is_here(one, models) for one in (*card.needs, name))}
    for name, card in here.items():
        if card.task == "paint":
            steps = {"num_steps": min(num_steps, card.num_steps)}
            tasks.append((name, PaintSettings.checked(prompt="a house by a lake", picture_model=name, **shared | steps)))
        elif card.task == "edit":
            tasks.append((name, EditSettings.checked(instruction="make it winter", picture_model=name, **shared)))
        elif card.task == "control" and card.annotator == "canny":
            base = card.needs[0]
            tasks.append((name, ControlSettings.checked(prompt="a house by a lake", picture_model=base, controlnet=name, **shared)))
    return tasks


def _timed(name: str, settings: PictureSettings, photo: Image.Image, models: Path | None) -> dict[str, Any]:
    peak = 0

    def look(step: Step) -> None:
        nonlocal peak
        peak = max(peak, memory_in_use())

    makery, open_before = Makery(models, look), set(shelf())
    begun = time.monotonic()
    first = makery.make(settings, photo)
    whole = time.monotonic() - begun
    begun = time.monotonic()
    makery.make(settings, photo)
    again = time.monotonic() - begun
    return {
        "model": name,
        "size": first.settings.size,
        "num_steps": first.settings.num_steps,
        "open_seconds": first.seconds["open"],
        "first_seconds": round(whole, 2),
        "again_seconds": round(again, 2),
        "most_bytes": peak,
        "put_away": len(open_before - set(shelf())),
    }
