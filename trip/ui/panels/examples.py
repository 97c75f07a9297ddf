"""Photos with a sentence to try, each as what became of it: small clips of the embedded model, beside their photos."""

import csv
import html
from pathlib import Path
from typing import Any

import gradio as gr

from trip.system.environment import ASSETS, EXAMPLES
from trip.ui import elements

FIRST, FIRST_PROMPT = ASSETS / "example.mp4", "the camera travels left past the scene"  # what the page shows before there is a clip
FIRST_FPS, FIRST_FRAMES = 24, 48
WORDS = f"An example, made by the embedded model: “{FIRST_PROMPT}”"
_ON_CLICK = """
element.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (button) trigger("click", { index: [...element.querySelectorAll("button")].indexOf(button) });
});
"""


def rows() -> list[tuple[Path, str, float]]:
    """Photo, prompt and motion of each example."""
    with open(EXAMPLES / "examples.csv", newline="", encoding="utf-8") as file:
        return [(EXAMPLES / row["file"], row["prompt"], float(row["motion"])) for row in csv.DictReader(file)]


def files() -> list[Path]:
    """What everybody may fetch."""
    return [FIRST, *(path for photo, _, _ in rows() for path in (photo, photo.with_suffix(".webp")))]


def first() -> gr.HTML:
    """The finished example; it plays without a row of controls, and a click stops it."""
    return gr.HTML(elements.player(FIRST, FIRST_FPS, FIRST_FRAMES, WORDS, bare=True), elem_id="example")


def build() -> gr.HTML:
    """Lay out the thumbnails; its `click` tells which one, to `chosen`. They stand still where motion is to be reduced."""
    cards = "".join(_card(*row) for row in rows())
    return gr.HTML(f'<div class="trip-examples">{cards}</div>', elem_id="examples", js_on_load=_ON_CLICK)


def chosen(event: gr.EventData) -> list[Any]:
    """Photo, prompt and motion of the example that was clicked; ValueError where a program named none."""
    index, known = event._data.get("index") if isinstance(event._data, dict) else None, rows()
    if type(index) is not int or not 0 <= index < len(known):
        raise gr.Error(f"wanted an example from 0 to {len(known) - 1}", print_exception=False)
    photo, prompt, motion = known[index]
    return [str(photo), prompt, motion]


def _card(photo: Path, prompt: str, motion: float) -> str:
    still, moving = (html.escape(elements.address(path)) for path in (photo, photo.with_suffix(".webp")))
    picture = f'<picture><source srcset="{still}" media="(prefers-reduced-motion: reduce)"><img src="{moving}" alt=""></picture>'
    return f'<button type="button" title="Fill in the form and run">{picture}<span>{html.escape(prompt)}</span></button>'
