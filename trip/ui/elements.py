"""Browser elements that Gradio lacks: a player that steps by frames, clips on one clock, a frame to place over a photo.

They are drawn by assets/elements.js and crop.js. A page that shows them must be launched with `head=HEAD`.
"""

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from trip.system.environment import ASSETS

# For `launch`. The style is for the insides of the elements alone, so the page itself must not take it (media).
HEAD = f'<style id="trip-elements" media="not all">{(ASSETS / "elements.css").read_text(encoding="utf-8")}</style>' + "".join(
    f"<script>{(ASSETS / name).read_text(encoding='utf-8')}</script>" for name in ("elements.js", "crop.js", "page.js")
)
# The template of gr.HTML is run as code (Handlebars, then a JavaScript template string): nothing that came from outside may be in it,
# so photo, box and label go by `props`.
_CROP = "<trip-crop></trip-crop>"
# What a button of a gr.HTML stands for, by `data-act` and `data-key`, goes to its `click`.
ACTS_ON_LOAD = """
element.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-act]");
  if (!button) return;
  if (button.dataset.act === "show") tripShow("#result");
  trigger("click", { ...button.dataset });
});
"""
CHOSEN_ON_LOAD = 'element.addEventListener("chosen", ({ detail }) => trigger("click", detail));'
_CROP_ON_LOAD = """
customElements.whenDefined("trip-crop").then(() => {
  const crop = element.querySelector("trip-crop");
  const show = () => crop.show(props.value, props.label, props.picker);
  crop.addEventListener("framed", ({ detail }) => {
    props.value = { ...props.value, box: detail.box };
    if (detail.byHand) trigger("input");
  });
  watch(["value", "label"], show);
  show();
});
"""
ROUNDING = 1e-6  # how far outside a photo a box may lie before it is an error


@dataclass(frozen=True)
class ComparedClip:
    """A clip as the browser needs it.

    src     address, or a file that the app may serve: in Gradio's cache or `allowed_paths`; empty: it is still to come
    label   words under the clip
    fps     frames per second
    frames  how many
    key     what tells that the clip was chosen
    still   address of a picture in the place of a clip that is to come
    """

    src: str | Path
    label: str
    fps: float = 1
    frames: int = 1
    key: str = ""
    still: str = ""


def player(src: str | Path, fps: float, frames: int, label: str = "", *, bare: bool = False, sound: bool = False) -> str:
    """HTML of a clip in a loop that can be stepped by frames, with keys, mouse or touch; the arguments are those of `ComparedClip`.

    bare   without the row of controls: a click plays and stops it
    sound  whether it has one; it is off until a person turns it on, as browsers want it
    """
    more = {name: "" for name, is_so in (("bare", bare), ("sound", sound)) if is_so}
    return _element("trip-player", src=address(src), fps=f"{fps:g}", frames=str(frames), label=label, **more)


def compare(clips: Sequence[ComparedClip], label: str = "Comparison", *, wipe: bool = True) -> str:
    """HTML of clips side by side that play, stop and step together; two can be wiped over each other, unless `wipe` is off.

    Clips run in real time; a shorter one holds its last frame until the longest ends. The event "looped" tells each such end.
    """
    if not clips:
        raise ValueError("wanted one clip or more to compare, got none")
    entries = [asdict(clip) | {"src": address(clip.src)} for clip in clips]
    return _element("trip-compare", clips=json.dumps(entries), label=label, **({} if wipe else {"apart": ""}))


def clip_grid(clips: Sequence[ComparedClip], label: str, choice: str) -> str:
    """HTML of clips as near to a square as they go, on one clock, each with a button; it may begin with none, and fills as clips come.

    The event "chosen" tells the `key` of the clip whose button was pressed, to a gr.HTML with CHOSEN_ON_LOAD as its `click`.

    choice  words of the button
    """
    entries = [asdict(clip) | {"src": address(clip.src)} for clip in clips]
    columns = math.ceil(math.sqrt(len(clips)))
    return _element("trip-compare", clips=json.dumps(entries), label=label, apart="", choice=choice, columns=str(columns))


def crop_box(value: dict[str, Any] | None = None, *, label: str = "What the model sees", picker: str = "", **more: Any) -> gr.HTML:
    """A component in which a person places the frame that the model will see over a photo.

    Its value is None, which shows nothing, or {"photo", "aspect", "box"} as `crop_value` makes it. `.input` fires when a person has
    moved the frame and let go, `.change` also when the value came from Python or a photo got its first frame. Listen with
    `trigger_mode="always_last"`: by default Gradio drops what fires while it is still busy. `more` goes to gr.HTML.

    picker  CSS selector of a file input that a button "Another photo" opens; none: no such button

        crop = crop_box()
        photo.change(lambda path: crop_value(path, aspect=1), photo, crop)
        run.click(lambda path, crop: fit_photo(read_photo(path), 128, box=chosen_box(crop)), [photo, crop], ...)

    A function and not a subclass: importing a subclass of gr.HTML writes a .pyi file beside its source.
    """
    return gr.HTML(value, label=label, picker=picker, html_template=_CROP, js_on_load=_CROP_ON_LOAD, **more)


def crop_value(
    photo: str | Path | Mapping[str, Any] | None, aspect: float | None = 1.0, box: Sequence[float] | None = None
) -> dict[str, Any] | None:
    """A value for `crop_box`; without a photo, None.

    photo   file that the app may serve, http or data address, or what gr.Image sends where `preprocess=False`
    aspect  width / height of the frame, in pixels of the photo; none: the photo's own, between 3:7 and 7:3
    box     left, top, width and height in shares of the photo; none: the largest frame in the middle
    """
    if not photo:
        return None
    if isinstance(photo, Mapping):
        photo = photo["path"]
    if not str(photo).startswith(("data:image/", "http://", "https://")):
        photo = {"path": str(photo), "meta": {"_type": "gradio.FileData"}}  # Gradio adds the address that it is served at
    return {"photo": photo, "aspect": aspect, "box": None if box is None else list(box)}


def chosen_box(value: Any) -> tuple[float, float, float, float] | None:
    """Left, top, width and height, in shares of the photo, in a value of `crop_box`; None where there is none: take the middle.

    The value came from a browser: raises ValueError where it is no box inside the photo, and its photo must not be read at all.
    """
    box = value.get("box") if isinstance(value, dict) else value
    if box is None or value == "":  # what an empty gr.HTML sends
        return None
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(type(side) in (int, float) and math.isfinite(side) for side in box):
        raise ValueError("wanted a crop of four numbers: left, top, width and height; place the frame again")
    left, top, width, height = box
    if min(left, top) < -ROUNDING or min(width, height) <= 0 or max(left + width, top + height) > 1 + ROUNDING:
        raise ValueError("wanted a crop inside the photo; place the frame again")
    left, top = max(0.0, left), max(0.0, top)
    return left, top, min(width, 1 - left), min(height, 1 - top)


def told(event: gr.EventData, *names: str) -> list[str]:
    """What a click on a gr.HTML with ACTS_ON_LOAD or CHOSEN_ON_LOAD tells; empty where a program told none."""
    data = event._data if isinstance(event._data, dict) else {}
    return [str(data.get(name, "")) for name in names]


def address(src: str | Path) -> str:
    """Files by the route of Gradio's that serves them; relative, so that it also works behind a proxy."""
    return f"gradio_api/file={quote(str(src.absolute()))}" if isinstance(src, Path) else src


def _element(name: str, **attributes: str) -> str:
    inside = "".join(f' {key}="{html.escape(value)}"' for key, value in attributes.items())
    return f"<{name}{inside}></{name}>"
