"""How far a measurement or a training is, on the command line."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

LONGEST = 60  # letters of what was just measured, from its end
FIGURES = ("loss", "psnr", "read_right", "held_out_loss")


@contextmanager
def progress_bar() -> Iterator[Callable[[float, str], None]]:
    """A bar that is told the share done, in [0, 1], and what was just measured."""
    with tqdm(total=1.0, bar_format="{l_bar}{bar}| {elapsed}<{remaining}") as bar:

        def on_progress(done: float, text: str) -> None:
            bar.set_description(text[-LONGEST:], refresh=False)
            bar.update(done - bar.n)

        yield on_progress


def show_steps(records: Iterator[dict[str, Any]], figures: Sequence[str] = FIGURES) -> None:
    """Takes all steps of a training and shows how they go, by those of the figures that they have."""
    stage = None
    with tqdm(unit="step") as bar:
        for record in records:
            if record["stage"] != stage:
                stage = record["stage"]
                bar.reset(total=record["max_steps"])
                bar.set_description(stage)
            bar.n = record["step"] + ("loss" in record)
            bar.set_postfix({name: f"{record[name]:.4g}" for name in figures if name in record})
