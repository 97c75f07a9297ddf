"""Controls made from the settings schema, and its complaints turned into one line for people.

Titles, help, ranges and defaults come from `AnimateSettings`, which is also the only judge of the values: events on
these controls use `preprocess=False`, so that the page and the API hand over what came.
"""

from types import NoneType
from typing import Any, Literal, get_args, get_origin

import gradio as gr
from annotated_types import Ge, Le, Lt
from gradio.components import Component
from pydantic import ValidationError

from trip.settings import AnimateSettings

CHOICE_LABELS = {"ddim": "DDIM", "dpm++": "DPM-Solver++", "unipc": "UniPC"}
SHOWN = 60  # characters of a refused value that an error repeats


def control(name: str, **more: Any) -> Component:
    """The control of one setting: slider, number, radio or text box; `more` goes to the component."""
    field = AnimateSettings.model_fields[name]
    kind, (low, high) = kind_of(name), bounds(name)
    common = {"label": field.title, "info": field.description, "value": field.default, "elem_id": name}
    if get_origin(kind) is Literal:
        return gr.Radio(**common | {"choices": [(CHOICE_LABELS.get(choice, choice), choice) for choice in get_args(kind)]} | more)
    if kind is str:
        return gr.Textbox(**common | more)
    if field.default is None:
        common |= {"minimum": low, "maximum": high, "placeholder": "automatic"}
        return gr.Number(**common | {"precision": 0 if kind is int else None, "step": 1 if kind is int else 0.5} | more)
    return gr.Slider(**common | {"minimum": low, "maximum": high, "step": 1 if kind is int else 0.05} | more)


def kind_of(name: str) -> type:
    """Type of a setting, without the None that stands for 'automatic'."""
    annotation = AnimateSettings.model_fields[name].annotation
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    return annotation if get_origin(annotation) is Literal or not kinds else kinds[0]


def bounds(name: str) -> tuple[float | None, float | None]:
    """Lowest and highest value of a setting, both allowed; None where there is no bound."""
    low = high = None
    for rule in AnimateSettings.model_fields[name].metadata:
        if isinstance(rule, Ge):
            low = rule.ge
        elif isinstance(rule, Le):
            high = rule.le
        elif isinstance(rule, Lt):
            high = rule.lt - 1
    return low, high


def checked(**values: Any) -> AnimateSettings:
    """Settings from raw values, where None means the default.

    Raises ValueError with one line that names the control, what it takes and what came.
    """
    try:
        return AnimateSettings(**{name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        raise ValueError("; ".join(complaint(problem) for problem in error.errors(include_url=False))) from None


def complaint(problem: dict[str, Any]) -> str:
    """One line for one problem that pydantic found."""
    name = str(problem["loc"][0])
    if name not in AnimateSettings.model_fields:
        return f"there is no setting {name!r}; choose from {', '.join(AnimateSettings.model_fields)}"
    came = problem["input"]
    if problem["type"] == "string_too_long":
        came = f"{len(came):,}"
    return f"{AnimateSettings.model_fields[name].title} must be {wanted(name)}, not {shortened(came)}"


def wanted(name: str) -> str:
    """What a setting takes, in words."""
    kind, (low, high) = kind_of(name), bounds(name)
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if kind is str:
        longest = next(rule.max_length for rule in AnimateSettings.model_fields[name].metadata if hasattr(rule, "max_length"))
        return f"text of at most {longest:,} characters"
    return f"a {'whole ' if kind is int else ''}number from {low:g} to {high:,}"


def shortened(value: Any) -> str:
    """A refused value as an error repeats it: on one line, and not at length."""
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
