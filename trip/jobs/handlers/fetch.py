"""The job "fetch": a model of the catalogue, and what it needs, is downloaded."""

import time
from pathlib import Path
from typing import Any

from trip.jobs.worker import Desk


class FetchMaker:
    """Makes "fetch" jobs: the setting `name` is a name of the catalogue. Its result: `name` and `seconds`.

    models  folder that it goes to; none: the hub's cache
    """

    def __init__(self, models: Path | None):
        self.models = models

    def __call__(self, desk: Desk) -> dict[str, Any]:
        """The result of a job; ValueError, in one line, for people."""
        from trip.first_frame.catalogue import CARDS, size_of
        from trip.first_frame.fetch import fetch

        name, begun = str(desk.job.settings.get("name")), time.monotonic()
        if name not in CARDS:  # visitors choose from the list alone
            raise ValueError(f"there is no model {name!r} in the list")

        def tell(done: int, total: int, speed: float) -> None:
            words = f"{CARDS[name].title}: {size_of(done)} of {size_of(total)}, {size_of(int(speed))} a second"
            desk.report(0.99 * done / max(total, 1), words)

        desk.report(0.0, f"Asking the hub for {CARDS[name].title}")
        fetch(name, self.models, tell)
        return {"name": name, "seconds": round(time.monotonic() - begun, 2)}
