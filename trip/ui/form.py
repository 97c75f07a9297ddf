"""Controls made from the settings schema.

Titles, help, ranges and defaults come from the schema of the task, which is also the only judge of the values: events on
these controls use `preprocess=False`, so that the page and the API hand over what came.
"""

import json
from typing import Any, Literal, get_args, get_origin

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from trip.media import read_photo
from trip.settings import AnimateSettings, Request
from trip.ui.page_state import QUICK, RAW
from trip.ui.panels.result import or_toast
from trip.ui.studio import LARGEST_PHOTO

CHOICE_LABELS = {
    "ddim": "DDIM",
    "dpm++": "DPM-Solver++",
    "unipc": "UniPC",
    "trained": "as trained",
    "linear": "linear (Eq. 9)",
    "none": "residual alone",
    "auto": "automatic",
    "model": "as the network drew it",
    "photo": "the photo's own, up to 1080",
}
OWN_LABELS = {("aspect", "photo"): "as my photo"}  # of one setting alone
PAGE_DEFAULTS = {"aspect": "photo"}  # programs and stored settings keep the schema's
KEPT = (gr.Textbox, gr.Number, gr.Slider, gr.Radio, gr.Dropdown, gr.Checkbox, gr.Image)  # whose values a browser keeps
MOST_RADIOS = 3  # more choices drop down


def control(name: str, schema: type[Request] = AnimateSettings, **more: Any) -> Component:
    """The control of one setting: slider, number, radio or text box; `more` goes to the component."""
    field = schema.model_fields[name]
    kind, (low, high) = schema.kind_of(name), schema.bounds(name)
    common = {"label": field.title, "info": field.description, "value": field.default, "elem_id": name}
    if get_origin(kind) is Literal:
        choices = [(OWN_LABELS.get((name, choice), CHOICE_LABELS.get(choice, choice)), choice) for choice in get_args(kind)]
        return (gr.Radio if len(choices) <= MOST_RADIOS else gr.Dropdown)(**common | {"choices": choices} | more)
    if kind is bool:
        return gr.Checkbox(**common | more)
    if name == "crop" or kind is str:
        return gr.Textbox(**common | more)
    if field.default is None:
        common |= {"minimum": low, "maximum": high, "placeholder": "automatic"}
        return gr.Number(**common | {"precision": 0 if kind is int else None, "step": 1 if kind is int else 0.5} | more)
    return gr.Slider(**common | {"minimum": low, "maximum": high, "step": 1 if kind is int else 0.05} | more)


def leave_empty(page: gr.Blocks) -> None:
    """Has the browser send nothing for a number that is left empty. Gradio keeps an empty start out of the page, which is then a 0."""
    numbers = [box for box in page.blocks.values() if isinstance(box, gr.Number) and box.value is None]
    page.load(None, None, numbers, js=f"() => Array({len(numbers)}).fill(null)")


def keep_values(page: gr.Blocks, opened: Dependency, crop: Component, placed: Component) -> None:
    """Has the browser keep what a person fills in, and the photo and frame of the Animate tab; a page that is opened again takes it up.

    opened         after which it is taken up
    crop, placed   the frame as it is, and where it is to be over the photo that comes
    """
    boxes = [box for box in page.blocks.values() if isinstance(box, KEPT) and _is_kept(str(box.elem_id))]
    names, fresh = json.dumps([box.elem_id for box in boxes]), json.dumps([box.value for box in boxes])
    opened.then(None, boxes, [placed, *boxes], js=f"(...now) => tripFill({names}, {fresh}, now)")
    gr.on([box.change for box in (crop, *boxes)], None, [crop, *boxes], js=f"(crop, ...now) => tripKeep(crop, {names}, now)")


def _is_kept(name: str) -> bool:
    if name.startswith(("paint-", "edit-", "control-", "finetune-")):
        return not name.endswith(("-chips", "-picture", "-photo"))
    return name in {"photo", "randomize", "only-shown", *AnimateSettings.model_fields}


def refuse_broken(photo: gr.Image) -> None:
    """A file that is no photo is told as soon as it is there, and does not stay in the form."""

    def look(file: Any) -> None:
        or_toast(read_photo, or_toast(uploaded, file), LARGEST_PHOTO)

    photo.upload(look, photo, None, **RAW).failure(lambda: None, None, photo, **QUICK)


def uploaded(file: Any) -> str | None:
    """Where an upload lies, or a file that the page itself was given, as `Page` let it pass; ValueError for anything else."""
    if not file:
        return None
    path = file.get("path") if isinstance(file, dict) else getattr(file, "path", None)
    if not isinstance(path, str) or path.startswith(("http://", "https://")):
        raise ValueError("wanted a file that was uploaded, got a path; upload it first, as gradio_client's handle_file does")
    return path
