"""What may be asked of a training that runs in another process: by an empty file in its run folder, obeyed within a step."""

from pathlib import Path

REQUESTS = {"stop", "sample", "save"}


def ask(folder: Path, request: str) -> None:
    """Asks the training in a run folder to stop, sample or save. All three save; all but stop go on."""
    if request not in REQUESTS:
        raise ValueError(f"unknown request {request!r}; choose {', '.join(sorted(REQUESTS))}")
    (folder / "asked").mkdir(parents=True, exist_ok=True)
    (folder / "asked" / request).touch()


def forget_requests(folder: Path) -> None:
    """Drops what was asked of an earlier process."""
    for request in REQUESTS:
        (folder / "asked" / request).unlink(missing_ok=True)


class Deadline(float):
    """A moment of `time.monotonic` that has also come once something is asked; a number, since that is what the loop takes.

    The first look is before the first step, which is always taken: so even the shortest slices come to an end.
    asked  gets the requests, whose files are then gone
    """

    def __new__(cls, moment: float, folder: Path, asked: set[str]) -> "Deadline":
        """At the moment, or when a file in the run folder's `asked` says so."""
        deadline = super().__new__(cls, moment)
        deadline.folder, deadline.asked, deadline.is_looked_at = folder / "asked", asked, False
        return deadline

    def __le__(self, now: float) -> bool:  # Python asks the subclass first: `now >= deadline` comes here
        for request in REQUESTS:
            if (path := self.folder / request).exists():
                path.unlink()
                self.asked.add(request)
        is_first, self.is_looked_at = not self.is_looked_at, True
        return bool(self.asked) or (float(self) <= now and not is_first)
