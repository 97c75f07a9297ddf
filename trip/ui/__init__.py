"""The page. `build(studio)` lays it out, `launch_options` are what `launch` needs to show and to guard it as meant."""

import html
from typing import Any

import gradio as gr

from trip.system.environment import ASSETS
from trip.ui import api, elements, page_state
from trip.ui.finetune_studio import FinetuneStudio
from trip.ui.form import keep_values, leave_empty
from trip.ui.panels import examples, figure, inside, layout, models, training
from trip.ui.panels.result import or_toast
from trip.ui.security.page import Page
from trip.ui.security.visitors import VisitorRegistry
from trip.ui.studio import Studio
from trip.ui.tabs import animate, edit, finetune, text_to_video

PROMISE = "Bring a photo, say what moves, get a clip"
TITLE = "TRIP: photo to clip"
CACHE_AGE = 24 * 3600  # seconds that uploads and copies of clips stay in Gradio's cache
SYSTEM_FONTS = ("ui-sans-serif", "system-ui", "sans-serif")  # nothing is fetched from elsewhere
THEME = gr.themes.Default(
    primary_hue="teal", secondary_hue="teal", neutral_hue="slate", font=SYSTEM_FONTS, font_mono=("ui-monospace", "monospace")
).set(  # text of 4.5 to its ground, or more; in the dark `--color-accent` is style.css's
    color_accent="*primary_700",
    body_text_color_subdued="*neutral_600",
    block_info_text_color="*neutral_600",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
    link_text_color="*secondary_700",
    link_text_color_active="*secondary_700",
    link_text_color_visited="*secondary_700",
    link_text_color_dark="*secondary_400",
    link_text_color_active_dark="*secondary_400",
    link_text_color_visited_dark="*secondary_400",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_hover_dark="*primary_800",
)  # fmt: skip
LAUNCH = {
    "theme": THEME,
    "css_paths": ASSETS / "style.css",
    "head": elements.HEAD,
    "footer_links": ["api", "settings"],
    "max_file_size": "30mb",
    "show_error": True,
    "ssr_mode": False,
    "run_history": False,
    "enable_monitoring": False,
}


def launch_options(studio: Studio) -> dict[str, Any]:
    """What `launch` needs for the page of a studio: of its folder, the jobs' results alone are served, and the examples beside it."""
    return LAUNCH | {
        "allowed_paths": [str(studio.store.files), *map(str, examples.files())],
        "blocked_paths": list(map(str, studio.private)),
    }


def build(studio: Studio) -> Page:
    """The whole page, not yet served."""

    def show_notices() -> Any:
        lines = "".join(f"<p role='alert'>{html.escape(notice)}</p>" for notice in studio.store.notices)
        return gr.update(value=lines, visible=bool(lines))

    def card() -> str:
        return f"<p>{html.escape(studio.card())}</p>"

    def open_page(earlier: str, job_id: str, request: gr.Request) -> tuple[str, str]:
        return page_state.open_page(studio, earlier, job_id, request)

    def show_models() -> tuple[Any, Any]:
        """The models by others that are here by now: to choose from, and to compare with."""
        choices = animate.models_of(studio)
        return gr.update(choices=choices, visible=len(choices) > 1), gr.update(visible=len(choices) > 1)

    finetunes = FinetuneStudio(studio)
    look = {"title": TITLE, "analytics_enabled": False, "delete_cache": (3600, CACHE_AGE)}
    with Page(VisitorRegistry(studio.outputs), studio.store.is_served, **look) as page:
        api.publish(studio, finetunes)  # before all else, so that no handler takes an endpoint's name
        state = page_state.build()
        page.visitor_component = state.visitor
        page.visitors.publish(map(str, examples.files()))
        gr.HTML(f"<h1>{html.escape(PROMISE)}</h1>", elem_id="heading")
        notices = gr.HTML(elem_id="notices", visible=False)
        shared = layout.build(studio, state)
        with shared.forms, gr.Tabs() as tabs:
            with gr.Tab("Animate", id="animate") as first:
                form = animate.build(studio, state, shared.result.clip)
            with gr.Tab("Text to video", id="text-to-video") as second:
                painting = text_to_video.build(studio, state)
            with gr.Tab("Edit", id="edit") as third:
                photo, edited = edit.build(studio, state)
            with gr.Tab("Fine-tune", id="finetune") as fourth:
                finetune.build(finetunes, state)
        with shared.views:
            tuned = training.build(finetunes, state, form, tabs)
            beside = figure.build()
        inside.build(studio, state)
        fetched = models.build(studio, state)
        layout.follow_jobs(studio, state, shared, [*painting.views, *edited, beside, tuned, fetched])
        last = {"fn": lambda visitor, job_id: (or_toast(studio.last_frame, job_id, visitor), gr.Tabs(selected="animate"))}
        shared.result.last_frame.click(**last, inputs=[state.visitor, state.job], outputs=[form.photo, tabs], **page_state.QUICK)
        painting.send.click(lambda picture: (picture, gr.Tabs(selected="edit")), painting.picture, [photo, tabs], **page_state.QUICK)
        with gr.Accordion("About", open=False, elem_id="about"):
            weights = gr.HTML("<p>Loading the model …</p>", elem_id="weights")
            gr.Markdown((ASSETS / "about.md").read_text(encoding="utf-8"))
        with gr.Row(elem_id="foot"):
            shade = gr.Button("Dark", size="sm", elem_id="shade", scale=0, min_width=70)
        for tab in (first, second, third, fourth):
            tab.select(None, js=f"() => tripTab('{tab.id}', '{tab.label} · {TITLE}')")
        shade.click(None, None, shade, js="() => tripShade(true)")
        page.load(None, None, shade, js="() => tripShade()")
        leave_empty(page)
        opened = page.load(open_page, [state.earlier, state.job], [state.visitor, state.job], **page_state.QUICK)
        keep_values(page, opened, form.settings["crop"], form.placed)
        page.load(show_notices, None, notices, **page_state.QUICK)
        page.load(show_models, None, [form.video_model, shared.result.actions["compare"]], **page_state.QUICK)
        page.load(card, None, weights, **page_state.QUICK)
    return page
