"""How far a measurement is, on the command line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

LONGEST = 60  # letters of what was just measured, from its end


@contextmanager
def progress_bar() -> Iterator[Callable[[float, str], None]]:
    """A bar that is told the share done, in [0, 1], and what was just measured."""
    with tqdm(total=1.0, bar_format="{l_bar}{bar}| {elapsed}<{remaining}") as bar:

        def on_progress(done: float, text: str) -> None:
            bar.set_description(text[-LONGEST:], refresh=False)
            bar.update(done - bar.n)

        yield on_progress
