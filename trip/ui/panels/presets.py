"""Settings under a name: some that come with the page, and those that a visitor keeps in the browser."""

from typing import Any

import gradio as gr
from gradio.components import Component

from trip.settings import AnimateSettings
from trip.ui.form import PAGE_DEFAULTS
from trip.ui.page_state import QUICK, SECRET
from trip.ui.panels.result import or_toast

NAMES = (
    "motion", "num_frames", "aspect", "num_steps", "guidance_scale", "scheduler", "fps", "loop", "negative_prompt", "size", "frame_rate"
)  # fmt: skip
GIVEN: dict[str, dict[str, Any]] = {
    "As the model was made": {},
    "Fast: 2 steps": {"num_steps": 2},
    "Twice the motion": {"motion": 2.0},
    "Loop": {"loop": True},
}
MOST_KEPT = 50


def build(settings: dict[str, Component]) -> None:
    """Lay out the row and wire it to the controls."""
    kept = gr.BrowserState({}, storage_key="trip-presets", secret=SECRET)
    with gr.Row(elem_classes="trip-line"):
        chosen = gr.Dropdown(list(GIVEN), value=None, label="Preset", elem_id="preset", scale=2, min_width=140)
        name = gr.Textbox(label="Keep these settings as", max_length=40, elem_id="preset-name", scale=2, min_width=140)
        keep = gr.Button("Keep", size="sm", elem_id="preset-keep", scale=1, min_width=70)
    controls = [settings[one] for one in NAMES]

    def choose(name: str | None, kept: dict[str, Any]) -> list[Any]:
        values = or_toast(AnimateSettings.checked, **PAGE_DEFAULTS | (GIVEN | _sound(kept)).get(name, {}))
        return [getattr(values, one) for one in NAMES]

    def store(name: str, kept: dict[str, Any], *values: Any) -> tuple[dict[str, Any], Any]:
        name = str(name or "").strip()
        if not name or name in GIVEN:
            raise gr.Error("give the preset a name of its own first", print_exception=False)
        asked = or_toast(AnimateSettings.checked, **dict(zip(NAMES, values, strict=True)))
        kept = {**_sound(kept), name: {one: getattr(asked, one) for one in NAMES}}
        if len(kept) > MOST_KEPT:
            raise gr.Error(f"{MOST_KEPT} presets are kept already; use one of their names", print_exception=False)
        return kept, gr.Dropdown([*GIVEN, *kept], value=name)

    chosen.input(choose, [chosen, kept], controls, **QUICK)
    keep.click(store, [name, kept, *controls], [kept, chosen], preprocess=False, **QUICK)
    gr.on(None, lambda kept: gr.Dropdown([*GIVEN, *_sound(kept)]), kept, chosen, **QUICK)


def _sound(kept: Any) -> dict[str, dict[str, Any]]:
    """What the browser kept, as far as it is presets."""
    if not isinstance(kept, dict):
        return {}
    known = AnimateSettings.model_fields
    return {str(name): values for name, values in kept.items() if isinstance(values, dict) and set(values) <= set(known)}
